"""TCP of the interface without a firewall's redirect: packets are readdressed to our own listener (hot path).

An application's packet is read from the interface and written back to it as if a neighbour on the tunnel had
sent it to the listener; so are the answers, the other way. The kernel is the TCP endpoint of both ends, with
its own retransmission, windows and offloads; we change addresses, ports and checksums, and nothing else.

     application  A:a > T:t   ──▶  N:n > L:l  listener     A, a: the application's address and port
     application  A:a < T:t   ◀──  N:n < L:l  listener     T, t: the target's
                                                           N, n: the neighbour, the connection's number
                                                           L, l: the tunnel's address, the listener's port

docs/decisions/0019. Offsets count from the virtio header (see `packets`). RFC 1624, RFC 5382.
"""

from collections.abc import Callable
from enum import Enum, auto
from ipaddress import ip_address
from typing import Final

from vigilnet.traffic.device.packets import NEEDS_CHECKSUM, TCP, VNET_SIZE, words_sum
from vigilnet.traffic.device.settings import NEIGHBOUR_IPV4, NEIGHBOUR_IPV6, TUN_IPV4, TUN_IPV6

IDLE_S: Final = 90.0  # a connection that no listener's socket stands for is forgotten after so long
MAX_NUMBER: Final = 65_535
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_SUM: Final = 0xFFFF

# Where things lie in an IPv4 packet without options and an IPv6 packet without extension headers.
_KIND4, _FRAGMENT4, _SUM4, _ENDS4, _TCP4 = VNET_SIZE + 9, VNET_SIZE + 6, VNET_SIZE + 10, VNET_SIZE + 12, 30
_KIND6, _ENDS6, _TCP6 = VNET_SIZE + 6, VNET_SIZE + 8, 50
_TCP_HEADER: Final = 20


class Verdict(Enum):
    """What becomes of a packet that was read."""

    OTHER = auto()  # no plain TCP: not for us
    WRITE = auto()  # it was changed; write it back
    RESET = auto()  # it belongs to no connection


class _Way:
    """What one direction of a connection writes over a packet."""

    __slots__ = ("address_change", "change", "ends", "ports")

    def __init__(self, old: tuple[bytes, bytes], new: tuple[bytes, bytes]) -> None:
        self.ends, self.ports = new
        self.address_change = (words_sum(new[0]) - words_sum(old[0])) % _SUM
        self.change = (self.address_change + words_sum(new[1]) - words_sum(old[1])) % _SUM


