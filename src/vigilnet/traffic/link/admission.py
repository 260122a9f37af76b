"""What a responder does about floods: cookies, puzzles, caps (docs/spec/link.md section 4; sans-IO).

One object serves all handshakes that a node answers. It remembers a bounded number of unfinished
handshakes and used ephemeral keys, and nothing about whom it answered with a cookie.
"""

import struct
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.kdf import hmac_sha256, is_equal
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.peer.address import prefix_of
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.puzzle import is_solved, puzzle_target
from vigilnet.traffic.link.wire import (
    COOKIE_SIZE,
    MAX_EFFORT,
    SEED_HEAD_SIZE,
    SEED_SIZE,
    Hello,
    PuzzleKind,
    Retry,
)
from vigilnet.traffic.transport.carrier import CarrierKind

# From the specification.
SECRET_LIFE_S: Final = 120.0
MAX_USED: Final = 65_536  # ephemeral keys remembered, in two generations

# Our choice.
FIRST_EFFORT: Final = 256  # about 0.2 ms of a client's time
EFFORT_STEP_S: Final = 1.0
PROVEN_GRACE_S: Final = 2.0  # an honest handshake is through by then

_COOKIE_HEAD: Final = struct.Struct(">II")


@dataclass(eq=False)
class Ticket:
    """One unfinished handshake's place; give it back by `Admission.leave`."""

    prefix: bytes
    since: float
    evict: Callable[[], None]  # closes the handshake without a word
    has_proven: bool = False  # showed a good cookie (and solution): is not evicted for newcomers


@dataclass
class _Generation:
    """What one secret's life leaves behind; two are kept."""

    secret: bytes
    seed: bytes
    since: float
    used: set[bytes] = field(default_factory=set)


