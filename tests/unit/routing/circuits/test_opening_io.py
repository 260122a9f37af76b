"""Streams being opened over one real mux, whose exit answers when told."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.edge_clients import until
from tests.support.mux_pair import MuxPair
from vigilnet.base.errors import VigilnetError
from vigilnet.base.tasks import TaskGroup
from vigilnet.routing.circuits.opening_io import Openings
from vigilnet.routing.circuits.pool import PooledCircuit
from vigilnet.traffic.ingress.ports import OnionUnavailableError
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.mux import StreamMux
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

ECHO = Target("echo.test", 80)  # the other end accepts it
SILENT = Target("silent.test", 80)  # and of this it says nothing


class Case:
    """One circuit that is ready or not; serves `CircuitSource`."""

    def __init__(self, *, is_ready: bool = True, timeout_s: float = 60.0) -> None:
        self.pair = MuxPair()
        self.is_ready = is_ready
        self._supplied = asyncio.Event()
        self.error: VigilnetError | None = None
        self.asked: list[EndReason | None] = []
        self.retries = self.taken_times = 0
        self.tasks = TaskGroup("test")
        self.now = asyncio.get_running_loop().time
        self.openings = Openings(self, self.tasks, self.now, lambda: timeout_s)
        self.told: list[Stream | VigilnetError] = []

    @property
    def entry(self) -> PooledCircuit:
        return cast("PooledCircuit", SimpleNamespace(circuit=SimpleNamespace(mux=self.pair.client.mux)))

    def supply(self) -> None:
        """A circuit is ready from now on."""
        self.is_ready = True
        self._supplied.set()

    def take(self, isolation: str, port: int | None) -> PooledCircuit | None:
        return self.entry if self.is_ready else None

    def taken(self) -> None:
        self.taken_times += 1

    async def acquire(
        self, isolation: str, port: int | None, ended: EndReason | None = None
    ) -> PooledCircuit:
        self.asked.append(ended)
        if not self.is_ready and self.error is None:
            await self._supplied.wait()
        if self.error is not None:
            raise self.error
        return self.entry

    def may_retry(
        self, entry: PooledCircuit, port: int | None, reason: EndReason, *, has_early: bool
    ) -> bool:
        self.retries += 1
        return not has_early

    def begin(self, target: Target = ECHO, *, has_early: bool = False) -> Any:  # noqa: ANN401
        def ask(mux: StreamMux) -> Stream:
            return mux.open_stream(target)

        return self.openings.begin(ask, 80, "", self.told.append, has_early=has_early)

    async def settle(self) -> None:
        """Let what is due in the loop run, and the two ends talk."""
        for _ in range(8):
            self.pair.settle()
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.openings.close()
        await self.tasks.close()
        assert self.tasks.failures == []

    def streams(self) -> int:
        return len(self.pair.client.mux.streams)


def play(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


def test_a_stream_on_a_circuit_that_is_ready_takes_no_task() -> None:
    async def scenario() -> None:
        case = Case()
        case.begin()
        assert len(case.tasks) == 0
        assert case.told == []
        assert case.taken_times == 1
        await case.settle()
        (stream,) = case.told
        assert isinstance(stream, Stream)
        assert stream.on_opened is None
        await case.close()

    play(scenario())


def test_who_finds_no_circuit_waits_for_one() -> None:
    async def scenario() -> None:
        case = Case(is_ready=False)
        case.begin()
        await case.settle()
        assert case.told == []
        case.supply()
        await case.settle()
        assert isinstance(case.told[0], Stream)
        await case.close()

    play(scenario())


def test_why_there_is_no_circuit_is_told() -> None:
    async def scenario() -> None:
        case = Case(is_ready=False)
        case.error = OnionUnavailableError("nobody")
        case.begin()
        await case.settle()
        assert case.told == [case.error]
        await case.close()

    play(scenario())


@pytest.mark.parametrize("has_early", [False, True])
def test_a_stream_that_ends_is_tried_again_three_times_unless_octets_were_sent(has_early: bool) -> None:
    async def scenario() -> None:
        case = Case()
        case.begin(SILENT, has_early=has_early)
        for _ in range(5):
            await case.settle()
            for stream in list(case.pair.exit.mux.streams.values()):
                stream.close(EndReason.LIMIT)
        await case.settle()
        (error,) = case.told
        assert isinstance(error, StreamEndedError)
        assert error.reason is EndReason.LIMIT
        assert case.asked == ([] if has_early else [EndReason.LIMIT] * 2)
        await case.close()

    play(scenario())


@pytest.mark.parametrize("is_ready", [True, False])
def test_who_gives_up_is_told_nothing_and_the_exit_hears_of_it(is_ready: bool) -> None:
    async def scenario() -> None:
        case = Case(is_ready=is_ready)
        opening = case.begin(SILENT)
        await case.settle()
        opening.cancel()
        opening.cancel()
        case.supply()
        await case.settle()
        assert case.told == []
        assert case.streams() == len(case.pair.exit.mux.streams) == 0
        await case.close()

    play(scenario())


def test_an_exit_that_does_not_answer_in_time_is_given_up_by_one_timer() -> None:
    async def scenario() -> None:
        case = Case(timeout_s=0.01)
        for _ in range(3):
            case.begin(SILENT, has_early=True)
        case.begin(ECHO)
        await case.settle()
        await until(lambda: len(case.told) == 4)
        opened, *late = case.told
        assert isinstance(opened, Stream)
        assert [error.reason for error in late if isinstance(error, StreamEndedError)] == [
            EndReason.TIMEOUT
        ] * 3
        await case.close()

    play(scenario())


def test_a_timer_for_a_longer_time_is_set_back_when_the_time_is_shortened() -> None:
    async def scenario() -> None:
        times = [60.0, 0.01]
        case = Case()
        case.openings = Openings(case, case.tasks, case.now, lambda: times.pop(0))
        first = case.begin(SILENT, has_early=True)
        case.begin(SILENT, has_early=True)
        await until(lambda: bool(case.told))
        first.cancel()
        assert len(case.told) == 1
        await case.close()

    play(scenario())


def test_when_the_pool_closes_everybody_who_waits_is_told() -> None:
    async def scenario() -> None:
        case = Case(is_ready=False)
        case.begin()
        await case.settle()
        await case.close()
        case.begin()
        await case.settle()
        assert [type(error) for error in case.told] == [OnionUnavailableError] * 2

    play(scenario())


def test_a_circuit_that_ends_after_the_pool_closed_is_told_as_the_streams_end() -> None:
    async def scenario() -> None:
        case = Case()
        case.begin(SILENT)
        await case.close()
        case.pair.client.mux.close()
        await case.settle()
        (error,) = case.told
        assert isinstance(error, StreamEndedError)
        assert error.reason is EndReason.CLOSING

    play(scenario())


def test_waiting_gives_the_stream_or_raises() -> None:
    async def scenario() -> None:
        case = Case()
        waiting = case.tasks.start("open", case.openings.wait_open(lambda mux: mux.open_stream(ECHO), 80, ""))
        await case.settle()
        assert isinstance(waiting.result(), Stream)
        case.is_ready, case.error = False, OnionUnavailableError("nobody")
        with pytest.raises(OnionUnavailableError):
            await case.openings.wait_open(lambda mux: mux.open_stream(ECHO), 80, "")
        await case.close()

    play(scenario())


@pytest.mark.parametrize("is_answered", [True, False])
def test_who_waits_and_is_cancelled_leaves_no_stream_even_if_it_was_just_answered(is_answered: bool) -> None:
    async def scenario() -> None:
        case = Case()
        target = ECHO if is_answered else SILENT
        waiting = case.tasks.start(
            "open", case.openings.wait_open(lambda mux: mux.open_stream(target), 80, "")
        )
        await asyncio.sleep(0)
        case.pair.settle()  # the answer is here, and the task has not run yet
        waiting.cancel()
        await case.settle()
        assert waiting.cancelled()
        assert case.streams() == len(case.pair.exit.mux.streams) == 0
        await case.close()

    play(scenario())
