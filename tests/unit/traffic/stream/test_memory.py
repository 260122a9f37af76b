"""What all streams of a node hold together is bounded, also against a client that opens thousands."""

import pytest

from tests.support.mux_pair import MuxPair
from vigilnet.traffic.stream import memory
from vigilnet.traffic.stream.congestion import CongestionParameters
from vigilnet.traffic.stream.memory import StreamMemory
from vigilnet.traffic.stream.mux import StreamMux
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.stream import Stream

KIB = 1024
MIB = 1024 * KIB


def test_the_more_waits_the_less_each_stream_may_hold() -> None:
    shared = StreamMemory()
    allowed = []
    for waiting in (
        0,
        memory.PLENTY - 1,
        memory.PLENTY,
        memory.SCARCE - 1,
        memory.SCARCE,
        10 * memory.SCARCE,
    ):
        shared.waiting = waiting
        allowed.append(shared.send_buffer() // KIB)
    assert allowed == [256, 256, 64, 64, 16, 16]


def test_windows_stop_growing_at_their_sum() -> None:
    shared = StreamMemory()
    assert shared.spare_windows() == memory.MAX_WINDOWS
    shared.windows = memory.MAX_WINDOWS + 5
    assert shared.spare_windows() == 0


def exits_of(count: int, shared: StreamMemory) -> list[MuxPair]:
    """So many circuits that end at one exit, each with 256 streams whose client reads nothing."""
    pairs = []
    for _ in range(count):
        pair = MuxPair(MuxOptions(congestion=CongestionParameters(start=3584)))
        carriage = pair.exit.carriage
        pair.exit.mux = StreamMux(
            carriage, MuxOptions(), lambda: 100.0, acceptor=pair.targets, is_client=False, memory=shared
        )
        pairs.append(pair)
    return pairs


def test_exit_whose_clients_read_nothing_holds_a_bounded_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PLENTY", 8 * MIB)
    monkeypatch.setattr(memory, "SCARCE", 16 * MIB)
    shared = StreamMemory()
    pairs = exits_of(2, shared)
    for pair in pairs:
        for _ in range(256):
            pair.open("source-400000.test", takes=False)
        pair.settle()
    streams = 2 * 256
    held = sum(stream.pending_octets for pair in pairs for stream in pair.exit.mux.streams.values())
    assert shared.waiting == held
    assert held <= memory.SCARCE + streams * memory.LEAST_BUFFER
    assert held < streams * memory.SEND_BUFFER // 2
    for pair in pairs:
        pair.exit.mux.close()
        pair.client.mux.close()
    assert shared.waiting == 0
    assert shared.windows == 0


def test_books_return_to_nothing_however_streams_end() -> None:
    shared = StreamMemory()
    (pair,) = exits_of(1, shared)
    readers = [pair.open("source-500000.test", takes=False) for _ in range(4)]
    pair.settle()
    assert shared.waiting
    assert shared.windows == 4 * 64 * KIB
    readers[0].stream.close()
    for reader in readers[1:]:
        reader.takes = True
        reader.take()
    pair.settle()
    for reader in readers[1:]:
        reader.stream.write_eof()
    pair.settle()
    assert pair.exit.mux.is_idle
    assert shared.waiting == 0
    assert shared.windows == 0


class Owner:
    """A mux that takes nothing."""

    def stream_ready(self, stream: Stream, octets: int) -> None:
        pass

    def stream_consumed(self, stream: Stream, octets: int) -> None:
        pass

    def stream_accepted(self, stream: Stream, address: str, ttl: int) -> None:
        pass

    def stream_closing(self, stream: Stream, reason: object) -> None:
        pass


def test_stream_that_holds_more_than_it_may_now_has_no_room() -> None:
    shared = StreamMemory()
    stream = Stream(Owner(), 1, 0.0, 1000, 1000, shared)
    stream.write(bytes(100 * KIB))
    assert stream.room() == 156 * KIB
    shared.waiting += memory.PLENTY
    assert stream.room() == 0
