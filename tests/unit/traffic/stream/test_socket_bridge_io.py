"""A socket and a stream joined: order, back-pressure, half-close, every way of ending; over real sockets."""

import asyncio
import hashlib
import random
import socket
import struct
from collections.abc import Callable, Coroutine

import pytest

from tests.support.edge_clients import LOOPS
from tests.support.mux_pair import MuxPair
from vigilnet.traffic.stream import socket_bridge_io
from vigilnet.traffic.stream.congestion import CongestionParameters
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.socket_bridge_io import READ_SIZE, SocketBridge, bridge
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason


class Owner:
    """Keeps what the stream has to send until the test takes it, as a slow circuit would."""

    def __init__(self) -> None:
        self.stream = Stream(self, 1, 0.0, 1 << 20, 1 << 20)
        self.consumed = 0

    def stream_ready(self, stream: Stream, octets: int) -> None:
        pass

    def stream_consumed(self, stream: Stream, octets: int) -> None:
        self.consumed += octets

    def stream_accepted(self, stream: Stream, address: str, ttl: int) -> None:
        pass

    def stream_closing(self, stream: Stream, reason: EndReason) -> None:
        stream.on_closed(reason)

    def take(self) -> bytes:
        room = memoryview(bytearray(self.stream.pending_octets))
        self.stream.take(room, 0, len(room))
        self.stream.refill()
        return bytes(room)


class Joined:
    """A bridge, the stream's owner at one side of it and an application's socket at the other."""

    def __init__(self, early: bytes = b"", buffer: int = 0) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.app = socket.socket()
            if buffer:
                self.app.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self.app.connect(server.getsockname())
            ours, _ = server.accept()
        if buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.app.setblocking(False)
        ours.setblocking(False)
        self.ours = ours
        self.owner = Owner()
        self.stream = self.owner.stream
        self.ended: list[EndReason] = []
        self.made: SocketBridge = bridge(
            asyncio.get_running_loop(), ours, self.stream, early, self.ended.append
        )

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.app, 1 << 20)

    async def read_to_end(self) -> bytes:
        data = b""
        while part := await self.read():
            data += part
        return data


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # the kernel does not tell us
            await asyncio.sleep(0.001)


