"""The process around a node: restarts, settings that are kept or not, and a device that stays closed."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.node.options import Loaded, Options, load_options
from vigilnet.routing.circuits.pool import Options as CircuitsOptions
from vigilnet.surface import host as module
from vigilnet.surface.control.log_ring import LogRing
from vigilnet.surface.control.schema import ControlError
from vigilnet.surface.host import NodeHost
from vigilnet.traffic.device.options import Options as DeviceOptions


class Device:
    """A device side that writes down what it was told."""

    refuses = False

    def __init__(self, options: DeviceOptions, told: list[str], *, is_up: bool, is_locked: bool) -> None:
        self.options = options
        self._told = told
        self._seen = SimpleNamespace(is_up=is_up, is_locked=is_locked)

    def snapshot(self) -> SimpleNamespace:
        return self._seen

    async def refreshed(self) -> SimpleNamespace:
        return self._seen

    async def change(self, **fields: object) -> None:
        if self.refuses:
            raise EnvironmentRefusedError("the helper refused")
        self.options = replace(self.options, **fields)  # type: ignore[arg-type]  # checked by itself

    async def up(self) -> None:
        self._told.append("up")
        self._seen.is_up = True

    async def lockdown(self, *, is_on: bool) -> None:
        self._told.append(f"lockdown {'on' if is_on else 'off'}")


class Node:
    """A node that only starts and stops; `refuses` are options it does not start with."""

    told: list[str]
    refuses = ""
    state_folder = Path("/nowhere")
    is_protected = False
    is_locked = False

    def __init__(self, options: Options, passphrase: str | None = None) -> None:
        del passphrase
        self.options = options
        self.device: Device | None = None
        if options.ingress.socks_enabled:
            self.device = Device(options.device, self.told, is_up=self.is_protected, is_locked=self.is_locked)

    async def start(self) -> None:
        if self.refuses and self.refuses in str(self.options):
            raise EnvironmentRefusedError("port is taken")
        self.told.append("start")

    async def stop(self) -> None:
        self.told.append("stop")

    def choose_paths(self, options: CircuitsOptions) -> None:
        self.told.append(f"hops {options.hops}")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    lines: list[str] = []
    logger = logging.getLogger("vigilnet")
    level = logger.level
    monkeypatch.setattr(Node, "told", lines, raising=False)
    monkeypatch.setattr(module, "Node", Node)
    yield lines
    logger.setLevel(level)  # the host sets what the settings say


def host(tmp_path: Path, text: str = "", command_line: Sequence[tuple[str, str]] = ()) -> NodeHost:
    file = tmp_path / "vigilnet.toml"
    file.write_text(text)

    def load(changes: Sequence[tuple[str, str]]) -> Loaded:
        return load_options(file, {}, command_line, changes)

    return NodeHost(load, file, None, LogRing(), lambda: None)


def test_protected_device_stays_closed_between_two_nodes(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "is_protected", True)
    asyncio.run(host(tmp_path).restart())
    assert told == ["lockdown on", "stop", "start", "up", "lockdown off"]


def test_lockdown_of_the_person_is_kept(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "is_protected", True)
    monkeypatch.setattr(Node, "is_locked", True)
    asyncio.run(host(tmp_path).restart())
    assert told == ["stop", "start", "up"]


def test_device_stays_closed_when_no_node_starts_any_more(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "is_protected", True)
    around = host(tmp_path)
    monkeypatch.setattr(Node, "refuses", "Options")
    with pytest.raises(EnvironmentRefusedError):
        asyncio.run(around.restart())
    assert told == ["lockdown on", "stop"]


def test_protected_device_is_protected_again_by_the_node_of_before(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "is_protected", True)
    around = host(tmp_path)
    monkeypatch.setattr(Node, "refuses", "socks_port=1099")
    with pytest.raises(EnvironmentRefusedError):
        asyncio.run(around.change({"ingress.socks_port": "1099"}, keep=False, restart=True))
    assert told == ["lockdown on", "stop", "start", "up", "lockdown off"]


def test_disconnect_opens_the_device_only_where_the_person_wants_it(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "is_protected", True)
    around = host(tmp_path)
    assert asyncio.run(around.switch(on=False))
    assert told == ["stop", "start"]
    assert not asyncio.run(around.switch(on=False))
    assert asyncio.run(around.switch(on=True))


def test_device_that_was_protected_is_again_once_the_node_is_on(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "is_protected", True)
    around = host(tmp_path)
    asyncio.run(around.switch(on=False))
    assert around.controlled_device is not around.node.device
    monkeypatch.setattr(Node, "is_protected", False)
    asyncio.run(around.switch(on=True))
    assert told == ["stop", "start", "stop", "start", "up"]


def test_what_is_changed_on_the_device_is_in_effect_kept_and_survives_a_restart(
    tmp_path: Path, told: list[str]
) -> None:
    around = host(tmp_path)
    asyncio.run(around.change({"device.dns": "overlay", "device.allow_lan": "true"}, keep=True))
    device = around.node.device
    assert device is not None
    assert (device.options.dns, device.options.allow_lan) == ("overlay", True)
    assert 'dns = "overlay"' in around.settings_file.read_text()
    assert around.options.device.dns == "overlay"  # nothing waits for a restart
    asyncio.run(around.restart())
    again = around.node.device
    assert again is not None
    assert again.options.dns == "overlay"
    assert told == ["stop", "start"]


def test_change_that_the_device_refuses_is_taken_back(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    around = host(tmp_path)
    monkeypatch.setattr(Device, "refuses", True)
    with pytest.raises(EnvironmentRefusedError, match="helper refused"):
        asyncio.run(around.change({"device.dns": "overlay"}, keep=True))
    assert "overlay" not in around.settings_file.read_text()
    assert around.loaded.options.device.dns == "local"


def test_node_that_does_not_start_goes_back(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    around = host(tmp_path, "# mine\n[ingress]\nsocks_port = 1088\n")
    monkeypatch.setattr(Node, "refuses", "socks_port=1099")
    with pytest.raises(EnvironmentRefusedError):
        asyncio.run(around.change({"ingress.socks_port": "1099"}, keep=True, restart=True))
    assert around.options.ingress.socks_port == 1088
    assert "1088" in around.settings_file.read_text()
    assert told.count("start") >= 1


def test_kept_changes_are_written_and_leave_comments(tmp_path: Path, told: list[str]) -> None:
    around = host(tmp_path, "# mine\n[circuits]\nhops = 3  # three\n")
    assert asyncio.run(around.change({"circuits.hops": "5"}, keep=True)) == ("circuits.hops",)
    assert around.settings_file.read_text() == "# mine\n[circuits]\nhops = 5  # three\n"
    assert told == ["hops 5"]
    assert asyncio.run(around.change({"circuits.hops": None}, keep=True)) == ("circuits.hops",)
    assert around.loaded.options.circuits.hops == 3
    assert "hops" not in around.settings_file.read_text()


def test_passing_changes_are_not_written(tmp_path: Path, told: list[str]) -> None:
    around = host(tmp_path, "")
    asyncio.run(around.change({"circuits.hops": "5"}, keep=False))
    assert (around.options.circuits.hops, around.settings_file.read_text()) == (5, "")
    assert told == ["hops 5"]


def test_wrong_and_locked_options_change_nothing(tmp_path: Path, told: list[str]) -> None:
    around = host(tmp_path, "", [("circuits.hops", "4")])
    with pytest.raises(ControlError, match="command line"):
        asyncio.run(around.change({"circuits.hops": "5"}, keep=True))
    with pytest.raises(ConfigurationError):
        asyncio.run(around.change({"circuits.idle_s": "soon"}, keep=True))
    assert (around.settings_file.read_text(), told) == ("", [])


def test_nothing_to_switch_on(tmp_path: Path, told: list[str]) -> None:
    around = host(tmp_path, "[ingress]\nsocks_enabled = false\nhttp_enabled = false\n")
    with pytest.raises(ControlError, match="proxies are off"):
        asyncio.run(around.switch(on=True))
    assert told == []
