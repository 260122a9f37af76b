"""Books of circuits that died of a bad tag, and what follows for the choice of relays (sans-IO).

Whoever changes a record on its way is found, but not who it was: the hop that reports may lie. So
every hop of the circuit is booked, the reporter too, and little follows. A stricter rule would be a
ratchet towards the guards of whoever lies (docs/spec/circuit.md section 4, rule g).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

# From the specification.
GUARD_CIRCUITS: Final = 200  # a guard is judged over so many at least
GUARD_SHARE: Final = 0.30  # of them, above which it may be left
SECOND_HOPS: Final = 10  # of different families, among those that died
OTHERS_SHARE: Final = 0.05  # below which our other guards must be
LEAVE_EACH_S: Final = 30 * 86_400.0  # at most one guard in so long
RELAY_SHARE: Final = 0.05  # middles and exits above it are not chosen
AVOID_S: Final = 86_400.0

# Our choice.
RELAY_CIRCUITS: Final = 20  # a middle or exit, or an other guard, is judged over so many at least
KEPT_CIRCUITS: Final = 400  # of each relay, the last ones
MAX_RELAYS: Final = 4096  # the one used longest ago is forgotten


@dataclass(slots=True)
class _Account:
    """The last circuits over one relay; True for each that died of a bad tag."""

    circuits: deque[bool] = field(default_factory=lambda: deque(maxlen=KEPT_CIRCUITS))
    second_hops: deque[bytes] = field(default_factory=lambda: deque(maxlen=KEPT_CIRCUITS))  # of the dead
    avoid_until: float = 0.0

    @property
    def share(self) -> float:
        return sum(self.circuits) / len(self.circuits) if self.circuits else 0.0


class BadTagBook:
    """What a client knows of bad tags.

    Args:
        family_of: the marks of a relay's families; empty if it declares none or is not known.
    """

    def __init__(self, family_of: Callable[[bytes], frozenset[bytes]]) -> None:
        self._family_of = family_of
        self._guards: dict[bytes, _Account] = {}
        self._others: dict[bytes, _Account] = {}

    def circuit_ended(self, hops: Sequence[bytes], now: float, *, by_bad_tag: bool) -> None:
        """Book the end of a circuit.

        Args:
            hops: the identities of its relays, guard first.
            now: monotonic seconds.
            by_bad_tag: whether a bad tag ended it, seen by us or reported by whichever hop.
        """
        if len(hops) < 2:  # the only hop is guard and exit: nobody but it can have lied
            return
        guard = _account(self._guards, hops[0])
        guard.circuits.append(by_bad_tag)
        if by_bad_tag:
            guard.second_hops.append(hops[1])
        for identity in hops[1:]:
            account = _account(self._others, identity)
            account.circuits.append(by_bad_tag)
            if by_bad_tag and len(account.circuits) >= RELAY_CIRCUITS and account.share > RELAY_SHARE:
                account.avoid_until = now + AVOID_S

    def avoided(self, now: float) -> frozenset[bytes]:
        """Return the relays that are not to be middles or exits now."""
        return frozenset(identity for identity, account in self._others.items() if account.avoid_until > now)

    def guard_to_leave(self, kept: Sequence[bytes], last_left: float, wall: float) -> bytes | None:
        """Return the guard that the rule allows us to leave, if there is one.

        Args:
            kept: our guards.
            last_left: when the last one was left by this rule, Unix seconds; 0 for never.
            wall: now, Unix seconds.
        """
        if 0 <= wall - last_left < LEAVE_EACH_S:
            return None
        for identity in kept:
            others = [self._guards[other] for other in kept if other != identity and other in self._guards]
            judged = [other for other in others if len(other.circuits) >= RELAY_CIRCUITS]
            if (
                self._is_bad_guard(identity)
                and judged
                and all(other.share < OTHERS_SHARE for other in judged)
            ):
                return identity
        return None

    def _is_bad_guard(self, identity: bytes) -> bool:
        account = self._guards.get(identity)
        if account is None or len(account.circuits) < GUARD_CIRCUITS or account.share <= GUARD_SHARE:
            return False
        return self._families(account.second_hops) >= SECOND_HOPS

    def _families(self, identities: Sequence[bytes]) -> int:
        """How many of some relays have nothing in common with one counted before."""
        seen: set[bytes] = set()
        count = 0
        for identity in dict.fromkeys(identities):
            marks = self._family_of(identity) | {identity}
            if seen.isdisjoint(marks):
                count += 1
            seen |= marks
        return count

    def counts(self, identity: bytes) -> tuple[int, int]:
        """Return over how many circuits a relay is judged, and how many of them died of a bad tag."""
        found = [books[identity].circuits for books in (self._guards, self._others) if identity in books]
        return sum(map(len, found)), sum(map(sum, found))


def _account(books: dict[bytes, _Account], identity: bytes) -> _Account:
    """Return the account of a relay, now the last that is forgotten."""
    account = books.pop(identity, None) or _Account()
    while len(books) >= MAX_RELAYS:
        del books[next(iter(books))]
    books[identity] = account
    return account
