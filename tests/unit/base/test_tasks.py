"""Tasks are owned, named, heard of when they fail, and ended on closing."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from vigilnet.base import tasks
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.base.tasks import TaskGroup


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def forever() -> None:
    await asyncio.Event().wait()


async def fail(error: Exception) -> None:
    raise error


def test_a_result_is_handed_to_who_waits() -> None:
    async def script() -> None:
        async def seven() -> int:
            return 7

        group = TaskGroup("test")
        assert await group.start("seven", seven()) == 7
        assert len(group) == 0

    run(script())


def test_close_ends_all_tasks_and_refuses_new_ones() -> None:
    async def script() -> None:
        group = TaskGroup("test")
        started = [group.start(f"t{index}", forever()) for index in range(3)]
        gc.collect()
        await asyncio.sleep(0)
        assert len(group) == 3
        await group.close()
        assert all(task.cancelled() for task in started)
        assert group.is_closed
        with pytest.raises(LocalProtocolError, match="after close"):
            group.start("late", forever())
        await group.close()

    run(script())


def test_close_from_inside_does_not_cancel_the_closer() -> None:
    async def script() -> None:
        group = TaskGroup("test")
        other = group.start("other", forever())

        async def closer() -> str:
            await group.close()
            return "closed"

        assert await group.start("closer", closer()) == "closed"
        assert other.cancelled()

    run(script())


def test_owner_hears_of_failures_and_only_bugs_are_kept() -> None:
    async def script() -> None:
        heard: list[tuple[str, str]] = []
        group = TaskGroup("test", lambda name, error: heard.append((name, type(error).__name__)))
        for error in (RemoteProtocolError("x"), OSError("y"), LocalProtocolError("z"), ValueError("v")):
            group.start("t", fail(error))
        await group.wait_empty()
        await asyncio.sleep(0)
        assert sorted(heard) == [
            ("test/t", "LocalProtocolError"),
            ("test/t", "OSError"),
            ("test/t", "RemoteProtocolError"),
            ("test/t", "ValueError"),
        ]
        assert sorted(type(error).__name__ for error in group.failures) == [
            "LocalProtocolError",
            "ValueError",
        ]

    run(script())


def test_failures_kept_are_bounded_and_need_no_listener() -> None:
    async def script() -> None:
        group = TaskGroup("test")
        for _ in range(tasks.MAX_FAILURES_KEPT + 5):
            group.start("t", fail(ValueError()))
        await group.wait_empty()
        await asyncio.sleep(0)
        assert len(group.failures) == tasks.MAX_FAILURES_KEPT

    run(script())


def test_wait_empty_also_waits_for_tasks_started_meanwhile() -> None:
    async def script() -> None:
        group = TaskGroup("test")
        done: list[int] = []

        async def chain(left: int) -> None:
            await asyncio.sleep(0)
            done.append(left)
            if left:
                group.start("chain", chain(left - 1))

        group.start("chain", chain(3))
        await group.wait_empty()
        assert done == [3, 2, 1, 0]

    run(script())


def test_a_task_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script() -> None:
        release = asyncio.Event()

        async def stubborn() -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        group = TaskGroup("test")
        task = group.start("stubborn", stubborn())
        await asyncio.sleep(0)
        monkeypatch.setattr(tasks, "CLOSE_GRACE_S", 0.001)
        await group.close()
        assert not task.done()
        release.set()
        await task

    run(script())


def test_cancel_without_a_running_loop_only_closes() -> None:
    group = TaskGroup("test")
    group.cancel()
    assert group.is_closed
