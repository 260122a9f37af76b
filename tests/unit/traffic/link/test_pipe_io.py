"""Pipes between programs' connections and carriers, on loopback."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.htx import PARAMS, browser, htx_relay
from tests.support.needs import needs_programs
from tests.support.origins import make_certificates, nginx
from tests.support.pipes import pipes
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.link import pipe_io
from vigilnet.traffic.link.handshake import Channel
from vigilnet.traffic.link.pipe import NETWORK
from vigilnet.traffic.link.pipe_io import PipeEnd
from vigilnet.traffic.transport.carrier import Carrier, CarrierKind
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.shaping import Profile
from vigilnet.traffic.transport.tcp_io import TcpTransport

pytestmark = pytest.mark.slow  # real sockets or processes: in all, seconds

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
        monkeypatch.setattr(pipe_io, "HANDSHAKE_S", 60.0)
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


class PlannedCarrier:
    """A carrier whose shaper is there once the handshake is done, and refuses plans as a server's does."""

    kind, binding, has_tls_records, remote_host = CarrierKind.PLAIN, bytes(32), False, "192.0.2.1"

    def __init__(self) -> None:
        self.out = b""
        self.is_closed = self.other_waits = False

    def ease_reads(self) -> None:
        pass

    def is_shaped(self) -> bool:
        return True

    def take_shaper(self) -> "PlannedCarrier":
        return self

    def plan_received(self, octets: bytes) -> None:
        raise RemoteProtocolError("plan: from a client")

    def start(self, user: object) -> None:
        pass

    def write(self, parts: list[bytes]) -> bool:
        self.out += b"".join(parts)
        return True

    def close(self) -> None:
        self.is_closed = True


def test_a_plan_that_comes_with_the_last_packet_of_the_handshake_is_judged() -> None:
    async def scenario() -> None:
        carrier, (dialling, answering) = PlannedCarrier(), pipes()
        end = PipeEnd(carrier, answering, SystemClock().now)  # type: ignore[arg-type]

        def give(octets: bytes) -> None:
            end.receive_buffer()[: len(octets)] = octets
            end.octets_received(len(octets))

        give(b"".join(dialling.data_to_send()))
        dialling.receive(carrier.out, 0.0)
        last = b"".join(dialling.data_to_send())
        give(last + b"".join(dialling.cut(100, b"a plan", 0.0, is_extra=False)))
        assert carrier.is_closed

    asyncio.run(scenario())


@needs_programs("nginx")
def test_where_records_are_shaped_octets_travel_in_those(tmp_path: Path) -> None:
    """Over HTX with the profile that nodes ask for: both ends' shapers choose each record."""
    certificates = make_certificates(tmp_path)

    async def scenario(origin: int) -> None:
        now = SystemClock().now
        async with AsyncExitStack() as stack, asyncio.timeout(30), htx_relay(origin) as relay:
            here, ours = await local_pair(stack)
            there, theirs = await local_pair(stack)
            dialled = await HtxTransport(replace(browser(certificates), profile=Profile.LIGHT)).dial(
                "127.0.0.1", relay.port, PARAMS
            )
            pair = pipes(
                has_tls_records=True, channel=Channel(CarrierKind.HTX_OWN_SITE, dialled.binding, NETWORK)
            )
            near = PipeEnd(dialled, pair[0], now)
            opening = asyncio.ensure_future(near.opened())
            far = PipeEnd(await relay.accepted.get(), pair[1], now)
            await far.opened()
            await opening
            async with asyncio.TaskGroup() as group:
                group.create_task(near.join(*ours))
                group.create_task(far.join(*theirs))
                for speaker, hearer in ((here, there), (there, here)):
                    speaker[1].write(DATA[:200_000])
                    assert await hearer[0].readexactly(200_000) == DATA[:200_000]
                costs = [end._shaper.cost[0] for end in (near, far) if end._shaper is not None]
                assert len(costs) == 2
                assert all(cost > 0 for cost in costs)
                assert not pair[0].data_to_send()
                here[1].write(b"last words")
                here[1].close()
                assert await there[0].read() == b"last words"

    with nginx(certificates.folder) as port:
        asyncio.run(scenario(port))
