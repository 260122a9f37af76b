"""One stream by itself: what its consumer hears and when, and what waits to be sent."""

from random import Random

import pytest

from tests.support.targets import Reader
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason


class Owner:
    """A mux that notes what it is told."""

    def __init__(self) -> None:
        self.stream = Stream(self, 7, 0.0, 1 << 20, 1 << 20)
        self.told: list[object] = []

    def stream_ready(self, stream: Stream, octets: int) -> None:
        self.told.append(("ready", octets))

    def stream_consumed(self, stream: Stream, octets: int) -> None:
        self.told.append(("consumed", octets))

    def stream_accepted(self, stream: Stream, address: str, ttl: int) -> None:
        self.told.append(("accepted", address, ttl))

    def stream_closing(self, stream: Stream, reason: EndReason) -> None:
        self.told.append(("closing", reason))
        stream.on_closed(reason)


@pytest.fixture
def owner() -> Owner:
    return Owner()


def test_consumer_that_comes_late_hears_all_of_it_in_order(owner: Owner) -> None:
    stream = owner.stream
    stream.on_connected("203.0.113.1", 60)
    for piece in (b"one", b"two", b"three"):
        stream.on_data(memoryview(piece))
    stream.on_fin()
    reader = Reader(stream)
    stream.set_consumer(reader)
    assert bytes(reader.data) == b"onetwothree"
    assert reader.events == ["connected", "data", "eof"]


def test_consumer_that_comes_after_the_end_hears_of_it_once(owner: Owner) -> None:
    stream = owner.stream
    stream.on_data(memoryview(b"all"))
    stream.on_closed(EndReason.DONE)
    stream.on_closed(EndReason.RESET)
    reader = Reader(stream)
    stream.set_consumer(reader)
    assert reader.events == ["data", "closed"]
    assert reader.ended is EndReason.DONE


@pytest.mark.parametrize("event", ["connected", "data", "eof"])
def test_consumer_that_closes_at_once_hears_nothing_after_it(owner: Owner, event: str) -> None:
    stream = owner.stream
    stream.on_connected("", 0)
    stream.on_data(memoryview(b"early"))
    stream.on_fin()
    reader = Reader(stream)
    reader.on_event = lambda heard: stream.close(EndReason.RESET) if heard == event else None
    stream.set_consumer(reader)
    assert reader.events[-1] == "closed"
    assert reader.events.count("closed") == 1
    assert reader.events.index("closed") == reader.events.index(event) + 1


def test_early_octets_pin_no_record(owner: Owner) -> None:
    record = bytearray(2048)
    owner.stream.on_data(memoryview(record)[100:101])
    record.extend(b"x")  # BufferError if a view were kept


def test_what_the_other_end_may_not_send_is_its_fault(owner: Owner) -> None:
    stream = owner.stream
    stream.on_connected("", 0)
    with pytest.raises(RemoteProtocolError):
        stream.on_connected("", 0)
    stream.on_fin()
    with pytest.raises(RemoteProtocolError):
        stream.on_fin()
    with pytest.raises(RemoteProtocolError):
        stream.on_data(memoryview(b"x"))


def test_octets_come_out_in_order_whatever_the_pieces(owner: Owner) -> None:
    dice = Random(11)
    stream = owner.stream
    written = bytearray()
    taken = bytearray()
    buffer = memoryview(bytearray(20_000))
    for _ in range(3000):
        piece = dice.randbytes(dice.choice((0, 1, 2, 100, 511, 512, 513, 4096, 14_136)))
        stream.write(memoryview(piece) if dice.random() < 0.5 else piece)
        written += piece
        if dice.random() < 0.6:
            count = stream.take(buffer, 5, dice.choice((1, 7, 1848, 14_136)))
            taken += buffer[5 : 5 + count]
    while count := stream.take(buffer, 0, 20_000):
        taken += buffer[:count]
    assert taken == written
    assert stream.pending_octets == 0
    assert stream.sent_octets == len(written)


def test_writes_of_one_octet_are_joined(owner: Owner) -> None:
    for _ in range(10_000):
        owner.stream.write(b"x")
    assert len(owner.stream._pending) < 5
    assert owner.stream.pending_octets == 10_000


def test_bytes_that_change_later_were_copied(owner: Owner) -> None:
    mutable = bytearray(b"a" * 1000)
    owner.stream.write(memoryview(mutable))
    mutable[:] = b"b" * 1000
    buffer = memoryview(bytearray(1000))
    owner.stream.take(buffer, 0, 1000)
    assert bytes(buffer) == b"a" * 1000


def test_write_after_the_end_of_file_is_our_own_bug(owner: Owner) -> None:
    owner.stream.write_eof()
    owner.stream.write_eof()
    assert owner.told == [("ready", 0)]
    with pytest.raises(LocalProtocolError):
        owner.stream.write(b"x")
    owner.stream.write(b"")


def test_after_the_close_every_call_is_harmless(owner: Owner) -> None:
    stream = owner.stream
    stream.close(EndReason.RESET)
    told = list(owner.told)
    stream.write(b"x")
    stream.write_eof()
    stream.consumed(5)
    stream.accept("203.0.113.1", 1)
    stream.close()
    assert owner.told == told == [("closing", EndReason.RESET)]


def test_target_is_accepted_once(owner: Owner) -> None:
    owner.stream.accept("203.0.113.1", 9)
    owner.stream.accept("203.0.113.1", 9)
    assert owner.told == [("accepted", "203.0.113.1", 9)]


@pytest.mark.parametrize(("reason", "sends_first"), [(EndReason.DONE, False), (EndReason.RESET, True)])
def test_close_waits_for_what_is_queued_only_when_done_or_told(
    owner: Owner, reason: EndReason, sends_first: bool
) -> None:
    owner.stream.write(b"rest")
    owner.stream.close(reason, sends_first=sends_first)
    assert owner.stream.closed is None
    assert owner.stream.wants_close is None
    owner.stream.take(memoryview(bytearray(4)), 0, 4)
    assert owner.stream.wants_close is reason
    owner.stream.close(EndReason.RESET)
    assert owner.told[-1] == ("closing", EndReason.RESET)


def test_writer_that_waits_is_called_once_half_of_the_buffer_is_free(owner: Owner) -> None:
    stream = owner.stream
    reader = Reader(stream)
    stream.set_consumer(reader)
    while room := stream.room():
        stream.write(bytes(room))
    buffer = memoryview(bytearray(200_000))
    stream.take(buffer, 0, 100_000)
    stream.refill()
    assert "writable" not in reader.events
    stream.take(buffer, 0, 50_000)
    stream.refill()
    stream.refill()
    assert reader.events.count("writable") == 1
    stream.wait_for_room()
    stream.refill()
    assert reader.events.count("writable") == 2


def test_who_waits_to_open_is_told_once_open_or_why_not(owner: Owner) -> None:
    told: list[EndReason | None] = []
    owner.stream.on_opened = told.append
    owner.stream.on_connected("", 0)
    owner.stream.on_opened = None
    owner.stream.on_closed(EndReason.RESET)
    assert told == [None]
    other = Owner()
    other.stream.on_opened = told.append
    other.stream.on_closed(EndReason.REFUSED)
    assert told == [None, EndReason.REFUSED]


def test_error_names_the_reason_and_nothing_else() -> None:
    error = StreamEndedError(EndReason.RESOLVE_FAILED)
    assert str(error) == "stream ended: resolve failed"
    assert error.reason is EndReason.RESOLVE_FAILED
