"""What the helper runs on a Mac, in which order, and how it is undone; commands are remembered."""

import grp
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io, macos_io
from vigilnet.traffic.backends.macos_io import Mac
from vigilnet.traffic.device.backend import Backend, Capture, Framing
from vigilnet.traffic.device.settings import DeviceSettings, Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets")

SETTINGS = DeviceSettings(1000, 1001, outside_networks=("192.0.2.0/24",))


class Commands:
    """Remembers; a command whose line holds `fails_on` is refused."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.fails_on = "nothing at all"

    def __call__(self, command: list[str], text: str = "") -> str:
        line = " ".join(command) + (f" < {text}" if text else "")
        self.run.append(line)
        if self.fails_on in line:
            raise EnvironmentRefusedError("refused")
        if command[:3] == ["route", "-n", "get"]:
            return "gateway: 192.168.1.1\ninterface: en0\n" if "-inet" in command else ""
        if command[0] == "ps":
            return "  701\n"
        return "Token : 4711\n" if command == ["pfctl", "-E"] else ""

    def position(self, piece: str) -> int:
        return next(at for at, line in enumerate(self.run) if piece in line)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(commands_io, "run", made)
    monkeypatch.setattr(commands_io, "run_both", made)
    monkeypatch.setattr(macos_io, "_open_utun", lambda: (socket.socket(), "utun9"))
    return made


@pytest.fixture
def mac(tmp_path: Path, commands: Commands) -> Iterator[Mac]:
    made = Mac(tmp_path / "run", tmp_path / "keep")
    yield made
    made.set_lockdown(is_on=False)
    made.restore()


def test_it_is_a_backend(mac: Mac) -> None:
    backend: Backend = mac
    assert (backend.capture, backend.framing, backend.can_split) == (
        Capture.INTERFACE, Framing.FAMILY, False,
    )  # fmt: skip
    assert backend.counters() == {}


def test_the_firewall_closes_first_and_opens_last(mac: Mac, commands: Commands, tmp_path: Path) -> None:
    assert mac.up(SETTINGS, 501) >= 0
    assert mac.is_up
    order = ["block drop in", "pfctl -E", "ifconfig utun9", "route -n add -inet -net 0.0.0.0/1", "scutil"]
    assert [commands.position(piece) for piece in order] == sorted(map(commands.position, order))
    journal = json.loads((tmp_path / "run" / "changed.json").read_text())
    assert journal == {"token": "4711", "excluded": ["192.0.2.0/24"]}
    commands.run.clear()
    mac.down()
    assert not mac.is_up
    order = ["route -n delete -inet -net 192.0.2.0/24", "scutil < remove", "-F all", "pfctl -X 4711"]
    assert [commands.position(piece) for piece in order] == sorted(map(commands.position, order))
    assert not (tmp_path / "run" / "changed.json").exists()


@pytest.mark.parametrize("step", ["-f -", "ifconfig", "route -n add", "d.add"])
def test_a_start_that_fails_at_any_step_is_undone(mac: Mac, commands: Commands, step: str) -> None:
    commands.fails_on = step
    with pytest.raises(EnvironmentRefusedError):
        mac.up(SETTINGS, 0)
    assert not mac.is_up
    commands.fails_on = "nothing at all"
    assert mac.up(SETTINGS, 0) >= 0


def test_what_a_killed_helper_left_closed_is_not_opened_by_a_start_that_fails(
    mac: Mac, commands: Commands, tmp_path: Path
) -> None:
    mac.up(SETTINGS, 501)
    after = Mac(tmp_path / "run", tmp_path / "keep")
    commands.run.clear()
    commands.fails_on = "ifconfig"
    with pytest.raises(EnvironmentRefusedError):
        after.up(SETTINGS, 501)
    assert not after.is_up
    assert not [line for line in commands.run if "-F all" in line or "pfctl -X" in line]
    commands.fails_on = "nothing at all"


def test_settings_change_without_opening(mac: Mac, commands: Commands) -> None:
    first = mac.up(SETTINGS, 0)
    commands.run.clear()
    assert mac.up(DeviceSettings(1000, 1001), 0) == first
    assert not [line for line in commands.run if "-F all" in line or "-X" in line]
    assert commands.position("-f -") < commands.position("route -n delete -inet -net 192.0.2.0/24")
    mac.refresh()
    assert "block drop in" in commands.run[-1]


def test_lockdown_stays_after_down(mac: Mac, commands: Commands) -> None:
    mac.set_lockdown(is_on=True)
    assert mac.is_locked
    mac.up(SETTINGS, 0)
    commands.run.clear()
    mac.down()
    assert "block drop in" in commands.run[0]
    assert not [line for line in commands.run if "-F all" in line]
    mac.set_lockdown(is_on=False)
    assert "pfctl -X 4711" in commands.run


@pytest.mark.parametrize(
    "settings",
    [
        DeviceSettings(1, 1, outside_users=(501,)),
        DeviceSettings(1, 1, underlay_marks=(1,)),
        DeviceSettings(1, 1, programs=(Program("/a", "outside"),)),
        DeviceSettings(1, 1, binding_ports=(2,), binding_dns_ports=(1002,)),
    ],
)
def test_what_a_mac_cannot_keep_is_refused_before_anything_changes(
    mac: Mac, commands: Commands, settings: DeviceSettings
) -> None:
    with pytest.raises(EnvironmentRefusedError, match="on macOS"):
        mac.up(settings, 0)
    assert not commands.run
    with pytest.raises(EnvironmentRefusedError, match="macOS"):
        mac.join(7, "outside", 0)
    with pytest.raises(EnvironmentRefusedError, match="macOS"):
        mac.open_addresses("portal", ["192.0.2.1"], 5)


def test_the_daemon_must_run_in_the_group_that_is_let_out(mac: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentRefusedError, match="no group _vigilnet"):
        mac.adopt(7, 501)

    class Group:
        gr_gid = 701

    monkeypatch.setattr(grp, "getgrnam", lambda _: Group)
    mac.adopt(7, 501)
    Group.gr_gid = 702
    with pytest.raises(EnvironmentRefusedError, match="launchd"):
        mac.adopt(7, 501)


def test_our_sockets_are_bound_to_the_interface_of_the_default_route(
    mac: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "if_nametoindex", {"en0": 4}.__getitem__)
    assert mac.outer_interface() == 4
    with socket.socket() as near:
        mac.mark_sockets([near.fileno(), 100_000])  # the options are of another system: nothing is raised


def test_without_utun_the_proxy_is_named() -> None:
    with pytest.raises(EnvironmentRefusedError, match="SOCKS proxy"):
        macos_io._open_utun()
