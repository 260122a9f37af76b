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
from vigilnet.traffic.device.helper_client_io import HelperMissingError
from vigilnet.traffic.device.options import Options
from vigilnet.traffic.device.service import DeviceService
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule, Scope

Scenario = Callable[[DeviceService, RunningHelper], Coroutine[Any, Any, None]]


def run(folder: Path, scenario: Scenario, **options: object) -> RunningHelper:
    """Run a scenario with a device room and a helper."""

    async def within(helper: RunningHelper) -> None:
        async with asyncio.timeout(20), DirectNetwork() as network:
            made = Options(helper=helper.path, **options)  # type: ignore[arg-type]
            service = DeviceService(made, network, SystemClock(), (4001,), lambda _: network)
            try:
                await service.start()
                await scenario(service, helper)
            finally:
                await service.close()

    with running_helper(folder) as helper:
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
        assert len(settings_of(helper, "update").binding_ports) == 2

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
