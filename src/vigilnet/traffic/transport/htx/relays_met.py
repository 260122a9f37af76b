"""What a client remembers of the relays that it dialled over HTX (docs/spec/htx.md section 9; sans-IO).

not known to the relay --> the origin's clock is read --> tried once more --> a pause of 60 s or more
another issuer, another ALPN than before: a pause of an hour, nothing of ours is sent
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

# From the specification.
LEAST_PAUSE_S: Final = 60.0
# Our choice.
MOST_PAUSE_S: Final = 3600.0
INTERCEPTED_S: Final = 3600.0
CLOCK_AGREES_S: Final = 45.0  # half of what a relay forgives
MAX_RELAYS: Final = 1024

Place = tuple[str, int, bytes]  # host, port, htx key


class Advice(Enum):
    """What to do before a dial."""

    DIAL = "dial"
    READ_CLOCK = "read the origin's clock first"
    WAIT = "wait"


@dataclass
class _Met:
    failures: int = 0  # dials in a row that the relay did not answer
    pause_until: float = 0.0
    intercepted_until: float = 0.0
    offset_s: float = 0.0  # origin's clock minus ours
    alpn: dict[str, bytes] = field(default_factory=dict)  # by template


class RelaysMet:
    """The memory of one node; those not dialled for longest make room."""

    def __init__(self) -> None:
        self._met: OrderedDict[Place, _Met] = OrderedDict()

    def _of(self, place: Place) -> _Met:
        met = self._met.get(place)
        if met is None:
            if len(self._met) >= MAX_RELAYS:
                self._met.popitem(last=False)
            met = self._met[place] = _Met()
        self._met.move_to_end(place)
        return met

    def advice(self, place: Place, now: float) -> Advice:
        """Say whether to dial now."""
        met = self._of(place)
        if now < max(met.pause_until, met.intercepted_until):
            return Advice.WAIT
        return Advice.READ_CLOCK if met.failures else Advice.DIAL

    def offset_s(self, place: Place) -> float:
        """Return what to add to our clock in a stamp for this relay."""
        return self._of(place).offset_s

    def answered(self, place: Place) -> None:
        """The relay knew us."""
        met = self._of(place)
        met.failures, met.pause_until = 0, 0.0

    def did_not_answer(self, place: Place, now: float) -> None:
        """The origin answered in the relay's place."""
        met = self._of(place)
        met.failures += 1
        if met.failures > 1:
            self._pause(met, now)

    def clock_read(self, place: Place, date: float | None, wall: float) -> None:
        """Note what the origin's clock said, None if nothing; small differences are the network's."""
        if date is not None:
            offset = date - wall
            self._of(place).offset_s = offset if abs(offset) > CLOCK_AGREES_S else 0.0

    def intercepted(self, place: Place, now: float) -> None:
        """Somebody is in between."""
        self._of(place).intercepted_until = now + INTERCEPTED_S

    def count_intercepted(self, now: float) -> int:
        """Return how many relays are not dialled for that reason now."""
        return sum(now < met.intercepted_until for met in self._met.values())

    def is_new_alpn(self, place: Place, template: str, alpn: bytes) -> bool:
        """Whether the origin chose another protocol for this template than the first time."""
        return self._of(place).alpn.setdefault(template, alpn) != alpn

    @staticmethod
    def _pause(met: _Met, now: float) -> None:
        met.pause_until = now + min(MOST_PAUSE_S, LEAST_PAUSE_S * 2.0 ** min(met.failures - 2, 16))
