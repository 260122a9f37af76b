"""Waiting for what has no event of its own: look again and again, up to a time-out."""

import signal
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
