"""An asyncio event loop on a virtual clock: nothing waits, hours pass in milliseconds.

When no callback is ready, time jumps to the next timer. Sockets, threads and executors are
refused: what runs here is deterministic. A scenario that would wait for ever fails at once.

    async def scenario() -> None:
        await asyncio.sleep(3600)        # returns at once
        clock.jump(60)                   # the machine was suspended for a minute

    clock = VirtualClock(loop := VirtualLoop())
    run(scenario(), loop)
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

_T = TypeVar("_T")
START = 1000.0  # of the monotonic clock
WALL_START = 1_790_000_000.0


class WouldWaitForEverError(RuntimeError):
    """No callback is ready and no timer is set: the scenario hangs."""


class _NoSelector:
    """What BaseEventLoop asks when nothing is ready; here time passes."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise WouldWaitForEverError("virtual loop: nothing is ready and no timer is set")
        self._loop.advance(timeout)
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module's text. `limit_s` bounds a scenario's virtual duration."""

    def __init__(self, limit_s: float = 3 * 86_400.0) -> None:
        super().__init__()
        self._now = START
        self._limit = START + limit_s
        self._selector = _NoSelector(self)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass without running anything; timers that became due run late, as after a suspend."""
        self._now += max(0.0, seconds)
        if self._now > self._limit:
            raise WouldWaitForEverError(f"virtual loop: {self._now - START:.0f} s and no end")

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError("virtual loop: no threads")


class VirtualClock:
    """`base.clock.Clock` over a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._wall_offset = WALL_START - START

    def now(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return self._loop.time() + self._wall_offset

    def jump(self, seconds: float) -> None:
        """The process stood still for `seconds` (SIGSTOP): both clocks went on."""
        self._loop.advance(seconds)

    def jump_wall(self, seconds: float) -> None:
        """Only the wall clock jumps: the machine slept (Linux), or someone set the time."""
        self._wall_offset += seconds


def run(main: Coroutine[Any, Any, _T], loop: VirtualLoop | None = None) -> _T:
    """Run `main` to its end on `loop` (a new one if None), then cancel what is left and close the loop."""
    with asyncio.Runner(loop_factory=lambda: loop or VirtualLoop()) as runner:
        return runner.run(main)
