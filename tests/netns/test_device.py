"""The whole device of a client in a host of its own, with a sniffer on the only way out.

    client ─┬─ switch ─┬─ relay1, relay2, exit
   (sniffer)┘          └─ target: web, DNS, octets

Nothing but links, ARP and neighbour discovery may be seen there while the device is up.
"""

import contextlib
import os
import shlex
import socket
import sys
from collections.abc import Iterator

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.nodes import SUPPORT
from vigilnet.base.errors import VigilnetError

ECHO_PORT = 7777

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "curl")]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedDevice]:
    with Lab() as lab:
        made = start_device(lab, tmp_path_factory.mktemp("device"))
        made.start_helper()
        made.network.target.start(sys.executable, SUPPORT / "udp_echo.py", ECHO_PORT)
        yield made


@pytest.fixture
def up(device: ProtectedDevice) -> Iterator[ProtectedDevice]:
    device.ask("up")
    yield device
    device.ask("down")


def test_curl_knows_nothing_of_us_and_reaches_the_target_through_the_exit(up: ProtectedDevice) -> None:
    with up.sniff() as sniffer:
        for host in (up.network.target.v4, f"[{up.network.target.v6}]"):
            assert up.network.curl(f"http://{host}/page.txt") == "found\n"
    assert not sniffer.leaks
    assert sniffer.links


def test_down_leaves_the_device_as_it_was(device: ProtectedDevice) -> None:
    before = device.state()
    assert device.ask("up").is_up
    assert device.state() != before
    assert not device.ask("down").is_up
    assert device.state() == before


def test_nothing_leaves_when_the_daemon_is_killed_and_repair_puts_everything_back(
    device: ProtectedDevice,
) -> None:
    before = device.state()
    device.ask("up")
    with device.sniff() as sniffer:
        device.network.user.kill()
        device.host.run("ping", "-c1", "-W1", device.network.target.v4, check=False)
        device.host.run("curl", "-m1", f"http://{device.network.target.v4}/", check=False)
        device.stop_helper(9)
        device.host.run("curl", "-m1", f"http://{device.network.target.v4}/", check=False)
        device.host.run(
            "curl", "-m1", "--interface", "w1p1", f"http://{device.network.target.v4}/", check=False
        )
    assert not sniffer.leaks
    device.repair()
    assert device.state() == before
    device.start_helper()
    device.network.user.start()
    device.network.user.wait_ready()


def test_doctor_repairs_what_a_killed_helper_and_node_have_left(device: ProtectedDevice) -> None:
    """By the command that a user gives, with the folders of the helper where every system has them."""
    before = device.state(with_groups=False)
    device.ask("up")
    device.network.user.kill()
    device.stop_helper(9)
    assert device.state(with_groups=False) != before
    url = f"http://{device.network.target.v4}/page.txt"
    assert device.host.run("curl", "-m1", url, check=False).returncode != 0
    folders = "mount -t tmpfs none /run && mkdir /run/vigilnet && mount --bind {0} /run/vigilnet"
    settings = ("--config", device.network.folder / "client.toml")
    words = (sys.executable, "-m", "vigilnet.surface.cli.main", "doctor", "--repair", *settings)
    doctor = shlex.join(map(str, words))
    said = device.shell(f"{folders.format(device.run_folder)} && {doctor}", check=False)
    assert "put the firewall and the routes back" in said
    assert device.state(with_groups=False) == before
    with device.sniff() as sniffer:
        assert device.network.curl(url) == "found\n"
    assert sniffer.leaks  # around the network, as before
    device.repair()  # the group of processes, whose name is this test's own
    device.start_helper()
    device.network.user.start()
    device.network.user.wait_ready()


def test_sigterm_of_the_daemon_puts_everything_back(device: ProtectedDevice) -> None:
    before = device.state()
    device.ask("up")
    device.network.user.stop()
    assert device.state() == before
    device.network.user.start()
    device.network.user.wait_ready()


def test_a_start_that_fails_half_way_is_rolled_back(device: ProtectedDevice) -> None:
    before = device.state()
    device.host.run("ip", "tuntap", "add", "vigilnet0", "mode", "tap")
    try:
        with pytest.raises(VigilnetError, match="TUN interface"):
            device.ask("up")
    finally:
        device.host.run("ip", "link", "del", "vigilnet0", check=False)
    assert device.state() == before


