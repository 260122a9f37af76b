"""TCP on loopback, both families and both event loops."""

import asyncio
import errno
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from vigilnet.traffic.transport import tcp_io
from vigilnet.traffic.transport.carrier import Carrier
from vigilnet.traffic.transport.tcp_io import TcpCarrier, TcpTransport

Runner = Callable[[Coroutine[Any, Any, None]], None]
RUNNERS: list[Runner] = [asyncio.run]
if sys.platform != "win32":
    import uvloop

    RUNNERS.append(uvloop.run)


class Keeper:
    """A CarrierUser that keeps what comes."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.closed: list[OSError | None] = []
        self.writable = 0
        self._buffer = memoryview(bytearray(65_536))

    def is_closed(self) -> bool:
        return bool(self.closed)

    def receive_buffer(self) -> memoryview:
        return self._buffer

    def octets_received(self, count: int) -> None:
        self.received += self._buffer[:count]

    def carrier_writable(self) -> None:
        self.writable += 1

    def carrier_closed(self, error: OSError | None) -> None:
        self.closed.append(error)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # real sockets: nobody tells us
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_octets_arrive_in_order_and_close_is_told_once(runner: Runner, host: str) -> None:
    async def scenario() -> None:
        transport = TcpTransport()
        accepted: list[Carrier] = []
        listener = await transport.listen(host, 0, accepted.append)
        ours = await transport.dial(host, listener.port)
        await until(lambda: bool(accepted))
        here, there = Keeper(), Keeper()
        ours.start(here)
        accepted[0].start(there)
        assert ours.remote_host == host
        parts = [bytes((n,)) * 50_000 for n in range(60)]
        waits = 0
        for part in parts:  # far more than the kernel takes unsent
            if not ours.write([part[:10], memoryview(part)[10:]]):
                waits += 1
        await until(lambda: len(there.received) == 3_000_000)
        assert bytes(there.received) == b"".join(parts)
        assert waits == 0 or here.writable >= 1
        accepted[0].write([b"bye"])
        accepted[0].close()
        accepted[0].close()
        await until(lambda: bool(here.closed))
        assert bytes(here.received) == b"bye"
        ours.close()
        await until(lambda: bool(there.closed))
        assert (here.closed, there.closed) == ([None], [None])
        listener.close()
        listener.close()

    runner(scenario())


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


async def connected(transport: TcpTransport) -> tuple[TcpCarrier, Keeper, TcpCarrier, Keeper]:
    """Two ends of a connection on loopback, both started."""
    accepted: list[Carrier] = []
    listener = await transport.listen("127.0.0.1", 0, accepted.append)
    ours = await transport.dial("127.0.0.1", listener.port)
    await until(lambda: bool(accepted))
    listener.close()
    theirs = accepted[0]
    assert isinstance(ours, TcpCarrier)
    assert isinstance(theirs, TcpCarrier)
    here, there = Keeper(), Keeper()
    ours.start(here)
    theirs.start(there)
    return ours, here, theirs, there


@pytest.mark.parametrize("runner", RUNNERS)
def test_eased_reads_lose_nothing(runner: Runner) -> None:
    async def scenario() -> None:
        ours, here, theirs, there = await connected(TcpTransport())
        theirs.ease_reads()
        records = [bytes((n,)) * 16_406 for n in range(100)]
        for record in records:
            ours.write([record])
        await until(lambda: len(there.received) == 1_640_600)
        assert bytes(there.received) == b"".join(records)
        ours.write([bytes(20_000)])
        ours.close()  # while the other end may be looking away
        await until(lambda: bool(there.closed))
        assert len(there.received) == 1_660_600
        theirs.close()
        await until(lambda: bool(here.closed))
        assert (here.closed, there.closed) == ([None], [None])
        assert theirs.is_released

    runner(scenario())


def test_close_sends_what_was_written_first() -> None:
    async def scenario() -> None:
        ours, here, _, there = await connected(TcpTransport())
        big = [bytes(1_000_000)] * 8
        assert not ours.write(big)
        assert not ours.write([b"end"])
        ours.close()
        assert ours.write([b"after close"])
        await until(lambda: bool(there.closed))
        assert len(there.received) == 8_000_003
        await until(lambda: bool(here.closed))
        assert here.writable == 0

    play(scenario)


def test_more_buffers_than_one_call_takes_are_sent_in_order() -> None:
    async def scenario() -> None:
        ours, _, _, there = await connected(TcpTransport())
        parts = [n.to_bytes(2, "big") * 50 for n in range(1000)]
        ours.write(parts)
        await until(lambda: len(there.received) == 100_000)
        assert bytes(there.received) == b"".join(parts)

    play(scenario)


def test_a_neighbour_that_never_closes_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(tcp_io, "LINGER_S", 0.05)
        listening = socket.create_server(("127.0.0.1", 0))
        ours = await TcpTransport().dial("127.0.0.1", listening.getsockname()[1])
        silent, _ = listening.accept()
        here = Keeper()
        ours.start(here)
        silent.send(b"more and more")
        ours.close()
        await until(lambda: bool(here.closed))
        assert here.closed == [None]
        assert here.received == b""
        silent.close()
        listening.close()

    play(scenario)


def test_a_reset_is_told_as_an_error() -> None:
    async def scenario() -> None:
        for act in ("read", "write", "discard"):
            ours, here, theirs, there = await connected(TcpTransport())
            ours._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if act == "discard":
                theirs.close()
            ours.fail(OSError(errno.EADDRNOTAVAIL, "gone"))  # closes with RST
            if act == "write":
                for _ in range(20):
                    theirs.write([b"x"])
            await until(there.is_closed)
            assert (there.closed[0] is None) == (act == "discard")
            assert isinstance(here.closed[0], OSError)
            ours.fail(OSError())
            ours.start(Keeper())
            ours.close()
            assert ours.write([b"x"])
            assert len(here.closed) == 1

    play(scenario)


def test_shutdown_of_a_connection_that_is_gone_ends_it() -> None:
    async def scenario() -> None:
        ours, here, theirs, _ = await connected(TcpTransport())
        theirs._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.fail(OSError())
        time.sleep(0.01)  # noqa: ASYNC251  # the RST arrives before our loop turns
        ours.close()
        await until(lambda: bool(here.closed))

    play(scenario)


def test_dialling_fails_with_the_systems_error() -> None:
    async def scenario() -> None:
        transport = TcpTransport()
        listener = await transport.listen("127.0.0.1", 0, lambda _: None)
        with pytest.raises(OSError, match=r"(?i)in use"):
            await transport.listen("127.0.0.1", listener.port, lambda _: None)
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await transport.dial("127.0.0.1", listener.port)
        with pytest.raises(OSError, match="not a host name"):
            await transport.dial("a" * 70 + ".example", 1)

    play(scenario)


def test_names_and_zones_are_resolved() -> None:
    async def scenario() -> None:
        accepted: list[Carrier] = []
        transport = TcpTransport()
        listener = await transport.listen("localhost", 0, accepted.append)
        carrier = await transport.dial("localhost", listener.port)
        await until(lambda: bool(accepted))
        assert carrier.remote_host in ("127.0.0.1", "::1")
        carrier.close()
        accepted[0].close()
        listener.close()
        zoned = await transport.listen("::1%lo", 0, accepted.append)
        carrier = await transport.dial("::1%1", zoned.port)
        carrier.close()
        zoned.close()

    play(scenario)


def test_an_ipv6_listener_leaves_the_port_to_ipv4() -> None:
    async def scenario() -> None:
        transport = TcpTransport()
        six = await transport.listen("::", 0, lambda _: None)
        four = await transport.listen("0.0.0.0", six.port, lambda _: None)  # noqa: S104  # loopback only
        six.close()
        four.close()

    play(scenario)


def test_connections_of_an_address_that_is_gone_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(tcp_io, "ADDRESS_CHECK_S", 0.02)
        transport = TcpTransport()
        ours, here, theirs, there = await connected(transport)
        await asyncio.sleep(0.1)
        assert not ours.is_released
        ours._local_host = "192.0.2.77"  # as if it had been taken away
        await until(lambda: bool(here.closed))
        error = here.closed[0]
        assert isinstance(error, OSError)
        assert error.errno == errno.EADDRNOTAVAIL
        await until(lambda: bool(there.closed))
        theirs._local_host = "2001:db8::77"
        await asyncio.sleep(0.05)
        assert transport._check is None

    play(scenario)


def test_a_lack_of_descriptors_pauses_accepting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(tcp_io, "ACCEPT_PAUSE_S", 0.1)
        accepted: list[Carrier] = []
        transport = TcpTransport()
        listener = await transport.listen("127.0.0.1", 0, accepted.append)
        real, errors = listener._sock, [errno.EMFILE, errno.EPERM]

        class Exhausted:
            def accept(self) -> tuple[socket.socket, Any]:
                if errors:
                    raise OSError(errors.pop(0), "no more")
                return real.accept()

            def __getattr__(self, name: str) -> Any:  # noqa: ANN401
                return getattr(real, name)

        listener._sock = cast("socket.socket", Exhausted())
        carrier = await transport.dial("127.0.0.1", listener.port)
        await asyncio.sleep(0.05)
        assert accepted == []
        await until(lambda: bool(accepted))
        errors.append(errno.EMFILE)
        another = await transport.dial("127.0.0.1", listener.port)
        await asyncio.sleep(0.02)
        listener.close()  # while it rests
        for end in (carrier, another, *accepted):
            end.close()

    play(scenario)


def test_one_turn_accepts_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(tcp_io, "ACCEPTS_PER_TURN", 2)
        accepted: list[Carrier] = []
        transport = TcpTransport()
        listener = await transport.listen("127.0.0.1", 0, accepted.append)
        ends = [await transport.dial("127.0.0.1", listener.port) for _ in range(7)]
        await until(lambda: len(accepted) == 7)
        for end in (*ends, *accepted):
            end.close()
        listener.close()

    play(scenario)


def test_a_carrier_is_tuned() -> None:
    async def scenario() -> None:
        ours, _, _, _ = await connected(TcpTransport())
        assert ours._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if sys.platform == "linux":
            assert ours._sock.getsockopt(socket.IPPROTO_TCP, 25) == tcp_io.UNSENT_OCTETS
        assert not ours._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    play(scenario)
