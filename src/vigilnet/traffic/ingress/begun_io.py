"""Opening a stream by a task, for diallers that know only how to wait."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from vigilnet.base.errors import VigilnetError
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.ingress.ports import StreamTold
from vigilnet.traffic.stream.stream import Stream


class BegunByTask:
    """Serves `ports.Opening`.

    Args:
        tasks: runs the task.
        work: opens the stream.
        told: called once with the stream or why there is none, unless it is cancelled.
    """

    def __init__(self, tasks: TaskGroup, work: Coroutine[Any, Any, Stream], told: StreamTold) -> None:
        self._told = told
        self._task: asyncio.Task[None] = tasks.start("open a stream", self._run(work))
        self._task.add_done_callback(lambda _: work.close())  # if it was cancelled before it began

    def cancel(self) -> None:
        """Give up without a word."""
        self._task.cancel()

    async def _run(self, work: Coroutine[Any, Any, Stream]) -> None:
        try:
            outcome: Stream | VigilnetError = await work
        except VigilnetError as error:
            outcome = error
        self._told(outcome)
