"""Stall the tests' nodes on purpose: `pytest -p tests.support.stall` finds what breaks without a processor.

Every few seconds one of the processes that the tests started and that runs VigilNet is stopped (SIGSTOP) for
up to two seconds, as on a busy machine. `VIGILNET_TEST_SEED=n` repeats the draws, not the run.
"""

import contextlib
import os
import random
import signal
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.late import SEED

EVERY_S = (1.0, 5.0)
FOR_S = (0.2, 2.0)


def descendants(ancestor: int) -> list[int]:
    """The processes that the ancestor started, and theirs, which run VigilNet."""
    parent_of: dict[int, int] = {}
    runs: dict[int, bytes] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            status = (folder / "stat").read_text()
            parent_of[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
            runs[int(folder.name)] = (folder / "cmdline").read_bytes()

    def is_ours(pid: int) -> bool:
        while pid in parent_of:
            pid = parent_of[pid]
            if pid == ancestor:
                return True
        return False

    return [pid for pid in parent_of if b"vigilnet" in runs.get(pid, b"") and is_ours(pid)]


def stall(until: threading.Event) -> None:
    """Stop one, let it go on, again and again."""
    draw = random.Random(SEED)
    while not until.wait(draw.uniform(*EVERY_S)):
        if not (running := descendants(os.getpid())):
            continue
        pid = draw.choice(running)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            until.wait(draw.uniform(*FOR_S))
            os.kill(pid, signal.SIGCONT)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """Stall while tests run."""
    over = threading.Event()
    thread = threading.Thread(target=stall, args=(over,))
    thread.start()
    try:
        return (yield)
    finally:
        over.set()
        thread.join()


def pytest_report_header() -> str:
    """Say what is on."""
    return f"stalls on purpose: VIGILNET_TEST_SEED={SEED}"
