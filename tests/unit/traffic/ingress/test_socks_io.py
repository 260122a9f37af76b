import asyncio
import hashlib
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.support.edge_clients import LOOPS, connect, proxies, run, socks_open, socks_request, until
from tests.support.edge_network import OPEN_EXIT, DirectNetwork
from tests.support.edge_servers import (
    dead_port,
    dns_server,
    echo_server,
    http_server,
    tcp_server,
)
from tests.support.ports import free_port
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.exit.options import Options as ExitOptions
from vigilnet.traffic.ingress.begun_io import BegunByTask
from vigilnet.traffic.ingress.ports import Opening, StreamTold
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.messages import Resolve, Resolved, Target
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason


@pytest.mark.parametrize("new_loop", LOOPS)
def test_octets_go_both_ways_and_ends_are_passed_on(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork() as network, proxies(network) as service:
            code, reader, writer = await socks_open(service.socks_address, "127.0.0.1", port)
            assert code == 0
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.write(b"last")
            writer.write_eof()
            assert await reader.read() == b"last"
            writer.close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario(), new_loop)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_megabyte_each_way_is_intact(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        sent = hashlib.sha512(b"seed").digest() * 50_000
        async with echo_server() as port, DirectNetwork() as network, proxies(network) as service:
            _, reader, writer = await socks_open(service.socks_address, "127.0.0.1", port)

            async def send() -> None:
                for at in range(0, len(sent), 50_000):
                    writer.write(sent[at : at + 50_000])
                    await writer.drain()
                writer.write_eof()

            got, _ = await asyncio.gather(reader.read(), send())
            assert got == sent
            writer.close()

    run(scenario(), new_loop)


def test_early_octets_reach_the_target_in_order() -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork() as network, proxies(network) as service:
            reader, writer = await connect(service.socks_address)
            # greeting, request and data in one piece, and an end before the reply
            writer.write(b"\x05\x01\x00" + socks_request("127.0.0.1", port) + b"early")
            writer.write_eof()
            answer = await reader.read()
            assert answer == b"\x05\x00" + bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + b"early"
            writer.close()

    run(scenario())


def test_every_reply_code_is_provoked_for_real() -> None:
    async def scenario() -> None:
        with dead_port() as dead:
            async with echo_server() as port, dns_server() as dns_:
                options = ExitOptions(
                    enabled=True,
                    policy="open",
                    rules=("reject 127.0.0.9:*",),
                    allow_private_targets=True,
                    resolvers=(f"127.0.0.1:{dns_.port}",),
                    connect_timeout_s=0.3,
                )
                async with DirectNetwork(options) as network, proxies(network) as service:

                    async def code(host: str, to: int, command: int = 1) -> int:
                        found, _, writer = await socks_open(service.socks_address, host, to, command=command)
                        writer.close()
                        return found

                    assert await code("127.0.0.1", port) == 0
                    assert await code("127.0.0.9", port) == 2  # the exit's policy
                    assert await code("127.0.0.1", 25) == 2
                    assert await code("fe80::1", port) == 3  # no route
                    assert await code("nothing.example", port) == 4  # not resolved
                    assert await code("127.1", port) == 4  # no name
                    assert await code("127.0.0.1", free_port()) == 5
                    assert await code("127.0.0.1", dead) == 6
                    assert await code("127.0.0.1", port, command=2) == 7
                    network.is_down = True
                    assert await code("127.0.0.1", port) == 1
                    network.down_reason = EndReason.POLICY
                    assert await code("127.0.0.1", port) == 2  # no exit serves it
                    assert await code("127.0.0.1", port, command=3) == 2
                    reader, writer = await connect(service.socks_address)
                    writer.write(b"\x05\x01\x00" + bytes([5, 1, 0, 9, 0, 0, 0, 0, 0, 0]))
                    assert (await reader.read())[:4] == bytes([5, 0, 5, 8])
                    writer.close()
                    await until(lambda: service.snapshot().connections == 0)

    run(scenario())


class Scripted:
    """A dialler that ends every stream for one reason, or never answers."""

    def __init__(self, reason: EndReason | None) -> None:
        self.reason = reason
        self.asked: list[tuple[Target, str, bytes]] = []
        self.is_cancelled = False
        self.tasks = TaskGroup("scripted dialler")

    def begin_stream(self, target: Target, isolation: str, early: bytes, told: StreamTold) -> Opening:
        return BegunByTask(self.tasks, self.open_stream(target, isolation, early), told)

    async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
        self.asked.append((target, isolation, early))
        if self.reason is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.is_cancelled = True
                raise
        raise StreamEndedError(self.reason or EndReason.DONE)

    async def resolve(self, request: Resolve, isolation: str) -> Resolved:
        raise StreamEndedError(self.reason or EndReason.DONE)

    async def open_datagrams(self, isolation: str) -> DatagramFlow:
        raise StreamEndedError(self.reason or EndReason.DONE)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (EndReason.REFUSED, 5),
        (EndReason.POLICY, 2),
        (EndReason.RESOLVE_FAILED, 4),
        (EndReason.NO_ROUTE, 3),
        (EndReason.TIMEOUT, 6),
        (EndReason.RESET, 1),
        (EndReason.LIMIT, 1),
        (EndReason.CLOSING, 1),
    ],
)
@pytest.mark.parametrize("command", [1, 3])
def test_each_end_of_a_stream_has_its_reply(reason: EndReason, code: int, command: int) -> None:
    async def scenario() -> None:
        async with proxies(Scripted(reason)) as service:
            found, reader, writer = await socks_open(service.socks_address, "a.example", 80, command=command)
            assert found == code
            assert await reader.read() == b""
            writer.close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_names_are_not_resolved_here_and_logins_isolate() -> None:
    async def scenario() -> None:
        dialler = Scripted(EndReason.REFUSED)
        async with proxies(dialler) as service:
            for login in (None, (b"a", b"1"), (b"a", b"2"), (b"a", b"1")):
                _, _, writer = await socks_open(
                    service.socks_address, "name.that.is.nowhere.example", 80, login=login, early=b"data"
                )
                writer.close()
        keys = [isolation for _, isolation, _ in dialler.asked]
        assert keys[0] == ""
        assert keys[1] == keys[3]
        assert len(set(keys)) == 3
        assert dialler.asked[0] == (Target("name.that.is.nowhere.example", 80), "", b"data")

    run(scenario())


