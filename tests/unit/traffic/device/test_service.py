"""The device room whole, over a helper that only remembers and a real exit without a network in between."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge_clients import until
from tests.support.edge_network import DirectNetwork
from tests.support.fake_kernel import RunningHelper, running_helper
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.traffic.device import dns, packets
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.helper_client_io import HelperMissingError
from vigilnet.traffic.device.options import DnsMode, Options
from vigilnet.traffic.device.service import DeviceService
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule, Scope

Scenario = Callable[[DeviceService, RunningHelper], Coroutine[Any, Any, None]]


def run(
    folder: Path, scenario: Scenario, way: Capture = Capture.REDIRECT, **options: object
) -> RunningHelper:
    """Run a scenario with a device room and a helper."""

    async def within(helper: RunningHelper) -> None:
        async with asyncio.timeout(60), DirectNetwork() as network:
            made = Options(helper=helper.path, **options)  # type: ignore[arg-type]
            service = DeviceService(made, network, SystemClock(), (4001,), lambda _: network)
            try:
                await service.start()
                await scenario(service, helper)
            finally:
                await service.close()

    with running_helper(folder) as helper:
        helper.kernel.way = way
        asyncio.run(within(helper))
    return helper


def settings_of(helper: RunningHelper, what: str = "up") -> DeviceSettings:
    for said in reversed(helper.kernel.said):
        if isinstance(said, tuple) and said[0] == what:
            assert isinstance(said[1], DeviceSettings)
            return said[1]
    raise AssertionError(what)


def test_up_tells_the_helper_where_the_daemon_listens(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        assert not device.snapshot().is_up
        seen = await device.up()
        assert (seen.is_up, seen.has_helper, seen.names_visible) == (True, True, True)
        assert (seen.own, seen.outside, seen.refused) == (1, 2, 3)
        settings = settings_of(helper)
        assert settings.open_ports == (4001,)
        for port in (settings.capture_port, settings.dns_port):
            with socket.create_connection(("127.0.0.1", port), 5):
                pass
        assert (await device.up()).is_up  # again: nothing is lost
        assert not (await device.down()).is_up
        assert helper.kernel.said[-1] == "down"

    run(tmp_path, scenario)


def test_the_device_is_put_back_when_the_node_ends(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.up()

    assert run(tmp_path, scenario).kernel.said[-1] == "down"


def test_settings_may_have_it_up_from_the_start(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        assert device.snapshot().is_up
        assert settings_of(helper).scope is Scope.INCLUDED

    run(tmp_path, scenario, up=True, scope="included")


def test_a_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        helper.kernel.refusal = "nft: refused"
        with pytest.raises(EnvironmentRefusedError, match="nft: refused"):
            await device.up()
        assert not device.snapshot().is_up
        assert device._capture is None

    run(tmp_path, scenario)


def test_without_a_helper_up_says_what_to_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            device = DeviceService(Options(helper=tmp_path / "none.sock"), network, SystemClock())
            await device.start()
            with pytest.raises(HelperMissingError, match="sudo vigilnet up"):
                await device.up()
            assert not (await device.refreshed()).has_helper
            await device.close()

    asyncio.run(scenario())


def test_changes_are_checked_and_reach_the_helper(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.change(dns="overlay")  # before: kept for later
        await device.up()
        seen = await device.change(allow_lan=True, firewall=("out tcp 192.0.2.0/24 25",))
        assert (seen.dns, seen.allow_lan, seen.firewall) == ("overlay", True, ("out tcp 192.0.2.0/24 25",))
        settings = settings_of(helper, "update")
        assert settings.allow_lan
        assert settings.rules == (FirewallRule("out", "tcp", "192.0.2.0/24", 25),)
        with pytest.raises(ConfigurationError):
            await device.change(mtu=1)
        helper.kernel.refusal = "no"
        with pytest.raises(EnvironmentRefusedError):
            await device.change(allow_lan=False)
        assert device.options.allow_lan  # as before
        helper.kernel.refusal = ""

    run(tmp_path, scenario)


def test_lockdown_and_groups(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        assert (await device.lockdown(is_on=True)).is_locked
        assert not (await device.lockdown(is_on=False)).is_locked
        await device.join(os.getpid(), "outside")
        assert (os.getpid(), "outside") in helper.kernel.groups.joined  # type: ignore[attr-defined]
        with pytest.raises(ConfigurationError, match="while the device is up"):
            await device.join(os.getpid(), "exit SE")
        await device.up()
        await device.join(os.getpid(), "exit SE")
        await device.join(os.getpid(), "exit DE")
        await device.join(os.getpid(), "exit SE")
        joined = [group for _, group in helper.kernel.groups.joined if group.startswith("exit")]  # type: ignore[attr-defined]
        assert joined == ["exit0", "exit1", "exit0"]
        settings = settings_of(helper, "update")
        assert len(set(settings.binding_ports + settings.binding_dns_ports)) == 4

    run(tmp_path, scenario)


@pytest.mark.parametrize("mode", [DnsMode.LOCAL, DnsMode.OVERLAY])
def test_names_of_a_bound_program_are_resolved_at_its_exit_whatever_everybodys_mode(
    tmp_path: Path, mode: DnsMode
) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.change(dns=mode)
        await device.up()
        await device.join(os.getpid(), "exit SE")
        (port,) = settings_of(helper, "update").binding_dns_ports
        before = device.snapshot().questions
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        question = dns.query(b"no", "1.2.0.192.in-addr.arpa", dns.A)
        writer.write(len(question).to_bytes(2, "big") + question)
        size = int.from_bytes(await reader.readexactly(2), "big")
        assert (await reader.readexactly(size))[:2] == b"no"
        writer.close()
        network = device._dialler
        assert isinstance(network, DirectNetwork)
        assert list(network.circuits) == ["device SE"], "asked over the circuits of that exit"
        assert device.snapshot().questions == before
        assert device._bound["SE"].names.asked == 1

    run(tmp_path, scenario)


def test_a_server_of_ones_own_is_asked_through_the_exit_that_a_program_is_bound_to(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.up()
        await device.join(os.getpid(), "exit SE")
        names = device._bound["SE"].names
        assert names.mode is DnsMode.OVERLAY
        await device.change(dns="custom", dns_server="192.0.2.53:5353")
        assert (names.mode, names.custom) == (DnsMode.CUSTOM, ("192.0.2.53", 5353))

    run(tmp_path, scenario)


def test_a_bound_program_goes_to_the_names_that_its_own_exit_told(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.up()
        await device.join(os.getpid(), "exit SE")
        binding, now = device._bound["SE"], device._clock.now()
        assert device._names is not None
        device._names.memory.learn("everybodys.example", ["8.8.8.8"], now + 60)
        binding.names.memory.learn("its.example", ["9.9.9.9"], now + 60)
        hosts = [
            made.host for made in (binding._target("8.8.8.8", 80), binding._target("9.9.9.9", 80)) if made
        ]
        assert hosts == ["8.8.8.8", "its.example"]
        assert binding._target("10.0.0.1", 80) is None
        await device.change(outside_domains=["its.example"])
        await binding.names._on_learnt("its.example", ["9.9.9.9"], 60)
        assert not [said for said in helper.kernel.said if isinstance(said, tuple) and said[0] == "open"]

    run(tmp_path, scenario)


def test_names_that_are_reached_around_the_tunnel_open_the_way_for_their_addresses(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.up()
        await device._learnt("www.example.org", ["192.0.2.1"], 10)
        await device._learnt("example.net", ["192.0.2.2"], 10)
        learnt = [said for said in helper.kernel.said if isinstance(said, tuple) and said[0] == "learnt"]
        assert learnt == [("learnt", ("192.0.2.1",), 60)]

    run(tmp_path, scenario, outside_domains=("example.org",))


def test_a_sign_in_page_by_name_of_its_address(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        with pytest.raises(EnvironmentRefusedError, match="not protected"):
            await device.portal("", 5)
        await device.up()
        url, _ = await device.portal("http://192.0.2.1/login", 5)
        assert url == "http://192.0.2.1/login"
        assert ("portal", ("192.0.2.1",), 5) in helper.kernel.said
        with pytest.raises(ConfigurationError):
            await device.portal("gopher://192.0.2.1", 5)

    run(tmp_path, scenario)


def test_a_connection_that_was_not_redirected_is_reset(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.up()
        with socket.create_connection(("127.0.0.1", settings_of(helper).capture_port), 5) as stray:
            stray.setblocking(False)
            with pytest.raises(ConnectionResetError):
                await asyncio.get_running_loop().sock_recv(stray, 1)
        assert device.snapshot().connections == 0

    run(tmp_path, scenario)


def test_when_the_helper_was_lost_the_device_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vigilnet.traffic.device.service.KEEP_S", 0.01)

    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.up()
        before = len(helper.kernel.said)
        device._client.close()
        await until(lambda: ("up", settings_of(helper)) in helper.kernel.said[before:])
        assert (await device.refreshed()).is_up

    run(tmp_path, scenario)


SYN_TO_192_0_2_1_PORT_80 = bytes(10) + bytes.fromhex(
    "450000280001000040060000c6125601c00002011388005000000007000000005002100000000000"
)


def test_without_a_redirect_tcp_and_names_come_by_the_interface(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.change(allow_private_targets=True)
        await device.up()
        loop, applications = asyncio.get_running_loop(), helper.kernel.applications
        applications.send(SYN_TO_192_0_2_1_PORT_80)
        taken = packets.parse(memoryview(await loop.sock_recv(applications, 4096)))
        assert socket.inet_ntoa(taken.source) == "198.18.86.2"
        assert socket.inet_ntoa(taken.target) == "198.18.86.1"
        assert int.from_bytes(taken.body[2:4], "big") == settings_of(helper).capture_port
        applications.send(SYN_TO_192_0_2_1_PORT_80[:33] + b"\x35" + SYN_TO_192_0_2_1_PORT_80[34:])
        taken = packets.parse(memoryview(await loop.sock_recv(applications, 4096)))
        assert int.from_bytes(taken.body[2:4], "big") == settings_of(helper).dns_port
        question = dns.query(b"no", "localhost", dns.A)
        maker = packets.UdpMaker(socket.inet_aton("198.18.86.1"), socket.inet_aton("192.0.2.53"), 5000, 53)
        applications.send(b"".join(maker.packet([question])))
        said = packets.parse(memoryview(await loop.sock_recv(applications, 4096)))
        far, near, (answer,) = packets.datagrams_of(said)
        assert (far, near, answer[:2]) == (53, 5000, b"no")
        assert dns.answered_addresses(answer)[1] == ["127.0.0.1"]
        with socket.socket() as stranger:  # nobody else may connect
            stranger.settimeout(1)
            assert stranger.connect_ex(("127.0.0.1", settings_of(helper).capture_port))

    run(tmp_path, scenario, Capture.INTERFACE)


def test_what_the_system_cannot_keep_is_refused_before_the_helper_does_anything(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.change(outside_domains=["site.example"])
        with pytest.raises(
            EnvironmentRefusedError, match="domains needs nftables, which is missing here; install"
        ):
            await device.up()
        assert not helper.kernel.said
        assert not helper.kernel.groups.joined  # type: ignore[attr-defined]
        await device.change(outside_domains=[])
        assert (await device.up()).is_up
        with pytest.raises(EnvironmentRefusedError, match="excluding domains"):
            await device.change(outside_domains=["site.example"])
        assert not device.options.outside_domains

    run(tmp_path, scenario, Capture.INTERFACE)


def test_a_helper_that_takes_tcp_another_way_is_refused(tmp_path: Path) -> None:
    async def scenario(device: DeviceService, helper: RunningHelper) -> None:
        await device.up()
        helper.kernel.way = Capture.INTERFACE
        with pytest.raises(EnvironmentRefusedError, match="another way"):
            await device.up()

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("address", "is_private"),
    [("10.0.0.1", True), ("192.168.1.1", True), ("fd00::1", True), ("100.64.0.1", True), ("8.8.8.8", False),
     ("2606:4700::1111", False), ("127.0.0.1", True), ("ff02::1", True)],
)  # fmt: skip
def test_private_targets_are_refused_here_already(tmp_path: Path, address: str, is_private: bool) -> None:
    async def scenario(device: DeviceService, _: RunningHelper) -> None:
        assert (device._target(address, 80) is None) is is_private
        await device.change(allow_private_targets=True)
        special = address in ("127.0.0.1", "ff02::1")
        assert (device._target(address, 80) is None) is special

    run(tmp_path, scenario)
