"""Shadowsocks on loopback: ourselves at both ends; shadowsocks-libev and, for 2022, sing-box at either."""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.carriers import Echo, Keeper, close_all, until
from tests.support.edge_servers import echo_server, tcp_server
from tests.support.needs import needs_programs
from tests.support.shadowsocks_libev import ss_local, ss_server
from tests.support.sing_box import needs_sing_box, shadowsocks_client, shadowsocks_server
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.carrier import Carrier, CarrierKind
from vigilnet.traffic.transport.pluggable.proxy import Proxy
from vigilnet.traffic.transport.pluggable.proxy_io import ProxiedTcp
from vigilnet.traffic.transport.shadowsocks import shadowsocks_io
from vigilnet.traffic.transport.shadowsocks.methods import METHODS, new_password, secret_from
from vigilnet.traffic.transport.shadowsocks.shadowsocks_io import (
    Server,
    ShadowsocksListener,
    ShadowsocksTransport,
    read_params,
)

pytestmark = pytest.mark.slow  # real sockets or processes: in all, seconds

METHOD = "2022-blake3-aes-256-gcm"
PASSWORD = new_password(METHOD, lambda size: bytes(range(size)))
OF_2022 = [name for name in METHODS if name.startswith("2022")]
OF_2017 = [name for name in METHODS if not name.startswith("2022")]
DATA = os.urandom(300_000)


def transport(method: str = METHOD, password: str = PASSWORD, max_unproven: int = 64) -> ShadowsocksTransport:
    clock = SystemClock()
    server = Server(secret_from(method, password), clock, os.urandom, max_unproven)
    return ShadowsocksTransport(clock, os.urandom, server)


async def serve(
    stack: AsyncExitStack, ours: ShadowsocksTransport, host: str = "127.0.0.1"
) -> ShadowsocksListener:
    """Echo whatever comes until the test is over."""
    echoes: list[Keeper] = []
    listener = await ours.listen(host, 0, lambda carrier: echoes.append(Echo(carrier)))
    stack.push_async_callback(close_all, echoes)
    stack.callback(listener.close)
    return listener


async def dial(
    stack: AsyncExitStack,
    ours: ShadowsocksTransport,
    port: int,
    params: Mapping[int, object],
    buffer: int = 65_536,
    host: str = "127.0.0.1",
) -> tuple[Carrier, Keeper]:
    carrier = await ours.dial(host, port, params)
    keeper = Keeper(carrier, buffer)
    stack.push_async_callback(close_all, [keeper])
    return carrier, keeper


@pytest.mark.parametrize(("method", "host"), [*((each, "127.0.0.1") for each in METHODS), (METHOD, "::1")])
def test_octets_go_both_ways(method: str, host: str) -> None:
    password = new_password(method, os.urandom)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            ours = transport(method, password)
            listener = await serve(stack, ours, host)
            carrier, keeper = await dial(stack, ours, listener.port, {0: method, 1: password}, 1000, host)
            assert carrier.kind is CarrierKind.SHADOWSOCKS
            assert carrier.remote_host == host
            for at in range(0, len(DATA), 60_000):
                carrier.write([DATA[at : at + 30_000], memoryview(DATA)[at + 30_000 : at + 60_000]])
            assert await keeper.wait_octets(len(DATA)) == DATA
            assert not listener.unproven
            carrier.close()
            carrier.close()
            await until(keeper.is_closed)

    asyncio.run(scenario())


@needs_programs("ss-server")
@pytest.mark.parametrize("method", OF_2017)
def test_our_client_and_debians_server(method: str) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            target = ["127.0.0.1", await stack.enter_async_context(echo_server())]
            params = {0: method, 1: "a password", 2: target}
            carrier, keeper = await dial(stack, transport(), port, params)
            carrier.write([DATA])
            assert await keeper.wait_octets(len(DATA)) == DATA

    with ss_server(method, "a password") as port:
        asyncio.run(scenario())


@needs_programs("ss-local")
@pytest.mark.parametrize("method", OF_2017)
def test_debians_client_and_our_server(method: str) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            listener = await serve(stack, transport(method, "a password"))
            with ss_local(method, "a password", listener.port) as port:
                await _through_socks(port)

    asyncio.run(scenario())


@needs_programs("ss-local")
def test_a_link_begins_in_debians_client() -> None:
    method, password = OF_2017[0], "a password"

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            listener = await serve(stack, transport(method, password))
            with ss_local(method, password, listener.port) as port:
                local = ProxiedTcp(Proxy("socks5", "127.0.0.1", port), CarrierKind.SHADOWSOCKS)
                ours = ShadowsocksTransport(
                    SystemClock(), os.urandom, clients={("127.0.0.1", listener.port): local}
                )
                carrier, keeper = await dial(stack, ours, listener.port, {0: method, 1: password})
                assert carrier.kind is CarrierKind.SHADOWSOCKS
                carrier.write([DATA])
                assert await keeper.wait_octets(len(DATA)) == DATA

    asyncio.run(scenario())


