"""Nothing gets out: every probe of tests/support/leak_probes.py in every state of a protected device.

    client ─┬─ switch ─┬─ relay1, relay2, exit
   (sniffer)┘          └─ target, which is the client's default router, too

Each probe is first shown to be seen by the sniffer when the device is not protected.
"""

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, name_server_of_its_own, run_probes, start_device
from tests.support.leak_probes import FAR4, FAR6, PROBES
from tests.support.needs import needs_programs
from tests.support.netns import Lab, ip
from tests.support.waiting import pause, wait_until
from vigilnet.traffic.device.backend import Capture

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "tc")]

QUICK = [name for name in PROBES if "TCP" not in name]  # those that wait for nobody
SETTLE_S = 0.3  # for the last packets to reach the sniffer


@pytest.fixture(scope="module", params=list(Capture))
def device(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProtectedDevice]:
    with Lab() as lab, contextlib.ExitStack() as ends:
        made = start_device(lab, tmp_path_factory.mktemp("device"), before_nodes=name_server_of_its_own(ends))
        made.capture = request.param
        client, target = made.host, made.network.target
        ip("-n", client.name, "route", "add", "default", "via", target.v4)
        ip("-n", client.name, "-6", "route", "add", "default", "via", target.v6)
        made.start_helper()
        yield made


def test_there_are_enough_probes() -> None:
    assert len(PROBES) >= 40


def test_every_probe_is_seen_when_the_device_is_not_protected(device: ProtectedDevice) -> None:
    unseen = []
    for name in PROBES:
        with device.sniff() as sniffer:
            run_probes(device, [name])
            deadline = time.monotonic() + 30.0
            while not sniffer.leaks and time.monotonic() < deadline:
                pause(0.01)
        if not sniffer.leaks:
            unseen.append(name)
    assert unseen == []


def assert_quiet(device: ProtectedDevice) -> None:
    with device.sniff() as sniffer:
        run_probes(device)
        pause(SETTLE_S)
    assert not sniffer.leaks


@pytest.mark.parametrize("mode", ["local", "overlay", "custom"])
def test_nothing_leaks_while_up(device: ProtectedDevice, mode: str) -> None:
    device.ask("up")
    device.ask("change", fields={"dns": mode, "dns_server": device.network.target.v4})
    assert_quiet(device)
    device.ask("change", fields={"dns": "local"})


@needs_programs("dig")
def test_a_server_of_ones_own_is_asked_through_the_network(device: ProtectedDevice) -> None:
    device.ask("change", fields={"dns": "custom", "dns_server": device.network.target.v4})
    with device.sniff() as sniffer:
        for options in ((), ("+tcp",)):
            said = device.host.run("dig", "+short", "+time=9", *options, "@192.0.2.53", "site.test").stdout
            assert said.strip() == device.network.target.v4
        pause(SETTLE_S)
    assert not sniffer.leaks
    device.ask("change", fields={"dns": "local"})


@needs_programs("dig")
def test_local_names_are_asked_of_the_one_server_that_the_system_had(device: ProtectedDevice) -> None:
    with device.sniff() as sniffer:
        for server, options in (("192.0.2.53", ()), ("2001:db8::53", ()), ("192.0.2.54", ("+tcp",))):
            said = device.host.run("dig", "+short", "+time=5", *options, f"@{server}", "site.test").stdout
            assert said.strip() == device.network.target.v4
        run_probes(device)
        pause(SETTLE_S)
    where = f"{device.host.v4} > {device.network.target.v4}:53"
    assert set(sniffer.leaks) == {f"protocol {number} {where}" for number in (6, 17)}


LEASED = """#!/bin/sh
echo "$1" >> {said}
[ "$1" != bound ] || ip addr add "$ip/24" dev "$interface"
"""


