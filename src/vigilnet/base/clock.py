"""The only module that reads clocks. Machines take `now`; services ask a `Clock`."""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

# Linux stops CLOCK_MONOTONIC, and with it the event loop's timers, while it sleeps. What was told before a
# night is old in the morning: ages and deadlines are taken from the clock that goes on. Timers may fire late.
if sys.platform == "linux":
    _now: Final[Callable[[], float]] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
else:
    _now: Final[Callable[[], float]] = time.monotonic


class Clock(Protocol):
    """Where services get the time from; tests pass a virtual one."""

    def now(self) -> float:
        """Monotonic seconds, also counting time asleep where the system can; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, UTC; may jump."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Monotonic seconds, sleep included where the system tells; not the event loop's clock."""
        return _now()

    def wall(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()
