"""Puts programs into groups as they start, by the path of their file (Linux; docs/spec/device.md section 6).

The kernel asks us before a remembered file is executed (fanotify, FAN_OPEN_EXEC_PERM), and the process is in
its group before the answer: it has no moment outside of it. Where the kernel cannot ask (no such support, or
no CAP_SYS_ADMIN), the list of processes is read twice a second, and only exclusions are served: what such a
program sends in its first moments goes through the tunnel, and never the other way round.
"""

import contextlib
import ctypes
import os
import select
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.traffic.backends.cgroups_io import users_of
from vigilnet.traffic.device.helper_wire import Group
from vigilnet.traffic.device.settings import Program

if sys.platform != "linux":
    raise ImportError("for Linux alone")

LOOK_S: Final = 0.5  # between two looks whether a file was replaced, or, without fanotify, what runs
_CLASS_CONTENT, _CLOEXEC, _NONBLOCK = 0x04, 0x01, 0x02
_ADD, _HERE = 0x01, -100
_OPEN_EXEC_PERM: Final = 0x0004_0000
_ALLOW, _DENY = 1, 2
_EVENT: Final = struct.Struct("=IBBHQii")  # length, version, -, its own length, mask, descriptor, process
_ANSWER: Final = struct.Struct("=iI")
_OWN_COMMANDS: Final = ("ip", "nft", "tc")
_LOADERS: Final = ("lib*/ld-*", "usr/lib*/ld-*", "lib/*/ld-*")
_FOLDERS: Final = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")

_log = get_logger(__name__)
_File = tuple[int, int]  # device and inode


