"""Linux with nftables: what the helper changes in the kernel, and how it puts it back (needs root).

Everything added bears our own name or number (a table of the firewall, a table of routes, rules of ours, one
interface), so that `restore` finds it without having to remember it. The few values of the system that are
changed are written down first, in a file that outlives a crash. docs/spec/device.md sections 4, 5 and 7.
"""

import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import routes, ruleset
from vigilnet.traffic.backends.cgroups_io import ControlGroups
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.helper_wire import Group
from vigilnet.traffic.device.settings import INTERFACE, DeviceSettings

COMMAND_S: Final = 20.0
_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNSETVNETHDRSZ: Final = 0x400454D8
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 1, 0x1000, 0x4000
_OFFLOADS: Final = (0x01 | 0x20 | 0x40, 0x01)  # checksums and UDP segmentation; an older kernel: checksums
_VNET_HEADER_SIZE: Final = 10
_PROGRAM_FOLDERS: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class Kernel:
    """This network namespace's routes, firewall and interface.

    Args:
        run_folder: where what must be put back is written down; empty after a reboot.
        state_folder: where it is written down that lockdown is on; survives a reboot.
        group_name: see `ControlGroups`.
        values: where the system keeps its settings of the network.
    """

    def __init__(
        self, run_folder: Path, state_folder: Path, group_name: str, values: Path = Path("/proc/sys/net")
    ) -> None:
        self._values = values
        self._journal = run_folder / "changed.json"
        self._lock_file = state_folder / "lockdown"
        self.groups = ControlGroups(group_name)
        self._tun = -1
        self._settings: DeviceSettings | None = None

    @property
    def is_up(self) -> bool:
        """Whether traffic is being taken."""
        return self._settings is not None

    @property
    def is_locked(self) -> bool:
        """Whether lockdown is on."""
        return self._lock_file.exists()

    @property
    def capture(self) -> Capture:
        """TCP comes by redirect."""
        return Capture.REDIRECT

    @property
    def can_split(self) -> bool:
        """Whether there is a cgroup v2 tree."""
        return self.groups.exist

    # ---- up and down

    def up(self, settings: DeviceSettings) -> int:
        """Protect the device; return the TUN interface's descriptor, which stays ours.

        The firewall closes before anything else changes. What fails half-way is undone.

        Raises:
            EnvironmentRefusedError: the system refuses a step; says which.
        """
        if self._settings is not None and self._tun >= 0:
            self.update(settings)
            return self._tun
        try:
            self._write_journal()
            if self._tun < 0:
                self._tun = _open_tun()
            self._load_rules(settings)
            with contextlib.suppress(OSError):
                (self._values / "ipv6" / "conf" / INTERFACE / "disable_ipv6").write_text("0")
            _ip(_possible(routes.interface_up(settings.mtu)))
            _ip(_possible(routes.table_up()))
            self._replace_rules(settings)
        except BaseException:
            self.restore()
            raise
        self._settings = settings
        return self._tun

    def update(self, settings: DeviceSettings) -> None:
        """Change the settings of a protected device; the firewall never opens in between."""
        self._load_rules(settings)
        _ip([f"link set dev {INTERFACE} mtu {settings.mtu}"])
        self._replace_rules(settings)
        self._settings = settings

    def refresh(self) -> None:
        """Load the firewall again: groups or interfaces changed."""
        if self._settings is not None:
            self._load_rules(self._settings)

    def down(self) -> None:
        """Put everything back; with lockdown on, the firewall stays closed."""
        self.restore()

    def restore(self, *, everybody: bool = False) -> None:
        """Remove whatever of ours is there, also what a killed helper has left.

        Args:
            everybody: also take programs out of the split-tunnel groups.
        """
        if self.is_locked:
            _nft(ruleset.lockdown(self._settings, leading_out()))
        self._settings = None
        for option in ("-4", "-6"):
            _ip(routes.rules_down(_run(["ip", option, "rule", "show"]), option))
        for line in routes.table_down():
            _ip([line], must=False)
        if self._tun >= 0:
            os.close(self._tun)
            self._tun = -1
        _ip([f"link del dev {INTERFACE}"], must=False)  # if somebody made it stay
        self._put_back_values()
        if not self.is_locked:
            _nft(ruleset.disabled())
        self.groups.clear(everybody=everybody)
        self._journal.unlink(missing_ok=True)

    def set_lockdown(self, *, is_on: bool) -> None:
        """Keep the firewall closed also when the device is down, until told otherwise."""
        if is_on:
            self._lock_file.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file.touch(mode=0o600)
        else:
            self._lock_file.unlink(missing_ok=True)
        if not self.is_up:
            _nft(ruleset.lockdown(None, leading_out()) if is_on else ruleset.disabled())

    def open_addresses(self, purpose: str, addresses: Iterable[str], seconds: int) -> None:
        """Let addresses around the tunnel for a time."""
        _nft(ruleset.opened(purpose, tuple(addresses), seconds))

    def counters(self) -> dict[str, int]:
        """Return packets by what became of them; empty when the firewall is off."""
        try:
            listed = json.loads(_run(["nft", "-j", "list", "counters", "table", "inet", ruleset.TABLE]))
        except (EnvironmentRefusedError, ValueError):
            return {}
        counted = (item.get("counter") for item in listed.get("nftables", ()))
        return {counter["name"]: int(counter["packets"]) for counter in counted if counter}

    # ---- whose a packet is

    def adopt(self, pid: int) -> None:
        """From now on the daemon's new sockets go around the tunnel."""
        for member in _with_children(pid):
            self.groups.join(member, Group.OWN)
        self.refresh()

    def mark_sockets(self, descriptors: Sequence[int]) -> None:
        """Have sockets that were made too early go around the tunnel, too."""
        for descriptor in descriptors:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as taken:
                if taken.family in (socket.AF_INET, socket.AF_INET6):
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, ruleset.MARK_OWN)

    def join(self, pid: int, group: str, asker: int) -> None:
        """Put one process of a user's into a split-tunnel group; root may move those of others."""
        owner = Path(f"/proc/{pid}").stat().st_uid
        if asker not in (0, owner):
            raise EnvironmentRefusedError("control groups: that process is another user's")
        is_new = not self.groups.members(group)
        self.groups.join(pid, group)
        if is_new:
            self.refresh()

    # ---- pieces

    def _load_rules(self, settings: DeviceSettings) -> None:
        _nft(ruleset.protected(settings, leading_out(), self.groups.marks_by_firewall()))

    def _replace_rules(self, settings: DeviceSettings) -> None:
        """Rules of routes: the new ones first would clash, so the firewall stands guard meanwhile."""
        for option in ("-4", "-6"):
            _ip(routes.rules_down(_run(["ip", option, "rule", "show"]), option))
        _ip(routes.rules_up(settings, has_ipv6=_has_ipv6()))

    def _write_journal(self) -> None:
        """Change what must be changed of the system's own values; write down what they were."""
        values: dict[str, int] = {}
        everywhere = self._values / "ipv4" / "conf"
        if any((folder / "rp_filter").read_text().strip() == "1" for folder in everywhere.iterdir()):
            # Answers to marked packets would fail a strict reverse-path check that ignores marks.
            values["src_valid_mark"] = int((everywhere / "all" / "src_valid_mark").read_text())
        if not self._journal.exists():  # else it tells the state before a crash
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            self._journal.write_text(json.dumps(values))
        for name in values:
            (everywhere / "all" / name).write_text("1")

    def _put_back_values(self) -> None:
        try:
            value = json.loads(self._journal.read_text()).get("src_valid_mark")
        except (OSError, ValueError, AttributeError):
            return
        if value in (0, 1):
            (self._values / "ipv4" / "conf" / "all" / "src_valid_mark").write_text(str(value))


