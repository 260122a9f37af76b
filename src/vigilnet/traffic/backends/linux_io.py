"""Linux: what the helper changes in the kernel, and how it puts it back (needs root).

Everything added bears our own name or number (a table of the firewall, a table of routes, rules of ours, one
interface), so that `restore` finds it without having to remember it. The few values of the system that are
changed are written down first, in a file that outlives a crash. docs/spec/device.md sections 4, 5 and 7.
"""

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io, routes, ruleset
from vigilnet.traffic.backends.cgroups_io import ControlGroups, users_of
from vigilnet.traffic.backends.firewall_io import DEVICES, Firewall
from vigilnet.traffic.backends.program_watch_io import ProgramWatch
from vigilnet.traffic.backends.written_io import LockdownMark
from vigilnet.traffic.device.backend import Capture, Framing
from vigilnet.traffic.device.helper_wire import Group
from vigilnet.traffic.device.settings import INTERFACE, DeviceSettings

if sys.platform != "linux":
    raise ImportError("for Linux alone")

_SO_MARK: Final = 36
_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNSETVNETHDRSZ: Final = 0x400454D8
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 1, 0x1000, 0x4000
_CHECKSUMS, _TCP, _UDP = 0x01, 0x02 | 0x04 | 0x08, 0x20 | 0x40  # and segmentation
_OFFLOADS: Final = {  # the most that a kernel takes; TCP only comes where nothing redirects it
    Capture.REDIRECT: (_CHECKSUMS | _UDP, _CHECKSUMS),
    Capture.INTERFACE: (_CHECKSUMS | _TCP | _UDP, _CHECKSUMS | _TCP, _CHECKSUMS),
}
_VNET_HEADER_SIZE: Final = 10


