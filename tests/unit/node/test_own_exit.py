"""A lone exit's own applications: real sockets on loopback, the real exit."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.edge_servers import echo_server
from vigilnet.base.clock import SystemClock
from vigilnet.node.own_exit import OwnExit
from vigilnet.traffic.exit.options import Options as ExitOptions
from vigilnet.traffic.exit.service import ExitService
from vigilnet.traffic.ingress.options import Options as IngressOptions
from vigilnet.traffic.ingress.ports import OnionUnavailableError, Opening, StreamTold
from vigilnet.traffic.ingress.service import IngressService
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.messages import Resolve, Resolved, Target
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

BULK = bytes(range(256)) * 4096  # 1 MiB: more than all windows of a stream


class NoCircuits:
    """A pool that has none."""

    def begin_stream(self, target: Target, isolation: str, early: bytes, told: StreamTold) -> Opening:
        raise AssertionError("not asked here")

    async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
        raise OnionUnavailableError("no circuits here")

    async def resolve(self, request: Resolve, isolation: str) -> Resolved:
        raise OnionUnavailableError("no circuits here")

    async def open_datagrams(self, isolation: str) -> DatagramFlow:
        raise OnionUnavailableError("no circuits here")


def _run(work: Callable[[OwnExit, ExitService, list[str]], Awaitable[None]]) -> None:
    async def main() -> None:
        exits = ExitService(
            ExitOptions(
                enabled=True, policy="none", rules=("accept *:1024-65535",), allow_private_targets=True
            ),
            SystemClock(),
        )
        known: list[str] = []
        own = OwnExit(NoCircuits(), exits, lambda: bool(known), MuxOptions(), SystemClock())
        try:
            await asyncio.wait_for(work(own, exits, known), 60)
        finally:
            own.close()
            await exits.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def test_more_than_all_windows_goes_both_ways_and_is_counted() -> None:
    async def work(own: OwnExit, exits: ExitService, _: list[str]) -> None:
        ingress = IngressService(IngressOptions(socks_port=0, http_enabled=False), own)
        ingress.start()
        assert ingress.socks_address is not None
        async with echo_server() as port:
            reader, writer = await asyncio.open_connection(*ingress.socks_address)
            writer.write(b"\5\1\0" + b"\5\1\0\1\x7f\0\0\1" + port.to_bytes(2))
            assert (await reader.readexactly(12))[3] == 0
            writer.write(BULK)
            assert await reader.readexactly(len(BULK)) == BULK
            writer.close()
            await ingress.close()
        assert exits.snapshot().octets >= 2 * len(BULK)

    _run(work)


def test_policy_holds_for_ourselves_too() -> None:
    async def work(own: OwnExit, exits: ExitService, _: list[str]) -> None:
        with pytest.raises(StreamEndedError) as caught:
            await own.open_stream(Target("127.0.0.1", 25), "")
        assert caught.value.reason is EndReason.POLICY
        assert exits.snapshot().refused == 1

    _run(work)


def test_whoever_knows_a_relay_takes_circuits() -> None:
    async def work(own: OwnExit, exits: ExitService, known: list[str]) -> None:
        known.append("a relay")
        with pytest.raises(OnionUnavailableError):
            await own.open_stream(Target("127.0.0.1", 2000), "")
        with pytest.raises(OnionUnavailableError):
            await own.open_datagrams("")
        with pytest.raises(OnionUnavailableError):
            await own.resolve(Resolve("a.example", 1), "")
        assert exits.snapshot().accepted == 0

    _run(work)
