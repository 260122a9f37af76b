import asyncio

from vigilnet.base.errors import VigilnetError
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.ingress.begun_io import BegunByTask
from vigilnet.traffic.ingress.ports import OnionUnavailableError
from vigilnet.traffic.stream.stream import Stream


async def _fails() -> Stream:
    raise OnionUnavailableError("nobody")


async def _waits() -> Stream:
    await asyncio.Event().wait()
    raise AssertionError


def test_why_there_is_no_stream_is_told_once() -> None:
    async def scenario() -> None:
        told: list[Stream | VigilnetError] = []
        tasks = TaskGroup("test")
        BegunByTask(tasks, _fails(), told.append)
        assert told == []
        await tasks.wait_empty()
        assert [str(error) for error in told] == ["nobody"]
        assert tasks.failures == []

    asyncio.run(scenario())


def test_who_gives_up_is_told_nothing() -> None:
    async def scenario() -> None:
        told: list[Stream | VigilnetError] = []
        tasks = TaskGroup("test")
        BegunByTask(tasks, _waits(), told.append).cancel()
        await tasks.wait_empty()
        assert told == []
        assert tasks.failures == []

    asyncio.run(scenario())
