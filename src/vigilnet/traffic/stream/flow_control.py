"""How much may be sent: acknowledged cells, credit in octets, run lengths (hot path; circuit.md section 6).

All of it runs once per record and is plain integers: no allocation, no clock, no IO. `now` is
monotonic seconds. The congestion window itself is in `congestion`.
"""

from collections import deque
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import is_equal

# From the specification.
SENDME_CELLS: Final = 28
STREAM_CREDIT: Final = 64 * 1024
MAX_STREAM_CREDIT: Final = 4 * 1024 * 1024
CIRCUIT_CREDIT: Final = 8 * 1024 * 1024
CHANGE_BURST: Final = 4
CHANGES_PER_SECOND: Final = 1.0
CLIENT_TOLERANCE: Final = 4  # a client closes only beyond this many times the change budget
QUIET_S: Final = 0.2
BULK: Final = 7

# Our choice.
# A reader that empties half of its window this fast gets more whatever the round trip: on slow paths the one
# we know (of a cell, without load) is far below that of runs under load, and windows that never grew cost a
# quarter of the throughput (simulated: 72 % of the line at 1.25 MB/s and 5 ms, 99 % with this).
READ_FAST_S: Final = 1.0

_COUNT_MASK: Final = 0xFFFF_FFFF
_NEVER: Final = float("inf")


class SendmeLedger:
    """The sender's books: which records crossed a multiple of 28 cells and must be acknowledged.

    For every record that counts (see `wire.COUNTED`) call `sent`; when it says so, call `crossed`
    with that record's tag. The FIFO is bounded by the congestion window.
    """

    __slots__ = ("_acknowledged", "_crossings", "_until_crossing", "in_flight", "increment", "total")

    def __init__(self, increment: int = SENDME_CELLS) -> None:
        self.increment = increment
        self.total = 0
        self.in_flight = 0  # cells sent that no SENDME has covered yet
        self._acknowledged = 0
        self._until_crossing = increment
        self._crossings: deque[tuple[int, bytes, float]] = deque()

    def sent(self, cells: int) -> bool:
        """Count one record of `cells` cells; return whether it crossed a multiple."""
        self.total += cells
        self.in_flight += cells
        left = self._until_crossing - cells
        if left > 0:
            self._until_crossing = left
            return False
        self._until_crossing = left + self.increment
        return True

    def crossed(self, tag: bytes, now: float) -> None:
        """Remember the record that crossed: the last 16 octets of what that hop's layer saw."""
        self._crossings.append((self.total & _COUNT_MASK, tag, now))

    def acknowledge(self, count: int, tag: bytes, now: float) -> tuple[int, int, int]:
        """Check a SENDME: it covers the crossing that it names and all before it.

        Returns:
            How many cells it newly covers, the round trip of the crossing that it names in
            nanoseconds, and how many crossings it covers.

        Raises:
            RemoteProtocolError: early, repeated or forged.
        """
        named = next((item for item in enumerate(self._crossings, 1) if item[1][0] == count), None)
        if named is None:
            raise RemoteProtocolError("sendme: nothing of that count to acknowledge")
        passed, (_, crossed_tag, sent_at) = named
        if not is_equal(tag, crossed_tag):
            raise RemoteProtocolError("sendme: does not match the record that crossed")
        for _ in range(passed):
            self._crossings.popleft()
        covered = (count - self._acknowledged) & _COUNT_MASK
        self._acknowledged = count
        self.in_flight -= covered
        return covered, int((now - sent_at) * 1e9), passed


class SendmeCounter:
    """The receiver's side: tells when a SENDME is due.

    For every record that counts call `received`; when it says so, a SENDME with `count` and the tag
    of that record is owed. One that follows soon may stand for both. At a rendezvous relay "received"
    means passed on.
    """

    __slots__ = ("_until_crossing", "increment", "total")

    def __init__(self, increment: int = SENDME_CELLS) -> None:
        self.increment = increment
        self.total = 0
        self._until_crossing = increment

    @property
    def count(self) -> int:
        """What SENDME carries: cells received so far, modulo 2^32."""
        return self.total & _COUNT_MASK

    def received(self, cells: int) -> bool:
        """Count one record of `cells` cells; return whether a SENDME is due."""
        self.total += cells
        left = self._until_crossing - cells
        if left > 0:
            self._until_crossing = left
            return False
        self._until_crossing = left + self.increment
        return True


class CreditSender:
    """How far the other end lets us send, in octets since the start of a stream or circuit."""

    __slots__ = ("limit", "offset")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.offset = 0

    @property
    def room(self) -> int:
        """Octets that may be sent now."""
        return self.limit - self.offset

    def sent(self, octets: int) -> None:
        """Count octets sent; never more than `room`."""
        self.offset += octets
        if self.offset > self.limit:
            raise LocalProtocolError(f"credit: {self.offset} octets sent, {self.limit} allowed")

    def credited(self, limit: int) -> None:
        """Take a CREDIT.

        Raises:
            RemoteProtocolError: it does not grow.
        """
        if limit <= self.limit:
            raise RemoteProtocolError(f"credit: {limit} does not exceed {self.limit}")
        self.limit = limit


