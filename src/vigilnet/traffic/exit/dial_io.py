"""Connecting to targets: happy eyeballs over raw sockets (docs/spec/exit.md section 6; RFC 8305).

Candidates of both families are tried in turns, the next one 250 ms after the last or as soon as it
fails; the first connection wins. A target given as an address costs one socket and one timer, no task.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from functools import cache
from ipaddress import ip_address
from typing import Final

from vigilnet.peer.special_addresses import IpAddress
from vigilnet.traffic.stream.messages import BeginFlag
from vigilnet.traffic.stream.wire import EndReason

STAGGER_S: Final = 0.25  # RFC 8305's "connection attempt delay"
MAX_CANDIDATES: Final = 8

_IPV4_OK, _IPV6_OK = int(BeginFlag.IPV4_OK), int(BeginFlag.IPV6_OK)  # an enumeration's operators are slow
_PREFER_IPV6: Final = int(BeginFlag.PREFER_IPV6)
_FAMILY_FLAG: Final = {4: _IPV4_OK, 6: _IPV6_OK}

_REASON_FOR_ERRNO: Final = {
    errno.ECONNREFUSED: EndReason.REFUSED,
    errno.EHOSTUNREACH: EndReason.NO_ROUTE,
    errno.ENETUNREACH: EndReason.NO_ROUTE,
    errno.EHOSTDOWN: EndReason.NO_ROUTE,
    errno.ENETDOWN: EndReason.NO_ROUTE,
    errno.EADDRNOTAVAIL: EndReason.NO_ROUTE,
    errno.EAFNOSUPPORT: EndReason.NO_ROUTE,
    errno.EINVAL: EndReason.NO_ROUTE,  # a link-local address without a zone
    errno.ETIMEDOUT: EndReason.TIMEOUT,
    errno.ECONNRESET: EndReason.RESET,
    errno.EACCES: EndReason.POLICY,  # this machine's firewall
    errno.EPERM: EndReason.POLICY,
    errno.EMFILE: EndReason.LIMIT,
    errno.ENFILE: EndReason.LIMIT,
    errno.ENOBUFS: EndReason.LIMIT,
    errno.ENOMEM: EndReason.LIMIT,
}
# Of several failures the client hears the one that says most about the target.
_WEIGHT: Final = (
    EndReason.NO_ROUTE,
    EndReason.LIMIT,
    EndReason.POLICY,
    EndReason.TIMEOUT,
    EndReason.RESET,
    EndReason.REFUSED,
)


def reason_for(error_number: int) -> EndReason:
    """Return what the client is told about a failed connect."""
    return _REASON_FOR_ERRNO.get(error_number, EndReason.RESET)


def in_dialling_order(addresses: Sequence[IpAddress], flags: int) -> list[IpAddress]:
    """Drop the families that the client did not allow and take turns between the others."""
    if len(addresses) == 1:
        return list(addresses) if flags & _FAMILY_FLAG[addresses[0].version] else []
    ipv4: list[IpAddress] = [address for address in addresses if address.version == 4 and flags & _IPV4_OK]
    ipv6: list[IpAddress] = [address for address in addresses if address.version == 6 and flags & _IPV6_OK]
    first, second = (ipv6, ipv4) if flags & _PREFER_IPV6 else (ipv4, ipv6)
    turns: list[IpAddress] = []
    for index in range(max(len(first), len(second))):
        turns += first[index : index + 1]
        turns += second[index : index + 1]
    return turns[:MAX_CANDIDATES]


def is_own_address(address: IpAddress) -> bool:
    """Whether an address is one of this machine's, also if it was added a moment ago.

    Asked of the kernel by binding a UDP socket, which only works with an own address and sends
    nothing. Where it is allowed with any (`ip_nonlocal_bind`), the source that the kernel would
    choose tells; that misses second addresses of an interface, for which there is the setting
    `exit.own_addresses`.
    """
    if not _binds(address):
        return False
    return not _binds_any(address.version) or _source_for(address) == str(address)


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def _binds(address: IpAddress) -> bool:
    try:
        with socket.socket(_family(address.version), socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


@cache
def _binds_any(version: int) -> bool:
    """Whether this machine lets a socket have addresses that are not its own."""
    return _binds(ip_address("2001:db8::1" if version == 6 else "192.0.2.1"))


def _source_for(address: IpAddress) -> str:
    try:
        with socket.socket(_family(address.version), socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _is_connected(sock: socket.socket) -> bool:
    """Whether a connect that was begun is through: on this machine it is, before `connect_ex` returns."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


