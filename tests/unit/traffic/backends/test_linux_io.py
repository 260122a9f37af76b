"""What the helper runs, in which order, and how it is undone; commands are remembered instead of run."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io, linux_io
from vigilnet.traffic.backends.cgroups_io import ControlGroups
from vigilnet.traffic.backends.firewall_io import Nftables
from vigilnet.traffic.backends.linux_io import Kernel
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.settings import DeviceSettings

SETTINGS = DeviceSettings(1000, 1001)
DEFAULT_ROUTES = """default via 192.0.2.1 dev eth0 proto dhcp
default metric 9
\tnexthop via 198.51.100.1 dev ppp0 weight 1
\tnexthop via 198.51.100.2 dev ppp1 weight 1
default dev vigilnet0
"""


@dataclass
class Commands:
    """What was run; a command whose input holds `fails_on` is refused."""

    run: list[str] = field(default_factory=list)
    fails_on: str = "nothing at all"

    def __call__(self, command: list[str], text: str = "") -> str:
        line = " ".join(command) + (f" < {text}" if text else "")
        self.run.append(line)
        if self.fails_on in line:
            raise EnvironmentRefusedError("refused")
        if command[-2:] == ["rule", "show"]:
            return "0:\tfrom all lookup local\n5625:\tnot fwmark x lookup 22089\n"
        if command[-2:] == ["show", "default"]:
            return DEFAULT_ROUTES
        if "counters" in command:
            return json.dumps({"nftables": [{"metainfo": {}}, {"counter": {"name": "own", "packets": 7}}]})
        return ""

    def position(self, piece: str) -> int:
        return next(index for index, line in enumerate(self.run) if piece in line)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(commands_io, "run", made)
    monkeypatch.setattr(linux_io, "_open_tun", lambda _: os.open(os.devnull, os.O_RDWR))
    return made


@pytest.fixture
def kernel(tmp_path: Path, commands: Commands) -> Iterator[Kernel]:
    values = tmp_path / "net"
    for name in ("all", "eth0"):
        (values / "ipv4" / "conf" / name).mkdir(parents=True)
        (values / "ipv4" / "conf" / name / "rp_filter").write_text("0\n")
    (values / "ipv4" / "conf" / "all" / "src_valid_mark").write_text("0\n")
    made = Kernel(tmp_path / "run", tmp_path / "keep", "test-of-linux-io", Nftables(), values)
    yield made
    made.set_lockdown(is_on=False)
    made.restore()


def test_the_firewall_closes_before_anything_else_changes(kernel: Kernel, commands: Commands) -> None:
    assert kernel.up(SETTINGS, 0) >= 0
    assert kernel.is_up
    firewall = commands.position("policy drop")
    assert firewall < commands.position("link set dev vigilnet0")
    assert commands.position("link set dev vigilnet0") < commands.position("rule add pref 5625")
    assert '"eth0"' in commands.run[firewall]
    assert '"vigilnet0"' not in commands.run[firewall].partition("netdev vigilnet {\n")[2]


def test_down_opens_the_firewall_last(kernel: Kernel, commands: Commands) -> None:
    kernel.up(SETTINGS, 0)
    commands.run.clear()
    kernel.down()
    assert not kernel.is_up
    assert commands.position("rule del pref 5625") < commands.position("delete table inet vigilnet")
    assert "policy drop" not in "".join(commands.run)


@pytest.mark.parametrize("step", ["policy drop", "link set dev", "route replace default", "rule add"])
def test_a_start_that_fails_at_any_step_is_undone(kernel: Kernel, commands: Commands, step: str) -> None:
    commands.fails_on = step
    with pytest.raises(EnvironmentRefusedError):
        kernel.up(SETTINGS, 0)
    assert not kernel.is_up
    assert commands.run[-1].startswith("nft -f - < table inet vigilnet { }\ndelete table inet vigilnet")


def test_up_when_up_only_changes_the_settings(kernel: Kernel, commands: Commands) -> None:
    first = kernel.up(SETTINGS, 0)
    commands.run.clear()
    assert kernel.up(DeviceSettings(1000, 1001, allow_lan=True), 0) == first
    assert "suppress_prefixlength" in "".join(commands.run)
    assert "addr add" not in "".join(commands.run)


def test_with_lockdown_the_firewall_stays_closed_after_down(kernel: Kernel, commands: Commands) -> None:
    kernel.set_lockdown(is_on=True)
    assert kernel.is_locked
    assert "policy drop" in commands.run[-1]
    kernel.up(SETTINGS, 0)
    commands.run.clear()
    kernel.down()
    assert "policy drop" in commands.run[commands.position("nft")]
    assert commands.run[-1].startswith("ip")  # nothing of nft after that: it was not opened
    kernel.set_lockdown(is_on=False)
    assert "policy drop" not in commands.run[-1]


def test_a_door_stays_closed_when_its_default_route_goes(
    kernel: Kernel, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A route goes with a link that is down; packet sockets must not pass when it is up again."""
    doors = ["lo", "gone0"]
    monkeypatch.setattr(linux_io, "leading_out", lambda: list(doors))
    kernel.up(SETTINGS, 0)
    doors.clear()
    commands.run.clear()
    kernel.refresh()
    assert 'devices = { "lo" }' in commands.run[commands.position("nft")]
    kernel.down()
    kernel.up(SETTINGS, 0)
    assert "devices = " not in commands.run[-1]


