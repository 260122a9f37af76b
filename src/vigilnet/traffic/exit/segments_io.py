"""Many datagrams in one system call, where the kernel cuts and joins them (Linux 4.18, 5.0; hot path).

A datagram costs the kernel a walk through its whole stack; 40 of one size that go together cost little more
than one. Elsewhere, and for sizes beyond the path's MTU, they go one by one.
"""

import errno
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from vigilnet.traffic.stream.segments import mergeable

MAX_READ: Final = 65_535
_UDP_SEGMENT, _UDP_GRO = 103, 104
_ANCILLARY: Final = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0
_SO_MEMINFO, _MEMINFO_DROPS = 55, 8  # linux/sock_diag.h: the ninth of its numbers
_NOT_HERE: Final = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})


def join_what_comes(sock: socket.socket) -> None:
    """Have the kernel give datagrams of one size and sender together."""
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)


def lost_before(sock: socket.socket) -> int:
    """Return how many datagrams found no room in the socket's own buffer; 0 where that is not known."""
    with suppress(OSError, struct.error):
        told = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        return int(struct.unpack_from("=I", told, 4 * _MEMINFO_DROPS)[0])
    return 0


def send_all(
    sock: socket.socket,
    payloads: list[bytes],
    end: tuple[str, int] | None,
    failed: Callable[[OSError], None],
) -> None:
    """Send datagrams in order.

    Args:
        sock: UDP, non-blocking.
        payloads: of any sizes.
        end: where to; None on a connected socket.
        failed: told of an error; the datagram is lost, as UDP's may be.
    """
    at = 0
    while at < len(payloads):
        count = mergeable(payloads, at)
        if count > 1 and _send_together(sock, payloads[at : at + count], end):
            at += count
            continue
        for payload in payloads[at : at + count]:
            try:
                if end is None:
                    sock.send(payload)
                else:
                    sock.sendto(payload, end)
            except OSError as error:
                failed(error)
        at += count


if sys.platform == "win32":

    def _send_together(sock: socket.socket, payloads: list[bytes], end: tuple[str, int] | None) -> bool:
        """Never: they go one by one."""
        return False

    def receive(sock: socket.socket) -> tuple[list[bytes], tuple[str, int]]:
        """Return one datagram and its sender; raises OSError."""
        octets, sender = sock.recvfrom(MAX_READ)
        return [octets], sender

else:

    def _send_together(sock: socket.socket, payloads: list[bytes], end: tuple[str, int] | None) -> bool:
        """Whether they are out of our hands, sent or lost."""
        size = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", len(payloads[0])))]
        try:
            if end is None:
                sock.sendmsg(payloads, size)
            else:
                sock.sendmsg(payloads, size, 0, end)
        except OSError as error:
            return error.errno not in _NOT_HERE and error.errno != errno.ECONNREFUSED
        return True

    def receive(sock: socket.socket) -> tuple[list[bytes], tuple[str, int]]:
        """Return datagrams that came together, and their sender; raises OSError."""
        octets, ancillary, _, sender = sock.recvmsg(MAX_READ, _ANCILLARY)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.IPPROTO_UDP, _UDP_GRO) and len(content) >= 4:
                (size,) = struct.unpack_from("=i", content)
                if 0 < size < len(octets):
                    return [octets[at : at + size] for at in range(0, len(octets), size)], sender
        return [octets], sender
