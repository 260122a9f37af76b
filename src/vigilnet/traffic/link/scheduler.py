"""Which circuit sends next (hot path; docs/spec/link.md section 7; sans-IO).

Control cells first, then sources in the order of what they lately sent, quiet ones first: an
exponentially weighted sum of octets with a half-life of 2 s (after Tor's circuitmux). Instead of
letting every sum decay, what is sent now counts more, so that the order of waiting sources never changes.
"""

import heapq
import math
from collections import deque
from typing import Final

from vigilnet.traffic.link.ports import RunSource

HALF_LIFE_S: Final = 2.0
RUNS_PER_TURN: Final = 4
MAX_CONTROL: Final = 4096  # our choice: 8 MiB of cells that a neighbour does not take
MAX_REMEMBERED: Final = 16_384  # sources whose past sending is known

_REBASE_S: Final = 40.0  # 20 half-lives: weights stay below 2^20, sums far below what a float holds
_NEGLIGIBLE: Final = 2048.0  # less than one cell is forgotten


class Scheduler:
    """The sources of one link that have something to send."""

    __slots__ = ("_base", "_heap", "_order", "_sent", "active", "control")

    def __init__(self, now: float) -> None:
        self._base = now
        self.control: deque[memoryview] = deque()  # to look into, as `active`
        self.active: set[RunSource] = set()  # those in the heap; to look into, changed here only
        self._heap: list[tuple[float, int, RunSource]] = []
        self._order = 0  # among equals, first come first served
        self._sent: dict[RunSource, float] = {}

    @property
    def has_work(self) -> bool:
        """Whether `gather` may return something."""
        return bool(self.control or self._heap)

    def activate(self, source: RunSource) -> bool:
        """Note that `source` has something to send; return whether that is news."""
        if source in self.active:
            return False
        self.active.add(source)
        self._order += 1
        heapq.heappush(self._heap, (self._sent.get(source, 0.0), self._order, source))
        return True

    def add_control(self, frame: memoryview) -> bool:
        """Queue a frame view that goes before every source's; False when `MAX_CONTROL` wait already."""
        if len(self.control) >= MAX_CONTROL:
            return False
        self.control.append(frame)
        return True

    def gather(self, now: float, octets: int, frames: int) -> list[memoryview]:
        """Pull frame views, in sending order, until about `octets` or exactly `frames` are there."""
        out: list[memoryview] = []
        control = self.control
        while control and len(out) < frames:
            out.append(control.popleft())
        if not self._heap:
            return out
        if now - self._base >= _REBASE_S or len(self._sent) > MAX_REMEMBERED:
            self.forget_idle(now)
        weight: float = 2.0 ** ((now - self._base) / HALF_LIFE_S)
        left = octets
        while self._heap and left > 0 and len(out) < frames:
            left -= self._take_turn(out, now, weight, min(RUNS_PER_TURN, frames - len(out)))
        return out

    def _take_turn(self, out: list[memoryview], now: float, weight: float, runs: int) -> int:
        """Let the quietest source give up to `runs` runs; return their octets."""
        used, _, source = heapq.heappop(self._heap)
        pull = source.pull
        octets = 0
        for _ in range(runs):
            frame = pull(now)
            if frame is None:
                self.active.discard(source)
                self._sent[source] = used + octets * weight
                return octets
            octets += len(frame)
            out.append(frame)
        used += octets * weight
        self._sent[source] = used
        self._order += 1
        heapq.heappush(self._heap, (used, self._order, source))
        return octets

    def forget_idle(self, now: float) -> None:
        """Bring all sums to a new base and forget idle sources: the negligible, or all if they are many."""
        least = _NEGLIGIBLE if len(self._sent) <= MAX_REMEMBERED else math.inf
        shrink = 2.0 ** ((self._base - now) / HALF_LIFE_S)
        self._base = now
        self._sent = {
            source: sent * shrink
            for source, sent in self._sent.items()
            if source in self.active or sent * shrink >= least
        }
        self._heap = [(sent * shrink, order, source) for sent, order, source in self._heap]
        heapq.heapify(self._heap)

    def clear(self) -> None:
        """Forget everything: the link is gone."""
        self.control.clear()
        self.active.clear()
        self._heap.clear()
        self._sent.clear()
