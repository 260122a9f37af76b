"""What gossip keeps of one neighbour: what it may ask, what it was asked, what it still gets."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from vigilnet.peer.sources import CHECKS_PER_SOURCE_S, Source
from vigilnet.routing.discovery.limits import Bucket

# Our choice; all of them bound what one neighbour costs.
OCTETS_BURST: Final = 512 * 1024.0  # to one neighbour
OCTETS_RATE: Final = 64 * 1024.0
HEARD_BURST: Final = 2 * OCTETS_BURST  # of one neighbour: who keeps to ours never comes near
HEARD_RATE: Final = 2 * OCTETS_RATE
STEPS_BURST: Final = 64.0  # of comparisons that it makes us answer
STEPS_RATE: Final = 2.0
UNASKED_BURST: Final = 32.0  # items that it sends on its own
UNASKED_RATE: Final = 1.0
WINDOW: Final = 64  # items asked for and not yet there
MAX_QUEUE: Final = 8192  # keys still to be asked for
MAX_SERVE: Final = 256  # keys still to be served
MAX_FAULTS: Final = 3
MUTED_S: Final = 3600.0


@dataclass
class Neighbour:
    """One relay that we have a link to."""

    identity: bytes
    source: Source
    is_ours: bool  # we dialled it
    is_partner: bool  # else it is only answered
    sending: Bucket
    hearing: Bucket
    steps: Bucket
    unasked: Bucket
    strangers: Bucket  # identities new to us that we may ask for: each costs a check of its work
    queue: dict[bytes, int] = field(default_factory=dict)  # key to version: to be asked for
    serve: deque[bytes] = field(default_factory=deque)
    asked: int = 0  # items under way to us
    faults: int = 0
    muted_until: float = float("-inf")
    broken: int = 0  # items that it announced and did not deliver, since it last delivered one
    unanswered: int = 0  # comparisons that we began since it last said anything
    octets_sent: int = 0
    octets_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0

    @classmethod
    def at(
        cls, identity: bytes, source: Source, now: float, *, is_ours: bool, is_partner: bool
    ) -> "Neighbour":
        """Return a neighbour whose link has just opened."""
        return cls(
            identity,
            source,
            is_ours,
            is_partner,
            sending=Bucket(OCTETS_BURST, OCTETS_RATE, now),
            hearing=Bucket(HEARD_BURST, HEARD_RATE, now),
            steps=Bucket(STEPS_BURST, STEPS_RATE, now),
            unasked=Bucket(UNASKED_BURST, UNASKED_RATE, now),
            strangers=Bucket(CHECKS_PER_SOURCE_S, CHECKS_PER_SOURCE_S, now),
        )

    def resume(self, before: "Neighbour") -> None:
        """Go on with what it had used up and broken before it left: another link does not wash it off."""
        self.sending, self.hearing = before.sending, before.hearing
        self.steps, self.unasked, self.strangers = before.steps, before.unasked, before.strangers
        self.faults, self.muted_until = before.faults, before.muted_until

    def is_muted(self, now: float) -> bool:
        """Whether nothing that it says is heard now."""
        return now < self.muted_until

    def blame(self, now: float) -> None:
        """It broke the rules; the third time it is not heard for an hour."""
        self.faults += 1
        if self.faults >= MAX_FAULTS:
            self.faults = 0
            self.muted_until = now + MUTED_S
            self.queue.clear()
            self.serve.clear()
