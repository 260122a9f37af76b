import asyncio
import gc
import socket
import struct
from collections.abc import Callable

import pytest
import uvloop

from vigilnet.traffic.transport.resets_io import reset_watch
from vigilnet.traffic.transport.tcp_io import TcpTransport

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


class User:
    """A carrier's user that waits for the end."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self._buffer = memoryview(bytearray(65_536))

    def receive_buffer(self) -> memoryview:
        return self._buffer

    def octets_received(self, count: int) -> None:
        self.received += count

    def carrier_writable(self) -> None:
        pass

    def carrier_closed(self, error: OSError | None) -> None:
        self.closed.set_result(error)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_reset_ends_a_carrier_at_once_behind_what_came_before(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        for last in (b"", b"bye"):
            with socket.create_server(("127.0.0.1", 0)) as server:
                carrier = await TcpTransport().dial("127.0.0.1", server.getsockname()[1])
                user = User()
                carrier.start(user)
                other, _ = server.accept()
                other.send(b"x" * 100)
                await asyncio.sleep(0.005)
                carrier.write([bytes(20_000)])
                if last:
                    other.send(last)
                reset(other)
                error = await asyncio.wait_for(user.closed, 60)
                assert isinstance(error, ConnectionResetError)
                assert user.received == 100 + len(last)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_reset_before_the_start_is_told_at_the_start(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            carrier = await TcpTransport().dial("127.0.0.1", server.getsockname()[1])
            reset(server.accept()[0])
            await asyncio.sleep(0.02)
            user = User()
            carrier.start(user)
            assert isinstance(await asyncio.wait_for(user.closed, 60), ConnectionResetError)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("make_loop", LOOPS)
def test_there_is_one_watch_for_a_loop_and_descriptors_are_used_again(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    class Watcher:
        def __init__(self) -> None:
            self.heard = 0

        def hear(self) -> None:
            self.heard += 1

    async def scenario() -> None:
        watch = reset_watch(asyncio.get_running_loop())
        assert reset_watch(asyncio.get_running_loop()) is watch
        gone, watcher = Watcher(), Watcher()
        with socket.create_server(("127.0.0.1", 0)) as server:
            for one in (gone, watcher):
                ours = socket.create_connection(server.getsockname())
                other, _ = server.accept()
                watch.watch(ours.fileno(), one.hear)
                if one is gone:
                    ours.close()  # without a word: its number is used again
                    other.close()
                    continue
                reset(other)
                await asyncio.sleep(0.02)
                watch.forget(ours.fileno())
                watch.forget(ours.fileno())
                ours.close()
        assert (gone.heard, watcher.heard) == (0, 1)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(scenario())
    gc.collect()
