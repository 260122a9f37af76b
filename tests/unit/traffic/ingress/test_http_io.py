import asyncio
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.support.edge_clients import LOOPS, connect, proxies, run, until
from tests.support.edge_network import OPEN_EXIT, DirectNetwork
from tests.support.edge_servers import echo_server, http_server, tcp_server
from tests.support.ports import free_port
from tests.unit.traffic.ingress.test_socks_io import Scripted
from vigilnet.traffic.stream.wire import EndReason

pytestmark = pytest.mark.slow  # real sockets or processes: in all, seconds


async def response(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one response with a Content-Length: head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


def get(port: int, host: str = "127.0.0.1", fields: bytes = b"") -> bytes:
    return b"GET http://%b:%d/ HTTP/1.1\r\nHost: x\r\n%b\r\n" % (host.encode(), port, fields)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_connect_makes_a_tunnel(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork() as network, proxies(network) as service:
            reader, writer = await connect(service.http_address)
            writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\nearly " % port)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
            writer.write(b"late")
            writer.write_eof()
            assert await reader.read() == b"early late"
            writer.close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario(), new_loop)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_requests_share_a_connection_and_a_stream(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        async with (
            http_server() as (port, heads),
            http_server() as (other, _),
            DirectNetwork() as network,
            proxies(network) as service,
        ):
            reader, writer = await connect(service.http_address)
            for _ in range(3):
                writer.write(get(port, fields=b"Proxy-Authorization: Basic eDp5\r\n"))
                assert (await response(reader))[1] == b"you sent "
            assert network.exit.snapshot().accepted == 1
            assert heads == [b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port] * 3
            writer.write(get(other))
            assert (await response(reader))[1] == b"you sent "
            assert network.exit.snapshot().accepted == 2
            await until(lambda: network.exit.snapshot().open_streams == 1)
            writer.close()
            await until(lambda: network.exit.snapshot().open_streams == 0)
            await until(lambda: service.snapshot().connections == 0)

    run(scenario(), new_loop)


def test_a_large_body_goes_up_and_down_intact_with_a_slow_reader() -> None:
    async def scenario() -> None:
        body = bytes(range(256)) * 20_000  # 5 MB: more than every buffer on the way
        async with http_server() as (port, _), DirectNetwork() as network, proxies(network) as service:
            reader, writer = await connect(service.http_address)
            head = b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % (port, len(body)) + body)
            await writer.drain()
            await asyncio.sleep(0.1)
            assert (await response(reader))[1] == b"you sent " + body
            writer.close()

    run(scenario())


def test_a_client_that_never_reads_does_not_fill_memory() -> None:
    async def scenario() -> None:
        sent = 0

        async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while sent < 200_000_000:
                    writer.write(bytes(100_000))
                    await writer.drain()
                    sent += 100_000
            except OSError:
                pass
            finally:
                writer.close()

        async with tcp_server(pour) as port, DirectNetwork() as network, proxies(network) as service:
            _, writer = await connect(service.http_address)
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a Transport, in truth
            writer.write(get(port))
            seen = -1
            while seen != sent:  # until nothing moves any more
                seen = sent
                await asyncio.sleep(0.3)
            assert sent < 40_000_000
            writer.transport.abort()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_a_response_that_ends_with_the_connection_arrives_whole() -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(3_000_000))
            await writer.drain()
            writer.close()

        async with tcp_server(serve) as port, DirectNetwork() as network, proxies(network) as service:
            reader, writer = await connect(service.http_address)
            writer.write(get(port))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
            assert len(await reader.read()) == 3_000_000
            writer.close()

    run(scenario())


def test_a_cut_response_ends_with_a_reset() -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
            writer.close()

        async with tcp_server(serve) as port, DirectNetwork() as network, proxies(network) as service:
            reader, writer = await connect(service.http_address)
            writer.write(get(port))
            await reader.readuntil(b"only this")
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()

    run(scenario())


def test_an_idle_stream_that_the_site_closed_is_opened_again() -> None:
    async def scenario() -> None:
        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()

        async with tcp_server(once) as port, DirectNetwork() as network, proxies(network) as service:
            reader, writer = await connect(service.http_address)
            for number in (1, 2, 3):
                writer.write(get(port))
                assert (await response(reader))[1] == b"ok"
                assert network.exit.snapshot().accepted == number
            writer.close()

    run(scenario())


