"""Asking a server: real sockets on loopback, and servers that misbehave."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.edge_servers import tcp_server
from tests.support.origins import make_certificates
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.http import client_io
from vigilnet.base.http.client_io import Answer, UnreachableError, ask
from vigilnet.base.http.messages import Request, Response, json_response
from vigilnet.base.http.routes import Routes
from vigilnet.base.http.service import HttpServer
from vigilnet.base.http.url import Url


def _served(work: Callable[[Url], "asyncio.Future[Answer]"]) -> Answer:
    seen: list[Request] = []

    def echo(request: Request) -> Response:
        seen.append(request)
        return json_response({"got": request.body.decode(), "names": sorted(request.headers)})

    routes = Routes()
    routes.add("POST", "/x", echo, max_body=100)
    routes.add("GET", "/x", echo)

    async def main() -> Answer:
        server = HttpServer([routes], SystemClock())
        port = await server.listen("127.0.0.1", 0)
        try:
            return await work(Url("127.0.0.1", port, is_secure=False))
        finally:
            await server.close()

    return asyncio.run(main())


def _raw(reply: bytes, **limits: object) -> Answer:
    """Ask a server that says `reply` to whatever it gets."""

    async def main() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            if reply:
                writer.close()

        async with tcp_server(serve) as port:
            return await ask(Url("127.0.0.1", port, is_secure=False), "GET", "/", **limits)  # type: ignore[arg-type]

    return asyncio.run(main())


def test_what_is_asked_is_answered_and_tells_nothing_of_who_asks() -> None:
    answer = _served(lambda url: ask(url, "POST", "/x", b"body"))  # type: ignore[arg-type,return-value]
    assert answer.status == 200
    assert answer.body == (
        b'{"got":"body","names":["accept","connection","content-length","content-type","host"]}'
    )
    assert _served(lambda url: ask(url, "GET", "/no")).status == 404  # type: ignore[arg-type,return-value]


def test_nobody_there_and_no_answer_in_time_are_unreachable() -> None:
    with pytest.raises(UnreachableError):
        asyncio.run(ask(Url("127.0.0.1", 1, is_secure=False), "GET", "/"))
    with pytest.raises(UnreachableError, match="no answer within"):
        _raw(b"", timeout_s=0.05)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"nonsense\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, "longer than 100"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "malformed"),
    ],
)
def test_bad_answers_are_the_servers_fault(reply: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        _raw(reply, max_body=100)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_https_is_taken_only_from_who_can_prove_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificates(tmp_path, "localhost")
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")

    async def main(*, is_trusted: bool) -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
            writer.close()

        if is_trusted:
            context = ssl.create_default_context(cadata=made.root.decode())
            monkeypatch.setattr(client_io, "tls_context", lambda pin=b"": context)
        async with tcp_server(serve, tls=ours) as port:
            return await ask(Url(name, port, is_secure=True), "GET", "/")

    with pytest.raises(UnreachableError, match="CertVerification"):
        asyncio.run(main(is_trusted=False))
    if name == "localhost":
        assert asyncio.run(main(is_trusted=True)).body == b"ok"
    else:
        with pytest.raises(UnreachableError, match="CertVerification"):
            asyncio.run(main(is_trusted=True))


@pytest.mark.parametrize("is_right", [True, False])
def test_a_pinned_certificate_is_taken_whoever_signed_it_and_no_other(tmp_path: Path, is_right: bool) -> None:
    make_certificates(tmp_path, "somebody.example")
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    shown = x509.load_pem_x509_certificates((tmp_path / "chain.pem").read_bytes())[0]
    pin = shown.fingerprint(hashes.SHA256()) if is_right else bytes(32)
    asked: list[bytes] = []

    async def main() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
            writer.close()

        async with tcp_server(serve, tls=ours) as port:
            return await ask(Url("127.0.0.1", port, is_secure=True, pin=pin), "GET", "/")

    if is_right:
        assert asyncio.run(main()).body == b"ok"
    else:
        with pytest.raises(UnreachableError, match="another certificate"):
            asyncio.run(main())
        assert asked == []
