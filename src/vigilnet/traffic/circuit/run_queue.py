"""Runs of one direction of one circuit that wait for the link (hot path).

Bounded in octets, and in how often the length of runs may change: each hop sees the lengths, so
free changes would be a noiseless channel from one end to the other (docs/spec/circuit.md section 4.1).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.traffic.cell import CELL_SIZE
from vigilnet.traffic.link.ports import LinkPort, RunSource
from vigilnet.traffic.stream.flow_control import ChangeBudget

# From the specification.
MAX_QUEUE_OCTETS: Final = 8 * 1024 * 1024


class QueueFullError(VigilnetError):
    """More waits than honest congestion windows allow: the circuit must be destroyed."""

    kind = ErrorKind.REMOTE_PROTOCOL


class QueueBudget:
    """What all queues of a node may hold together.

    Args:
        limit: octets.
        relieve: called when the limit is passed; it must clear queues until it is kept again.
    """

    __slots__ = ("limit", "order", "relieve", "used")

    def __init__(self, limit: int, relieve: Callable[[], None]) -> None:
        self.limit = limit
        self.relieve = relieve
        self.used = 0
        self.order = 0  # of the run pushed last: tells which queue has waited longest


class RunQueue:
    """The waiting runs of one direction; a `RunSource` for the link that they leave by.

    Args:
        port: the link that the runs leave by.
        now: monotonic seconds.
        wake_in: asks the service to call `port.activate(queue)` after so many seconds.
        shared: counts this queue among all others.
    """

    __slots__ = ("_budget", "_frames", "_octets", "_port", "_shared", "_wake_in", "is_closing", "tail")

    def __init__(
        self,
        port: LinkPort,
        now: float,
        wake_in: Callable[["RunQueue", float], None],
        shared: QueueBudget,
    ) -> None:
        self._port = port
        self._wake_in = wake_in
        self._shared = shared
        self._frames: deque[tuple[int, int, memoryview]] = deque()  # order, cells, frame view
        self._octets = 0
        self._budget = ChangeBudget(now)
        self.tail: RunSource | None = None  # asked when nothing waits: the mux of a circuit's end
        self.is_closing = False

    def wake_later(self, delay: float) -> None:
        """Be pulled again after `delay` seconds."""
        self._wake_in(self, delay)

    @property
    def octets(self) -> int:
        """How many octets wait."""
        return self._octets

    @property
    def waiting_since(self) -> int | None:
        """Order of the run that waits longest, as `QueueBudget` counts; None if nothing waits."""
        return self._frames[0][0] if self._frames else None

    @property
    def port(self) -> LinkPort:
        """The link that the runs leave by."""
        return self._port

    def push(self, frame: memoryview, cells: int) -> None:
        """Queue a frame view whose run is complete.

        Raises:
            QueueFullError: the queue has reached its limit.
        """
        if self.is_closing:
            return
        size = CELL_SIZE * cells
        octets = self._octets + size
        if octets > MAX_QUEUE_OCTETS:
            raise QueueFullError(f"circuit queue: {octets} octets, at most {MAX_QUEUE_OCTETS}")
        self._octets = octets
        shared = self._shared
        shared.order = order = shared.order + 1
        shared.used += size
        self._frames.append((order, cells, frame))
        self._port.activate(self)
        if shared.used > shared.limit:
            shared.relieve()

    def push_last(self, frame: memoryview) -> None:
        """Queue a single cell and take nothing after it (DESTROY behind what is on its way)."""
        if not self.is_closing:
            self.is_closing = True
            self.tail = None
            self._frames.append((self._shared.order, 1, frame))
            self._octets += CELL_SIZE
            self._shared.used += CELL_SIZE
            self._port.activate(self)

    def clear(self) -> None:
        """Forget what waits and take nothing more."""
        self.is_closing = True
        self.tail = None
        self._frames.clear()
        self._shared.used -= self._octets
        self._octets = 0

    def pull(self, now: float) -> memoryview | None:
        """Return the next frame view, or None."""
        frames = self._frames
        if frames:
            _, cells, frame = frames[0]
            if cells != self._budget.cells and not self.is_closing:
                delay = self._budget.wait_s(cells, now)
                if delay:
                    self._wake_in(self, delay)
                    return None
                self._budget.take(cells, now)
            frames.popleft()
            size = CELL_SIZE * cells
            self._octets -= size
            self._shared.used -= size
            return frame
        tail = self.tail
        return tail.pull(now) if tail is not None else None
