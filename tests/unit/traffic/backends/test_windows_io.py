"""What is done on Windows, in which order, and how it is undone; everything is remembered instead of done."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.fake_wintun import FakeWintun
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io
from vigilnet.traffic.backends.wfp_filters import Filter
from vigilnet.traffic.backends.wfp_io import Engine
from vigilnet.traffic.backends.windows_io import Windows
from vigilnet.traffic.backends.wintun_io import Wintun
from vigilnet.traffic.device.backend import Backend, Capture, Framing
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule, Program

pytestmark = pytest.mark.slow  # real sockets or processes: in all, seconds

SETTINGS = DeviceSettings(1000, 1001, outside_networks=("192.0.2.0/24",))


class Machine:
    """Remembers commands and filters in one list; what holds `fails_on` is refused."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.filters: dict[UUID, Filter] = {}
        self.fails_on = "nothing at all"

    def run(self, command: list[str], text: str = "") -> str:
        return self.note(" ".join(command)) or ("192.168.1.1 12\n" if "Get-NetRoute" in command[-1] else "")

    def note(self, line: str) -> str:
        self.done.append(line)
        if self.fails_on in line:
            raise EnvironmentRefusedError("refused")
        return ""

    def position(self, piece: str) -> int:
        return next(at for at, line in enumerate(self.done) if piece in line)


class FakeEngine(Engine):
    """A platform that is a dictionary."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def close(self) -> None:
        pass

    def replace(self, before: Sequence[UUID], filters: Sequence[Filter], *, persistent: bool) -> None:
        self._machine.note(f"filters {'persistent' if persistent else ''}")
        self.remove(before)
        for one in filters:
            assert one.key not in self._machine.filters
            self._machine.filters[one.key] = one

    def remove(self, keys: Sequence[UUID]) -> None:
        self._machine.note("remove filters")
        for key in keys:
            self._machine.filters.pop(key, None)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(commands_io, "run", made.run)
    return made


def windows_on(machine: Machine, folder: Path) -> Windows:
    def open_adapter() -> Wintun:
        machine.note("adapter")
        library = FakeWintun()
        return Wintun(library, library, library.last_error)

    return Windows(folder / "run", folder / "keep", "x.exe", lambda: FakeEngine(machine), open_adapter)


@pytest.fixture
def windows(machine: Machine, tmp_path: Path) -> Iterator[Windows]:
    made = windows_on(machine, tmp_path)
    yield made
    machine.fails_on = "nothing at all"
    made.set_lockdown(is_on=False)
    made.restore()


def test_it_is_a_backend(windows: Windows) -> None:
    backend: Backend = windows
    assert (backend.capture, backend.framing, backend.can_split) == (
        Capture.INTERFACE, Framing.NOTHING, False,
    )  # fmt: skip
    assert backend.outer_interface() == 12
    assert backend.counters() == {}
    backend.adopt(7, 501)
    backend.mark_sockets([7])


def test_the_filters_close_first_and_open_last(windows: Windows, machine: Machine, tmp_path: Path) -> None:
    assert windows.up(SETTINGS, 0) >= 0
    assert windows.is_up
    order = ["adapter", "filters", "set address", "add route 0.0.0.0/1", "Add-DnsClientNrptRule"]
    assert [machine.position(piece) for piece in order] == sorted(map(machine.position, order))
    assert any(not one.permits and not one.conditions for one in machine.filters.values())
    machine.done.clear()
    windows.down()
    assert not windows.is_up
    order = ["delete route 192.0.2.0/24", "Remove-DnsClientNrptRule", "remove filters"]
    assert [machine.position(piece) for piece in order] == sorted(map(machine.position, order))
    assert not machine.filters
    assert not (tmp_path / "run" / "changed.json").exists()


@pytest.mark.parametrize("step", ["adapter", "filters ", "set address", "add route", "Add-Dns"])
def test_a_start_that_fails_at_any_step_is_undone(windows: Windows, machine: Machine, step: str) -> None:
    machine.fails_on = step
    with pytest.raises(EnvironmentRefusedError):
        windows.up(SETTINGS, 0)
    assert not windows.is_up
    assert not machine.filters


def test_settings_change_without_opening(windows: Windows, machine: Machine) -> None:
    first = windows.up(SETTINGS, 0)
    machine.done.clear()
    assert windows.up(DeviceSettings(1000, 1001), 0) == first
    assert machine.position("filters") < machine.position("delete route 192.0.2.0/24")
    assert not [one for one in machine.filters.values() if one.name == "around 192.0.2.0/24"]
    windows.refresh()
    assert "filters " in machine.done[-2]


def test_what_a_killed_helper_left_is_found_again(machine: Machine, tmp_path: Path) -> None:
    killed = windows_on(machine, tmp_path)
    killed.up(SETTINGS, 0)
    assert machine.filters
    machine.fails_on = "set address"
    after = windows_on(machine, tmp_path)
    with pytest.raises(EnvironmentRefusedError):
        after.up(SETTINGS, 0)
    assert machine.filters  # what was closed stays so
    assert not after.is_up
    machine.fails_on = "nothing at all"
    windows_on(machine, tmp_path).restore(everybody=True)
    assert not machine.filters
    killed.restore()


def test_lockdown_is_persistent_and_stays_after_down(windows: Windows, machine: Machine) -> None:
    windows.set_lockdown(is_on=True)
    assert windows.is_locked
    assert "filters persistent" in machine.done
    windows.up(SETTINGS, 0)
    windows.set_lockdown(is_on=True)  # while up: nothing to do
    windows.down()
    assert any(not one.permits for one in machine.filters.values())
    windows.set_lockdown(is_on=False)
    assert not machine.filters


@pytest.mark.parametrize(
    "settings",
    [
        DeviceSettings(1, 1, inside_users=(501,)),
        DeviceSettings(1, 1, underlay_marks=(1,)),
        DeviceSettings(1, 1, programs=(Program("/a", "outside"),)),
        DeviceSettings(1, 1, rules=(FirewallRule("in", "any", "10.0.0.0/8"),)),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_changes(
    windows: Windows, machine: Machine, settings: DeviceSettings
) -> None:
    with pytest.raises(EnvironmentRefusedError, match="on Windows"):
        windows.up(settings, 0)
    assert not machine.done
    with pytest.raises(EnvironmentRefusedError, match="on Windows"):
        windows.join(7, "outside", 0)
    with pytest.raises(EnvironmentRefusedError, match="on Windows"):
        windows.open_addresses("portal", ["192.0.2.1"], 5)
