"""The congestion window of a circuit, after TOR_VEGAS (docs/spec/circuit.md section 6; hot path).

Tor proposal 324 section 3.3 in cells of 2 KiB: the delay of SENDMEs tells how many of our cells lie
in queues along the path; the window is steered so that a few do, never many. Integers only.
"""

from dataclasses import dataclass
from typing import Final

_RTT_JUMP: Final = 5000


@dataclass(frozen=True, slots=True)
class CongestionParameters:
    """What steers the window; cells of 2 KiB unless named otherwise."""

    increment: int = 28  # per SENDME, and the step of the window
    start: int = 56
    minimum: int = 28
    maximum: int = 3584
    alpha: int = 56  # queue below: grow
    beta: int = 84  # queue above: shrink by one step
    gamma: int = 56  # queue above: slow start ends
    delta: int = 112  # queue above: shrink to the measured path
    slow_start_cap: int = 224  # beyond, slow start slows down (RFC 3742)
    slow_start_max: int = 2048  # beyond, slow start ends whatever the delay
    full_gap: int = 28  # the window counts as full this close to it
    full_min_percent: int = 25  # and as not full again when less is in flight
    ewma_max: int = 10  # round trips averaged, at most
    ewma_slow_start: int = 2
    tolerated_queue_ns: int = 2_500_000  # a queue that drains within this time counts as empty,
    tolerated_queue_max_ns: int = 10_000_000  # or within the path's own round trip, up to this


class Vegas:
    """One sender's window towards one hop.

    Call `acknowledged` for each SENDME. Send while fewer than `window` cells are in flight; a run of 7
    may overshoot by 6, since held back it could wait for a SENDME that never comes.
    """

    __slots__ = (
        "_full", "_in_slow_start", "_parameters", "_until_update", "min_rtt_ns", "rtt_ns", "window",
    )  # fmt: skip

    def __init__(self, parameters: CongestionParameters | None = None) -> None:
        self._parameters = parameters or CongestionParameters()
        self.window = self._parameters.start
        self.rtt_ns = 0  # 0: not measured yet
        self.min_rtt_ns = 0
        self._in_slow_start = True
        self._full = False
        self._until_update = 0

    @property
    def is_in_slow_start(self) -> bool:
        """Whether the window still grows with every SENDME."""
        return self._in_slow_start

    @property
    def path_cells(self) -> int:
        """The bandwidth-delay product: cells that are on their way without lying in a queue."""
        return self.window * self.min_rtt_ns // self.rtt_ns if self.rtt_ns else self.window

    def acknowledged(self, rtt_ns: int, in_flight: int) -> None:
        """Take one SENDME.

        A blocked link of our own needs no rule: a record is sealed and counted when the link takes it,
        so what waits for the link is not in flight, and a window that is not full does not grow.

        Args:
            rtt_ns: from sending the record that crossed to this SENDME.
            in_flight: cells sent and not acknowledged just before this SENDME.
        """
        if self._until_update:
            self._until_update -= 1
        if in_flight + self._parameters.full_gap >= self.window:
            self._full = True
        elif in_flight * 100 < self.window * self._parameters.full_min_percent:
            self._full = False
        if not self._measure(rtt_ns):
            return
        queue = self._queue()
        if self._in_slow_start:
            self._slow_start(queue)
        elif not self._until_update:
            self._steer(queue)

    def _measure(self, rtt_ns: int) -> bool:
        mean = self.rtt_ns
        if rtt_ns <= 0 or (mean and (rtt_ns > mean * _RTT_JUMP or rtt_ns * _RTT_JUMP < mean)):
            return False  # the clock stood still or jumped
        if not mean:
            self.rtt_ns = self.min_rtt_ns = rtt_ns
            return True
        rules = self._parameters
        if self._in_slow_start:
            count = rules.ewma_slow_start
        else:
            count = min(max(self.window // rules.increment // 2, 2), rules.ewma_max)
        self.rtt_ns = max(1, (2 * rtt_ns + (count - 1) * mean) // (count + 1))
        if rtt_ns < self.min_rtt_ns:
            self.min_rtt_ns = rtt_ns
        elif self.window == rules.minimum and not self._in_slow_start:
            # Held at the floor, the old minimum would keep us there for ever after a change of path.
            self.min_rtt_ns = self.rtt_ns
        return True

    def _queue(self) -> int:
        window = self.window
        queue = window - window * self.min_rtt_ns // self.rtt_ns
        rules = self._parameters
        tolerated_ns = max(rules.tolerated_queue_ns, min(self.min_rtt_ns, rules.tolerated_queue_max_ns))
        tolerated = window * tolerated_ns // self.rtt_ns
        return queue - tolerated if queue > tolerated else 0

    def _slow_start(self, queue: int) -> None:
        rules = self._parameters
        if queue >= rules.gamma:
            self._in_slow_start = False
            self._set_window(self.path_cells + rules.gamma)
        elif self._full:
            step = self._slow_start_step()
            # Once slow start is no faster than steady growth it has done its work.
            is_slow = step * (self.window // rules.increment) <= rules.increment
            self._in_slow_start = not is_slow and self.window + step < rules.slow_start_max
            self._set_window(min(self.window + step, rules.slow_start_max))
        if not self._in_slow_start:
            self._until_update = self.window // rules.increment

    def _slow_start_step(self) -> int:
        rules = self._parameters
        if self.window <= rules.slow_start_cap:
            return rules.increment
        return max(1, rules.increment * rules.slow_start_cap // (2 * self.window))

    def _steer(self, queue: int) -> None:
        rules = self._parameters
        if queue > rules.delta:
            self._set_window(self.path_cells + rules.delta - rules.increment)
        elif queue > rules.beta:
            self._set_window(self.window - rules.increment)
        elif queue < rules.alpha and self._full:
            self._set_window(self.window + rules.increment)
        self._full = False
        self._until_update = self.window // rules.increment

    def _set_window(self, cells: int) -> None:
        self.window = min(max(cells, self._parameters.minimum), self._parameters.maximum)