class CreditReceiver:
    """How far we let the other end send; grows as the reader takes octets.

    The window starts at `window` and doubles up to `max_window` when the reader empties half of it
    within two round trips, so that memory goes only to streams that are read fast.
    """

    __slots__ = ("_granted_at", "consumed_offset", "limit", "max_window", "offset", "window")

    def __init__(self, now: float, window: int = STREAM_CREDIT, max_window: int = MAX_STREAM_CREDIT) -> None:
        self.window = window
        self.max_window = max_window
        self.limit = window
        self.offset = 0
        self.consumed_offset = 0
        self._granted_at = now

    @property
    def unread(self) -> int:
        """Octets received that the reader has not taken: what this stream holds in memory."""
        return self.offset - self.consumed_offset

    def received(self, octets: int) -> None:
        """Count octets received.

        Raises:
            RemoteProtocolError: more than was allowed.
        """
        self.offset += octets
        if self.offset > self.limit:
            raise RemoteProtocolError(f"credit: {self.offset} octets received, {self.limit} allowed")

    def consumed(self, octets: int, now: float, round_trip_s: float, spare: int = MAX_STREAM_CREDIT) -> int:
        """Count octets that the reader took; return the offset to send as CREDIT, or 0 for none yet.

        The window grows by `spare` octets at the most: what other streams leave of the circuit's memory.
        """
        taken = self.consumed_offset + octets
        if taken > self.offset:
            raise LocalProtocolError(f"credit: {taken} octets read, {self.offset} received")
        self.consumed_offset = taken
        window = self.window
        if self.limit - taken > window >> 1:
            return 0
        if window < self.max_window and now - self._granted_at < max(2 * round_trip_s, READ_FAST_S):
            self.window = window = min(2 * window, self.max_window, window + max(0, spare))
        self._granted_at = now
        self.limit = taken + window
        return self.limit


class ChangeBudget:
    """How often the run length may change on one circuit and direction: `burst`, refilled at `rate` a second.

    Each hop sees run lengths from end to end, so their changes are a channel and are rationed. A
    relay delays a record (and those behind it) while `wait_s` is positive; a client that receives
    takes `CLIENT_TOLERANCE` times the budget, since queues bunch, and closes beyond.
    """

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens", "cells")

    def __init__(self, now: float, tolerance: int = 1) -> None:
        self.cells = 1
        self._burst = float(CHANGE_BURST * tolerance)
        self._rate = CHANGES_PER_SECOND * tolerance
        self._tokens = self._burst
        self._filled_at = now

    def wait_s(self, cells: int, now: float) -> float:
        """How long a run of `cells` cells must still wait; 0.0 if it may go now. Changes nothing."""
        if cells == self.cells:
            return 0.0
        tokens = self._tokens + (now - self._filled_at) * self._rate
        # Compared as a share of a token, not as a time: a caller that waits just this long must not find
        # itself a rounding error short.
        return 0.0 if tokens >= 0.999_999 else (1.0 - tokens) / self._rate

    def take(self, cells: int, now: float) -> bool:
        """Note that a run of `cells` cells goes now; return False, noting nothing, if it may not."""
        if cells == self.cells:
            return True
        tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        if tokens < 0.999_999:
            return False
        self._filled_at = now
        self._tokens = max(0.0, tokens - 1.0)
        self.cells = cells
        return True


class RunLengthGovernor:
    """Picks the run length, 1 or 7 cells, of what one end of a circuit sends.

    Goes to 7 when at least 7 cells wait and stays there, padding short runs, until the queue was
    empty for 200 ms; within the change budget. Call `choose` for every record and `emptied` when the
    queue has run empty.
    """

    __slots__ = ("_budget", "_empty_since", "cells")

    def __init__(self, now: float) -> None:
        self.cells = 1
        self._budget = ChangeBudget(now)
        self._empty_since = _NEVER

    def emptied(self, now: float) -> None:
        """Nothing waits any more."""
        if now < self._empty_since:
            self._empty_since = now

    def choose(self, waiting_cells: int, now: float) -> int:
        """Return how many cells the next record takes, when `waiting_cells` cells' worth waits."""
        if self.cells == BULK:
            if waiting_cells < BULK and now - self._empty_since >= QUIET_S and self._budget.take(1, now):
                self.cells = 1
            self._empty_since = _NEVER
        elif waiting_cells >= BULK and self._budget.take(BULK, now):
            self.cells = BULK
        return self.cells
