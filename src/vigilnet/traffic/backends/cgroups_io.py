"""Control groups whose sockets are marked as they are made (Linux, cgroup v2; docs/spec/device.md section 6).

A mark that a socket has from its first moment decides its route and so its source address; a firewall rule
could only repair both later. The marking is a BPF program of four instructions, as `ip vrf exec` has one.
Where the kernel refuses it, the firewall matches the group's path instead.
"""

import contextlib
import ctypes
import json
import os
import platform
import re
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends.ruleset import MARK_BOUND, MARK_INSIDE, MARK_OUTSIDE, MARK_OWN, cgroup_marks
from vigilnet.traffic.device.helper_wire import Group

if sys.platform != "linux":
    raise ImportError("for Linux alone")

_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "armv7l": 386, "i686": 357}
_PROG_LOAD, _PROG_ATTACH, _LINK_CREATE = 5, 8, 28
_PROG_TYPE_CGROUP_SOCK: Final = 9
_ATTACH_INET_SOCK_CREATE: Final = 2
_ALLOW_MULTI: Final = 2
_CURRENT_USER: Final = 15  # bpf_get_current_uid_gid()
_MARK_OFFSET: Final = 16  # in struct bpf_sock: bound_dev_if, family, type, protocol, mark
_ATTRIBUTE_SIZE: Final = 128
_LOG_SIZE: Final = 4096

_libc = ctypes.CDLL(None, use_errno=True)


def mounted_cgroup2(mountinfo: str) -> Path | None:
    """Return where a whole cgroup v2 tree is mounted, by the text of /proc/self/mountinfo; None if nowhere.

    >>> mounted_cgroup2("38 28 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw")
    PosixPath('/sys/fs/cgroup/unified')
    """
    found = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.startswith("cgroup2 ") and len(fields) > 4 and "rw" in fields[5].split(","):
            found = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
    return found


UNSERVED: Final = "unserved"  # programs bound to an exit that nobody serves any more: they reach nothing


def mark_of(group: str) -> int:
    """Return the mark of a group's sockets."""
    if group == UNSERVED:
        return MARK_BOUND + 0xFFFF
    if group.startswith("exit"):
        return MARK_BOUND + int(group[4:])
    return {Group.OWN: MARK_OWN, Group.OUTSIDE: MARK_OUTSIDE, Group.INSIDE: MARK_INSIDE}[Group(group)]