def _turned(ends: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return addresses and ports of the other direction."""
    half = len(ends[0]) // 2
    return ends[0][half:] + ends[0][:half], ends[1][2:] + ends[1][:2]


def _source_of(ends: bytes) -> bytes:
    return ends[: len(ends) // 2]


class _Connection:
    """One connection of an application."""

    __slots__ = ("answers", "back", "into", "is_accepted", "key", "last_used", "number")

    def __init__(self, key: bytes, number: int, ends: bytes, listener: int, now: float) -> None:
        theirs, near = (key[:-4], key[-4:]), (ends, number.to_bytes(2, "big") + listener.to_bytes(2, "big"))
        self.key = key
        self.number = number
        self.into = _Way(theirs, near)
        self.back = _Way(_turned(near), _turned(theirs))
        self.answers = b"".join(_turned(near))  # addresses and ports of what the listener sends
        self.last_used = now
        self.is_accepted = False


_NEAR: Final = {
    4: ip_address(NEIGHBOUR_IPV4).packed + ip_address(TUN_IPV4).packed,
    6: ip_address(NEIGHBOUR_IPV6).packed + ip_address(TUN_IPV6).packed,
}
_ANSWERS: Final = {version: _turned((ends, bytes(4)))[0] for version, ends in _NEAR.items()}


class Translation:
    """All connections of one interface.

    Args:
        listener_of: gives the port of the listener for (packed source, target port); 0: refuse.
        is_carried: whether a packed target may be reached through the network.
        most: connections at a time.
    """

    def __init__(
        self, listener_of: Callable[[bytes, int], int], is_carried: Callable[[bytes], bool], most: int
    ) -> None:
        self._listener_of = listener_of
        self._is_carried = is_carried
        self._most = min(most, MAX_NUMBER)
        self._by_key: dict[bytes, _Connection] = {}
        self._by_number: dict[int, _Connection] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def translate(self, buffer: bytearray, size: int, now: float) -> Verdict:
        """Change one packet in place.

        Args:
            buffer: begins with the packet as it was read, virtio header first.
            size: octets of it.
            now: monotonic seconds.
        """
        if size >= _TCP4 + _TCP_HEADER and buffer[VNET_SIZE] == 0x45 and buffer[_KIND4] == TCP:
            if (buffer[_FRAGMENT4] & 0x3F) or buffer[_FRAGMENT4 + 1]:
                return Verdict.OTHER
            return self._translate(buffer, now, 4, _ENDS4, _TCP4)
        if size >= _TCP6 + _TCP_HEADER and buffer[VNET_SIZE] >> 4 == 6 and buffer[_KIND6] == TCP:
            return self._translate(buffer, now, 6, _ENDS6, _TCP6)
        return Verdict.OTHER

    def _translate(self, buffer: bytearray, now: float, version: int, ends_at: int, tcp_at: int) -> Verdict:
        ends_end = ends_at + (8 if version == 4 else 32)
        ends = bytes(buffer[ends_at:ends_end])
        if ends == _ANSWERS[version]:
            connection = self._by_number.get(buffer[tcp_at + 2] << 8 | buffer[tcp_at + 3])
            if connection is None or connection.answers != ends + buffer[tcp_at : tcp_at + 4]:
                return Verdict.RESET
            way = connection.back
        else:
            key = ends + buffer[tcp_at : tcp_at + 4]
            known = self._by_key.get(key)
            connection = known or self._open(key, version, buffer[tcp_at + 13], now)
            if connection is None:
                return Verdict.RESET
            way = connection.into
        connection.last_used = now
        buffer[ends_at:ends_end] = way.ends
        buffer[tcp_at : tcp_at + 4] = way.ports
        if version == 4:
            _add(buffer, _SUM4, way.address_change)
        if buffer[0] & NEEDS_CHECKSUM:  # the field has the sum of the addresses so far, not complemented
            at = tcp_at + 16
            total = (buffer[at] << 8 | buffer[at + 1]) + way.address_change
            total = (total & _SUM) + (total >> 16)
            buffer[at], buffer[at + 1] = total >> 8, total & 255
        else:
            _add(buffer, tcp_at + 16, way.change)
        return Verdict.WRITE

    def _open(self, key: bytes, version: int, flags: int, now: float) -> _Connection | None:
        """Return a new connection; None for what does not begin one, or may not."""
        half = (len(key) - 4) // 2
        source, target, port = key[:half], key[half : 2 * half], key[-2] << 8 | key[-1]
        if flags & (_SYN | _ACK | _RST) != _SYN or not port or not self._is_carried(target):
            return None
        listener = self._listener_of(source, port)
        if not listener or (len(self._by_key) >= self._most and not self._make_room()):
            return None
        self._number = self._number % MAX_NUMBER + 1
        while self._number in self._by_number:
            self._number = self._number % MAX_NUMBER + 1
        made = _Connection(key, self._number, _NEAR[version], listener, now)
        self._by_key[key] = self._by_number[self._number] = made
        return made

    def _make_room(self) -> bool:
        """Forget what nobody has accepted and was unused for longest."""
        idle = [one for one in self._by_key.values() if not one.is_accepted]
        if not idle:
            return False
        self._forget(min(idle, key=lambda one: one.last_used))
        return True

    def _forget(self, connection: _Connection) -> None:
        del self._by_key[connection.key]
        del self._by_number[connection.number]

    def accept(self, neighbour: str, number: int) -> tuple[str, int] | None:
        """Return (address, port) that an application meant by a connection that our listener accepted.

        It is kept until `release`.

        Args:
            neighbour: the address from which the connection seems to come.
            number: the port from which it seems to come.
        """
        connection = self._by_number.get(number)
        if connection is None or ip_address(neighbour).packed != _source_of(connection.into.ends):
            return None
        connection.is_accepted = True
        half = (len(connection.key) - 4) // 2
        target = ip_address(connection.key[half : 2 * half])
        return str(target), connection.key[-2] << 8 | connection.key[-1]

    def release(self, number: int) -> None:
        """The listener's socket is closed; its last packets still pass."""
        connection = self._by_number.get(number)
        if connection is not None:
            connection.is_accepted = False

    def sweep(self, now: float) -> None:
        """Forget what no socket stands for and nobody has used for `IDLE_S`."""
        late = now - IDLE_S
        for one in list(self._by_key.values()):
            if one.last_used < late and not one.is_accepted:
                self._forget(one)


def _add(buffer: bytearray, at: int, change: int) -> None:
    """Correct a complemented checksum for a change of the sum (RFC 1624)."""
    total = (buffer[at] << 8 | buffer[at + 1]) ^ _SUM
    total += change
    total = (total & _SUM) + (total >> 16)
    total ^= _SUM
    buffer[at], buffer[at + 1] = total >> 8, total & 255
