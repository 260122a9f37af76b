import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from tests.support.origins import make_certificates
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.base.http.guards import BearerToken
from vigilnet.base.http.messages import EVENT_STREAM, Request, Response, json_response, text_response
from vigilnet.base.http.routes import Routes
from vigilnet.base.http.service import PIECE_SIZE, Bounds, HttpServer
from vigilnet.base.http.session import Limits

TOKEN = "0123456789abcdef"  # noqa: S105 of these tests
Work = Callable[[HttpServer, int], Awaitable[None]]


def _echo(request: Request) -> Response:
    return json_response({"got": len(request.body), "peer": request.peer, "uid": request.uid})


async def _later(_: Request) -> Response:
    await asyncio.sleep(0)
    return text_response("later")


def _failing(_: Request) -> Response:
    raise VigilnetError("thing: refused by policy", ErrorKind.REFUSED)


def _broken(_: Request) -> Response:
    raise ValueError("secret")


def _routes() -> Routes:
    routes = Routes({"X-Group": "a"})
    routes.add("GET", "/echo", _echo)
    routes.add("POST", "/echo", _echo, max_body=100)
    routes.add("POST", "/secret", _echo, max_body=100, guard=BearerToken(TOKEN))
    routes.add("GET", "/later", _later)
    routes.add("GET", "/failing", _failing)
    routes.add("GET", "/broken", _broken)
    return routes


def _run(work: Work, limits: Limits | None = None, bounds: Bounds | None = None, *more: Routes) -> None:
    async def main() -> None:
        server = HttpServer([_routes(), *more], SystemClock(), limits, bounds)
        port = await server.listen("127.0.0.1", 0)
        try:
            await asyncio.wait_for(work(server, port), 60)
        finally:
            await server.close()
        assert server.active == 0

    asyncio.run(main())


