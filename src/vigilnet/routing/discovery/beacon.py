"""The LAN beacon: relays show their records to the neighbourhood, where mDNS is blocked (sans-IO).

    datagram = "VNB1" ‖ u8 kind ‖ body          UDP, port 4747, to 239.255.86.78 and ff02::564e, TTL 1
    1 ASK    empty: whoever is a relay, tell
    2 TELL   a peer record, 1 to 1024 octets

Answers go to the group, never to whoever asked: nobody can have others sent something
(docs/spec/discovery.md section 8).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE
from vigilnet.routing.discovery.limits import Bucket

MARK: Final = b"VNB1"
HEAD_SIZE: Final = 5
MAX_DATAGRAM: Final = HEAD_SIZE + MAX_RECORD_SIZE

# Our choice.
FIRST_S: Final = (0.0, 1.0, 3.0)  # after the start: asks of a client, tells of a relay
TELL_S: Final = 30.0
ASK_S: Final = 60.0  # while no relay is known
ANSWER_LEAST_S: Final = 2.0  # between two tells
ANSWER_SPREAD_S: Final = 0.5  # so that not all answer at once
HOST_BURST: Final = 8.0
HOST_RATE: Final = 1.0
ALL_BURST: Final = 64.0
ALL_RATE: Final = 16.0
MAX_HOSTS: Final = 256


class Kind(IntEnum):
    """What a datagram is."""

    ASK = 1
    TELL = 2


@dataclass(frozen=True)
class Datagram:
    """One datagram of the beacon."""

    kind: Kind
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the octets."""
        if len(self.body) > MAX_RECORD_SIZE or bool(self.body) != (self.kind is Kind.TELL):
            raise LocalProtocolError(f"beacon {self.kind.name}: {len(self.body)} octets")
        return MARK + bytes((self.kind,)) + self.body


def decode_datagram(octets: bytes) -> Datagram:
    """Parse a datagram.

    Raises:
        RemoteProtocolError: not one of the beacon's.
    """
    if not HEAD_SIZE <= len(octets) <= MAX_DATAGRAM or octets[:4] != MARK:
        raise RemoteProtocolError(f"beacon: {len(octets)} octets that are none of the beacon's")
    if octets[4] == Kind.ASK and len(octets) == HEAD_SIZE:
        return Datagram(Kind.ASK)
    if octets[4] == Kind.TELL and len(octets) > HEAD_SIZE:
        return Datagram(Kind.TELL, octets[HEAD_SIZE:])
    raise RemoteProtocolError(f"beacon: kind {octets[4]} with {len(octets) - HEAD_SIZE} octets")


class Beacon:
    """One node's part: a relay tells, a client asks until it knows a relay.

    Args:
        own: gives our own encoded record, b"" on a client or while there is none.
        needs_peers: whether we look for relays.
        random_bytes: chance.
        now: monotonic seconds.
    """

    def __init__(
        self,
        own: Callable[[], bytes],
        needs_peers: Callable[[], bool],
        random_bytes: Callable[[int], bytes],
        now: float,
    ) -> None:
        self._own = own
        self._needs_peers = needs_peers
        self._random_bytes = random_bytes
        self._first = list(FIRST_S)
        self._due = now + self._first.pop(0)
        self._told_at = float("-inf")
        self._hosts: dict[str, Bucket] = {}
        self._all = Bucket(ALL_BURST, ALL_RATE, now)

    def receive(self, octets: bytes, host: str, now: float) -> bytes | None:
        """Take a datagram from `host`; return the record in it, if the host's share allows."""
        if not self._is_allowed(host, now):
            return None
        try:
            datagram = decode_datagram(octets)
        except RemoteProtocolError:
            return None
        if datagram.kind is Kind.TELL:
            return datagram.body
        if self._own():
            chance = int.from_bytes(self._random_bytes(2), "big") / 65536 * ANSWER_SPREAD_S
            self._due = min(self._due, max(now, self._told_at + ANSWER_LEAST_S) + chance)
        return None

    def _is_allowed(self, host: str, now: float) -> bool:
        bucket = self._hosts.pop(host, None) or Bucket(HOST_BURST, HOST_RATE, now)
        while len(self._hosts) >= MAX_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        self._hosts[host] = bucket
        return bucket.take(1, now) and self._all.take(1, now)

    def own_changed(self, now: float) -> None:
        """Our record is new: tell it."""
        self._due = min(self._due, max(now, self._told_at + ANSWER_LEAST_S))

    def deadline(self) -> float:
        """When `on_deadline` wants to be called."""
        return self._due

    def on_deadline(self, now: float) -> bytes | None:
        """Return what is to be sent to the group now, if anything."""
        if now < self._due:
            return None
        own = self._own()
        pause = TELL_S if own else ASK_S
        self._due = now + (self._first.pop(0) if self._first else pause)
        if own:
            self._told_at = now
            return Datagram(Kind.TELL, own).encode()
        return Datagram(Kind.ASK).encode() if self._needs_peers() else None
