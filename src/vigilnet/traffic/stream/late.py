"""What may still come for streams that were closed here a moment ago (sans-IO).

The other end may have sent before it learnt of the close. So much is dropped silently and no more:
cells that are ignored without limit would be a covert channel. docs/spec/circuit.md section 4.2 (f).
"""

from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream.flow_control import CreditReceiver

# From the specification.
MAX_LATE_CREDITS: Final = 4

# Our choice.
# Longer than the network stands still in a tunnel: applications give up streams meanwhile, and what comes
# late for one that is forgotten costs all others their circuit.
CLOSED_MEMORY_S: Final = 120.0
MAX_CLOSED_REMEMBERED: Final = 4096


@dataclass(slots=True)
class LateMessages:
    """What may still come for a stream, flow or look-up that was closed here; by default nothing."""

    at: float
    credit: CreditReceiver | None = None  # DATA within what was granted
    ends: int = 0
    fins: int = 0
    credits: int = 0
    connects: int = 0
    others: dict[int, int] = field(default_factory=dict)  # how many of other message types

    def take(self, kind: int) -> None:
        """Count one late message of a type in `others`."""
        left = self.others.get(kind, 0)
        if not left:
            raise RemoteProtocolError("stream: a message that may not come any more")
        self.others[kind] = left - 1


class ClosedStreams:
    """The streams of one circuit that are over, for two minutes."""

    def __init__(self) -> None:
        self._closed: dict[int, LateMessages] = {}

    def __contains__(self, identifier: int) -> bool:
        return identifier in self._closed

    def __len__(self) -> int:
        return len(self._closed)

    def remember(self, identifier: int, late: LateMessages) -> None:
        """Note what may still come for a stream; forgets those of more than two minutes ago."""
        closed = self._closed
        while closed:
            oldest = next(iter(closed))
            if len(closed) < MAX_CLOSED_REMEMBERED and late.at - closed[oldest].at < CLOSED_MEMORY_S:
                break
            del closed[oldest]
        closed[identifier] = late

    def late(self, identifier: int) -> LateMessages:
        """Return what may still come for a stream.

        Raises:
            RemoteProtocolError: there was no such stream.
        """
        closed = self._closed.get(identifier)
        if closed is None:
            raise RemoteProtocolError("stream: a message for an unknown stream")
        return closed

    def end(self, identifier: int) -> None:
        """END came for a stream that is closed here: nothing more may follow.

        Raises:
            RemoteProtocolError: it came before.
        """
        closed = self.late(identifier)
        if not closed.ends:
            raise RemoteProtocolError("stream: end twice")
        self._closed[identifier] = LateMessages(closed.at)
