"""Who may steer a node: the user it runs as, and root (docs/spec/control.md)."""

import os
import socket
import struct
import sys
from typing import Final

_LINUX_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # macOS: sys/un.h
_MACOS_CREDENTIALS: Final = struct.Struct("=II68x")  # struct xucred: version, user, groups


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user id at the other end of a unix socket; None where the system does not tell."""
    if sys.platform == "linux":
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_CREDENTIALS.size)
        return int(_LINUX_CREDENTIALS.unpack(credentials)[1])
    if sys.platform == "darwin":
        return macos_uid(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _MACOS_CREDENTIALS.size))
    return None


def macos_uid(credentials: bytes) -> int | None:
    """Return the user of what macOS tells of the other end; None of a layout that we do not know.

    >>> macos_uid(struct.pack("=IIh2x16I", 0, 501, 1, *[20] * 16))
    501
    """
    version, uid = _MACOS_CREDENTIALS.unpack(credentials)
    return int(uid) if version == 0 else None


def may_control(uid: int | None) -> bool:
    """Whether a user may steer this node.

    Where the system does not tell, the socket's mode 0600 in a folder of mode 0700 decides alone.
    """
    return uid is None or uid in (_own_uid(), 0)


def may_be_trusted(uid: int | None) -> bool:
    """Whether a node that runs as this user is one to ask: ours, root's, or anybody's if we are root."""
    return may_control(uid) or _own_uid() == 0


def _own_uid() -> int | None:
    if sys.platform == "win32":
        return None
    return os.geteuid()
