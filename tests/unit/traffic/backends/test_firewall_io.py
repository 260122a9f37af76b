"""Filters at the doors: which are closed, with what, and how they are opened; commands are remembered."""

import json
import socket
from pathlib import Path

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io
from vigilnet.traffic.backends.egress_filter import bytecode, lockdown, protected
from vigilnet.traffic.backends.firewall_io import DoorFilters
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule

SETTINGS = DeviceSettings(1000, 1001)
KINDS = {"lo": 772, "eth0": 1, "wlan0": 1, "ppp0": 512, "odd0": 32, "docker0": 1, "vigilnet0": 65534}


class Commands:
    """Remembers; knows which interfaces have a place for filters and filters."""

    def __init__(self) -> None:
        self.run: list[list[str]] = []
        self.places: set[str] = set()
        self.filters: dict[str, str] = {}

    def __call__(self, command: list[str], text: str = "") -> str:
        self.run.append(command)
        what, verb = command[1], command[2]
        device = command[command.index("dev") + 1]
        if verb == "show":
            if what == "qdisc":
                return "qdisc clsact ffff: parent ffff:fff1 \n" if device in self.places else ""
            return "filter protocol all pref 22089 bpf chain 0\n" if device in self.filters else ""
        if what == "qdisc":
            (self.places.add if verb == "add" else self.places.discard)(device)
        elif verb == "del":
            del self.filters[device]
        else:
            self.filters[device] = command[-1]
        return ""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(commands_io, "run", made)
    monkeypatch.setattr(socket, "if_nameindex", lambda: list(enumerate(KINDS, 1)))
    return made


@pytest.fixture
def doors(tmp_path: Path, commands: Commands) -> DoorFilters:
    for name, kind in KINDS.items():
        (tmp_path / "net" / name).mkdir(parents=True)
        (tmp_path / "net" / name / "type").write_text(f"{kind}\n")
    (tmp_path / "net" / "wlan0" / "device").mkdir()
    return DoorFilters(tmp_path / "run" / "doors.json", tmp_path / "net")


def test_every_way_out_and_every_real_interface_is_closed(doors: DoorFilters, commands: Commands) -> None:
    assert doors.capture is Capture.INTERFACE
    doors.protect(SETTINGS, ["eth0", "ppp0", "odd0"], ["marks by groups are nothing for us"])
    assert commands.filters == {
        "eth0": bytecode(protected(SETTINGS, 14)),
        "wlan0": bytecode(protected(SETTINGS, 14)),
        "ppp0": bytecode(protected(SETTINGS, 0)),
        "odd0": bytecode(protected(SETTINGS, None)),
    }
    assert doors.counters() == {}


def test_places_that_others_made_stay_and_ours_go(
    doors: DoorFilters, commands: Commands, tmp_path: Path
) -> None:
    commands.places.add("eth0")
    doors.protect(SETTINGS, ["eth0"], [])
    assert json.loads((tmp_path / "run" / "doors.json").read_text()) == ["wlan0"]
    doors.protect(DeviceSettings(1, 1, allow_lan=True), ["eth0"], [])  # again: nothing is made twice
    doors.remove()
    assert (commands.filters, commands.places) == ({}, {"eth0"})
    assert not (tmp_path / "run" / "doors.json").exists()
    doors.remove()


def test_a_memory_of_places_that_cannot_be_read_is_none(
    doors: DoorFilters, commands: Commands, tmp_path: Path
) -> None:
    doors.protect(SETTINGS, ["eth0"], [])
    for text in ("no json", "{}", "[7]"):
        (tmp_path / "run" / "doors.json").write_text(text)
        doors.remove()
    assert not commands.filters


def test_lockdown_lets_only_links_out(doors: DoorFilters, commands: Commands) -> None:
    doors.lock(None, ["eth0"])
    assert commands.filters["eth0"] == bytecode(lockdown(None))


def test_what_filters_cannot_keep_is_refused(doors: DoorFilters, commands: Commands) -> None:
    settings = DeviceSettings(1, 1, rules=(FirewallRule("in", "any", "10.0.0.0/8"),))
    with pytest.raises(EnvironmentRefusedError, match="needs nftables"):
        doors.protect(settings, ["eth0"], [])
    with pytest.raises(EnvironmentRefusedError, match="needs nftables"):
        doors.allow("portal", ["192.0.2.1"], 5)
    assert not commands.run