def test_destinations_isolate_where_that_is_asked_for() -> None:
    async def scenario() -> None:
        dialler = Scripted(EndReason.REFUSED)
        async with proxies(dialler, isolate_destinations=True) as service:
            for host in ("a.example", "b.example", "A.example"):
                _, _, writer = await socks_open(service.socks_address, host, 80)
                writer.close()
        keys = [isolation for _, isolation, _ in dialler.asked]
        assert keys[0] == keys[2] != keys[1]

    run(scenario())


def test_different_logins_use_different_circuits() -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork() as network, proxies(network) as service:
            for login in ((b"a", b"1"), (b"b", b"1"), (b"a", b"1"), None):
                code, _, writer = await socks_open(service.socks_address, "127.0.0.1", port, login=login)
                assert code == 0
                writer.close()
            assert len(network.circuits) == 3

    run(scenario())


@pytest.mark.parametrize("how", ["end", "reset"])
def test_an_application_that_gives_up_ends_the_request(how: str) -> None:
    async def scenario() -> None:
        dialler = Scripted(None)
        async with proxies(dialler) as service:
            _, writer = await connect(service.socks_address)
            writer.write(b"\x05\x01\x00" + socks_request("a.example", 80))
            await until(lambda: dialler.asked)
            if how == "reset":
                writer.transport.abort()
            else:
                writer.close()
            await until(lambda: dialler.is_cancelled and service.snapshot().connections == 0)

    run(scenario())


def test_what_is_sent_while_the_exit_dials_is_kept_up_to_a_limit() -> None:
    async def scenario() -> None:
        sent = bytes(range(256)) * 4000  # more than is kept
        gate = asyncio.Event()

        class Slow(DirectNetwork):
            async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
                await gate.wait()
                return await super().open_stream(target, isolation, early)

        async with echo_server() as port, Slow() as network, proxies(network) as service:
            reader, writer = await connect(service.socks_address)
            writer.write(b"\x05\x01\x00" + socks_request("127.0.0.1", port) + sent)
            writer.write_eof()
            await asyncio.sleep(0.05)
            gate.set()
            assert await reader.readexactly(12) == b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
            assert await reader.read() == sent
            writer.close()

    run(scenario())


def test_http_and_socks4_on_the_socks_port_get_a_clear_answer() -> None:
    async def scenario() -> None:
        async with proxies(Scripted(None)) as service:
            reader, writer = await connect(service.socks_address)
            writer.write(b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n" + bytes(100_000))
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"This is a SOCKS5 port" in answer
            writer.close()
            reader, writer = await connect(service.socks_address)
            writer.write(bytes([4, 1, 0, 80, 1, 2, 3, 4, 0]))
            assert await reader.read() == b"\x00\x5b" + bytes(6)
            writer.close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_silent_and_slow_applications_are_dropped() -> None:
    async def scenario() -> None:
        async with proxies(Scripted(None), handshake_timeout_s=0.1) as service:
            silent = await connect(service.socks_address)
            slow = await connect(service.socks_address)
            slow[1].write(b"\x05")
            assert await silent[0].read() == b""
            assert await slow[0].read() == b""
            for _, writer in (silent, slow):
                writer.close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_a_target_that_closes_is_seen_as_closed() -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"bye")
            writer.close()

        async with tcp_server(serve) as port, DirectNetwork() as network, proxies(network) as service:
            code, reader, writer = await socks_open(service.socks_address, "localhost", port)
            assert code == 0
            assert await reader.read() == b"bye"
            writer.close()

    run(scenario())


@pytest.mark.slow
def test_many_streams_at_once() -> None:
    async def scenario() -> None:
        async with echo_server() as port, DirectNetwork(OPEN_EXIT) as network, proxies(network) as service:

            async def one(number: int) -> None:
                code, reader, writer = await socks_open(service.socks_address, "127.0.0.1", port)
                assert code == 0
                writer.write(b"%d" % number)
                writer.write_eof()
                assert await reader.read() == b"%d" % number
                writer.close()

            await asyncio.gather(*map(one, range(150)))
            await until(lambda: service.snapshot().connections == 0)
            await until(lambda: network.exit.snapshot().open_streams == 0)

    run(scenario())


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("proxy", ["socks5h://{}", "socks5h://me:secret@{}", "socks5://{}"])
def test_curl_fetches_a_page(proxy: str) -> None:
    async def scenario() -> None:
        async with http_server() as (port, _), DirectNetwork() as network, proxies(network) as service:
            assert service.socks_address is not None
            address = "{}:{}".format(*service.socks_address)
            command = [
                "curl",
                "-sS",
                "-m",
                "10",
                "-d",
                "abc",
                "-x",
                proxy.format(address),
                f"http://localhost:{port}/",
            ]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
            assert done.stdout == b"you sent abc", done.stderr

    run(scenario())