DialDone = Callable[[socket.socket | None, IpAddress | None, EndReason], None]


class Dial:
    """One attempt to connect; `on_done` is called exactly once, unless `cancel` is called first.

    Args:
        loop: the event loop whose thread this is.
        candidates: checked addresses in dialling order, at least one.
        port: the target's.
        timeout_s: for all candidates together.
        on_done: gets the connected socket and its address, or None and the reason.
    """

    __slots__ = (
        "_deadline",
        "_left",
        "_loop",
        "_on_done",
        "_pending",
        "_port",
        "_reason",
        "_stagger",
        "_timeout_s",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        candidates: Sequence[IpAddress],
        port: int,
        timeout_s: float,
        on_done: DialDone,
    ) -> None:
        self._loop = loop
        self._left = list(reversed(candidates))
        self._port = port
        self._on_done: DialDone | None = on_done
        self._pending: dict[int, tuple[socket.socket, IpAddress]] = {}
        self._reason = EndReason.NO_ROUTE
        self._stagger: asyncio.TimerHandle | None = None
        self._timeout_s = timeout_s
        self._deadline: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Try the first candidate; may call `on_done` before it returns."""
        self._try_next()
        if self._on_done is not None:
            self._deadline = self._loop.call_later(self._timeout_s, self._time_out)

    def cancel(self) -> None:
        """Give up without a word."""
        self._on_done = None
        self._stop()

    def _try_next(self) -> None:
        self._stagger = None
        while self._left and self._on_done is not None:
            if self._connect(self._left.pop()):
                if self._left:
                    self._stagger = self._loop.call_later(STAGGER_S, self._try_next)
                return
        if not self._pending:
            self._finish(None, None)

    def _connect(self, address: IpAddress) -> bool:
        """Begin to connect; return whether it is under way (or done)."""
        try:
            sock = socket.socket(_family(address.version), socket.SOCK_STREAM)
        except OSError as error:
            self._note(error.errno or 0)
            return False
        sock.setblocking(False)
        result = sock.connect_ex((str(address), self._port))
        if result == 0:
            self._finish(sock, address)
            return True
        if result not in (errno.EINPROGRESS, errno.EWOULDBLOCK):  # the latter on Windows
            sock.close()
            self._note(result)
            return False
        if _is_connected(sock):
            self._finish(sock, address)
            return True
        self._pending[sock.fileno()] = (sock, address)
        self._loop.add_writer(sock.fileno(), self._writable, sock.fileno())
        return True

    def _writable(self, fd: int) -> None:
        sock, address = self._pending.pop(fd)
        self._loop.remove_writer(fd)
        result = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result == 0:
            self._finish(sock, address)
            return
        sock.close()
        self._note(result)
        if self._left:
            if self._stagger is not None:
                self._stagger.cancel()
            self._try_next()
        elif not self._pending:
            self._finish(None, None)

    def _note(self, error_number: int) -> None:
        reason = reason_for(error_number)
        if _WEIGHT.index(reason) > _WEIGHT.index(self._reason):
            self._reason = reason

    def _time_out(self) -> None:
        self._note(errno.ETIMEDOUT)
        self._finish(None, None)

    def _finish(self, sock: socket.socket | None, address: IpAddress | None) -> None:
        self._stop()
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(sock, address, EndReason.DONE if sock is not None else self._reason)
        elif sock is not None:
            sock.close()

    def _stop(self) -> None:
        self._left.clear()
        if self._deadline is not None:
            self._deadline.cancel()
        if self._stagger is not None:
            self._stagger.cancel()
            self._stagger = None
        for fd, (sock, _) in self._pending.items():
            self._loop.remove_writer(fd)
            sock.close()
        self._pending.clear()
