"""Streams and flows on their way to be opened, by callbacks: a task and a timer each cost more than the rest.

One is begun at once where a circuit is ready, and tried again on another where that may help. Only
who must wait for a circuit gets a task. docs/benchmarks/README.md says what an open costs.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from vigilnet.base.errors import VigilnetError
from vigilnet.base.tasks import TaskGroup
from vigilnet.routing.circuits.pool import PooledCircuit
from vigilnet.traffic.ingress.ports import OnionUnavailableError
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.mux import StreamMux
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

MAX_TRIES: Final = 3
_CLOSING: Final = "the pool of circuits closes"

_O = TypeVar("_O", Stream, DatagramFlow, EchoFlow)


class CircuitSource(Protocol):
    """Gives circuits to streams, and learns how they fared."""

    def take(self, isolation: str, port: int | None) -> PooledCircuit | None:
        """Return a circuit that is ready for one more request, or None."""
        ...

    def taken(self) -> None:
        """The circuit that `take` gave has its request."""
        ...

    async def acquire(
        self, isolation: str, port: int | None, ended: EndReason | None = None
    ) -> PooledCircuit:
        """Wait for one; raises StreamEndedError (of `ended`) or OnionUnavailableError."""
        ...

    def may_retry(
        self, entry: PooledCircuit, port: int | None, reason: EndReason, *, has_early: bool
    ) -> bool:
        """Whether another exit may do better, and nothing can happen twice."""
        ...


class Opening(Generic[_O]):
    """One stream or flow that somebody waits for.

    Args:
        openings: see there.
        ask: sends the request on a circuit.
        port: the exit must serve it; 0: it is said inside the stream; None: any exit will do.
        isolation: whose circuit.
        told: called once, unless it is cancelled.
        has_early: octets travel with the request, which then must not be repeated.
    """

    __slots__ = (
        "_ask",
        "_asked",
        "_entry",
        "_has_early",
        "_isolation",
        "_openings",
        "_port",
        "_task",
        "_told",
        "_tries",
        "due",
    )

    def __init__(
        self,
        openings: "Openings",
        ask: Callable[[StreamMux], _O],
        port: int | None,
        isolation: str,
        told: Callable[[_O | VigilnetError], None],
        *,
        has_early: bool,
    ) -> None:
        self._openings = openings
        self._ask: Callable[[StreamMux], _O] = ask
        self._port = port
        self._isolation = isolation
        self._has_early = has_early
        self._told: Callable[[_O | VigilnetError], None] | None = told
        self._tries = 0
        self._entry: PooledCircuit | None = None
        self._asked: _O | None = None
        self._task: asyncio.Task[None] | None = None
        self.due = 0.0  # of this try

    def begin(self) -> None:
        """Ask an exit, at once if a circuit is ready."""
        entry = self._openings.source.take(self._isolation, self._port or None)
        if entry is not None:
            self._begin(entry)
            self._openings.source.taken()
        else:
            self._wait(None)

    def _begin(self, entry: PooledCircuit) -> None:
        self._entry, self._tries = entry, self._tries + 1
        asked = self._asked = self._ask(entry.circuit.mux)
        asked.on_opened = self._answered
        self._openings.add(self)

    def _wait(self, ended: EndReason | None) -> None:
        """Ask an exit once there is a circuit; `ended`: why the try before failed."""
        if self._openings.tasks.is_closed:
            error = StreamEndedError(ended) if ended is not None else OnionUnavailableError(_CLOSING)
            asyncio.get_running_loop().call_soon(self._tell, error)
            return
        self._task = self._openings.tasks.start("wait for a circuit", self._begin_later(ended))

    async def _begin_later(self, ended: EndReason | None) -> None:
        try:
            entry = await self._openings.source.acquire(self._isolation, self._port or None, ended)
        except VigilnetError as error:
            self._tell(error)
        except asyncio.CancelledError:
            self._tell(OnionUnavailableError(_CLOSING))
            raise
        else:
            self._begin(entry)

    def cancel(self) -> None:
        """Give up without a word; safe to call at any time."""
        if self._told is None:
            return
        self._told = None
        if self._task is not None:
            self._task.cancel()
        self._let_go(EndReason.RESET)

    def time_out(self) -> None:
        """The exit did not answer in time."""
        self._answered(EndReason.TIMEOUT)

    def _answered(self, reason: EndReason | None) -> None:
        """The exit reached the target (None), or not."""
        asked, entry = self._asked, self._entry
        if reason is None and asked is not None:
            asked.on_opened = self._asked = None
            self._openings.remove(self)
            self._tell(asked)
        elif reason is not None and entry is not None:
            self._let_go(reason)
            source = self._openings.source
            if self._tries < MAX_TRIES and source.may_retry(
                entry, self._port, reason, has_early=self._has_early
            ):
                self._wait(reason)
            else:
                self._tell(StreamEndedError(reason))

    def _let_go(self, reason: EndReason) -> None:
        asked, self._asked = self._asked, None
        self._openings.remove(self)
        if asked is not None:
            asked.on_opened = None
            asked.close(reason)

    def _tell(self, outcome: _O | VigilnetError) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(outcome)


class Openings:
    """All streams of a pool on their way to be opened, and one timer for them all.

    Args:
        source: has the circuits.
        tasks: of who waits for a circuit.
        now: monotonic seconds.
        timeout_s: for the exit to answer.
    """

    def __init__(
        self,
        source: CircuitSource,
        tasks: TaskGroup,
        now: Callable[[], float],
        timeout_s: Callable[[], float],
    ) -> None:
        self.source = source
        self.tasks = tasks
        self._now = now
        self._timeout_s = timeout_s
        self._waiting: set[Opening[Any]] = set()  # for their exits
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0

    def begin(
        self,
        ask: Callable[[StreamMux], _O],
        port: int | None,
        isolation: str,
        told: Callable[[_O | VigilnetError], None],
        *,
        has_early: bool = False,
    ) -> Opening[_O]:
        """Open what `ask` asks for; `told` is called once, later, unless it is cancelled. See `Opening`."""
        opening = Opening(self, ask, port, isolation, told, has_early=has_early)
        opening.begin()
        return opening

    async def wait_open(
        self,
        ask: Callable[[StreamMux], _O],
        port: int | None,
        isolation: str,
        *,
        has_early: bool = False,
    ) -> _O:
        """As `begin`, for who may wait; raises what would be told."""
        answered: asyncio.Future[_O | VigilnetError] = asyncio.get_running_loop().create_future()
        opening = self.begin(ask, port, isolation, answered.set_result, has_early=has_early)
        try:
            outcome = await answered
        except asyncio.CancelledError:
            opening.cancel()
            if not answered.cancelled() and not isinstance(opened := answered.result(), VigilnetError):
                opened.close(EndReason.RESET)  # answered in the turn in which its owner gave up
            raise
        if isinstance(outcome, VigilnetError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, opening: Opening[Any]) -> None:
        """An exit was asked."""
        opening.due = self._now() + self._timeout_s()
        self._waiting.add(opening)
        if self._timer is None or opening.due < self._fires_at:
            self._arm(opening.due)

    def remove(self, opening: Opening[Any]) -> None:
        """It answered, or nobody waits any longer. The timer is left: mostly the next stream needs it."""
        self._waiting.discard(opening)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._now()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        late = self._now() + 0.001  # a timer may fire a little early
        for opening in [opening for opening in self._waiting if opening.due <= late]:
            opening.time_out()
        if self._waiting and self._timer is None:
            self._arm(min(opening.due for opening in self._waiting))
