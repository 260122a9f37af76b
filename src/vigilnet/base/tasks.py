"""Structured tasks: who starts one owns it, hears of its failure, and ends it on closing.

The event loop keeps only weak references to tasks and reports a failure when the task is
collected, if ever; so nothing else calls `asyncio.create_task` (ruff refuses it).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from vigilnet.base.errors import LocalProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger

CLOSE_GRACE_S: Final = 5.0
MAX_FAILURES_KEPT: Final = 16

_log = get_logger(__name__)
_T = TypeVar("_T")


class TaskGroup:
    """The tasks of one owner (a service, a link, a control session).

    A failed task ends alone; the owner hears of it by `on_failure` and decides what to close.
    Errors of the network and of the machine (`VigilnetError` except our own bugs, `OSError`) are
    logged at debug, anything else as an error with the places it came through.

    Args:
        name: what the tasks belong to, constant text for the log.
        on_failure: called in the event loop with the task's name and error.
    """

    def __init__(self, name: str, on_failure: Callable[[str, Exception], None] | None = None) -> None:
        self.name = name
        self.failures: list[Exception] = []  # unexpected ones, the first few; tests assert that it is empty
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_closed(self) -> bool:
        """Whether no more tasks may be started."""
        return self._closed

    def start(self, name: str, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run `work` as a task; returned so that the owner may wait for it or cancel it alone.

        Raises:
            LocalProtocolError: the group is closed.
        """
        if self._closed:
            work.close()
            raise LocalProtocolError(f"task group {self.name}: start of {name} after close")
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """Refuse new tasks and ask all running ones to end, without waiting."""
        self._closed = True
        for task in self._tasks - {_current_task()}:
            task.cancel()

    async def close(self) -> None:
        """Cancel all tasks and wait until they ended; safe to call twice, and from a task of the group.

        A task that is not done after `CLOSE_GRACE_S` is named in the log and left behind.
        """
        self.cancel()
        waiting = self._tasks - {_current_task()}
        if waiting:
            _, stuck = await asyncio.wait(waiting, timeout=CLOSE_GRACE_S)
            for task in stuck:
                _log.error("task does not end, left behind", task=task.get_name())

    async def wait_empty(self) -> None:
        """Wait until every task (but the caller's own) has ended by itself, also those started meanwhile."""
        while waiting := self._tasks - {_current_task()}:
            await asyncio.wait(waiting)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if not isinstance(error, Exception):
            return  # done, or KeyboardInterrupt and SystemExit, which the loop itself raises
        if isinstance(error, OSError | VigilnetError) and not isinstance(error, LocalProtocolError):
            _log.debug("task ended by an error", task=task.get_name(), error=error)
        else:
            if len(self.failures) < MAX_FAILURES_KEPT:
                self.failures.append(error)
            _log.failure("task failed, this is a bug: please report it", error, task=task.get_name())
        if self._on_failure is not None:
            self._on_failure(task.get_name(), error)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None
