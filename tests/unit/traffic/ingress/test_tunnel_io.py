import asyncio
import socket
import struct
from collections.abc import Callable

import pytest

from tests.support.edge_clients import run, until
from tests.unit.traffic.ingress.test_socks_io import Scripted
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.ingress import tunnel_io
from vigilnet.traffic.ingress.tunnel_io import LastWords, Surroundings, Tunnel
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason

RESET = struct.pack("ii", 1, 0)
TARGET = Target("a.example", 80)


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """An application's socket and the proxy's end of it, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.setblocking(False)
    server.setblocking(False)
    return client, server


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


class Case:
    """One tunnel's surroundings."""

    def __init__(self, dialler: Scripted) -> None:
        self.closed = 0
        self.dialler = dialler
        self.tasks = TaskGroup("test")
        self.client, self.server = connected_pair()
        self.around = Surroundings(asyncio.get_running_loop(), dialler, self.tasks, False, self._on_closed)

    def _on_closed(self) -> None:
        self.closed += 1

    def tunnel(self, early: bytes = b"") -> Tunnel:
        return Tunnel(self.around, self.server, TARGET, "", early, b"yes", lambda _: b"no")

    async def close(self) -> None:
        await self.tasks.close()
        await self.dialler.tasks.close()
        assert self.tasks.failures == self.dialler.tasks.failures == []
        assert self.closed == 1
        assert self.server.fileno() == -1
        self.client.close()


def test_an_application_that_resets_while_the_exit_dials_ends_the_request() -> None:
    async def scenario() -> None:
        dialler = Scripted(None)
        case = Case(dialler)
        case.tunnel(b"even with early octets")
        await until(lambda: dialler.asked)
        reset(case.client)
        await until(lambda: dialler.is_cancelled)
        await case.close()

    run(scenario())


class Recorder:
    """As much of a stream as a tunnel touches when the application has gone."""

    reason: EndReason | None = None

    def close(self, reason: EndReason) -> None:
        self.reason = reason


def test_an_application_that_resets_just_before_the_reply_ends_the_stream() -> None:
    async def scenario() -> None:
        stream = Recorder()

        class Racing(Scripted):
            async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
                reset(case.client)
                return stream  # type: ignore[return-value]  # as much of one as is touched

        case = Case(Racing(None))
        case.tunnel()
        await until(lambda: case.closed)
        assert stream.reason is EndReason.RESET
        await case.close()

    run(scenario())


def test_an_end_after_early_octets_is_a_half_close() -> None:
    async def scenario() -> None:
        dialler = Scripted(None)
        case = Case(dialler)
        tunnel = case.tunnel()
        case.client.send(b"whole request")
        await asyncio.sleep(0.02)
        case.client.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.02)
        assert not dialler.is_cancelled
        tunnel.close()
        await case.close()

    run(scenario())


@pytest.mark.parametrize("act", [socket.socket.close, reset, lambda _: None], ids=["close", "reset", "stay"])
def test_last_words_end_with_the_application_or_with_patience(
    act: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(tunnel_io, "LINGER_S", 0.2)
        case = Case(Scripted(None))
        LastWords(case.around, case.server, b"no")
        assert await asyncio.get_running_loop().sock_recv(case.client, 100) == b"no"
        case.client.send(b"still talking")
        await asyncio.sleep(0.01)
        assert case.closed == 0
        act(case.client)
        await until(lambda: case.closed)
        await case.close()

    run(scenario())


def test_last_words_to_nobody() -> None:
    async def scenario() -> None:
        case = Case(Scripted(None))
        reset(case.client)
        await asyncio.sleep(0.01)
        LastWords(case.around, case.server, b"no")
        assert case.closed == 1
        await case.close()

    run(scenario())
