"""TCP through a proxy of another make."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.carriers import Echo, Keeper, close_all
from tests.support.edge_servers import tcp_server
from tests.support.ports import free_port
from tests.support.sing_box import has_led_to, needs_sing_box, proxy
from vigilnet.traffic.transport.pluggable.proxy import Proxy
from vigilnet.traffic.transport.pluggable.proxy_io import ProxiedTcp
from vigilnet.traffic.transport.tcp_io import TcpTransport


@pytest.mark.slow
@needs_sing_box
@pytest.mark.parametrize("kind", ["socks5", "socks4a", "http"])
def test_octets_go_through_a_proxy(tmp_path: Path, kind: str) -> None:
    login = (b"me", b"a secret") if kind != "socks4a" else (b"", b"")

    async def scenario(port: int) -> int:
        async with AsyncExitStack() as stack:
            echoes: list[Keeper] = []
            listener = await TcpTransport().listen(
                "127.0.0.1", 0, lambda carrier: echoes.append(Echo(carrier))
            )
            stack.callback(listener.close)
            carrier = await ProxiedTcp(Proxy(kind, "127.0.0.1", port, *login)).dial(
                "127.0.0.1", listener.port
            )
            keeper = Keeper(carrier)
            carrier.write([b"hello"])
            assert await keeper.wait_octets(5) == b"hello"
            await close_all([keeper, *echoes])
            return listener.port

    with proxy(tmp_path, login[0].decode(), login[1].decode()) as port:
        target = asyncio.run(scenario(port))
        assert has_led_to(tmp_path, target)


@needs_sing_box
@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_who_may_not_gets_no_connection(tmp_path: Path, kind: str) -> None:
    async def scenario(port: int) -> None:
        with pytest.raises(ConnectionError):
            await ProxiedTcp(Proxy(kind, "127.0.0.1", port, b"me", b"wrong")).dial("127.0.0.1", 1)

    with proxy(tmp_path, "me", "right") as port:
        asyncio.run(scenario(port))


@pytest.mark.parametrize("said", [b"", b"\4", b"\5\xff"])
def test_what_is_no_proxy_gives_no_connection(said: bytes) -> None:
    async def scenario() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(said)
            writer.close()

        async with tcp_server(answer) as port:
            with pytest.raises(ConnectionError):
                await ProxiedTcp(Proxy("socks5", "127.0.0.1", port)).dial("127.0.0.1", 1)

    asyncio.run(scenario())


def test_a_proxy_that_is_not_there_gives_no_connection() -> None:
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(ProxiedTcp(Proxy("http", "127.0.0.1", free_port())).dial("127.0.0.1", 1))
