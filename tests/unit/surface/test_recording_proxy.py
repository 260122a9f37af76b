"""What passes between a browser and an origin is noted, and nothing of it changed."""

import asyncio

import pytest

from tests.support.ports import free_port
from vigilnet.surface.recording_proxy import Passed, RecordingProxy, Wire


def record(kind: int, length: int) -> bytes:
    return bytes((kind, 3, 3)) + length.to_bytes(2, "big") + b"x" * length


def test_records_are_counted_however_they_are_cut() -> None:
    octets = record(22, 500) + record(23, 40) + record(23, 87)
    for size in (1, 3, 700):
        passed = Passed(0.01)
        for at in range(0, len(octets), size):
            passed.take(octets[at : at + size], 1, float(at))
        assert [(way, length, kind) for _, way, length, kind in passed.records] == [
            (1, 500, 22), (1, 40, 23), (1, 87, 23),
        ]  # fmt: skip


def test_a_visit_begins_behind_the_client_s_finished() -> None:
    passed = Passed(0.01)
    for at, (way, kind, length) in enumerate(
        [(1, 22, 1700), (-1, 22, 120), (-1, 23, 900), (1, 20, 1), (1, 23, 53), (1, 23, 87), (-1, 23, 266)]
    ):
        passed.records.append((float(at), way, length, kind))
    assert passed.visit() == [(1.0, 1, 87), (2.0, -1, 266)]


def test_a_resumed_session_is_no_visit() -> None:
    passed = Passed(0.01)
    passed.records += [
        (0.0, 1, 1700, 22),
        (0.1, -1, 120, 22),
        (0.1, -1, 40, 23),
        (0.2, 1, 53, 23),
        (0.3, 1, 87, 23),
    ]
    assert passed.visit() == []
    assert Passed(0.01).visit() == []


@pytest.mark.parametrize("wire", [Wire(), Wire(0.01, 2e6)])
def test_octets_pass_unchanged_and_are_told_of(wire: Wire) -> None:
    up, down = record(23, 53) + record(23, 87), record(23, 600) + record(23, 9000)

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(up)) == up
        writer.write(down)
        await writer.drain()
        writer.close()

    async def run() -> Passed:
        server = await asyncio.start_server(origin, "127.0.0.1", 0)
        passed: asyncio.Future[Passed] = asyncio.get_running_loop().create_future()
        proxy = RecordingProxy(
            ("127.0.0.1", server.sockets[0].getsockname()[1]), lambda: wire, passed.set_result
        )
        await proxy.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(up)
        assert await reader.readexactly(len(down)) == down
        writer.close()
        async with asyncio.timeout(60):
            found = await passed
        await proxy.close()
        server.close()
        return found

    passed = asyncio.run(run())
    records = [(way, length) for _, way, length, _ in passed.records]
    assert records == [(1, 53), (1, 87), (-1, 600), (-1, 9000)]
    assert passed.rtt >= 2 * wire.delay_s


def test_an_origin_that_is_away_ends_the_connection() -> None:
    passed: list[Passed] = []

    async def run() -> None:
        proxy = RecordingProxy(("127.0.0.1", free_port()), Wire, passed.append)
        await proxy.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await reader.read() == b""
        writer.close()
        await proxy.close()

    asyncio.run(run())
    assert passed == []
