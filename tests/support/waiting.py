"""Waiting for what has no event of its own: look again and again, up to a time-out."""

import os
import signal
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

BARS_ARE_STRICT = bool(os.environ.get("VIGILNET_TEST_STRICT_BARS"))
LOADED = 3.0  # how much longer all takes on a machine with other work


def held(bar_s: float) -> float:
    """Return what a test holds a bar of real time to.

    Alone on the machine (`VIGILNET_TEST_STRICT_BARS=1`) to the bar itself; else it must not fail for load.
    """
    return bar_s if BARS_ARE_STRICT else LOADED * bar_s


def pause(seconds: float) -> None:
    """Let time pass between two looks."""
    signal.sigtimedwait([], seconds)


def wait_until(condition: Callable[[], T], what: str, timeout: float = 60.0, every: float = 0.05) -> T:
    """Wait until `condition()` is true and give what it gave."""
    start = time.monotonic()
    while not (found := condition()):
        if time.monotonic() - start > timeout:
            raise TimeoutError(f"{what}: not after {timeout} s")
        pause(every)
    return found
