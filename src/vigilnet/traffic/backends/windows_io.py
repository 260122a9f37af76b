"""Windows: a wintun interface, routes, filters of the Windows Filtering Platform, one rule for names.

Not tried on a real machine, and nothing reaches it yet: the helper has no channel and no service there.
docs/spec/device.md section 15.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io, wfp_filters, wfp_io, windows_commands, wintun_io
from vigilnet.traffic.backends.macos_commands import Gateway
from vigilnet.traffic.backends.wfp_filters import Filter
from vigilnet.traffic.backends.wfp_io import Engine
from vigilnet.traffic.backends.wintun_io import Pump, Wintun
from vigilnet.traffic.backends.written_io import Journal, LockdownMark, refuse_wishes
from vigilnet.traffic.device.backend import Capture, Framing
from vigilnet.traffic.device.settings import DeviceSettings


class Windows:
    """This machine's routes, filters and interface.

    Args:
        run_folder: where what must be put back is written down.
        state_folder: where it is written down that lockdown is on.
        program: whose traffic is ours, by the path of its file.
        open_engine: opens the filtering platform.
        open_adapter: opens the interface.
    """

    capture: Final = Capture.INTERFACE
    framing: Final = Framing.NOTHING
    can_split: Final = False

    def __init__(
        self,
        run_folder: Path,
        state_folder: Path,
        program: str,
        open_engine: Callable[[], Engine] = wfp_io.open_engine,
        open_adapter: Callable[[], Wintun] = wintun_io.open_wintun,
    ) -> None:
        self._journal = Journal(run_folder)
        self._lockdown = LockdownMark(state_folder)
        self._program = program
        self._open_engine = open_engine
        self._open_adapter = open_adapter
        self._pump: Pump | None = None
        self._luid = 0
        self._settings: DeviceSettings | None = None

    @property
    def is_up(self) -> bool:
        """Whether traffic is being taken."""
        return self._settings is not None

    @property
    def is_locked(self) -> bool:
        """Whether lockdown is on."""
        return self._lockdown.is_on

    def outer_interface(self) -> int:
        """The interface of the default route, to which our own sockets bind themselves."""
        return next((int(gateway.interface) for gateway in _gateways()), 0)

    # ---- up and down

    def up(self, settings: DeviceSettings, asker: int) -> int:
        """Protect the device; the filters close before anything else changes, and a failure is undone."""
        if self._settings is not None and self._pump is not None:
            self.update(settings, asker)
            return self._pump.far.fileno()
        _check(settings)
        was_left = self._journal.read() is not None  # closed by a helper that was killed: it stays so
        try:
            adapter = self._open_adapter()
            self._pump = Pump(adapter)
            self._luid = adapter.luid
            self._filter(wfp_filters.protected(settings, self._program, self._luid))
            for command in windows_commands.interface_up(settings.mtu):
                commands_io.run(command)
            for command in windows_commands.routes_up(settings, _gateways()):
                commands_io.run(command)
            commands_io.run(windows_commands.names_up())
        except BaseException:
            if was_left:
                self._close_interface()
            else:
                self.restore()
            raise
        self._settings = settings
        return self._pump.far.fileno()

    def update(self, settings: DeviceSettings, asker: int) -> None:
        """Change the settings of a protected device without opening it in between."""
        del asker
        _check(settings)
        self._filter(wfp_filters.protected(settings, self._program, self._luid))
        self._take_back_routes()
        for command in windows_commands.routes_up(settings, _gateways()):
            with contextlib.suppress(EnvironmentRefusedError):  # it is there already
                commands_io.run(command)
        self._settings = settings

    def refresh(self) -> None:
        """Write the filters anew if it is up."""
        if self._settings is not None:
            self._filter(wfp_filters.protected(self._settings, self._program, self._luid))

    def down(self) -> None:
        """Put everything back; with lockdown on, nothing leaves."""
        self.restore()

    def restore(self, *, everybody: bool = False) -> None:
        """Remove whatever of ours is there, also what a killed helper has left."""
        del everybody
        if self.is_locked:
            self._filter(wfp_filters.lockdown(self._program), persistent=True)
        self._take_back_routes()
        self._settings = None
        with contextlib.suppress(EnvironmentRefusedError):
            commands_io.run(windows_commands.names_down())
        self._close_interface()
        if not self.is_locked:
            self._open()

    def _close_interface(self) -> None:
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.close()  # the adapter's routes go with it

    def set_lockdown(self, *, is_on: bool) -> None:
        """Keep the device closed while it is not protected, until told otherwise; also at boot."""
        self._lockdown.set(is_on=is_on)
        if self.is_up:
            return
        if is_on:
            self._filter(wfp_filters.lockdown(self._program), persistent=True)
        else:
            self._open()

    def open_addresses(self, purpose: str, addresses: Iterable[str], seconds: int) -> None:
        """Refuse: a filter has no end of its own, and nobody would end it after a crash."""
        del addresses, seconds
        raise EnvironmentRefusedError(f"device: letting {purpose} addresses out: not on Windows yet")

    def counters(self) -> dict[str, int]:
        """Return nothing: they are not read yet."""
        return {}

    # ---- whose a packet is

    def adopt(self, pid: int, asker: int) -> None:
        """Do nothing: our traffic is known by the program's file."""

    def mark_sockets(self, descriptors: Sequence[int]) -> None:
        """Do nothing: sockets cannot be handed over; the daemon binds its own."""

    def join(self, pid: int, group: str, asker: int) -> None:
        """Refuse: there are no control groups here."""
        del pid, group, asker
        raise EnvironmentRefusedError("programs: they cannot be told apart on Windows; exclude networks")

    # ---- pieces

    def _filter(self, filters: list[Filter], *, persistent: bool = False) -> None:
        """Have these filters, and no others of ours; their keys are written down first."""
        before = self._written()
        keys = list(dict.fromkeys([*before, *(one.key for one in filters)]))
        self._write_down(keys)
        engine = self._open_engine()
        try:
            engine.replace(keys, filters, persistent=persistent)
        finally:
            engine.close()
        self._write_down([one.key for one in filters])

    def _open(self) -> None:
        keys = self._written() or [one.key for one in wfp_filters.lockdown(self._program)]
        engine = self._open_engine()
        try:
            engine.remove(keys)
        finally:
            engine.close()
        self._journal.forget()

    def _written(self) -> list[UUID]:
        found = self._journal.read()
        try:
            return [UUID(text) for text in found] if isinstance(found, list) else []
        except (ValueError, TypeError, AttributeError):
            return []

    def _write_down(self, keys: Iterable[UUID]) -> None:
        self._journal.write([str(key) for key in keys])

    def _take_back_routes(self) -> None:
        if self._settings is not None:
            for command in windows_commands.routes_down(self._settings, _gateways()):
                with contextlib.suppress(EnvironmentRefusedError):
                    commands_io.run(command)


def _gateways() -> list[Gateway]:
    try:
        return windows_commands.gateways_in(commands_io.run(windows_commands.default_routes()))
    except EnvironmentRefusedError:
        return []


def _check(settings: DeviceSettings) -> None:
    """Refuse what this system cannot keep.

    Raises:
        EnvironmentRefusedError: see above.
    """
    wishes = {
        "users": settings.outside_users or settings.inside_users,
        "programs": settings.programs or settings.binding_ports,
        "marks of other VPNs": settings.underlay_marks,
        "rules that let others in": [rule for rule in settings.rules if rule.direction == "in"],
    }
    refuse_wishes(wishes, "Windows")
