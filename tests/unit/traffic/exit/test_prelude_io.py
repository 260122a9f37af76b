"""Streams that name their target themselves, through the real exit."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.support.edge_network import DirectNetwork
from tests.support.edge_servers import echo_server
from tests.support.ports import free_port
from tests.support.stream_reader import Reader
from vigilnet.traffic.exit import service
from vigilnet.traffic.exit.options import Options
from vigilnet.traffic.exit.prelude import HOST, OK
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.stream import StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

PRELUDE = Target(HOST, 0)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def connect(port: int, more: str = "") -> bytes:
    return f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{more}\r\n".encode()


def test_a_stream_says_inside_itself_where_it_goes() -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork() as network:
            stream = await network.open_stream(PRELUDE, "", b"CONNECT 127.")
            reader = Reader(stream)
            assert reader.address == ""
            assert network.exit.snapshot().dialling == 1
            stream.write(connect(port)[len(b"CONNECT 127.") :] + b"early ")
            assert await reader.wait_octets(len(OK)) == OK + b"early "[: len(reader.octets) - len(OK)]
            stream.write(b"late")
            stream.write_eof()
            assert await reader.wait_end() == OK + b"early late"
            assert network.exit.snapshot().accepted == 1
            assert not network.exit._preludes

    run(scenario())


def test_all_at_once_with_an_end_is_a_whole_request() -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork() as network:
            stream = await network.open_stream(PRELUDE, "", connect(port) + b"x" * 20_000)
            stream.write_eof()
            assert await Reader(stream).wait_end() == OK + b"x" * 20_000

    run(scenario())


@pytest.mark.parametrize(
    ("prelude", "status"),
    [
        (connect(25), b"403"),
        (b"CONNECT 10.0.0.1:0 HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT 0x7f.1:80 HTTP/1.1\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\n\r\n", b"405"),
        (b"x" * 9000, b"431"),
    ],
)
def test_what_is_not_reached_is_answered(prelude: bytes, status: bytes) -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            reader = Reader(await network.open_stream(PRELUDE, "", prelude))
            answer = await reader.wait_end()
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert reader.reason is EndReason.DONE
            snapshot = network.exit.snapshot()
            assert (snapshot.refused, snapshot.dialling) == (1, 0)
            assert not network.exit._preludes

    run(scenario())


def test_a_target_that_refuses_is_a_bad_gateway() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            reader = Reader(await network.open_stream(PRELUDE, "", connect(free_port())))
            assert (await reader.wait_end()).startswith(b"HTTP/1.1 502")

    run(scenario())


def test_half_a_prelude_and_an_end_is_none() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            stream = await network.open_stream(PRELUDE, "", b"CONNECT a:1 HT")
            stream.write_eof()
            assert (await Reader(stream).wait_end()).startswith(b"HTTP/1.1 400")
            assert network.exit.snapshot().dialling == 0

    run(scenario())


def test_who_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PRELUDE_S", 0.0)
    monkeypatch.setattr(service, "SWEEP_S", 0.01)

    async def scenario() -> None:
        async with DirectNetwork() as network:
            reader = Reader(await network.open_stream(PRELUDE, "", b"CONNECT "))
            assert (await reader.wait_end()).startswith(b"HTTP/1.1 408")
            assert network.exit.snapshot().dialling == 0

    run(scenario())


def test_who_goes_away_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SWEEP_S", 0.01)

    async def scenario() -> None:
        async with DirectNetwork() as network:
            (await network.open_stream(PRELUDE, "", b"CONNECT ")).close(EndReason.RESET)
            async with asyncio.timeout(30):
                while network.exit.snapshot().dialling or network.exit._preludes:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)  # the sweep tells nobody

    run(scenario())


def test_an_exit_that_is_off_reads_no_prelude() -> None:
    async def scenario() -> None:
        async with DirectNetwork(Options()) as network:
            with pytest.raises(StreamEndedError):
                await network.open_stream(PRELUDE, "")

    run(scenario())
