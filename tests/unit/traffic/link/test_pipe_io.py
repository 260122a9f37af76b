"""Pipes between programs' connections and carriers, on loopback."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tests.support.pipes import pipes
from vigilnet.base.clock import SystemClock
from vigilnet.traffic.link import pipe_io
from vigilnet.traffic.link.pipe_io import PipeEnd
from vigilnet.traffic.transport.carrier import Carrier
from vigilnet.traffic.transport.tcp_io import TcpTransport

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
DATA = os.urandom(3_000_000)


async def local_pair(stack: AsyncExitStack) -> tuple[Streams, Streams]:
    """A program's end of a connection, and ours."""
    accepted: asyncio.Queue[Streams] = asyncio.Queue()
    server = await asyncio.start_server(lambda *pair: accepted.put_nowait(pair), "127.0.0.1", 0)
    stack.push_async_callback(server.wait_closed)
    stack.callback(server.close)
    program = await asyncio.open_connection(*server.sockets[0].getsockname())
    stack.callback(program[1].close)
    return program, await accepted.get()


async def carriers() -> tuple[Carrier, Carrier]:
    transport = TcpTransport()
    accepted: asyncio.Queue[Carrier] = asyncio.Queue()
    listener = await transport.listen("127.0.0.1", 0, accepted.put_nowait)
    dialled = await transport.dial("127.0.0.1", listener.port)
    listener.close()
    return dialled, await accepted.get()


def run(scenario: Callable[[Streams, Streams], Awaitable[None]]) -> None:
    async def whole() -> None:
        now = SystemClock().now
        async with AsyncExitStack() as stack, asyncio.timeout(30):
            here, ours = await local_pair(stack)
            there, theirs = await local_pair(stack)
            ends = [
                PipeEnd(carrier, pipe, now) for carrier, pipe in zip(await carriers(), pipes(), strict=True)
            ]
            async with asyncio.TaskGroup() as group:
                for end in ends:
                    group.create_task(end.opened())
            async with asyncio.TaskGroup() as group:
                group.create_task(ends[0].join(*ours))
                group.create_task(ends[1].join(*theirs))
                await scenario(here, there)

    asyncio.run(whole())


def test_programs_hear_each_other_and_of_the_end() -> None:
    async def scenario(here: Streams, there: Streams) -> None:
        async def speak(writer: asyncio.StreamWriter) -> None:
            writer.write(DATA)
            await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(speak(here[1]))
            group.create_task(speak(there[1]))
            first = group.create_task(there[0].readexactly(len(DATA)))
            second = group.create_task(here[0].readexactly(len(DATA)))
        assert first.result() == second.result() == DATA
        here[1].write(b"last words")
        here[1].close()
        assert await there[0].read() == b"last words"

    run(scenario)


def test_a_program_that_does_not_read_stops_the_other() -> None:
    async def scenario(here: Streams, there: Streams) -> None:
        sent = 0

        async def speak() -> None:
            nonlocal sent
            while True:
                here[1].write(DATA[:100_000])
                await here[1].drain()
                sent += 100_000

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(speak(), 0.5)
        assert len(await there[0].readexactly(sent)) == sent
        here[1].close()

    run(scenario)


def test_who_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_io, "HANDSHAKE_S", 0.1)

    async def scenario() -> None:
        here, there = await carriers()
        dialling, _ = pipes()
        with pytest.raises(TimeoutError):
            await PipeEnd(here, dialling, SystemClock().now).opened()
        _, answering = pipes()
        other = PipeEnd(there, answering, SystemClock().now)
        with pytest.raises(OSError, match="no handshake"):
            await other.opened()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_an_end_that_talks_nonsense_is_closed() -> None:
    async def scenario() -> None:
        here, there = await carriers()
        _, answering = pipes()
        here.write([b"\xff" * 50])
        with pytest.raises(OSError, match="no handshake"):
            await PipeEnd(there, answering, SystemClock().now).opened()
        here.close()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())
