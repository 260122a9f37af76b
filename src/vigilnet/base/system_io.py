"""What operating systems do each in their own way: locks, rights, ports, sending many buffers at once.

Everything is chosen once, when this module is imported, so that no caller asks again.
"""

import os
import socket
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

LOCK_AT: Final = 1 << 30  # the octet that Windows locks: far behind what others read


def module_command(module: str) -> list[str]:
    """Return the words that run a module of ours, not one of that name in the folder where we are."""
    return [sys.executable, "-P", "-m", module]


if sys.platform == "win32":
    import ctypes
    import msvcrt

    from vigilnet.base import windows_rights_io

    OPEN_PRIVATELY: Final = os.O_NOINHERIT | os.O_BINARY
    NOT_BY_LINK: Final = 0  # making a link needs rights there, and the folder is ours alone
    NOT_WAITING: Final = 0
    MOST_JOINED: Final = 1 << 18  # octets of one send

    def take_lock(handle: int) -> None:
        """Lock an open file until it is closed; raises OSError when another process has it."""
        place = os.lseek(handle, 0, os.SEEK_CUR)
        os.lseek(handle, LOCK_AT, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(handle, place, os.SEEK_SET)

    def take_folder(folder: Path) -> bool:
        """Close a folder to other users; False if it is of another one. Raises OSError."""
        return windows_rights_io.take_folder(folder)

    def set_mode(handle: int, mode: int) -> None:
        """Leave it to the folder, whose rights its files inherit."""
        del handle, mode

    def flush_folder(folder: Path) -> None:
        """Do nothing: folders cannot be flushed there."""
        del folder

    def has_rights() -> bool:
        """Whether this process is an administrator's, and elevated."""
        return bool(ctypes.windll.shell32.IsUserAnAdmin())

    def is_closed_to_others(folder: Path) -> bool:
        """Whether nobody else can put something in the place of what is in a folder; not asked there."""
        return folder.is_dir()

    def own_port(sock: socket.socket) -> None:
        """Before bind: let no other program take the port that we listen on."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)

    def send_parts(sock: socket.socket, parts: Sequence[bytes | bytearray | memoryview]) -> int:
        """Send what the system takes of these buffers; returns how many octets that was."""
        size = 0
        few: list[bytes | bytearray | memoryview] = []
        for part in parts:
            if few and size + len(part) > MOST_JOINED:
                break
            few.append(part)
            size += len(part)
        return sock.send(few[0] if len(few) == 1 else b"".join(few))

else:
    import fcntl

    OPEN_PRIVATELY: Final = os.O_CLOEXEC
    NOT_BY_LINK: Final = os.O_NOFOLLOW
    NOT_WAITING: Final = os.O_NONBLOCK

    def take_lock(handle: int) -> None:
        """Lock an open file until it is closed; raises OSError when another process has it."""
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def take_folder(folder: Path) -> bool:
        """Close a folder to other users; False if it is of another one. Raises OSError."""
        if folder.stat().st_uid != os.geteuid():
            return False
        folder.chmod(0o700)
        return True

    def set_mode(handle: int, mode: int) -> None:
        """Say who may read an open file."""
        os.fchmod(handle, mode)

    def flush_folder(folder: Path) -> None:
        """Have the disk know which files a folder has."""
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def has_rights() -> bool:
        """Whether this process is root's."""
        return os.geteuid() == 0

    def is_closed_to_others(folder: Path) -> bool:
        """Whether nobody but us and root can put something in the place of what is in a folder.

        Raises:
            OSError: a part of the way is not there.
        """
        whole = folder.absolute()
        ways = {*whole.parents, *whole.resolve().parents, whole, whole.resolve()}
        return all(_is_closed(part, is_last=part in (whole, whole.resolve())) for part in ways)

    def _is_closed(part: Path, *, is_last: bool) -> bool:
        status = part.lstat()
        if status.st_uid not in (0, os.geteuid()):
            return False
        is_open = bool(status.st_mode & 0o022) and not stat.S_ISLNK(status.st_mode)
        # In a folder with that bit, as /tmp has it, others cannot replace what is ours.
        return not is_open or (bool(status.st_mode & stat.S_ISVTX) and not is_last)

    def own_port(sock: socket.socket) -> None:
        """Before bind: have the port although connections of a listener before us linger."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    send_parts = socket.socket.sendmsg


def accept(listener: socket.socket, family: socket.AddressFamily) -> socket.socket:
    """Return the next connection, non-blocking; raises as `socket.accept`.

    That looks up family and kind of each anew, which costs as much as the rest of it.
    """
    # Nothing public gives the descriptor alone.
    descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
    accepted = socket.socket(family, socket.SOCK_STREAM, fileno=descriptor)
    accepted.setblocking(False)
    return accepted
