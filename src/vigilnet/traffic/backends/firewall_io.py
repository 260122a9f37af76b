"""What closes a Linux machine: nftables, or, where that is missing, a filter at each door (`tc`).

Both stay when the helper is gone, and `remove` finds them without a memory of them.
"""

import contextlib
import json
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io, egress_filter, ruleset
from vigilnet.traffic.backends.egress_filter import Instruction
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.settings import INTERFACE, DeviceSettings

_NEEDS_NFTABLES: Final = "needs nftables, which is missing here; install it"
PREFERENCE: Final = 22_089  # of our filters
DEVICES: Final = Path("/sys/class/net")


class Firewall(Protocol):
    """Lets nothing out but what it is told."""

    @property
    def capture(self) -> Capture:
        """Whether it redirects TCP."""
        ...

    @property
    def can_mark_groups(self) -> bool:
        """Whether it can mark packets by control group, where the kernel does not mark sockets."""
        ...

    def protect(self, settings: DeviceSettings, devices: Sequence[str], group_marks: Sequence[str]) -> None:
        """Close a device that is up; `devices` lead out."""
        ...

    def lock(self, settings: DeviceSettings | None, devices: Sequence[str]) -> None:
        """Let only links out."""
        ...

    def remove(self) -> None:
        """Open."""
        ...

    def allow(self, purpose: str, addresses: Sequence[str], seconds: int) -> None:
        """Let addresses around the tunnel for a time."""
        ...

    def counters(self) -> dict[str, int]:
        """Return packets by what became of them; empty when it is off, or does not count."""
        ...


class Nftables:
    """See `ruleset`."""

    capture: Final = Capture.REDIRECT
    can_mark_groups: Final = True

    def protect(self, settings: DeviceSettings, devices: Sequence[str], group_marks: Sequence[str]) -> None:
        """Load everything in one transaction."""
        _nft(ruleset.protected(settings, devices, group_marks))

    def lock(self, settings: DeviceSettings | None, devices: Sequence[str]) -> None:
        """Let only links out."""
        _nft(ruleset.lockdown(settings, devices))

    def remove(self) -> None:
        """Take our tables away."""
        _nft(ruleset.disabled())

    def allow(self, purpose: str, addresses: Sequence[str], seconds: int) -> None:
        """Let addresses around the tunnel for a time; the kernel ends it."""
        _nft(ruleset.opened(purpose, addresses, seconds))

    def counters(self) -> dict[str, int]:
        """Return packets by what became of them."""
        try:
            listed = json.loads(
                commands_io.run(["nft", "-j", "list", "counters", "table", "inet", ruleset.TABLE])
            )
        except (EnvironmentRefusedError, ValueError):
            return {}
        counted = (item.get("counter") for item in listed.get("nftables", ()))
        return {counter["name"]: int(counter["packets"]) for counter in counted if counter}


def _nft(text: str) -> None:
    commands_io.run(["nft", "-f", "-"], text)


class DoorFilters:
    """A program at the way out of every interface that leads out (`egress_filter`); routes do the rest.

    Args:
        journal: where it is written down which interfaces got a place for filters by us.
        devices: where the system lists its interfaces.
    """

    capture: Final = Capture.INTERFACE
    can_mark_groups: Final = False

    def __init__(self, journal: Path, devices: Path = DEVICES) -> None:
        self._journal = journal
        self._devices = devices

    def protect(self, settings: DeviceSettings, devices: Sequence[str], group_marks: Sequence[str]) -> None:
        """Put the filter before every door; refuse settings that only nftables can keep.

        Raises:
            EnvironmentRefusedError: see above.
        """
        del group_marks
        missing = _unkept(settings)
        if missing:
            raise EnvironmentRefusedError(f"device: {missing} {_NEEDS_NFTABLES}")
        self._load(partial(egress_filter.protected, settings), devices)

    def lock(self, settings: DeviceSettings | None, devices: Sequence[str]) -> None:
        """Let only links out."""
        self._load(partial(egress_filter.lockdown, settings), devices)

    def remove(self) -> None:
        """Take our filters away, and the places for them that we made."""
        made = set(self._made())
        for device in self._present():
            with contextlib.suppress(EnvironmentRefusedError):
                if _has_filter(device):
                    commands_io.run(["tc", "filter", "del", "dev", device, "egress", "pref", str(PREFERENCE)])
                if device in made:
                    commands_io.run(["tc", "qdisc", "del", "dev", device, "clsact"])
        self._journal.unlink(missing_ok=True)

    def allow(self, purpose: str, addresses: Sequence[str], seconds: int) -> None:
        """Refuse: nobody would end it if the helper died."""
        raise EnvironmentRefusedError(f"device: letting {purpose} addresses out {_NEEDS_NFTABLES}")

    def counters(self) -> dict[str, int]:
        """Return nothing: these filters do not count."""
        return {}

    def _load(self, program_for: Callable[[int | None], list[Instruction]], devices: Sequence[str]) -> None:
        for device in sorted({*devices, *self._hardware()}):
            text = egress_filter.bytecode(program_for(self._header(device)))
            self._make_place(device)
            commands_io.run(
                ["tc", "filter", "replace", "dev", device, "egress", "protocol", "all",
                 "pref", str(PREFERENCE), "handle", "1", "bpf", "da", "bytecode", text]
            )  # fmt: skip

    def _make_place(self, device: str) -> None:
        if " clsact " in commands_io.run(["tc", "qdisc", "show", "dev", device]):
            return
        made = sorted({*self._made(), device})
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        self._journal.write_text(json.dumps(made))
        commands_io.run(["tc", "qdisc", "add", "dev", device, "clsact"])

    def _made(self) -> list[str]:
        try:
            listed = json.loads(self._journal.read_text())
        except (OSError, ValueError):
            return []
        return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []

    def _header(self, device: str) -> int | None:
        """Return how many octets are before the IP header on this interface; None if that is not known."""
        try:
            return egress_filter.HEADERS.get(int((self._devices / device / "type").read_text()))
        except (OSError, ValueError):
            return None

    def _present(self) -> list[str]:
        return sorted(name for _, name in socket.if_nameindex())

    def _hardware(self) -> list[str]:
        """Interfaces of real devices, which may get a default route later."""
        return [
            name
            for name in self._present()
            if (self._devices / name / "device").exists() and name != INTERFACE
        ]


def _has_filter(device: str) -> bool:
    return f" pref {PREFERENCE} " in commands_io.run(["tc", "filter", "show", "dev", device, "egress"])


def _unkept(settings: DeviceSettings) -> str:
    """Return which setting filters at the doors cannot keep; empty if they can keep all."""
    if any(rule.direction == "in" for rule in settings.rules):
        return "letting others in by a rule"
    return ""