class Admission:
    """Decides which handshakes are answered, and what they must show first.

    Args:
        options: the limits.
        responder: our identity, 32 octets.
        network: the private network's name.
        random_bytes: source of secrets.
        now: monotonic seconds.
    """

    def __init__(
        self,
        options: Options,
        responder: bytes,
        network: str,
        random_bytes: Callable[[int], bytes],
        now: float,
    ) -> None:
        self._options = options
        self._responder = responder
        self._network = network
        self._random_bytes = random_bytes
        self._label = label_octets(Label.COOKIE, network)
        self._unfinished: dict[Ticket, None] = {}  # oldest first
        self._by_prefix: Counter[bytes] = Counter()
        self._recent: deque[float] = deque()  # starts of the last second, as many as decide
        self._effort = 0
        self._effort_at = now
        self._current = self._new_generation(now)
        self._previous = self._new_generation(now)

    @property
    def unfinished(self) -> int:
        """How many handshakes are under way."""
        return len(self._unfinished)

    @property
    def effort(self) -> int:
        """The effort asked of newcomers at present; 0 is a cookie alone."""
        return self._effort

    def enter(self, host: str, now: float, evict: Callable[[], None]) -> Ticket | None:
        """Give a new handshake a place, another's if it must be; None when there is none to give.

        When all places are taken, an unproven handshake is evicted, or else a proven one that has
        had `PROVEN_GRACE_S`: of the prefix that holds most places, the oldest. Whoever floods pays first.
        """
        self._recent.append(now)
        if len(self._recent) > self._options.cookie_above_rate:
            self._recent.popleft()
        self._steer_effort(now)
        if len(self._unfinished) >= self._options.max_unfinished and not self._evict_one(now):
            return None
        ticket = Ticket(prefix_of(host).encode(), now, evict)
        self._unfinished[ticket] = None
        self._by_prefix[ticket.prefix] += 1
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Take a place back: the handshake finished or failed; safe to call twice."""
        if ticket in self._unfinished:
            del self._unfinished[ticket]
            self._by_prefix[ticket.prefix] -= 1
            if not self._by_prefix[ticket.prefix]:
                del self._by_prefix[ticket.prefix]

    def _evict_one(self, now: float) -> bool:
        candidates = [ticket for ticket in self._unfinished if not ticket.has_proven]
        if not candidates:
            candidates = [ticket for ticket in self._unfinished if now - ticket.since >= PROVEN_GRACE_S]
        if not candidates:
            return False
        victim = max(candidates, key=lambda ticket: self._by_prefix[ticket.prefix])  # the first, so oldest
        self.leave(victim)
        victim.evict()
        return True

    def is_loaded(self, now: float) -> bool:
        """Whether newcomers must show a cookie."""
        options = self._options
        return len(self._unfinished) > options.cookie_above_unfinished or (
            len(self._recent) >= options.cookie_above_rate and now - self._recent[0] < 1.0
        )

    def _steer_effort(self, now: float) -> None:
        """Raise the effort each second while even proven handshakes fill half the places; else lower it."""
        if now - self._effort_at < EFFORT_STEP_S:
            return
        self._effort_at = now
        proven = sum(ticket.has_proven for ticket in self._unfinished)
        if proven > self._options.max_unfinished // 2:
            self._effort = min(MAX_EFFORT, max(FIRST_EFFORT, 2 * self._effort))
        else:
            lower = self._effort * 2 // 3
            self._effort = lower if lower >= FIRST_EFFORT else 0

    def judge(self, ticket: Ticket, hello: Hello, e: bytes, carrier: CarrierKind, now: float) -> Retry | None:
        """Say whether message 1 may be answered: None, or the RETRY to send instead.

        Args:
            ticket: the handshake's place.
            hello: as received.
            e: the first 32 octets of message 1.
            carrier: what carries the handshake.
            now: monotonic seconds.

        Raises:
            RemoteProtocolError: a wrong solution, or an ephemeral key that was used before.
        """
        if not self.is_loaded(now):
            return None
        self._renew(now)
        effort = self._effort_of(hello.cookie, ticket.prefix, carrier)
        if effort is None:
            return self._retry(ticket.prefix, carrier, now)
        if effort and not self._check_solution(hello, e, effort):
            return self._retry(ticket.prefix, carrier, now)
        self._remember(e, now)
        ticket.has_proven = True
        return None

    def _check_solution(self, hello: Hello, e: bytes, effort: int) -> bool:
        """Whether the solution is of a known seed; raises when it is, and wrong."""
        head, nonce = hello.solution[:SEED_HEAD_SIZE], hello.solution[SEED_HEAD_SIZE:]
        for generation in (self._current, self._previous):
            if head == generation.seed[:SEED_HEAD_SIZE]:
                target = puzzle_target(self._responder, hello.cookie, e, self._network)
                if not is_solved(target, generation.seed, nonce, effort):
                    raise RemoteProtocolError("link puzzle: not solved")
                return True
        return False

    def _remember(self, e: bytes, now: float) -> None:
        if e in self._current.used or e in self._previous.used:
            raise RemoteProtocolError("link handshake: ephemeral key used before")
        self._current.used.add(e)
        if len(self._current.used) >= MAX_USED // 2:
            self._turn_over(now)

    def _retry(self, prefix: bytes, carrier: CarrierKind, now: float) -> Retry:
        effort = self._effort
        head = _COOKIE_HEAD.pack(int(now) & 0xFFFF_FFFF, effort)
        cookie = head + self._cookie_mac(self._current.secret, head, prefix, carrier)
        kind = PuzzleKind.SHA256 if effort else PuzzleKind.NONE
        return Retry(kind, effort, self._current.seed, cookie)

    def _effort_of(self, cookie: bytes, prefix: bytes, carrier: CarrierKind) -> int | None:
        """Return the effort a cookie of ours asked for, None if it is not ours, not theirs or too old."""
        head, mac = cookie[: _COOKIE_HEAD.size], cookie[_COOKIE_HEAD.size :]
        for generation in (self._current, self._previous):
            if is_equal(mac, self._cookie_mac(generation.secret, head, prefix, carrier)):
                effort: int = _COOKIE_HEAD.unpack(head)[1]
                return effort
        return None

    def _cookie_mac(self, secret: bytes, head: bytes, prefix: bytes, carrier: CarrierKind) -> bytes:
        size = COOKIE_SIZE - _COOKIE_HEAD.size
        return hmac_sha256(secret, self._label, head, prefix, bytes((carrier,)))[:size]

    def _renew(self, now: float) -> None:
        """Turn over what is too old; used keys live as long as a cookie that could bring them back."""
        age = now - self._current.since
        if age >= 2 * SECRET_LIFE_S:  # nobody came for so long that both are too old
            self._turn_over(now)
        if age >= SECRET_LIFE_S:
            self._turn_over(now)

    def _turn_over(self, now: float) -> None:
        self._previous, self._current = self._current, self._new_generation(now)

    def _new_generation(self, now: float) -> _Generation:
        return _Generation(self._random_bytes(32), self._random_bytes(SEED_SIZE), now)
