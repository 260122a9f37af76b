"""An authority's visit is known by its whole first record, and nobody else's is held back for long."""

import asyncio
import os
import socket
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.carriers import until
from tests.support.edge_servers import tcp_server
from tests.support.hellos import template_of
from tests.support.htx import htx_relay
from tests.support.origins import HOST
from vigilnet.traffic.transport.htx.acme_visits import is_acme_visit
from vigilnet.traffic.transport.htx.hello import build
from vigilnet.traffic.transport.htx.wire import ExtensionType, encode_record


def visit(alpn: bytes = b"\0\x0b\x0aacme-tls/1") -> bytes:
    """The hello of an authority with a post-quantum share: longer than a segment."""
    hello = build(template_of("chromium"), HOST, os.urandom).hello
    return encode_record(22, hello.with_extension(ExtensionType.ALPN, alpn).encode(), 0x0301)


def test_a_visit_is_known_once_it_is_whole() -> None:
    record = visit()
    assert len(record) > 1460
    assert is_acme_visit(record) is True
    assert {is_acme_visit(record[:at]) for at in range(1, len(record))} == {None}


@pytest.mark.parametrize(
    "data",
    [
        b"\x17" + visit()[1:],
        b"\x16\2" + visit()[2:],
        visit() + b"x",
        visit(b"\0\x0e\x02h2\x0aacme-tls/1"),
        visit(b"\0\x03\x02h2"),
        b"\x16\3\1\0\0",
        b"\x16\3\1\x40\1",
        encode_record(22, b"\1\0\0\2\3\3"),
        b"GET",
    ],
)
def test_what_is_no_visit_is_told_at_once(data: bytes) -> None:
    assert is_acme_visit(data) is False


@given(st.binary(min_size=1, max_size=80))
def test_any_octets_are_judged(data: bytes) -> None:
    assert is_acme_visit(data) in (True, False, None)


@pytest.mark.slow
def test_a_visit_in_pieces_goes_to_the_proof_and_half_of_one_to_the_origin() -> None:
    async def scenario() -> None:
        heard: dict[str, list[bytes]] = {"origin": [], "proof": []}

        def keeper(who: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
            async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                heard[who].append(await reader.read(-1))
                writer.close()

            return take

        async with AsyncExitStack() as stack:
            origin = await stack.enter_async_context(tcp_server(keeper("origin")))
            proof = await stack.enter_async_context(tcp_server(keeper("proof")))
            relay = await stack.enter_async_context(htx_relay(origin))
            relay.listener._relay.diversion.port = proof
            record, loop = visit(), asyncio.get_running_loop()
            for pieces in ([record[:3], record[3:1460], record[1460:]], [record[:700]]):
                with socket.create_connection(("127.0.0.1", relay.port)) as sock:
                    sock.setblocking(False)
                    for piece in pieces:
                        await loop.sock_sendall(sock, piece)
                        await asyncio.sleep(0.02)  # a segment of its own; if not, the test is only easier
                    sock.shutdown(socket.SHUT_WR)
                    assert await loop.sock_recv(sock, 10) == b""
            await until(lambda: bool(heard["proof"]) and record[:700] in heard["origin"])
            assert heard["proof"] == [record]
            assert b"".join(heard["origin"]) == record[:700]

    asyncio.run(scenario())
