"""The one in the middle: introduces relays that nobody can dial to those who look for them (sans-IO).

It passes on questions and answers, never traffic. A relay says itself whom it lets introduce it: it dials
us and asks (HOLD), and its record names us. Limits: docs/spec/discovery.md section 11.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.address import prefix_of
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.calls import CallShares
from vigilnet.routing.discovery.introduction import (
    NONCE_SIZE,
    Answer,
    AnswerStatus,
    Call,
    Endpoint,
    Frame,
    Held,
    HeldStatus,
    Hold,
    Introduce,
)
from vigilnet.routing.discovery.limits import Bucket

MAX_HELD: Final = 256
MAX_HELD_PER_PREFIX: Final = 16
MAX_PENDING: Final = 256
PENDING_S: Final = 10.0
ASKED_BURST, ASKED_RATE = 8.0, 1.0  # by one neighbour


class Neighbours(Protocol):
    """What the introducer asks about neighbours with an open link."""

    def endpoint_of(self, identity: bytes) -> Endpoint:
        """Where a neighbour is seen; its port only if it dialled us without cover."""
        ...

    def record_of(self, identity: bytes) -> PeerRecord | None:
        """The current record of a neighbour; None if it is not linked."""
        ...


@dataclass(frozen=True)
class _Pending:
    asker: bytes
    nonce: bytes
    relay: bytes
    until: float


class Introducer:
    """Holds relays and passes calls on; what `receive` returns is to be sent.

    Args:
        neighbours: who is linked.
        random_bytes: for nonces of our own.
        has_prefix_limits: off in labs and LANs, where all share one prefix.
    """

    def __init__(
        self, neighbours: Neighbours, random_bytes: Callable[[int], bytes], *, has_prefix_limits: bool
    ) -> None:
        self._neighbours = neighbours
        self._random_bytes = random_bytes
        self._has_prefix_limits = has_prefix_limits
        self._held: dict[bytes, str] = {}  # by identity, its prefix
        self._shares = CallShares(has_prefix_limits=has_prefix_limits)
        self._askers: dict[bytes, Bucket] = {}
        self._pending: dict[bytes, _Pending] = {}
        self.introduced = 0

    @property
    def held(self) -> int:
        """How many relays are held."""
        return len(self._held)

    def left(self, identity: bytes) -> None:
        """The link to a neighbour is gone."""
        self._held.pop(identity, None)
        self._shares.drop(identity)
        self._askers.pop(identity, None)

    def receive(self, neighbour: bytes, frame: Frame, now: float) -> list[tuple[bytes, Frame]]:
        """Take a frame of a neighbour's; return what to send to whom.

        Raises:
            RemoteProtocolError: it is not for an introducer.
        """
        match frame:
            case Hold():
                return [(neighbour, self._hold(neighbour, now))]
            case Introduce():
                return [self._introduce(neighbour, frame, now)]
            case Answer():
                return self._answered(neighbour, frame, now)
            case _:
                raise RemoteProtocolError("introduction: not for an introducer")

    def _hold(self, neighbour: bytes, now: float) -> Held:
        endpoint = self._neighbours.endpoint_of(neighbour)
        if neighbour in self._held:
            return Held(HeldStatus.HELD, endpoint)
        prefix = prefix_of(endpoint.host)
        same = sum(held == prefix for held in self._held.values())
        if len(self._held) >= MAX_HELD or (self._has_prefix_limits and same >= MAX_HELD_PER_PREFIX):
            return Held(HeldStatus.FULL)
        self._held[neighbour] = prefix
        self._shares.add(neighbour, now)
        return Held(HeldStatus.HELD, endpoint)

    def _introduce(self, asker: bytes, frame: Introduce, now: float) -> tuple[bytes, Frame]:
        self._pending = {nonce: one for nonce, one in self._pending.items() if one.until > now}
        bucket = self._askers.setdefault(asker, Bucket(ASKED_BURST, ASKED_RATE, now))
        if not bucket.take(1, now) or len(self._pending) >= MAX_PENDING:
            return asker, Answer(frame.nonce, AnswerStatus.LIMIT)
        shown, seen = self._neighbours.record_of(asker), self._neighbours.endpoint_of(asker)
        if frame.identity not in self._held or shown is None or asker == frame.identity:
            return asker, Answer(frame.nonce, AnswerStatus.NOT_HERE)
        if not self._shares.take(frame.identity, asker, seen.host, now):
            return asker, Answer(frame.nonce, AnswerStatus.LIMIT)
        nonce = self._random_bytes(NONCE_SIZE)
        self._pending[nonce] = _Pending(asker, frame.nonce, frame.identity, now + PENDING_S)
        self.introduced += 1
        return frame.identity, Call(nonce, shown.encoded, seen, frame.flags)

    def _answered(self, relay: bytes, frame: Answer, now: float) -> list[tuple[bytes, Frame]]:
        pending = self._pending.get(frame.nonce)
        if pending is None or pending.relay != relay or pending.until <= now:
            return []  # too late, or made up
        del self._pending[frame.nonce]
        endpoint = Endpoint()
        if frame.status is AnswerStatus.PUNCHING:  # as we see the relay, whatever it says of itself
            endpoint = self._neighbours.endpoint_of(relay)
        return [(pending.asker, Answer(pending.nonce, frame.status, endpoint))]
