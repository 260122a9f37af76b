"""What backends write down: that lockdown is on, and what must be put back."""

import json
from collections.abc import Mapping
from pathlib import Path

from vigilnet.base.errors import EnvironmentRefusedError


class LockdownMark:
    """Says that lockdown is on, also after a reboot.

    Args:
        state_folder: where; survives a reboot.
    """

    def __init__(self, state_folder: Path) -> None:
        self._file = state_folder / "lockdown"

    @property
    def is_on(self) -> bool:
        """Whether lockdown is on."""
        return self._file.exists()

    def set(self, *, is_on: bool) -> None:
        """Write it down, or no longer."""
        if is_on and not self.is_on:  # at boot it is, and the disk may still be read-only
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.touch(mode=0o600)
        elif not is_on:
            self._file.unlink(missing_ok=True)


class Journal:
    """What was changed, for whoever puts it back when we were killed.

    Args:
        run_folder: where; empty after a reboot, like what it tells of.
    """

    def __init__(self, run_folder: Path) -> None:
        self._file = run_folder / "changed.json"

    def read(self) -> object:
        """Return what was written last; None if nothing, or nothing that can be read."""
        try:
            return json.loads(self._file.read_text())
        except (OSError, ValueError):
            return None

    def write(self, value: object) -> None:
        """Write down this instead."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(value))

    def forget(self) -> None:
        """Have nothing written down."""
        self._file.unlink(missing_ok=True)


def refuse_wishes(wishes: Mapping[str, object], system: str) -> None:
    """Refuse settings that a system cannot keep.

    Args:
        wishes: what they are called, to their values; empty ones are none.
        system: its name.

    Raises:
        EnvironmentRefusedError: there is one.
    """
    for name, wish in wishes.items():
        if wish:
            raise EnvironmentRefusedError(f"device: {name} are not possible on {system} yet")
