"""Make tests late on purpose: `pytest -p tests.support.late` finds what only holds on a quick machine.

A test that talks to real processes must hold however long its own steps take: what a node does by its
clock (retire, prune, renew, retry) may happen between any two of them. Here steps are delayed at random:
before a question to a node, a connection and a read, behind a started program and a condition waited for.
`VIGILNET_TEST_SEED=n` repeats a run.
"""

import functools
import os
import random
import socket
import subprocess
from collections.abc import Callable, Generator
from typing import Any

import pytest

from tests.support import waiting
from vigilnet.surface.control.client import ControlClient

SEED = int(os.environ.get("VIGILNET_TEST_SEED", "0")) or random.SystemRandom().getrandbits(32)
DELAYS_S = (0.01, 0.1, 0.4, 1.3)  # below and above the ticks of a node
ONE_IN = 6
AT_MOST_S = 6.0  # a test's delays in all


class Lateness:
    """The delays of one test: drawn from its name and the seed."""

    def __init__(self, name: str) -> None:
        self._random = random.Random(f"{SEED} {name}")
        self._left = AT_MOST_S

    def strike(self) -> None:
        """Be late, or not."""
        if self._random.randrange(ONE_IN):
            return
        delay = min(self._random.choice(DELAYS_S), self._left)
        self._left -= delay
        waiting.pause(delay)


now = Lateness("")


def before(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, sometimes late to begin."""

    @functools.wraps(function)
    def late(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 any function's
        now.strike()
        return function(*args, **kwargs)

    return late


def behind(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, sometimes late to return."""

    @functools.wraps(function)
    def late(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 any function's
        result = function(*args, **kwargs)
        now.strike()
        return result

    return late


def pytest_configure() -> None:
    """Wrap what the tests use, before they import it."""
    setattr(ControlClient, "call", before(ControlClient.call))  # noqa: B010 mypy: a method
    setattr(socket, "create_connection", before(socket.create_connection))  # noqa: B010
    for name in ("recv", "accept"):
        setattr(socket.socket, name, before(getattr(socket.socket, name)))
    setattr(subprocess.Popen, "__init__", behind(subprocess.Popen.__init__))  # noqa: B010
    setattr(waiting, "wait_until", behind(waiting.wait_until))  # noqa: B010


def pytest_report_header() -> str:
    """Say how to repeat the run."""
    return f"late on purpose: VIGILNET_TEST_SEED={SEED}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Draw each test's delays anew."""
    global now  # noqa: PLW0603 one test runs at a time
    now = Lateness(item.nodeid)
    return (yield)