@needs_sing_box
@pytest.mark.parametrize("method", OF_2022)
def test_our_client_and_another_server_of_2022(tmp_path: Path, method: str) -> None:
    password = new_password(method, os.urandom)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            target = ["127.0.0.1", await stack.enter_async_context(echo_server())]
            carrier, keeper = await dial(stack, transport(), port, {0: method, 1: password, 2: target})
            carrier.write([DATA])
            assert await keeper.wait_octets(len(DATA)) == DATA

    with shadowsocks_server(tmp_path, method, password) as port:
        asyncio.run(scenario())


@needs_sing_box
@pytest.mark.parametrize("method", OF_2022)
def test_another_client_of_2022_and_our_server(tmp_path: Path, method: str) -> None:
    password = new_password(method, os.urandom)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            listener = await serve(stack, transport(method, password))
            with shadowsocks_client(tmp_path, method, password, listener.port) as port:
                await _through_socks(port)

    asyncio.run(scenario())


async def _through_socks(port: int) -> None:
    """Send octets through a program's SOCKS5 proxy to a server that echoes them, whatever its name."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\5\1\0")
    assert await reader.readexactly(2) == b"\5\0"
    writer.write(b"\5\1\0\3\x09a.example\1\xbb")
    assert (await reader.readexactly(10))[:2] == b"\5\0"
    writer.write(DATA)
    async with asyncio.timeout(60):
        assert await reader.readexactly(len(DATA)) == DATA
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("probe", [b"GET / HTTP/1.1\r\n\r\n", bytes(31), os.urandom(4000)])
def test_a_prober_hears_nothing_until_it_is_given_up(probe: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadowsocks_io, "SILENT_S", 0.2)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            listener = await serve(stack, transport())
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(probe)
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            writer.close()
            await until(lambda: not listener.unproven)

    asyncio.run(scenario())


def test_who_does_not_prove_itself_makes_room_for_newcomers() -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            ours = transport(max_unproven=2)
            listener = await serve(stack, ours)
            idle = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(4)]
            async with asyncio.timeout(60):
                assert await idle[0][0].read() == b""
                assert await idle[1][0].read() == b""
            assert listener.unproven == 2
            carrier, keeper = await dial(stack, ours, listener.port, {0: METHOD, 1: PASSWORD})
            carrier.write([b"hello"])
            assert await keeper.wait_octets(5) == b"hello"
            for _, writer in idle:
                writer.close()
            await until(lambda: not listener.unproven)

    asyncio.run(scenario())


def test_a_server_that_does_not_hold_the_password_ends_the_link() -> None:
    async def scenario() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(bytes(200))
            await reader.read()
            writer.close()

        async with tcp_server(answer) as port:
            carrier = await transport().dial("127.0.0.1", port, {0: METHOD, 1: PASSWORD})
            keeper = Keeper(carrier)
            carrier.write([b"hello"])
            await until(keeper.is_closed)
            assert isinstance(keeper.closed[0], ConnectionAbortedError)
            assert carrier.write([b"more"])

    asyncio.run(scenario())


def test_links_from_another_programs_server_are_of_our_kind() -> None:
    async def scenario() -> None:
        accepted: list[Carrier] = []
        listener = await transport().listen_behind("127.0.0.1", 0, accepted.append)
        with socket.create_connection(("127.0.0.1", listener.port)):
            await until(lambda: bool(accepted))
        assert accepted[0].kind is CarrierKind.SHADOWSOCKS
        await close_all([Keeper(accepted[0])])
        listener.close()

    asyncio.run(scenario())


def test_a_carrier_that_closed_before_it_had_a_user_tells_so() -> None:
    async def scenario() -> None:
        accepted: list[Carrier] = []
        async with AsyncExitStack() as stack:
            ours = transport()
            listener = await ours.listen("127.0.0.1", 0, accepted.append)
            carrier, keeper = await dial(stack, ours, listener.port, {0: METHOD, 1: PASSWORD})
            carrier.write([b"hello"])
            await until(lambda: bool(accepted))
            carrier.close()
            await until(keeper.is_closed)
            late = Keeper(accepted[0])
            await until(late.is_closed)
            listener.close()

    asyncio.run(scenario())


def test_a_node_without_a_password_does_not_listen() -> None:
    async def scenario() -> None:
        ours = ShadowsocksTransport(SystemClock(), os.urandom)
        with pytest.raises(LocalProtocolError):
            await ours.listen("127.0.0.1", 0, lambda _: None)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "params",
    [
        {},
        {0: METHOD},
        {0: 1, 1: PASSWORD},
        {0: METHOD, 1: "x" * 129},
        {0: METHOD, 1: PASSWORD, 2: "a.example"},
        {0: METHOD, 1: PASSWORD, 2: ["a.example"]},
        {0: METHOD, 1: PASSWORD, 2: ["a.example", 0]},
        {0: METHOD, 1: PASSWORD, 2: [b"a", 1]},
    ],
)
def test_params_that_are_none_are_refused(params: dict[int, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        read_params(params, ("192.0.2.1", 1))


def test_params_that_cannot_be_used_fail_the_dial() -> None:
    async def scenario(params: dict[int, object]) -> None:
        with pytest.raises(ConnectionAbortedError, match="shadowsocks address"):
            await transport().dial("127.0.0.1", 1, params)

    asyncio.run(scenario({0: "rc4", 1: "x"}))
    asyncio.run(scenario({0: METHOD, 1: PASSWORD, 2: ["x" * 300, 1]}))
