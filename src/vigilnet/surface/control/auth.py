"""Who may steer a node: the user it runs as, and root (docs/spec/control.md)."""

import os
import socket
import struct
from typing import Final

_LINUX_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user id at the other end of a unix socket; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, _LINUX_CREDENTIALS.size)
    return int(_LINUX_CREDENTIALS.unpack(credentials)[1])


def may_control(uid: int | None) -> bool:
    """Whether a user may steer this node.

    Where the system does not tell, the socket's mode 0600 in a folder of mode 0700 decides alone.
    """
    return uid is None or uid in (os.geteuid(), 0)


def may_be_trusted(uid: int | None) -> bool:
    """Whether a node that runs as this user is one to ask: ours, root's, or anybody's if we are root."""
    return may_control(uid) or os.geteuid() == 0
