"""The whole device of a client in a host of its own, with a sniffer on the only way out.

    client ─┬─ switch ─┬─ relay1, relay2, exit
   (sniffer)┘          └─ target: web, DNS, octets

Nothing but links, ARP and neighbour discovery may be seen there while the device is up.
"""

from collections.abc import Iterator

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab
from vigilnet.base.errors import VigilnetError

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "curl")]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedDevice]:
    with Lab() as lab:
        made = start_device(lab, tmp_path_factory.mktemp("device"))
        made.start_helper()
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
