"""The outbox by itself; what it does for a whole circuit is in test_mux."""

from tests.support.mux_pair import ListCarriage
from vigilnet.traffic.stream.outbox import (
    MAX_DATAGRAMS_READ,
    MAX_QUEUED_DATAGRAM_OCTETS,
    MAX_QUEUED_DATAGRAMS,
    SENDME_INTERVAL_S,
    MuxOptions,
    Outbox,
)
from vigilnet.traffic.stream.wire import MAX_PARTS


def new_outbox() -> Outbox:
    return Outbox(ListCarriage(), MuxOptions(), 0.0, lambda stream: None)


def test_there_is_room_while_all_of_one_read_would_be_queued() -> None:
    outbox = new_outbox()
    for _ in range(MAX_QUEUED_DATAGRAMS - MAX_DATAGRAMS_READ):
        assert outbox.queue_datagram(3, b"x")
    assert outbox.has_room
    assert outbox.queue_datagram(3, b"x")
    assert not outbox.has_room
    assert all(outbox.queue_datagram(3, b"x") for _ in range(MAX_DATAGRAMS_READ - 1))
    assert not outbox.queue_datagram(3, b"x")


def test_there_is_room_while_one_more_of_the_largest_would_be_queued() -> None:
    outbox = new_outbox()
    while outbox.has_room:
        assert outbox.queue_datagram(3, bytes(MAX_PARTS // 4))
    assert outbox._datagram_octets > MAX_QUEUED_DATAGRAM_OCTETS - MAX_PARTS
    assert outbox._datagram_octets <= MAX_QUEUED_DATAGRAM_OCTETS


def test_whoever_waits_for_room_is_told_once_when_half_of_it_is_free() -> None:
    outbox = new_outbox()
    while outbox.has_room:
        outbox.queue_datagram(3, bytes(500))
    told: list[int] = []
    outbox.call_at_room(3, lambda: told.append(len(outbox._datagrams)))
    outbox.call_at_room(3, lambda: told.append(len(outbox._datagrams)))  # of one flow the last one counts
    outbox.congestion.window = 10_000
    while outbox._datagrams:
        assert outbox.pull(1.0) is not None
        assert bool(told) == (len(outbox._datagrams) <= MAX_QUEUED_DATAGRAMS // 2)
    assert len(told) == 1
    assert outbox.has_room


def test_nobody_is_told_of_room_on_a_circuit_that_is_gone() -> None:
    outbox = new_outbox()
    while outbox.has_room:
        outbox.queue_datagram(3, bytes(500))
    told: list[int] = []
    outbox.call_at_room(3, lambda: told.append(1))
    outbox.close()
    outbox.queue_datagram(3, b"x")
    outbox.pull(1.0)
    assert not told


def test_a_timer_that_fires_early_does_not_leave_a_sendme_unpaid() -> None:
    """A one-hop download stood still for ever: uvloop's timers may fire up to a tick early."""
    carriage = ListCarriage()
    outbox = Outbox(carriage, MuxOptions(), 0.0, lambda stream: None)
    outbox.owe_sendme(28, bytes(16), 1.0)
    assert outbox.pull(1.0) is not None, "the first is paid at once"
    outbox.owe_sendme(56, bytes(16), 1.0)
    carriage.later.clear()
    assert outbox.pull(1.0 + SENDME_INTERVAL_S / 4) is None
    assert carriage.later, "asked to be pulled again"
    assert outbox.pull(1.0 + SENDME_INTERVAL_S) is not None
