"""What one source that gives many records at once may cost us: in octets read it is bounded, here in checks.

An honest source gives what it has checked: new to us, or known. One that gives thousands of records that are
expired, older than ours or revoked makes us parse and verify for nothing (0.1 to 0.3 ms each): it is left.
"""

from enum import Enum
from typing import Final

from vigilnet.peer.view import Outcome, Verdict

# Our choice.
MAX_FAULTS: Final = 3
MAX_USELESS: Final = 512  # neither new nor known; a clock that is wrong makes all so
SLICE: Final = 32.0  # checks at once: some 8 ms
KNOWN_COST: Final = 1 / 16  # a digest, looked up
PAUSE_S: Final = 0.04  # between two slices: a fifth of a core at most


class Course(Enum):
    """What to do after a record was judged."""

    ON = "the next"
    PAUSE = "the next, once others had their turn"
    LATER = "the same again, once work may be checked"
    LEAVE = "no more from this source"


class Offering:
    """Counts what one source's records came to, from its first to its last."""

    def __init__(self) -> None:
        self._faults = 0
        self._useless = 0
        self._spent = 0.0
        self.taken = 0

    def judged(self, verdict: Verdict) -> Course:
        """Return how to go on after a verdict."""
        outcome = verdict.outcome
        if outcome is Outcome.LATER:
            self._spent = 0.0  # whoever waits for that has paused
            return Course.LATER
        self.taken += verdict.is_accepted
        self._faults += verdict.is_fault
        self._useless += outcome not in (Outcome.ACCEPTED, Outcome.KNOWN, Outcome.OWN)
        if outcome is Outcome.MUTED or self._faults >= MAX_FAULTS or self._useless > MAX_USELESS:
            return Course.LEAVE
        self._spent += KNOWN_COST if outcome is Outcome.KNOWN else 1.0
        if self._spent < SLICE:
            return Course.ON
        self._spent = 0.0
        return Course.PAUSE