def test_at_boot_the_firewall_closes_though_the_disk_is_read_only(
    kernel: Kernel, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was written anew first, so that a hardened unit failed before it had closed anything."""
    kernel.set_lockdown(is_on=True)
    commands.run.clear()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    kernel.set_lockdown(is_on=True)
    assert "policy drop" in commands.run[-1]


def test_addresses_counters_and_groups(kernel: Kernel, commands: Commands) -> None:
    kernel.open_addresses("portal", ["192.0.2.1"], 5)
    assert "add element inet vigilnet portal4 { 192.0.2.1 timeout 5s }" in commands.run[-1]
    assert kernel.counters() == {"own": 7}
    kernel.refresh()
    assert "list counters" in commands.run[-1]  # down: nothing to load again
    kernel.up(SETTINGS, 0)
    kernel.refresh()
    assert "policy drop" in commands.run[-1]


def test_values_of_the_system_are_written_down_before_they_change(tmp_path: Path, kernel: Kernel) -> None:
    journal, folder = tmp_path / "run" / "changed.json", tmp_path / "net" / "ipv4" / "conf"
    kernel.up(SETTINGS, 0)
    assert json.loads(journal.read_text()) == {}
    kernel.down()
    assert not journal.exists()
    (folder / "eth0" / "rp_filter").write_text("1\n")  # strict: answers to marked packets would not pass
    kernel.up(SETTINGS, 0)
    valid = folder / "all" / "src_valid_mark"
    assert (valid.read_text(), json.loads(journal.read_text())) == ("1", {"src_valid_mark": 0})
    kernel.down()
    assert (valid.read_text(), journal.exists()) == ("0", False)


def test_what_was_written_down_before_a_crash_is_what_is_put_back(tmp_path: Path, kernel: Kernel) -> None:
    valid = tmp_path / "net" / "ipv4" / "conf" / "all" / "src_valid_mark"
    valid.write_text("1")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "changed.json").write_text(json.dumps({"src_valid_mark": 0, "more": "x"}))
    kernel.restore()
    assert valid.read_text() == "0"


class Rooms(ControlGroups):
    """Groups that are a list; `meanwhile` is done while a process is put into one."""

    def __init__(self) -> None:
        super().__init__("test-of-linux-io")
        self.joined: list[tuple[int, str]] = []
        self.sent_back: list[int] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def join(self, pid: int, group: str) -> None:
        self.meanwhile()
        self.joined.append((pid, group))

    def send_back(self, pid: int) -> None:
        self.sent_back.append(pid)


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_only_the_askers_own_processes_are_moved(kernel: Kernel, sleeper: "subprocess.Popen[bytes]") -> None:
    rooms = kernel.groups = Rooms()
    for move in (kernel.join, lambda pid, _, asker: kernel.adopt(pid, asker)):
        with pytest.raises(EnvironmentRefusedError, match="another user's"):
            move(sleeper.pid, "outside", os.getuid() + 1)
        assert not rooms.joined
    kernel.join(sleeper.pid, "outside", os.getuid())
    kernel.adopt(sleeper.pid, 0)
    assert rooms.joined == [(sleeper.pid, "outside"), (sleeper.pid, "own")]


def test_who_got_the_number_of_a_process_that_ended_is_sent_back(
    kernel: Kernel, sleeper: "subprocess.Popen[bytes]"
) -> None:
    rooms = kernel.groups = Rooms()

    def end() -> None:
        sleeper.kill()
        sleeper.wait()

    rooms.meanwhile = end
    kernel.join(sleeper.pid, "outside", os.getuid())
    assert rooms.sent_back == [sleeper.pid]
    with pytest.raises(EnvironmentRefusedError, match="no such process"):
        kernel.join(sleeper.pid, "outside", os.getuid())


def test_what_stands_on_a_way_out_is_one(tmp_path: Path) -> None:
    for name in ("eth0/upper_bond0", "bond0/upper_br0", "br0", "v0/upper_docker0", "docker0"):
        (tmp_path / name).mkdir(parents=True)
    assert linux_io._with_uppers({"eth0"}, tmp_path) == {"eth0", "bond0", "br0"}


def test_without_nftables_new_ways_out_get_rules_of_routes(
    kernel: Kernel, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = ["eth0"]
    monkeypatch.setattr(linux_io, "leading_out", lambda: list(doors))
    monkeypatch.setattr(kernel.firewall, "capture", Capture.INTERFACE)

    def closed() -> list[str]:
        kernel._doors.update(doors)
        return list(doors)

    monkeypatch.setattr(kernel, "_closed", closed)
    kernel.up(SETTINGS, 0)
    assert "iif eth0 lookup main" in commands.run[-1]
    commands.run.clear()
    kernel.refresh()
    assert "rule add" not in "".join(commands.run)
    doors.append("wlan0")
    kernel.refresh()
    assert "iif wlan0 lookup main" in commands.run[-1]


def test_what_a_killed_helper_left_closed_is_not_opened_by_a_start_that_fails(
    kernel: Kernel, commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "changed.json").write_text("{}")
    commands.fails_on = "link set dev"
    with pytest.raises(EnvironmentRefusedError):
        kernel.up(SETTINGS, 0)
    assert not kernel.is_up
    assert "policy drop" in commands.run[commands.position("nft")]
    assert sum("nft" in line for line in commands.run) == 1
    commands.fails_on = "nothing at all"
    assert kernel.up(SETTINGS, 0) >= 0
    kernel.down()
    assert "policy drop" not in commands.run[-1]


def test_every_way_of_a_route_leads_out(commands: Commands) -> None:
    assert {"eth0", "ppp0", "ppp1"} <= set(linux_io.leading_out())
    assert "vigilnet0" not in linux_io.leading_out()
