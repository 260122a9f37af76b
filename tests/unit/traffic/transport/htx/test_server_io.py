"""Probes: the relay's port answers as the web server behind it does, octet for octet and in the same time."""

import asyncio
import errno
import os
import socket
import ssl
import statistics
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.htx import htx_relay, relay_process
from tests.support.needs import needs_programs
from tests.support.origins import HOST, Certificates, make_certificates, nginx
from tests.support.probes import HASTE, PATIENCE_S, RAW, Seen, hello_record, probe, probe_all
from tests.support.tracing import is_traced
from vigilnet.traffic.transport.htx import server_io
from vigilnet.traffic.transport.htx.options import Options
from vigilnet.traffic.transport.htx.wire import encode_record

pytestmark = needs_programs("nginx")
REPEATS = 40
TRIES = 3  # of a kind whose times miss: another program may have had the processor
GET = b"GET / HTTP/1.1\r\nHost: www.example.test\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("origin"), is_rsa=True)  # signatures of one length


@pytest.fixture(scope="module")
def origin(certificates: Certificates) -> Iterator[int]:
    with nginx(certificates.folder, HASTE) as port:
        yield port


@pytest.fixture(scope="module")
def patient_origin(certificates: Certificates) -> Iterator[int]:
    """The same for visitors whose machine may be slow."""
    with nginx(certificates.folder, "keepalive_timeout 2s;") as port:
        yield port


def is_alike_in_time(nginx_saw: Seen, relay_saw: Seen) -> bool:
    """Compare: the median is to be within nginx's own spread, a millisecond, and what nginx itself takes.

    What the relay adds on loopback is measured by `python -m tests.bench.htx_report probes`.
    """
    median = 1000 * statistics.median(relay_saw.times)
    low, middle, high = (1000 * value(nginx_saw.times) for value in (min, statistics.median, max))
    # nginx counts its time-outs from a clock that it reads now and then; a slow machine is slow at both
    slack = max(1, 0.02 * middle, min(middle, 5))
    return low - slack <= median <= high + slack


async def check(kind: str, ports: tuple[int, int], make: Callable[[int], list[bytes]], *, fin: bool) -> None:
    """Send the probes of `make(number)` to nginx and relay: alike in every try, in time in one of three."""
    for _ in range(TRIES):
        probes = [make(number) for number in range(REPEATS + 1)]
        nginx_saw, relay_saw = await probe_all(ports, probes, fin=fin)
        assert relay_saw.outcomes == nginx_saw.outcomes, kind
        if is_traced() or is_alike_in_time(nginx_saw, relay_saw):
            return
    pytest.fail(f"{kind}: the relay answers in another time than nginx, {TRIES} times")


@pytest.mark.slow
def test_raw_probes_meet_nginx_itself(origin: int) -> None:
    async def scenario(relay: int) -> None:
        async def check_kind(kind: str, make: Callable[[], list[bytes]], *, fin: bool) -> None:
            await check(kind, (origin, relay), lambda _: make(), fin=fin)

        for kind, (make, fin) in RAW.items():
            await check_kind(kind, make, fin=fin)

    with relay_process(origin) as port:
        asyncio.run(scenario(port))


@pytest.mark.slow
def test_a_replayed_hello_meets_nginx_itself(origin: int) -> None:
    async def scenario(relay: int) -> None:
        used = [hello_record(authentic=True) for _ in range(REPEATS + 1)]
        for record in used:
            await probe(relay, [record], fin=True)
        tail = encode_record(23, os.urandom(80))
        await check("replay", (origin, relay), lambda number: [used[number]], fin=False)
        await check("replay, then garbage", (origin, relay), lambda number: [used[number], tail], fin=False)

    with relay_process(origin) as port:
        asyncio.run(scenario(port))


def visit(
    port: int, version: ssl.TLSVersion | None, name: str | None, alpn: list[str], request: bytes
) -> tuple[object, ...]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock,
            context.wrap_socket(sock, server_hostname=name) as tls,
        ):
            tls.sendall(request)
            data = b""
            while got := tls.recv(65_536):
                data += got
            cipher = tls.cipher()
            body = data.partition(b"\r\n\r\n")[2]
            return tls.version(), cipher and cipher[0], tls.selected_alpn_protocol(), len(data), body[:2000]
    except OSError as error:
        return type(error).__name__, str(error).partition("(_ssl")[0]