@needs_programs("udhcpc", "udhcpd")
def test_a_lease_is_had_and_renewed_by_dhcp_and_nothing_else_leaves(
    device: ProtectedDevice, tmp_path: Path
) -> None:
    host, target = device.host, device.network.target
    network, config = host.v4.rpartition(".")[0], tmp_path / "udhcpd.conf"
    config.write_text(
        f"start {network}.200\nend {network}.210\ninterface {target.interfaces[0]}\n"
        f"lease_file {tmp_path}/leases\npidfile {tmp_path}/pid\n"
    )
    (tmp_path / "leases").touch()
    target.start("udhcpd", "-f", config)
    script, said = tmp_path / "script", tmp_path / "said"
    script.write_text(LEASED.format(said=said))
    script.chmod(0o755)
    said.touch()
    with device.sniff() as sniffer:
        run_probes(device)
        asker = host.start("udhcpc", "-i", host.interfaces[0], "-f", "-t", "10", "-T", "1", "-s", script)
        wait_until(lambda: "bound" in said.read_text(), "a lease")
        run_probes(device)
        pause(SETTLE_S)
    assert {leak.rpartition(" ")[2] for leak in sniffer.leaks} == {"255.255.255.255:67"}
    leased = host.run("sh", "-c", f"ip -4 -br addr | grep -o '{network}.2[01][0-9]'").stdout.strip()
    with device.sniff() as sniffer:
        asker.send_signal(signal.SIGUSR1)  # the state RENEWING: by unicast, to the server that gave the lease
        wait_until(lambda: "renew" in said.read_text(), "it is renewed")
        run_probes(device)
        pause(SETTLE_S)
    assert set(sniffer.leaks) == {f"protocol 17 {leased} > {target.v4}:67"}
    asker.kill()
    asker.wait()
    with device.sniff() as sniffer, host.entered():  # some clients do not bind themselves to the interface
        for port, where in (
            (68, (target.v4, 67)),
            (68, (FAR4, 67)),
            (68, (target.v4, 68)),
            (6868, (target.v4, 67)),
        ):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
                sock.bind((leased, port))
                sock.sendto(bytes(240), where)
        pause(SETTLE_S)
    assert set(sniffer.leaks) == {f"protocol 17 {leased} > {target.v4}:67"}
    ip("-n", host.name, "addr", "del", f"{leased}/24", "dev", host.interfaces[0])


PUSHED = ("0.0.0.0/1", "128.0.0.0/1", f"{FAR4}/32", "::/1", "8000::/1", f"{FAR6}/128")


@pytest.mark.parametrize("lan", [False, True], ids=["lan off", "lan on"])
def test_routes_that_the_network_pushes_lead_nothing_around(device: ProtectedDevice, lan: bool) -> None:
    """As a DHCP server may, or one that gives out addresses of others as its own network's."""
    host, target = device.host, device.network.target
    for where in PUSHED:
        ip("-n", host.name, "route", "add", where, "via", target.v6 if ":" in where else target.v4)
    device.ask("change", fields={"allow_lan": lan})
    far = [name for name in QUICK if name.startswith("IPv") and "same wire" not in name]
    try:
        with device.sniff() as sniffer:
            run_probes(device, far if lan else None)
            pause(SETTLE_S)
        # With the LAN allowed the kernel speaks to its groups when it likes (IGMP, MLD).
        assert not [leak for leak in sniffer.leaks if not lan or FAR4 in leak or FAR6 in leak]
    finally:
        device.ask("change", fields={"allow_lan": False})
        for where in PUSHED:
            ip("-n", host.name, "route", "del", where)


def test_nothing_leaks_while_settings_change(device: ProtectedDevice) -> None:
    with device.sniff() as sniffer:
        for _ in range(3):
            device.ask("change", fields={"allow_lan": False, "outside_networks": ["192.0.2.0/24"]})
            run_probes(device)
            device.ask("change", fields={"outside_networks": []})
        pause(SETTLE_S)
    assert not sniffer.leaks


