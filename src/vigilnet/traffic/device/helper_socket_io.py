"""Messages between daemon and helper on a unix socket, with descriptors beside them and the peer's identity.

Where sockets keep messages apart (SOCK_SEQPACKET, Linux) a message is one datagram; elsewhere (macOS) it is a
line. It is JSON either way, which has no line end inside.
"""

import array
import os
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError, RemoteProtocolError
from vigilnet.traffic.device.helper_wire import MAX_MESSAGE, MAX_SOCKETS

NOT_ON_WINDOWS: Final = "helper: the whole device cannot be protected on Windows yet; use the SOCKS proxy"
KIND: Final = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
_LINUX_CREDENTIALS: Final = struct.Struct("3i")
_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 1, 2  # macOS: sys/un.h
_MACOS_CREDENTIALS: Final = struct.Struct(
    "=IIh2x16I"
)  # struct xucred: version, user, number of groups, groups


def send(connection: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send one message; raises OSError."""
    if sys.platform == "win32":
        raise OSError(0, "no unix sockets here")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    if connection.type == socket.SOCK_STREAM:
        sent = connection.sendmsg([message, b"\n"], rights)
        connection.sendall((message + b"\n")[sent:])
    else:
        connection.sendmsg([message], rights)


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Return one message and the descriptors beside it, which are ours to close; empty at the end.

    Raises:
        OSError: the connection is lost, or nothing came for as long as it waits.
        RemoteProtocolError: a line without an end.
    """
    descriptors: list[int] = []
    try:
        return _receive_whole(connection, descriptors), descriptors
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def _receive_whole(connection: socket.socket, descriptors: list[int]) -> bytes:
    octets = b""
    while len(octets) <= MAX_MESSAGE:
        part = _receive_part(connection, descriptors)
        octets += part
        if connection.type != socket.SOCK_STREAM or not part:
            return octets
        if octets.endswith(b"\n"):
            return octets[:-1]
    raise RemoteProtocolError(f"helper message: more than {MAX_MESSAGE} octets without an end")


def _receive_part(connection: socket.socket, descriptors: list[int]) -> bytes:
    if sys.platform == "win32":
        raise OSError(0, "no unix sockets here")
    close_on_exec = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    part, ancillary, _, _ = connection.recvmsg(
        MAX_MESSAGE + 1, socket.CMSG_SPACE(MAX_SOCKETS * 4), close_on_exec
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            given = array.array("i", content[: len(content) - len(content) % 4])
            for descriptor in given:
                os.set_inheritable(descriptor, False)  # its own signature
            descriptors.extend(given)
    return part


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return (process, user) at the other end.

    Raises:
        EnvironmentRefusedError: the system does not tell.
    """
    if sys.platform == "linux":
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_CREDENTIALS.size)
        pid, uid, _ = _LINUX_CREDENTIALS.unpack(told)
        return pid, uid
    if sys.platform == "darwin":
        return macos_peer(
            connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4),
            connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _MACOS_CREDENTIALS.size),
        )
    raise EnvironmentRefusedError("helper: this system does not tell who is at the other end")


def macos_peer(pid: bytes, credentials: bytes) -> tuple[int, int]:
    """Return (process, user) of what macOS tells.

    >>> macos_peer((7).to_bytes(4, "little"), struct.pack("=IIh2x16I", 0, 501, 1, *[20] * 16))
    (7, 501)
    """
    version, uid, *_ = _MACOS_CREDENTIALS.unpack(credentials)
    if version != 0:
        raise EnvironmentRefusedError(f"helper: credentials of version {version}, expected 0")
    return int.from_bytes(pid, sys.byteorder), uid
