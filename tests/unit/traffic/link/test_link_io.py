"""Real links over TCP on loopback: both families, both event loops."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from tests.support.links import (
    OPTIONS,
    TCP,
    FakeAddress,
    FakeLocal,
    FakeRecord,
    Gatherer,
    ListSource,
    make_frame,
)
from vigilnet.base.clock import SystemClock
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import RUN_AT, TAG_ROOM
from vigilnet.traffic.link.ports import LinkPort
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.tcp_io import TcpTransport

Runner = Callable[[Coroutine[Any, Any, None]], None]
RUNNERS: list[Runner] = [asyncio.run]
if sys.platform != "win32":
    import uvloop

    RUNNERS.append(uvloop.run)


def service(records: dict[bytes, FakeRecord], local: FakeLocal | None) -> LinkService:
    return LinkService(
        replace(OPTIONS, retry_first_s=0.02),
        SystemClock(),
        {TCP: TcpTransport()},
        records,
        local=local,
        admit=lambda encoded, host: FakeRecord.admit(encoded),
        network="",
        random_bytes=os.urandom,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # real sockets: nobody tells us
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_transfer_each_way_is_intact_and_a_lost_link_is_dialled_again(
    runner: Runner, host: str, suite: Suite
) -> None:
    async def scenario() -> None:
        local = FakeLocal(os.urandom(32))
        records: dict[bytes, FakeRecord] = {}
        relay, client = service(records, local), service(records, None)
        receivers: list[Gatherer] = []

        def take(port: LinkPort) -> Gatherer:
            receivers.append(Gatherer(port))
            return receivers[-1]

        relay.on_link = client.on_link = take
        listener = await relay.listen(host, 0)
        address = FakeAddress(TCP, host, listener.port)
        records[local.identity] = replace(local.public, addresses=(address,), preferred_suite=suite)
        link = await client.connect(local.identity)
        await until(lambda: len(receivers) == 2)
        up, down = receivers[1], receivers[0]
        frames = [make_frame(circuit=n + 1, cells=7 if n % 5 else 1, fill=n % 256) for n in range(500)]
        digest = hashlib.sha256(b"".join(bytes(frame[RUN_AT:-TAG_ROOM]) for frame in frames)).digest()
        port = up.port
        assert port is not None
        port.activate(ListSource(*(frame_copy(frame) for frame in frames)))
        link.activate(ListSource(*frames))
        await until(lambda: len(up.runs) == len(down.runs) == 500)
        assert hashlib.sha256(b"".join(up.runs)).digest() == digest
        assert hashlib.sha256(b"".join(down.runs)).digest() == digest
        port.close()
        await until(lambda: down.is_closed)
        await asyncio.sleep(0.03)  # the back-off
        again = await client.connect(local.identity)
        assert again is not link
        await client.close()
        await until(lambda: receivers[-1].is_closed)
        await relay.close()

    runner(scenario())


def frame_copy(frame: memoryview) -> memoryview:
    return memoryview(bytearray(frame))