@needs_programs("dig")
@pytest.mark.parametrize("tcp", [[], ["+tcp"]])
def test_names_are_resolved_by_the_exit_in_overlay_mode(up: ProtectedDevice, tcp: list[str]) -> None:
    up.ask("change", fields={"dns": "overlay"})
    with up.sniff() as sniffer:
        said = up.host.run("dig", "+short", "+time=5", "+tries=1", *tcp, "@192.0.2.53", "site.test").stdout
        assert said.strip() == up.network.target.v4
    assert not sniffer.leaks
    up.ask("change", fields={"dns": "local"})


def _echoed(sock: socket.socket, sent: bytes, address: str) -> bytes:
    """What comes back, within three tries: UDP may lose."""
    for _ in range(3):
        sock.sendto(sent, (address, ECHO_PORT))
        with contextlib.suppress(TimeoutError):
            return sock.recvfrom(65536)[0]
    return b""


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_ping_is_answered_by_the_target_through_the_exit(up: ProtectedDevice, family: str) -> None:
    address = up.network.target.v4 if family == "v4" else up.network.target.v6
    with up.sniff() as sniffer:
        said = up.host.run("ping", "-c3", "-i0.1", "-W5", "-s", "1200", address).stdout
    assert "3 received" in said
    assert not sniffer.leaks


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("size", [1, 1350, 4000, 20_000, 65_507])
def test_datagrams_of_any_size_come_back(up: ProtectedDevice, family: str, size: int) -> None:
    address = up.network.target.v4 if family == "v4" else up.network.target.v6
    sent = os.urandom(size)
    family_number = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        up.sniff() as sniffer,
        up.host.entered(),
        socket.socket(family_number, socket.SOCK_DGRAM) as sock,
    ):
        sock.settimeout(1.0)
        assert _echoed(sock, sent, address) == sent
    assert not sniffer.leaks


@needs_programs("dig")
def test_a_well_known_port_has_a_connected_flow_and_refusals_are_heard(up: ProtectedDevice) -> None:
    with up.host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60.0)
        sock.connect((up.network.target.v4, 9))
        sock.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)


def test_other_protocols_are_refused_at_once(up: ProtectedDevice) -> None:
    with (
        up.sniff() as sniffer,
        up.host.entered(),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 132) as sock,
    ):
        sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: raw sockets hear errors only then
        sock.settimeout(60.0)
        sock.connect((up.network.target.v4, 0))
        sock.send(bytes(32))
        with pytest.raises(OSError):  # noqa: PT011  # "protocol unreachable" has a number of its own in each kernel
            sock.recv(100)
    assert not sniffer.leaks


@needs_programs("curl")
def test_rules_of_the_user_refuse_what_the_tunnel_would_carry(up: ProtectedDevice) -> None:
    said = up.cli("firewall", "add", "out", "tcp", f"{up.network.target.v4}/32", "80")
    assert f"out tcp {up.network.target.v4}/32 80" in said
    refused = up.host.run("curl", "-m5", f"http://{up.network.target.v4}/page.txt", check=False)
    assert refused.returncode != 0
    assert up.network.curl(f"http://[{up.network.target.v6}]/page.txt") == "found\n"
    up.cli("firewall", "remove", "out", "tcp", f"{up.network.target.v4}/32", "80")
    assert up.network.curl(f"http://{up.network.target.v4}/page.txt") == "found\n"


@needs_programs("curl")
def test_one_command_starts_the_helper_and_protects(device: ProtectedDevice) -> None:
    device.stop_helper()
    before = device.state()
    words = [f"--helper-argument={word}" for word in device.helper_words[2:]]
    said = device.cli("up", *words)
    assert "all traffic goes through the network" in said
    assert "vigilnet dns overlay" in said  # the notice that names are seen
    with device.sniff() as sniffer:
        assert device.network.curl(f"http://{device.network.target.v4}/page.txt") == "found\n"
    assert not sniffer.leaks
    assert "down" in device.cli("down")
    assert device.state() == before