class Kernel:
    """This network namespace's routes, firewall and interface.

    Args:
        run_folder: where what must be put back is written down; empty after a reboot.
        state_folder: where it is written down that lockdown is on; survives a reboot.
        group_name: see `ControlGroups`.
        firewall: what closes this machine.
        values: where the system keeps its settings of the network.
    """

    def __init__(
        self,
        run_folder: Path,
        state_folder: Path,
        group_name: str,
        firewall: Firewall,
        values: Path = Path("/proc/sys/net"),
    ) -> None:
        self._values = values
        self.firewall = firewall
        self._journal = run_folder / "changed.json"
        self._lockdown = LockdownMark(state_folder)
        self.groups = ControlGroups(group_name)
        self.programs = ProgramWatch(self.groups.join, self.groups.group_of)
        self._tun = -1
        self._settings: DeviceSettings | None = None
        self._doors: set[str] = set()
        self._ruled: set[str] = set()  # the doors that the rules of routes know

    @property
    def is_up(self) -> bool:
        """Whether traffic is being taken."""
        return self._settings is not None

    @property
    def is_locked(self) -> bool:
        """Whether lockdown is on."""
        return self._lockdown.is_on

    @property
    def capture(self) -> Capture:
        """Whether the firewall can redirect TCP."""
        return self.firewall.capture

    @property
    def framing(self) -> Framing:
        """The interface has virtio headers."""
        return Framing.VIRTIO

    def outer_interface(self) -> int:
        """Our own sockets are known by their marks."""
        return 0

    @property
    def can_split(self) -> bool:
        """Whether there is a cgroup v2 tree."""
        return self.groups.exist

    # ---- up and down

    def up(self, settings: DeviceSettings, asker: int) -> int:
        """Protect the device; return the TUN interface's descriptor, which stays ours.

        The firewall closes before anything else changes. What fails half-way is undone, but not what a helper
        has left that was killed: that stays closed.

        Raises:
            EnvironmentRefusedError: the system refuses a step; says which.
        """
        if self._settings is not None and self._tun >= 0:
            self.update(settings, asker)
            return self._tun
        was_left = self._journal.exists()
        try:
            self._write_journal()
            if self._tun < 0:
                self._tun = _open_tun(self.capture)
            self._load_rules(settings)
            with contextlib.suppress(OSError):
                (self._values / "ipv6" / "conf" / INTERFACE / "disable_ipv6").write_text("0")
            commands_io.ip_batch(_possible(routes.interface_up(settings.mtu)))
            commands_io.ip_batch(_possible(routes.table_up()))
            self._replace_rules(settings)
            self.programs.watch(settings.programs, asker)
        except BaseException:
            if not was_left:
                self.restore()
            raise
        self._settings = settings
        return self._tun

    def update(self, settings: DeviceSettings, asker: int) -> None:
        """Change the settings of a protected device; the firewall never opens in between."""
        self._load_rules(settings)
        self.programs.watch(settings.programs, asker)
        commands_io.ip_batch([f"link set dev {INTERFACE} mtu {settings.mtu}"])
        self._replace_rules(settings)
        self._settings = settings

    def refresh(self) -> None:
        """Load the firewall again: groups or interfaces changed."""
        if self._settings is not None:
            self._load_rules(self._settings)
            if self.capture is Capture.INTERFACE and self._ruled != self._doors:
                self._replace_rules(self._settings)

    def down(self) -> None:
        """Put everything back; with lockdown on, the firewall stays closed."""
        self.restore()

    def restore(self, *, everybody: bool = False) -> None:
        """Remove whatever of ours is there, also what a killed helper has left.

        Args:
            everybody: also take programs out of the split-tunnel groups.
        """
        if self.is_locked:
            self.firewall.lock(self._settings, self._closed())
        self._settings = None
        self.programs.stop()
        self.groups.mark_users(())
        for option in ("-4", "-6"):
            commands_io.ip_batch(routes.rules_down(commands_io.run(["ip", option, "rule", "show"]), option))
        for line in routes.table_down():
            commands_io.ip_batch([line], must=False)
        if self._tun >= 0:
            os.close(self._tun)
            self._tun = -1
        commands_io.ip_batch([f"link del dev {INTERFACE}"], must=False)  # if somebody made it stay
        self._put_back_values()
        if not self.is_locked:
            self.firewall.remove()
            self._doors.clear()
        self.groups.clear(everybody=everybody)
        self._journal.unlink(missing_ok=True)

    def set_lockdown(self, *, is_on: bool) -> None:
        """Keep the firewall closed also when the device is down, until told otherwise."""
        self._lockdown.set(is_on=is_on)
        if not self.is_up:
            if is_on:
                self.firewall.lock(None, self._closed())
            else:
                self.firewall.remove()
                self._doors.clear()

    def open_addresses(self, purpose: str, addresses: Iterable[str], seconds: int) -> None:
        """Let addresses around the tunnel for a time."""
        self.firewall.allow(purpose, tuple(addresses), seconds)

    def counters(self) -> dict[str, int]:
        """Return packets by what became of them; empty when the firewall is off."""
        return self.firewall.counters()

    # ---- whose a packet is

    def adopt(self, pid: int, asker: int) -> None:
        """From now on the daemon's new sockets go around the tunnel."""
        self._move(pid, Group.OWN, asker)
        for child in _with_children(pid)[1:]:
            try:
                self._move(child, Group.OWN, asker)
            except EnvironmentRefusedError:
                if Path(f"/proc/{child}").exists():  # else it has ended, and needs no way out
                    raise
        self.refresh()

    def mark_sockets(self, descriptors: Sequence[int]) -> None:
        """Have sockets that were made too early go around the tunnel, too."""
        for descriptor in descriptors:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as taken:
                if taken.family in (socket.AF_INET, socket.AF_INET6):
                    taken.setsockopt(socket.SOL_SOCKET, _SO_MARK, ruleset.MARK_OWN)

    def join(self, pid: int, group: str, asker: int) -> None:
        """Put one process of a user's into a split-tunnel group; root may move those of others."""
        is_new = not self.groups.members(group)
        self._move(pid, group, asker)
        if is_new:
            self.refresh()

    def _move(self, pid: int, group: str, asker: int) -> None:
        """Put a process into a group, and nobody who got its number while we looked whose it is."""
        try:
            process = os.pidfd_open(pid)
        except OSError as error:
            raise EnvironmentRefusedError("control groups: there is no such process") from error
        try:
            if asker != 0 and users_of(Path("/proc") / str(pid)) != {asker}:
                raise EnvironmentRefusedError("control groups: that process is another user's")
            self.groups.join(pid, group)
            if _has_ended(process):
                self.groups.send_back(pid)
        finally:
            os.close(process)

    # ---- pieces

    def _load_rules(self, settings: DeviceSettings) -> None:
        self.groups.bind(settings.binding_names, self._journal.with_name("exits.json"))
        for program in settings.programs:
            self.groups.prepare(program.group)
        if self.groups.refusal and not self.firewall.can_mark_groups:
            raise EnvironmentRefusedError(
                "device: our own traffic cannot be told apart: BPF on control groups: "
                f"{self.groups.refusal}; install nftables"
            )
        self.groups.mark_users(settings.outside_users if self.capture is Capture.INTERFACE else ())
        self.firewall.protect(settings, self._closed(), self.groups.marks_by_firewall())

    def _closed(self) -> list[str]:
        """Return what to close: whatever leads out, or did before; a route goes with a link that is down."""
        present = {name for _, name in socket.if_nameindex()}
        self._doors = self._doors & present | set(leading_out())
        return sorted(self._doors)

    def _replace_rules(self, settings: DeviceSettings) -> None:
        """Rules of routes: the new ones first would clash, so the firewall stands guard meanwhile."""
        for option in ("-4", "-6"):
            commands_io.ip_batch(routes.rules_down(commands_io.run(["ip", option, "rule", "show"]), option))
        if self.capture is Capture.INTERFACE:
            commands_io.ip_batch(_possible(routes.bindings_up(settings)))
        self._ruled = set(self._doors)
        doors = sorted(self._ruled)
        commands_io.ip_batch(routes.rules_up(settings, self.capture, doors, has_ipv6=_has_ipv6()))

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


def _has_ended(process: int) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(0))


def _with_children(pid: int) -> list[int]:
    """Return a process and those it started: they carry its links, too."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(map(int, file.read_text().split()))
    return found


def leading_out() -> list[str]:
    """Return the interfaces that have a default route, and those of real devices, which may get one.

    What stands on such a one leads out, too: a bridge that it is in, a VLAN of it.
    """
    devices = {path.parent.name for path in DEVICES.glob("*/device")}
    for option in ("-4", "-6"):
        for line in commands_io.run(["ip", option, "route", "show", "default"]).splitlines():
            words = line.split()
            if "dev" in words and words[0] in ("default", "nexthop"):  # one of several ways of one route
                devices.add(words[words.index("dev") + 1])
    return sorted(_with_uppers(devices - {INTERFACE}, DEVICES) - {INTERFACE})


def _with_uppers(names: set[str], devices: Path) -> set[str]:
    """Return interfaces, and those that are made of one of them."""
    found = list(names)
    for name in found:
        for path in (devices / name).glob("upper_*"):
            upper = path.name.removeprefix("upper_")
            if upper not in found:
                found.append(upper)
    return set(found)


def _has_ipv6() -> bool:
    return Path("/proc/sys/net/ipv6").is_dir()


def _possible(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if _has_ipv6() or not line.startswith("-6")]


def _open_tun(capture: Capture) -> int:
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
        for offloads in _OFFLOADS[capture]:
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
