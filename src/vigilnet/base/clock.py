"""The only module that reads clocks. Machines take `now`; services ask a `Clock`."""

import time
from typing import Protocol


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
        """Monotonic seconds (the event loop's clock)."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()