class ProgramWatch:
    """Watches for a set of programs, in a thread of its own.

    Args:
        join: puts a process into a group; VigilnetError or OSError if it cannot.
        group_of: tells which of our groups a process is in; empty if in none.
        processes: where the system lists processes.
    """

    def __init__(
        self,
        join: Callable[[int, str], None],
        group_of: Callable[[int], str],
        processes: Path = Path("/proc"),
    ) -> None:
        self._join = join
        self._group_of = group_of
        self._processes = processes
        self._programs: tuple[Program, ...] = ()
        self._owner = 0
        self._files: dict[_File, str] = {}  # group by file
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._notify = -1
        self._wake = -1
        self.is_exact = False  # whether the kernel asks before a program starts

    def watch(self, programs: Sequence[Program], owner: int) -> None:
        """Watch for these from now on; those that run already are put into their groups.

        Args:
            programs: at most one group for a path.
            owner: whose processes are meant; 0: everybody's.

        Raises:
            EnvironmentRefusedError: a program cannot be watched for.
        """
        with self._lock:
            if tuple(programs) == self._programs and owner == self._owner:
                return
            if programs and self._thread is None:
                self._start()
            self._check(programs)
            self._programs, self._owner = tuple(programs), owner
            self._mark()
            self._look(exact_too=True)
        if not programs:
            self.stop()

    def stop(self) -> None:
        """Watch no more; programs stay in their groups."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        os.write(self._wake, b"x")
        thread.join()
        for descriptor in (self._wake, self._notify):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake = self._notify = -1
        self._programs, self._files = (), {}

    def _check(self, programs: Sequence[Program]) -> None:
        untouchable = _untouchable()
        for program in programs:
            if _file_of(program.path) in untouchable:
                raise EnvironmentRefusedError(
                    "programs: not ip, nft, tc or the loader, which the helper starts itself"
                )
            if not self.is_exact and program.group != Group.OUTSIDE:
                raise EnvironmentRefusedError(
                    "programs: only exclusions are remembered here: the kernel does not ask before a program "
                    "starts (fanotify with permissions, CAP_SYS_ADMIN); use vigilnet exec"
                )

    def _start(self) -> None:
        self._notify = _open_notify()
        self.is_exact = self._notify >= 0
        reader, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(reader, self._notify), daemon=True)
        self._thread.start()

    def _run(self, reader: int, notify: int) -> None:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        if notify >= 0:
            poll.register(notify, select.POLLIN)
        try:
            while True:
                ready = {descriptor for descriptor, _ in poll.poll(LOOK_S * 1000)}
                if reader in ready:
                    return
                if notify in ready:
                    self._answer_all(notify)
                elif self._lock.acquire(blocking=False):  # whoever has it looks itself
                    try:
                        self._mark()
                        self._look(exact_too=False)
                    finally:
                        self._lock.release()
        finally:
            os.close(reader)

    # ---- the kernel asks

    def _mark(self) -> None:
        """Find the programs' files anew: updates replace them."""
        untouchable = _untouchable()
        found: dict[_File, str] = {}
        for program in self._programs:
            file = _file_of(program.path)
            if file is not None and file not in untouchable:
                found[file] = program.group
        if found == self._files:
            return
        new = found.keys() - self._files.keys()
        self._files = found
        if self._notify < 0:
            return
        for program in self._programs:
            if _file_of(program.path) in new:
                with contextlib.suppress(OSError):  # gone in between: found when it is back
                    _ask_about(self._notify, program.path)

    def _answer_all(self, notify: int) -> None:
        with contextlib.suppress(BlockingIOError):
            events = os.read(notify, 4096)
            for at in range(0, len(events) - _EVENT.size + 1, _EVENT.size):
                _, _, _, _, _, descriptor, pid = _EVENT.unpack_from(events, at)
                try:
                    verdict = _ALLOW if self._place(descriptor, pid) else _DENY
                    os.write(notify, _ANSWER.pack(descriptor, verdict))
                finally:
                    os.close(descriptor)

    def _place(self, descriptor: int, pid: int) -> bool:
        """Put the process that executes a file into its group; return whether it may go on."""
        status = os.fstat(descriptor)
        group = self._files.get((status.st_dev, status.st_ino))
        if group is None or not self._is_meant(pid):
            return True
        return self._put(pid, group) or group == Group.OUTSIDE

    def _is_meant(self, pid: int) -> bool:
        users = users_of(self._processes / str(pid)) if self._owner else set()
        return not users or self._owner in users  # nobody we can look at must start outside of its group

    def _put(self, pid: int, group: str) -> bool:
        """Put one process into a group, unless it is where that would open more than somebody wished."""
        now = self._group_of(pid)
        if now in (group, Group.OWN) or (now and group == Group.OUTSIDE):
            return True
        try:
            self._join(pid, group)
        except (VigilnetError, OSError) as error:
            _log.warning("a remembered program was not put into its group", reason=str(error))
            return False
        return True

    # ---- reading the list of processes

    def _look(self, *, exact_too: bool) -> None:
        """Put what runs into its group: once, and again and again where the kernel does not ask.

        A process may have been another program's at the last look: it begins as a copy of who starts it.
        """
        if not self._files or (self.is_exact and not exact_too):
            return
        for entry in self._processes.iterdir():
            if not entry.name.isdecimal():
                continue
            self._look_at(int(entry.name))

    def _look_at(self, pid: int) -> None:
        group = self._files.get(_file_of(f"{self._processes}/{pid}/exe") or (-1, -1))
        if group is not None and self._is_meant(pid):
            self._put(pid, group)


def _file_of(path: str) -> _File | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _open_notify() -> int:
    """Return a descriptor on which the kernel asks for permissions; -1 if it does not here."""
    libc = ctypes.CDLL(None, use_errno=True)
    init = getattr(libc, "fanotify_init", None)
    if init is None:
        return -1
    return int(init(_CLASS_CONTENT | _CLOEXEC | _NONBLOCK, os.O_RDONLY | os.O_CLOEXEC))


def _untouchable() -> set[_File]:
    """Return files that we start ourselves, or that every start opens: we would wait for our own answer."""
    own = [f"{folder}/{name}" for folder in _FOLDERS for name in _OWN_COMMANDS]
    loaders = (str(path) for folder in _LOADERS for path in Path("/").glob(folder))
    return {file for path in (*own, *loaders) if (file := _file_of(path)) is not None}


def _ask_about(notify: int, path: str) -> None:
    """Have the kernel ask before this file is executed; what was once asked about stays so until we stop."""
    libc = ctypes.CDLL(None, use_errno=True)
    mark = libc.fanotify_mark
    mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)
    if mark(notify, _ADD, _OPEN_EXEC_PERM, _HERE, os.fsencode(path)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