def _with_children(pid: int) -> list[int]:
    """Return a process and those it started: they carry its links, too."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(map(int, file.read_text().split()))
    return found


def leading_out() -> list[str]:
    """Return the interfaces that have a default route."""
    devices: set[str] = set()
    for option in ("-4", "-6"):
        for line in _run(["ip", option, "route", "show", "default"]).splitlines():
            words = line.split()
            if "dev" in words and words[0] == "default":
                devices.add(words[words.index("dev") + 1])
    return sorted(devices - {INTERFACE})


def _has_ipv6() -> bool:
    return Path("/proc/sys/net/ipv6").is_dir()


def _possible(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if _has_ipv6() or not line.startswith("-6")]


def _open_tun() -> int:
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise EnvironmentRefusedError(
            f"TUN interface: /dev/net/tun: {error.strerror}; load the module tun, or use the SOCKS proxy"
        ) from error
    try:
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode(), flags))
        fcntl.ioctl(descriptor, _TUNSETVNETHDRSZ, struct.pack("i", _VNET_HEADER_SIZE))
        for offloads in _OFFLOADS:
            try:
                fcntl.ioctl(descriptor, _TUNSETOFFLOAD, offloads)
                break
            except OSError:
                continue
    except OSError as error:
        os.close(descriptor)
        raise EnvironmentRefusedError(
            f"TUN interface {INTERFACE}: {error.strerror}; another instance may have it"
        ) from error
    return descriptor


def _nft(text: str) -> None:
    _run(["nft", "-f", "-"], text)


def _ip(lines: Iterable[str], *, must: bool = True) -> None:
    """Run lines of `routes`: by family, since `ip -batch` takes that option for all of its lines only."""
    kept = list(lines)
    for option in ("", "-4", "-6"):
        ours = [line for line in kept if (line[:2] if line[:1] == "-" else "") == option]
        if not ours:
            continue
        text = "".join(f"{line.removeprefix(option).strip()}\n" for line in ours)
        try:
            _run(["ip", *([option] if option else []), "-batch", "-"], text)
        except EnvironmentRefusedError:
            if must:
                raise


def _run(command: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(  # noqa: S603  # constant words; values were parsed into their types
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env={"PATH": _PROGRAM_FOLDERS, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        package = "nftables" if command[0] == "nft" else "iproute2"
        raise EnvironmentRefusedError(f"{command[0]}: not installed here; install {package}") from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentRefusedError(f"{command[0]}: no answer within {COMMAND_S:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise EnvironmentRefusedError(
            f"{' '.join(command)}: refused: {said[0] if said else 'no reason given'}"
        )
    return done.stdout