def test_half_closed_client_gets_its_response() -> None:
    async def scenario() -> None:
        async with http_server() as (port, _), DirectNetwork() as network, proxies(network) as service:
            reader, writer = await connect(service.http_address)
            writer.write(b"GET http://127.0.0.1:%d/ HTTP/1.0\r\n\r\n" % port)
            writer.write_eof()
            assert (await reader.read()).endswith(b"you sent ")
            writer.close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_a_site_that_answers_early_is_not_heard_in_the_next_sites_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        body_began, body_is_stuck = asyncio.Event(), asyncio.Event()

        async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"first")
            body_began.set()
            await body_is_stuck.wait()
            writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

        async with (
            tcp_server(hasty) as port,
            http_server() as (other, _),
            DirectNetwork() as network,
            proxies(network) as service,
        ):
            reader, writer = await connect(service.http_address)
            writer.write(b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nfirst" % port)
            await body_began.wait()
            mux = network.circuits[""][0].client
            (stream,) = mux.streams.values()
            with monkeypatch.context() as patch:
                patch.setattr(mux.outbox, "_has_window", lambda: False)
                writer.write(b"later")
                await until(lambda: stream.pending_octets == 5)
                body_is_stuck.set()
                assert (await response(reader))[0].startswith(b"HTTP/1.1 413 ")
                writer.write(get(other))
                await asyncio.sleep(0.1)
            mux.outbox._carriage.wake()
            assert (await response(reader))[1] == b"you sent "
            writer.close()

    run(scenario())


def test_each_failure_has_its_status() -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork(OPEN_EXIT) as network, proxies(network) as service:

            async def status(request: bytes) -> int:
                reader, writer = await connect(service.http_address)
                writer.write(request)
                answer = await reader.read()
                writer.close()
                return int(answer.split(b" ")[1])

            assert await status(get(25)) == 403
            assert await status(b"CONNECT 127.0.0.1:25 HTTP/1.1\r\n\r\n") == 403
            assert await status(get(free_port())) == 502
            assert await status(get(80, "nothing.invalid")) == 502
            assert await status(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == 400
            assert await status(b"TRACE http://a.example/ HTTP/1.1\r\n\r\n") == 405
            network.is_down = True
            assert await status(get(port)) == 503
            assert await status(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port) == 503
        async with proxies(Scripted(EndReason.TIMEOUT)) as service:
            assert await status(get(80)) == 504
            assert await status(b"CONNECT a.example:80 HTTP/1.1\r\n\r\n") == 504

    run(scenario())


def test_socks_on_the_http_port_gets_a_clear_answer() -> None:
    async def scenario() -> None:
        async with proxies(Scripted(None)) as service:
            reader, writer = await connect(service.http_address)
            writer.write(b"\x05\x01\x00")
            assert await reader.read() == b"\x05\xff"
            writer.close()

    run(scenario())


def test_slow_heads_are_answered_and_silent_clients_dropped() -> None:
    async def scenario() -> None:
        async with proxies(Scripted(None), handshake_timeout_s=1.0) as service:
            silent_reader, silent = await connect(service.http_address)
            reader, writer = await connect(service.http_address)
            writer.write(b"GET http://a.example/ HT")
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
            assert await silent_reader.read() == b""
            silent.close()
            writer.close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


@pytest.mark.parametrize("request_", [get(80), b"CONNECT a.example:80 HTTP/1.1\r\n\r\n"])
def test_closing_the_service_drops_what_is_under_way(request_: bytes) -> None:
    async def scenario() -> None:
        dialler = Scripted(None)
        async with proxies(dialler) as service:
            reader, writer = await connect(service.http_address)
            writer.write(request_)
            await until(lambda: dialler.asked)
        await until(lambda: dialler.is_cancelled)
        assert await reader.read() == b""
        writer.close()

    run(scenario())


def test_a_circuit_that_goes_under_a_response_is_seen_as_a_cut() -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\npart")
            await asyncio.sleep(10)

        async with tcp_server(serve) as port, DirectNetwork() as network, proxies(network) as service:
            reader, writer = await connect(service.http_address)
            writer.write(get(port))
            await reader.readuntil(b"part")
            network.circuits[""][0].close()
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()

    run(scenario())


def test_a_client_that_goes_ends_its_stream() -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with tcp_server(serve) as port, DirectNetwork() as network, proxies(network) as service:
            _, writer = await connect(service.http_address)
            writer.write(b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf" % port)
            await until(lambda: network.exit.snapshot().open_streams == 1)
            writer.transport.abort()
            await until(lambda: network.exit.snapshot().open_streams == 0)
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize(
    "arguments", [[], ["-p"], ["--proxy-user", "me:secret"], ["--http1.0"], ["-H", "Expect: 100-continue"]]
)
def test_curl_fetches_a_page(arguments: list[str]) -> None:
    async def scenario() -> None:
        async with http_server() as (port, _), DirectNetwork() as network, proxies(network) as service:
            assert service.http_address is not None
            proxy = "http://{}:{}".format(*service.http_address)
            url = f"http://localhost:{port}/"
            command = ["curl", "-sS", "-m", "10", "-d", "abc", "-x", proxy, *arguments, url]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
            assert done.stdout == b"you sent abc", done.stderr

    run(scenario())