async def _ask(port: int, data: bytes) -> tuple[int, str, bytes]:
    """Send, close our half and read all: status, head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    with contextlib.suppress(OSError):
        await writer.drain()
        writer.write_eof()
    reply = await reader.read()
    writer.close()
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, head.decode(), body


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 what a server holds has no event of its own
        await asyncio.sleep(0)


def _get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


def _post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_routes_are_served_with_the_headers_of_their_group() -> None:
    async def work(_: HttpServer, port: int) -> None:
        status, head, body = await _ask(port, _post("/echo", b"x" * 100))
        assert (status, json.loads(body)) == (200, {"got": 100, "peer": "127.0.0.1", "uid": None})
        assert "X-Group: a" in head
        assert await _ask(port, _get("/later")) == (200, (await _ask(port, _get("/later")))[1], b"later")

    _run(work)


def test_errors_of_routes_are_json_and_bugs_are_silent() -> None:
    async def work(_: HttpServer, port: int) -> None:
        assert (await _ask(port, _get("/failing")))[0::2] == (409, b'{"error":"thing: refused by policy"}')
        assert (await _ask(port, _get("/broken")))[0::2] == (500, b'{"error":"internal error"}')
        assert (await _ask(port, _get("/nowhere")))[0::2] == (404, b'{"error":"not found"}')

    _run(work)


def test_token_is_asked_for_before_the_body_is_read() -> None:
    async def work(_: HttpServer, port: int) -> None:
        assert (await _ask(port, _post("/secret", b"x")[:-1]))[0] == 401
        assert (await _ask(port, _post("/secret", b"x", f"Authorization: Bearer {TOKEN}")))[0] == 200

    _run(work)


def test_ten_megabytes_are_refused_with_an_answer_that_arrives() -> None:
    async def work(server: HttpServer, port: int) -> None:
        assert (await _ask(port, _post("/echo", bytes(10_000_000))))[0] == 413
        assert server.failures == []

    _run(work)


def test_one_connection_serves_one_request_after_another() -> None:
    async def work(server: HttpServer, port: int) -> None:
        _, _, rest = await _ask(port, _get("/echo") + _get("/later") + _get("/echo", "Connection: close"))
        assert rest.count(b"HTTP/1.1 200") == 2  # and the first, whose head was split off
        assert server.total == 1

    _run(work)


def test_a_body_in_parts_arrives_whole_and_the_connection_goes_on() -> None:
    parts = tuple(b"%07d," % number for number in range(40_000))
    routes = Routes()
    routes.add("GET", "/parts", lambda _: Response(200, parts))
    routes.add("GET", "/none", lambda _: Response(200, ()))

    async def work(server: HttpServer, port: int) -> None:
        _, head, body = await _ask(port, _get("/parts", "Connection: close"))
        assert "Content-Length: 320000\r\n" in head
        assert body == b"".join(parts)
        _, head, rest = await _ask(port, b"HEAD /parts HTTP/1.1\r\nHost: h\r\n\r\n" + _get("/none"))
        assert head.endswith("Content-Length: 320000")
        assert rest.startswith(b"HTTP/1.1 200")
        assert server.total == 2

    _run(work, None, None, routes)


def test_who_does_not_read_is_dropped_with_what_waits_for_him() -> None:
    """Else each such connection would stay for ever, beyond what is counted."""
    routes = Routes()
    routes.add("GET", "/parts", lambda _: Response(200, (bytes(PIECE_SIZE),) * 1000))
    writers: list[asyncio.StreamWriter] = []

    class Watched(HttpServer):
        def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            super()._opened(reader, writer)

    async def main() -> None:
        server = Watched([routes], SystemClock(), Limits(answer_s=0.05))
        port = await server.listen("127.0.0.1", 0)
        with socket.create_connection(("127.0.0.1", port)) as reader:
            reader.sendall(_get("/parts"))
            await _until(lambda: server.total == 1 and server.active == 0)
            await asyncio.sleep(0)
            assert writers[0].transport.get_write_buffer_size() == 0
        await server.close()

    asyncio.run(main())


def test_slow_sender_is_told_and_dropped() -> None:
    async def work(_: HttpServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHo")
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()

    _run(work, Limits(head_s=0.02))


def test_streamed_answer_comes_as_it_is_made_and_ends_when_the_reader_goes() -> None:
    steps, closed = asyncio.Queue[bytes](), []

    async def events() -> AsyncIterator[bytes]:
        try:
            while chunk := await steps.get():
                yield chunk
        finally:
            closed.append(True)

    routes = Routes()
    routes.add("GET", "/events", lambda _: Response(200, events(), EVENT_STREAM))

    async def work(server: HttpServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_get("/events"))
        steps.put_nowait(b"data: 1\n\n")
        assert b"text/event-stream" in await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readuntil(b"data: 1\n\n")).endswith(b"data: 1\n\n")
        writer.close()
        await _until(lambda: not server.active)
        assert closed == [True]
        steps.put_nowait(b"data: 2\n\n")
        steps.put_nowait(b"")
        assert (await _ask(port, _get("/events")))[0] in (0, 200)  # closing our half is leaving
        assert server.failures == []

    _run(work, None, None, routes)


def test_connections_of_one_address_are_bounded() -> None:
    async def work(server: HttpServer, port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await _until(lambda: server.active == 2)
        assert (await _ask(port, _get("/echo")))[0] == 0
        assert server.total == 2
        for _, writer in held:
            writer.close()
        await _until(lambda: not server.active)
        assert (await _ask(port, _get("/echo")))[0] == 200

    _run(work, None, Bounds(max_connections=3, max_per_address=2))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets here")
def test_unix_socket_serves_the_same_and_knows_its_user(tmp_path: Path) -> None:
    async def main() -> None:
        server = HttpServer([_routes()], SystemClock(), uid_of=lambda connection: connection.fileno() and 7)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        await server.listen_socket(listener)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(_get("/echo", "Connection: close"))
        reply = await reader.read()
        assert json.loads(reply.partition(b"\r\n\r\n")[2]) == {"got": 0, "peer": "", "uid": 7}
        writer.close()
        await server.close()
        await server.close()

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_has_not_shaken_hands_counts_too(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    made = make_certificates(tmp_path, "localhost")
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    theirs = ssl.create_default_context(cadata=made.root.decode())

    async def main() -> None:
        server = HttpServer([_routes()], SystemClock(), None, Bounds(max_connections=2))
        port = await server.listen("127.0.0.1", 0, ours)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await _until(lambda: server.active == 2)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "no room for a third"
        writer.close()
        for _, writer in silent:
            writer.close()
        await _until(lambda: server.active == 0)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=theirs, server_hostname="localhost"
        )
        writer.write(_get("/echo", "Connection: close"))
        assert b'{"got":0,"peer":"127.0.0.1","uid":null}' in await reader.read()
        writer.close()
        await server.close()
        assert server.failures == []
        with pytest.raises(OSError):  # noqa: PT011  nobody listens
            await asyncio.open_connection("127.0.0.1", port)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60))