class ControlGroups:
    """The groups of one protected device.

    Args:
        name: of the folder that holds them, unlike those of other instances.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._mount = mounted_cgroup2(Path("/proc/self/mountinfo").read_text())
        self._marked: set[str] = set()
        self._came_from: dict[int, str] = {}
        self._users: tuple[int, ...] = ()
        self._users_link = -1
        self.refusal = ""  # why sockets cannot be marked as they are made

    @property
    def exist(self) -> bool:
        """Whether this machine has cgroup v2 at all."""
        return self._mount is not None

    def _folder(self, group: str = "") -> Path:
        if self._mount is None:
            raise EnvironmentRefusedError(
                "control groups: no cgroup v2 is mounted here, so programs cannot be told apart; "
                "mount it (mount -t cgroup2 none /sys/fs/cgroup/unified) or split by user or network instead"
            )
        return self._mount / self._name / group

    def join(self, pid: int, group: str) -> None:
        """Put one process into a group; what it starts follows it.

        Raises:
            EnvironmentRefusedError: no cgroup v2, no such process, or no rights.
        """
        folder = self._folder(group)
        try:
            before = Path(f"/proc/{pid}/cgroup").read_text()
            folder.mkdir(parents=True, exist_ok=True)
            self._mark(group, folder)
            (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise EnvironmentRefusedError(
                f"control groups: a process cannot be put into {group}: {error.strerror}"
            ) from error
        path = next((line[3:] for line in before.splitlines() if line.startswith("0::")), "/")
        if not path.strip("/").startswith(self._name + "/"):
            self._came_from[pid] = path

    def prepare(self, group: str) -> None:
        """Make a group before anybody joins it; raises EnvironmentRefusedError."""
        folder = self._folder(group)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentRefusedError(f"control groups: {group}: {error.strerror}") from error
        self._mark(group, folder)

    def _mark(self, group: str, folder: Path) -> None:
        if group in self._marked or self.refusal:
            return
        try:
            _attach(folder, mark_of(group))
            self._marked.add(group)
        except OSError as error:
            self.refusal = error.strerror or "refused"

    def marks_by_firewall(self) -> list[str]:
        """Return the firewall's lines for groups where sockets cannot be marked as they are made."""
        if not self.refusal or self._mount is None:
            return []
        lines = []
        for folder in sorted(self._folder().glob("*/")):
            relative = os.path.relpath(folder, "/sys/fs/cgroup")  # as nft reads such paths
            lines.append(cgroup_marks(relative, 2, mark_of(folder.name)))
        return lines

    def bind(self, names: Sequence[str], record: Path) -> None:
        """Say whose exits the groups exit0 and on are now.

        Programs of a group that was another exit's before do not leave by the new one: they reach nothing.

        Args:
            names: of the exits, in the order of their groups.
            record: where that is written down for the next helper.
        """
        try:
            before = json.loads(record.read_text())
        except (OSError, ValueError):
            before = []
        before = before if isinstance(before, list) else []
        for number, (name, old) in enumerate(zip(names, before, strict=False)):
            for pid in self.members(f"exit{number}") if name != old else ():
                with contextlib.suppress(EnvironmentRefusedError):  # it has ended
                    self.join(pid, UNSERVED)
        now = [*names, *before[len(names) :]]
        if now != before:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(now))

    def mark_users(self, users: Sequence[int]) -> None:
        """Have what these users' programs, in none of our groups, will send go around the tunnel.

        It ends with us: when the helper is gone, what they open then does not leave.

        Raises:
            EnvironmentRefusedError: the kernel does not allow it.
        """
        if tuple(users) == self._users:
            return
        link = -1
        if users:
            try:
                link = _link_to_all(self._folder().parent, users_program(users))
            except OSError as error:
                raise EnvironmentRefusedError(
                    f"device: excluding users: BPF on control groups: {error.strerror}; install nftables"
                ) from error
        if self._users_link >= 0:
            os.close(self._users_link)
        self._users, self._users_link = tuple(users), link

    def group_of(self, pid: int) -> str:
        """Return which of our groups a process is in; empty if in none."""
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return ""
        path = next((line[3:] for line in text.splitlines() if line.startswith("0::")), "")
        folder, _, group = path.strip("/").rpartition("/")
        return group if folder == self._name else ""

    def members(self, group: str) -> list[int]:
        """Return the processes of a group."""
        if self._mount is None:
            return []
        try:
            return [int(pid) for pid in (self._folder(group) / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def clear(self, *, everybody: bool) -> None:
        """Remove groups; programs of split-tunnel groups stay where they are unless `everybody` must go."""
        if self._mount is None or not self._folder().is_dir():
            return
        for folder in self._folder().glob("*/"):
            if everybody or folder.name == Group.OWN:
                for pid in self.members(folder.name):
                    self.send_back(pid)
            with contextlib.suppress(OSError):  # still has members
                folder.rmdir()
                self._marked.discard(folder.name)
        with contextlib.suppress(OSError):
            self._folder().rmdir()

    def send_back(self, pid: int) -> None:
        """Put a process where it, or the one that started it, came from; else to the top."""
        path = self._came_from.pop(pid, "")
        if self._mount is None:
            return
        for place in (self._mount / path.lstrip("/"), self._mount):
            try:
                (place / "cgroup.procs").write_text(str(pid))
            except OSError:
                continue
            return


def users_of(process: Path) -> set[int]:
    """Return the users that a process of /proc is, and may become; none if it is gone.

    The owner of its files would be root's for a process that lets nobody look into it.
    """
    with contextlib.suppress(OSError):
        for line in (process / "status").read_text().splitlines():
            if line.startswith("Uid:"):
                return set(map(int, line.split()[1:]))
    return set()


def _program(instructions: Iterable[tuple[int, int, int, int]]) -> bytes:
    return b"".join(struct.pack("<BBhi", *instruction) for instruction in instructions)


def users_program(users: Sequence[int]) -> bytes:
    """Return the program that marks sockets of these users as outside, but those that are marked already."""
    count = len(users)
    return _program(
        [
            (0xBF, 0x16, 0, 0),  # r6 = socket
            (0x61, 0x60, _MARK_OFFSET, 0),  # r0 = socket->mark
            (0x55, 0x00, count + 4, 0),  # a group's: allow
            (0x85, 0x00, 0, _CURRENT_USER),
            # The lower half of r0 is the user, in the numbers of the whole machine.
            *(
                (0x16, 0x00, count - at, user - (user >> 31 << 32))  # one of them: mark
                for at, user in enumerate(users)
            ),
            (0x05, 0x00, 2, 0),  # nobody of them: allow
            (0xB7, 0x02, 0, MARK_OUTSIDE),  # mark: r2 = mark
            (0x63, 0x26, _MARK_OFFSET, 0),  # socket->mark = r2
            (0xB7, 0x00, 0, 1),  # allow
            (0x95, 0x00, 0, 0),
        ]
    )


def _link_to_all(folder: Path, program: bytes) -> int:
    """Run a program for every socket made in a group or below; gives what holds it there. Raises OSError."""
    loaded = _load(program)
    try:
        group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _bpf(_LINK_CREATE, struct.pack("<IIII", loaded, group, _ATTACH_INET_SOCK_CREATE, 0))
        finally:
            os.close(group)
    finally:
        os.close(loaded)


def _load(program: bytes) -> int:
    code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"MIT")
    return _bpf(
        _PROG_LOAD,
        struct.pack(
            "<IIQQIIQ", _PROG_TYPE_CGROUP_SOCK, len(program) // 8,
            ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0,
        ),
    )  # fmt: skip


def _attach(folder: Path, mark: int) -> None:
    """Have every socket made in a group marked; OSError if the kernel does not allow it."""
    loaded = _load(
        _program(
            [
                (0xB7, 0x02, 0, mark),  # r2 = mark
                (0x63, 0x21, _MARK_OFFSET, 0),  # socket->mark = r2
                (0xB7, 0x00, 0, 1),  # allow
                (0x95, 0x00, 0, 0),
            ]
        )
    )
    try:
        group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _bpf(
                _PROG_ATTACH,
                struct.pack("<IIII", group, loaded, _ATTACH_INET_SOCK_CREATE, _ALLOW_MULTI),
            )
        finally:
            os.close(group)
    finally:
        os.close(loaded)


def _bpf(command: int, attribute: bytes) -> int:
    number = _SYS_BPF.get(platform.machine())
    if number is None:
        raise OSError(38, "no BPF on this kind of machine")
    buffer = ctypes.create_string_buffer(attribute, _ATTRIBUTE_SIZE)
    result = int(_libc.syscall(number, command, buffer, _ATTRIBUTE_SIZE))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
