"""Clients of the proxies, and the proxies themselves on free ports."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import uvloop

from vigilnet.traffic.ingress.options import Options
from vigilnet.traffic.ingress.ports import Dialler
from vigilnet.traffic.ingress.service import IngressService

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(
    work: Coroutine[Any, Any, None],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    seconds: float = 30,
) -> None:
    """Run a scenario to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(work, seconds))


@asynccontextmanager
async def proxies(dialler: Dialler, **options: Any) -> AsyncIterator[IngressService]:  # noqa: ANN401 - settings
    """The proxies on free ports; checks that nothing is left behind."""
    service = IngressService(Options(**{"socks_port": 0, "http_port": 0, **options}), dialler)
    service.start()
    try:
        yield service
    finally:
        await service.close()
        assert service._tasks.failures == []


async def connect(address: tuple[str, int] | None) -> Streams:
    """Connect to a proxy."""
    assert address is not None
    return await asyncio.open_connection(*address)


def socks_request(host: str, port: int, command: int = 1) -> bytes:
    """A request with the address type that fits the host."""
    try:
        address = ip_address(host)
    except ValueError:
        return bytes([5, command, 0, 3, len(host)]) + host.encode() + port.to_bytes(2)
    kind = 1 if address.version == 4 else 4
    return bytes([5, command, 0, kind]) + address.packed + port.to_bytes(2)


async def socks_reply(reader: asyncio.StreamReader) -> tuple[int, str, int]:
    """Read one reply: code, address and port."""
    head = await reader.readexactly(4)
    assert head[0] == 5
    packed = await reader.readexactly({1: 4, 4: 16}[head[3]])
    port = int.from_bytes(await reader.readexactly(2))
    return head[1], str(ip_address(packed)), port


async def socks_open(
    address: tuple[str, int] | None,
    host: str,
    port: int,
    *,
    login: tuple[bytes, bytes] | None = None,
    command: int = 1,
    early: bytes = b"",
) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask the SOCKS proxy; returns the reply's code and the connection."""
    reader, writer = await connect(address)
    if login is None:
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
    else:
        user, password = login
        writer.write(b"\x05\x01\x02")
        assert await reader.readexactly(2) == b"\x05\x02"
        writer.write(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        assert await reader.readexactly(2) == b"\x01\x00"
    writer.write(socks_request(host, port, command) + early)
    code, _, _ = await socks_reply(reader)
    return code, reader, writer


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds that has no event of its own."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)