def test_nothing_leaks_while_the_network_is_unreachable_or_flaps(device: ProtectedDevice) -> None:
    relays = [node for name, node in device.network.nodes.items() if name != "client"]
    with device.sniff() as sniffer:
        for node in relays:
            node.kill()
        run_probes(device)
        for _ in range(2):
            interface = device.host.interfaces[0]
            ip("-n", device.host.name, "link", "set", interface, "down")
            ip("-n", device.host.name, "link", "set", interface, "up")
            run_probes(device)
        pause(SETTLE_S)
    assert not sniffer.leaks
    ip("-n", device.host.name, "addr", "replace", f"{device.host.v6}/64", "dev", interface, "nodad")
    ip("-n", device.host.name, "route", "replace", "default", "via", device.network.target.v4)
    ip("-n", device.host.name, "-6", "route", "replace", "default", "via", device.network.target.v6)
    assert f"default via {device.network.target.v4} dev {interface}" in device.host.run("ip", "route").stdout
    with device.sniff() as sniffer:  # and while it finds its relays again
        for node in relays:
            node.start()
            run_probes(device, QUICK)
        url = f"http://{device.network.target.v4}/page.txt"
        wait_until(
            lambda: device.host.run("curl", "-sS", "-m2", url, check=False).stdout == "found\n",
            "the page again", timeout=60,
        )  # fmt: skip
        pause(SETTLE_S)
    assert not sniffer.leaks


def test_nothing_leaks_when_the_helper_alone_is_killed_and_another_takes_over(
    device: ProtectedDevice,
) -> None:
    """The daemon still had the interface, so that the new one failed at first, and opened everything."""
    url = f"http://{device.network.target.v4}/page.txt"
    with device.sniff() as sniffer:
        device.stop_helper(9)
        run_probes(device, QUICK)
        device.start_helper()

        def is_carried() -> bool:
            run_probes(device, QUICK)
            return device.host.run("curl", "-sS", "-m2", url, check=False).stdout == "found\n"

        wait_until(lambda: device.ask("status").is_up, "it is protected again", timeout=60)
        wait_until(is_carried, "the page again", timeout=60)
        pause(SETTLE_S)
    assert not sniffer.leaks


def test_nothing_leaks_after_the_daemon_was_killed(device: ProtectedDevice) -> None:
    with device.sniff() as sniffer:
        device.network.user.kill()
        run_probes(device)
        pause(SETTLE_S)
    assert not sniffer.leaks


def test_nothing_leaks_after_the_helper_was_killed_too(device: ProtectedDevice) -> None:
    with device.sniff() as sniffer:
        device.stop_helper(9)
        run_probes(device)
        pause(SETTLE_S)
    assert not sniffer.leaks


def test_nothing_leaks_when_a_new_helper_and_daemon_take_over(device: ProtectedDevice) -> None:
    with device.sniff() as sniffer:
        device.start_helper()
        device.network.user.tables["device"]["up"] = True
        device.network.user.start()
        run_probes(device)
        wait_until(lambda: device.network.user.status() is not None, "the client answers")
        run_probes(device)
        pause(SETTLE_S)
    assert not sniffer.leaks


def test_nothing_leaks_in_lockdown_before_during_and_after(device: ProtectedDevice) -> None:
    device.ask("lockdown", is_on=True)
    with device.sniff() as sniffer:
        run_probes(device)
        device.ask("down")
        run_probes(device)
        device.network.user.stop()
        run_probes(device)
        device.stop_helper()
        run_probes(device)
        device.start_helper()
        run_probes(device)
        pause(SETTLE_S)
    assert not sniffer.leaks


def test_after_lockdown_everything_passes_again(device: ProtectedDevice) -> None:
    device.network.user.tables["device"]["up"] = False
    device.network.user.start()
    wait_until(lambda: device.network.user.status() is not None, "the client answers")
    device.ask("lockdown", is_on=False)
    with device.sniff() as sniffer:
        run_probes(device, ["IPv4 UDP to an odd port"])
        pause(SETTLE_S)
    assert sniffer.leaks, device.state()