def joined(
    scenario: Callable[[Joined], Coroutine[None, None, None]],
    early: bytes = b"",
    buffer: int = 0,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> None:
    async def run() -> None:
        pair = Joined(early, buffer)
        try:
            async with asyncio.timeout(60):
                await scenario(pair)
        finally:
            pair.app.close()
            pair.stream.on_closed(EndReason.RESET)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_octets_go_both_ways_in_order_and_early_ones_first() -> None:
    async def scenario(pair: Joined) -> None:
        pair.made.connected("192.0.2.1", 60)
        pair.app.send(b"later")
        await until(lambda: pair.stream.pending_octets == 10)
        assert pair.owner.take() == b"earlylater"
        for piece in (b"a", b"b" * 5000, b"c"):
            pair.stream.on_data(memoryview(piece))
        assert await pair.read() == b"a" + b"b" * 5000 + b"c"
        assert pair.owner.consumed == 5002

    joined(scenario, early=b"early")


def reset(sock: socket.socket) -> None:
    """Close by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("octets", [0, 10, 100_000, 600_000])
def test_what_came_before_a_reset_is_passed_on_and_then_the_stream_is_reset(
    new_loop: Callable[[], asyncio.AbstractEventLoop], octets: int
) -> None:
    async def scenario(pair: Joined) -> None:
        sent, taken = 0, 0
        while sent < octets:
            try:
                sent += pair.app.send(bytes(octets - sent))
            except BlockingIOError:
                break
        reset(pair.app)
        async with asyncio.timeout(60):
            while pair.stream.closed is None:
                taken += len(pair.owner.take())
                if pair.stream.wants_close is not None:  # as a mux does
                    pair.stream.on_closed(pair.stream.wants_close)
                await asyncio.sleep(0.001)
        assert pair.stream.closed is EndReason.RESET
        assert pair.ended == [EndReason.RESET]
        assert taken == sent if sent < 65_536 else taken > 0  # the kernel threw away what it had not sent yet

    joined(scenario, new_loop=new_loop)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_reset_behind_the_end_of_what_is_sent_is_heard(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario(pair: Joined) -> None:
        pair.app.shutdown(socket.SHUT_WR)
        await until(lambda: pair.stream.fin_queued)
        pair.stream.on_data(memoryview(b"unread, so that closing resets"))
        await asyncio.sleep(0.01)
        reset(pair.app)
        await until(lambda: pair.stream.closed is EndReason.RESET)

    joined(scenario, new_loop=new_loop)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_descriptors_are_used_again_after_resets(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario(pair: Joined) -> None:
        for _ in range(20):
            other = Joined()
            reset(other.app)
            async with asyncio.timeout(60):
                while other.stream.closed is None:  # noqa: ASYNC110  # the kernel does not tell us
                    await asyncio.sleep(0.001)

    joined(scenario, new_loop=new_loop)


def test_what_the_application_does_not_read_gives_no_credit_back() -> None:
    async def scenario(pair: Joined) -> None:
        piece = bytes(range(250)) * 200
        for _ in range(60):
            pair.stream.on_data(memoryview(piece))
        await asyncio.sleep(0.05)
        stuck = pair.owner.consumed
        assert stuck < 60 * len(piece)
        pair.stream.on_fin()
        data = await pair.read_to_end()
        assert data == piece * 60
        assert pair.owner.consumed == 60 * len(piece)

    joined(scenario, buffer=65536)


def test_an_application_that_writes_more_than_the_circuit_takes_is_held_up() -> None:
    async def scenario(pair: Joined) -> None:
        loop = asyncio.get_running_loop()
        sent = asyncio.ensure_future(loop.sock_sendall(pair.app, b"x" * (16 << 20)))
        await until(lambda: pair.stream.room() == 0)
        await asyncio.sleep(0.05)
        held = pair.stream.pending_octets
        assert held < 4 << 20
        taken = len(pair.owner.take())
        await until(lambda: pair.stream.pending_octets >= READ_SIZE)
        assert taken == held
        while taken < 16 << 20:
            taken += len(pair.owner.take())
            await asyncio.sleep(0)
        await sent

    joined(scenario)


def test_each_side_can_end_alone() -> None:
    async def scenario(pair: Joined) -> None:
        pair.app.shutdown(socket.SHUT_WR)
        await until(lambda: pair.stream.fin_queued)
        pair.stream.on_data(memoryview(b"answer"))
        pair.stream.on_fin()
        assert await pair.read_to_end() == b"answer"
        assert pair.ended == []
        pair.made.writable()
        pair.stream.on_closed(EndReason.DONE)
        assert pair.ended == [EndReason.DONE]

    joined(scenario)


def test_an_end_of_file_with_nothing_waiting_is_passed_on_at_once() -> None:
    async def scenario(pair: Joined) -> None:
        pair.stream.on_fin()
        assert await pair.read() == b""
        pair.app.send(b"still here")
        await until(lambda: pair.stream.pending_octets == 10)

    joined(scenario)


def test_a_stream_that_is_done_closes_the_socket_behind_what_waits() -> None:
    async def scenario(pair: Joined) -> None:
        pair.stream.on_data(memoryview(b"last words"))
        pair.stream.on_closed(EndReason.DONE)
        assert pair.ended == []
        assert await pair.read_to_end() == b"last words"
        await until(lambda: pair.ended)
        assert pair.ended == [EndReason.DONE]

    joined(scenario)


@pytest.mark.parametrize("reason", [EndReason.RESET, EndReason.TIMEOUT])
def test_what_was_cut_off_does_not_look_complete(reason: EndReason) -> None:
    async def scenario(pair: Joined) -> None:
        pair.stream.on_data(memoryview(b"half"))
        pair.stream.on_closed(reason)
        with pytest.raises(ConnectionResetError):
            await pair.read_to_end()
        assert pair.ended == [reason]

    joined(scenario)


def test_a_reset_by_the_application_ends_the_stream() -> None:
    async def scenario(pair: Joined) -> None:
        pair.app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        pair.app.close()
        await until(lambda: pair.stream.closed is not None)
        assert pair.stream.closed is EndReason.RESET
        assert pair.ended == [EndReason.RESET]

    joined(scenario)


def test_writing_to_a_closed_application_ends_the_stream() -> None:
    async def scenario(pair: Joined) -> None:
        pair.stream.write_eof()
        pair.made._pause()  # so that the reset is met by the write
        pair.app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        pair.app.close()
        await asyncio.sleep(0.02)
        pair.stream.on_data(memoryview(b"x"))
        pair.stream.on_data(memoryview(b"y"))
        await until(lambda: pair.stream.closed is not None)
        assert pair.stream.closed is EndReason.RESET
        pair.made.data_received(memoryview(b"late"))  # nobody takes it: the credit goes back
        pair.made.stream_closed(EndReason.RESET)
        assert pair.ended == [EndReason.RESET]

    joined(scenario)


def test_half_closing_a_closed_application_ends_the_stream() -> None:
    async def scenario(pair: Joined) -> None:
        pair.made._pause()
        pair.app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        pair.app.close()
        await asyncio.sleep(0.02)
        pair.stream.on_fin()
        assert pair.stream.closed is EndReason.RESET
        pair.made.eof_received()
        assert pair.ended == [EndReason.RESET]

    joined(scenario)


def test_closing_while_the_socket_is_full_lets_go_of_it() -> None:
    async def scenario(pair: Joined) -> None:
        for _ in range(100):
            pair.stream.on_data(memoryview(b"z" * 50_000))
        await asyncio.sleep(0.02)
        pair.stream.on_data(memoryview(b"more"))
        pair.stream.on_closed(EndReason.RESET)
        assert pair.ended == [EndReason.RESET]
        assert pair.ours.fileno() == -1

    joined(scenario, buffer=8192)


def test_a_stream_that_ended_before_only_closes_the_socket() -> None:
    async def scenario(pair: Joined) -> None:
        other = Joined()
        other.app.close()
        owner = Owner()
        owner.stream.on_closed(EndReason.REFUSED)
        ours, app = socket.socketpair()
        ours.setblocking(False)
        bridge(asyncio.get_running_loop(), ours, owner.stream)
        assert ours.fileno() == -1
        app.close()
        other.stream.on_closed(EndReason.RESET)

    joined(scenario)


def test_what_a_closed_application_leaves_unread_is_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_bridge_io, "LINGER_S", 0.05)

    async def scenario(pair: Joined) -> None:
        for _ in range(60):
            pair.stream.on_data(memoryview(bytes(50_000)))
        await asyncio.sleep(0.02)
        pair.stream.on_closed(EndReason.DONE)
        assert not pair.ended
        await until(lambda: pair.ended)
        assert pair.ended == [EndReason.RESET]
        with pytest.raises(ConnectionResetError):  # what was cut off must not look complete
            await pair.read_to_end()

    joined(scenario, buffer=65536)


def test_an_application_that_reads_slowly_gets_all_of_what_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_bridge_io, "LINGER_S", 0.05)

    async def scenario(pair: Joined) -> None:
        for _ in range(60):
            pair.stream.on_data(memoryview(bytes(50_000)))
        pair.stream.on_closed(EndReason.DONE)
        got = 0
        while got < 3_000_000:
            got += len(await asyncio.get_running_loop().sock_recv(pair.app, 100_000))
            await asyncio.sleep(0.01)
        assert await pair.read() == b""
        await until(lambda: pair.ended == [EndReason.DONE])

    joined(scenario, buffer=65536)


def test_nothing_is_read_for_a_stream_that_is_over() -> None:
    """The stream ended while its last octets still wait for the application."""

    async def scenario(pair: Joined) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(60):
            pair.stream.on_data(memoryview(bytes(50_000)))
        sent = asyncio.ensure_future(loop.sock_sendall(pair.app, bytes(8 << 20)))
        await until(lambda: pair.stream.room() == 0)
        pair.stream.on_closed(EndReason.DONE)
        pair.made.writable()
        await asyncio.sleep(0.05)
        assert not sent.done(), "octets that nobody wants are taken from the application"
        sent.cancel()

    joined(scenario, buffer=65536)


def test_pieces_of_one_octet_are_joined() -> None:
    async def scenario(pair: Joined) -> None:
        for _ in range(60):
            pair.stream.on_data(memoryview(bytes(50_000)))
        await asyncio.sleep(0.02)
        for number in range(100_000):
            pair.stream.on_data(memoryview(bytes((number & 0xFF,))))
        assert len(pair.made._out) < 70
        pair.stream.on_fin()
        data = await pair.read_to_end()
        assert data == bytes(3_000_000) + bytes(number & 0xFF for number in range(100_000))

    joined(scenario, buffer=65536)


def test_pieces_of_every_size_arrive_in_order() -> None:
    async def scenario(pair: Joined) -> None:
        dice = random.Random(7)
        sent = bytearray()
        reading = asyncio.ensure_future(pair.read_to_end())
        for _ in range(3000):
            piece = dice.randbytes(dice.choice((1, 3, 100, 1848, 4095, 4096, 14_136)))
            sent += piece
            pair.stream.on_data(memoryview(piece))
            if dice.random() < 0.02:
                await asyncio.sleep(0)
        pair.stream.on_fin()
        assert await reading == sent
        assert pair.owner.consumed == len(sent)

    joined(scenario, buffer=65536)


class Pumped(MuxPair):
    """Two muxes joined on a real loop."""

    def __init__(self) -> None:
        super().__init__(MuxOptions(congestion=CongestionParameters(start=3584)), acceptor=Accepting())
        self._is_waiting = False
        for end in (self.client, self.exit):
            end.carriage.wake = self._wake  # type: ignore[method-assign]  # the link's part
            end.carriage.wake_later = lambda delay: self._wake()  # type: ignore[method-assign]

    def _wake(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_waiting = False
        self.now = asyncio.get_running_loop().time()
        for _ in range(8):
            if not self.step():
                return
        self._wake()


class Accepting:
    """An exit whose target is a socket of the test's own."""

    def __init__(self) -> None:
        self.far, ours = socket.socketpair()
        self.far.setblocking(False)
        ours.setblocking(False)
        self._ours = ours

    def begin(self, stream: Stream, target: Target) -> None:
        stream.accept()
        bridge(asyncio.get_running_loop(), self._ours, stream)

    def resolve(self, request: object, answer: object) -> None:
        raise AssertionError

    def open_echo(self, flow: object, target: Target) -> None:
        """Not wanted here."""

    def open_datagrams(self, flow: object, target: Target) -> None:
        raise AssertionError


@pytest.mark.slow
def test_fifty_megabytes_each_way_through_two_bridges_and_two_muxes() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        pair = Pumped()
        exit_side = pair.exit.mux._acceptor
        assert isinstance(exit_side, Accepting)
        app, ours = socket.socketpair()
        app.setblocking(False)
        ours.setblocking(False)
        stream = pair.client.mux.open_stream(Target("name.test", 80))
        bridge(loop, ours, stream)
        block = random.Random(3).randbytes(1 << 20)
        expected = hashlib.sha256(block * 50).digest()

        async def send(sock: socket.socket) -> None:
            for _ in range(50):
                await loop.sock_sendall(sock, block)
            sock.shutdown(socket.SHUT_WR)

        async def receive(sock: socket.socket) -> bytes:
            digest = hashlib.sha256()
            while part := await loop.sock_recv(sock, 1 << 18):
                digest.update(part)
            return digest.digest()

        async with asyncio.timeout(60):
            _, _, down, up = await asyncio.gather(
                send(app), send(exit_side.far), receive(app), receive(exit_side.far)
            )
        assert down == up == expected
        assert pair.client.mux.is_idle
        app.close()
        exit_side.far.close()

    asyncio.run(run())