SETTINGS, BAD_PING = bytes.fromhex("000000040000000000"), bytes.fromhex("00000106000000000000")
VISITS: dict[str, tuple[ssl.TLSVersion | None, str | None, list[str], bytes]] = {
    "tls 1.3": (None, HOST, [], GET),
    "tls 1.2": (ssl.TLSVersion.TLSv1_2, HOST, [], GET),
    "another name": (None, "other.invalid", [], GET),
    "no name": (None, None, [], GET),
    "h2": (None, HOST, ["h2"], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS + BAD_PING),
    "unknown alpn": (None, HOST, ["foo"], GET),
    "garbage inside": (None, HOST, [], b"\x80" * 200),
    "post": (
        None,
        HOST,
        [],
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    ),
    "large file": (None, HOST, [], GET.replace(b"/ ", b"/large.bin ", 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", VISITS)
def test_tls_clients_get_the_site(patient_origin: int, kind: str) -> None:
    async def scenario() -> None:
        async with htx_relay(patient_origin) as relay:
            for _ in range(2):
                direct = await asyncio.to_thread(visit, patient_origin, *VISITS[kind])
                assert await asyncio.to_thread(visit, relay.port, *VISITS[kind]) == direct

    asyncio.run(scenario())


def test_a_reset_is_passed_on_in_both_directions(tmp_path: Path) -> None:
    async def scenario() -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()
        came = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                said = await reader.read(100)
                if said == b"go away":
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return
                came.set()
                await reader.read()
                ended.put_nowait("fin")
            except ConnectionResetError:
                ended.put_nowait("rst")
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with htx_relay(server.sockets[0].getsockname()[1]) as relay:
            outcome, _ = await probe(relay.port, [b"go away"], fin=False)
            assert outcome.end == "rst"
            sock = socket.create_connection(("127.0.0.1", relay.port))
            sock.sendall(b"hello")
            await asyncio.wait_for(came.wait(), PATIENCE_S)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            assert await asyncio.wait_for(ended.get(), PATIENCE_S) == "rst"
            outcome, _ = await probe(relay.port, [b"hello"], fin=True)
            assert await asyncio.wait_for(ended.get(), PATIENCE_S) == "fin"
            assert outcome.end == "fin"
        server.close()

    asyncio.run(scenario())


def test_so_many_of_one_prefix_and_in_all(origin: int) -> None:
    async def scenario() -> None:
        options = Options(max_spliced=3, max_spliced_per_prefix=2)
        async with htx_relay(origin, options=options) as relay:
            ends = [await asyncio.open_connection("127.0.0.1", relay.port) for _ in range(4)]
            for _, writer in ends:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
            first = [await asyncio.wait_for(reader.read(), PATIENCE_S) for reader, _ in ends[:2]]
            assert relay.listener.spliced == 3
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ends[2][0].read(), 0.2)
            for _, writer in ends[:2]:
                writer.close()
            rest = [await asyncio.wait_for(reader.read(), PATIENCE_S) for reader, _ in ends[2:]]
            assert all(answer.startswith(b"HTTP/1.1 400") for answer in first + rest)
            for _, writer in ends[2:]:
                writer.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_without_descriptors_a_connection_is_reset_and_the_next_one_served(
    origin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoneLeft:
        """The module `socket` of a process that may open no more."""

        def __getattr__(self, name: str) -> object:
            return getattr(socket, name)

        def socket(self, *_: object) -> socket.socket:
            raise OSError(errno.EMFILE, "too many open files")

    def answer(port: int) -> bytes | None:
        """Ask for a page; None: reset, behind the handshake or in it."""
        try:
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return sock.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            return None

    async def scenario() -> None:
        async with htx_relay(origin) as relay:
            with monkeypatch.context() as patch:
                patch.setattr(server_io, "socket", NoneLeft())
                assert await asyncio.to_thread(answer, relay.port) is None
            assert relay.listener.origin_failures == 1
            assert relay.listener.spliced == 0
            assert (await asyncio.to_thread(answer, relay.port) or b"").startswith(b"HTTP/1.1 400")

    asyncio.run(scenario())
