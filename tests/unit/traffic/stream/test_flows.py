"""The flows of a circuit, at both of its ends."""

import pytest

from tests.support.mux_pair import Message, MuxPair, flow
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream import flows as flows_module
from vigilnet.traffic.stream.congestion import CongestionParameters
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.messages import (
    Datagram,
    Echo,
    Target,
)
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.wire import EndReason, MessageType

UDP = Target("", 0, 17)
ICMP = Target("203.0.113.1", 0, 1)
WIDE = MuxOptions(congestion=CongestionParameters(start=3584))


def datagram_flow(pair: MuxPair) -> DatagramFlow:
    """The client's first flow."""
    flow = pair.client.mux.flows.open[1]
    assert isinstance(flow, DatagramFlow)
    return flow


def test_late_datagrams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows_module, "MAX_LATE_DATAGRAMS", 3)
    late = (MessageType.DATAGRAM, 1, Datagram("203.0.113.1", 53, b"q").encode())
    pair = MuxPair()
    flow(pair)
    pair.settle()
    datagram_flow(pair).close()
    for _ in range(3):
        pair.client.receive(late)
    with pytest.raises(RemoteProtocolError):
        pair.client.receive(late)


def test_last_words_of_a_flow_go_before_its_end() -> None:
    pair = MuxPair()
    flow(pair)
    outgoing = datagram_flow(pair)
    outgoing.send("203.0.113.7", 53, b"last words")
    outgoing.close()
    pair.settle()
    consumer = pair.targets.flow_readers[0]
    assert consumer.received == [("203.0.113.7", 53, b"last words")]
    assert consumer.closed is EndReason.DONE


def test_end_of_a_flow_alone_in_its_record_counts_for_nothing() -> None:
    pair = MuxPair()
    flow(pair)
    pair.settle()
    outgoing = datagram_flow(pair)
    outgoing.send("203.0.113.7", 53, bytes(1848 - 7))  # a cell of its own
    outgoing.close()
    pair.client.pull_all()
    assert pair.client.mux.outbox._ledger.total == 1
    pair.settle()
    assert pair.exit.mux._counter.total == 1


def test_datagrams_cross_and_come_back() -> None:
    pair = MuxPair()
    reader = flow(pair)
    pair.settle()
    assert reader.is_connected
    outgoing = datagram_flow(pair)
    assert outgoing.send("203.0.113.7", 53, b"question")
    assert outgoing.send("2001:db8::7", 5353, bytes(10_000))
    pair.settle()
    assert reader.received == [("203.0.113.7", 53, b"question"), ("2001:db8::7", 5353, bytes(10_000))]
    outgoing.close()
    pair.settle()
    assert pair.targets.flows[0].closed is EndReason.DONE
    assert reader.closed is EndReason.DONE
    assert not outgoing.send("203.0.113.7", 53, b"late")
    assert outgoing.dropped == 1


def test_datagrams_beyond_the_queue_are_dropped() -> None:
    pair = MuxPair()
    flow(pair)
    pair.settle()
    outgoing = datagram_flow(pair)
    sent = sum(outgoing.send("203.0.113.7", 53, b"x") for _ in range(2000))
    assert sent == 1024
    assert outgoing.dropped == 976


def test_large_datagrams_are_bounded_by_their_octets() -> None:
    pair = MuxPair()
    flow(pair)
    pair.settle()
    sent = sum(datagram_flow(pair).send("203.0.113.7", 53, bytes(14_000)) for _ in range(1000))
    assert 2 * 1024 * 1024 <= sent * 14_015 < 2 * 1024 * 1024 + 2 * 14_015


def test_large_datagrams_pass_whatever_the_change_budget() -> None:
    """They used to need a run of 7, and were lost once its changes were used up."""
    pair = MuxPair(WIDE)
    flow(pair)
    pair.settle()
    outgoing = datagram_flow(pair)
    cells = []
    sent = [bytes([number]) * 5000 for number in range(20)]
    for payload in sent:
        outgoing.send("203.0.113.7", 53, payload)
        cells += [record.cells for record in pair.client.pull_all()]
        pair.now += 0.21
        outgoing.send("203.0.113.7", 53, b"small")
        cells += [record.cells for record in pair.client.pull_all()]
    assert cells.count(7) == 0
    pair.settle()
    got = [payload for _, _, payload in pair.targets.flow_readers[0].received]
    assert [payload for payload in got if payload != b"small"] == sent


@pytest.mark.parametrize("size", [1841, 1842, 14_129, 14_130, 65_507, 65_528])
@pytest.mark.parametrize("before", [0, 8])
def test_datagrams_of_any_length_cross(size: int, before: int) -> None:
    pair = MuxPair(WIDE)
    reader = flow(pair)
    pair.settle()
    sent = (bytes(range(256)) * 256)[:size]
    for payload in (*[bytes(1800)] * before, sent, b"between", sent):
        assert datagram_flow(pair).send("203.0.113.7", 53, payload)
    pair.settle()
    got = [payload for _, _, payload in reader.received if payload != bytes(1800)]
    assert got == [sent, b"between", sent]
    assert pair.client.mux.outbox._datagram_octets == 0
    assert not pair.exit.mux.flows._parts


def test_datagram_longer_than_parts_may_be_is_dropped() -> None:
    pair = MuxPair()
    flow(pair)
    pair.settle()
    assert not datagram_flow(pair).send("203.0.113.7", 53, bytes(65_536 - 7))
    assert datagram_flow(pair).send("203.0.113.7", 53, bytes(65_535 - 7))


def test_long_echoes_cross_too() -> None:
    pair = MuxPair()
    echoes = pair.client.mux.open_echo(ICMP)
    pair.client.pull_all()
    pair.client.sent.clear()
    assert echoes.send(Echo(False, 1, 2, bytes(8000)))
    kinds = [kind for record in pair.client.pull_all() for kind, _, _ in record.messages]
    assert kinds == [MessageType.DATAGRAM_PART] * 4 + [MessageType.ECHO]


def part(octets: int, of: int = 1) -> Message:
    return (MessageType.DATAGRAM_PART, of, bytes(octets))


@pytest.mark.parametrize(
    "messages",
    [
        [part(0)],
        [part(1, of=0)],
        [part(1, of=3)],
        [part(10), part(10, of=2)],
        [part(10), (MessageType.DATAGRAM, 2, Datagram("203.0.113.1", 53, b"q").encode())],
        [*[part(14_000)] * 4, part(9_536)],
        [*[part(14_000)] * 4, part(9_535), (MessageType.DATAGRAM, 1, b"x")],
    ],
    ids=[
        "empty",
        "of none",
        "of an unknown one",
        "of two",
        "another within",
        "too much",
        "too much at the end",
    ],
)
def test_parts_against_the_rules_close_the_circuit(messages: list[Message]) -> None:
    pair = MuxPair()
    flow(pair)
    flow(pair)
    pair.settle()
    for message in messages[:-1]:
        pair.exit.receive(message, cells=7)
    with pytest.raises(RemoteProtocolError):
        pair.exit.receive(messages[-1], cells=7)


def test_parts_of_a_flow_that_was_closed_meanwhile_are_dropped_and_others_go_on() -> None:
    pair = MuxPair()
    reader = flow(pair)
    flow(pair)
    pair.settle()
    head = Datagram("203.0.113.7", 53, bytes(1000)).encode()
    pair.exit.receive((MessageType.DATAGRAM_PART, 1, head))
    pair.targets.flows[0].close(EndReason.LIMIT)
    pair.exit.receive(part(1000))
    pair.exit.receive((MessageType.DATAGRAM, 1, b"rest"))
    second = pair.client.mux.flows.open[2]
    assert isinstance(second, DatagramFlow)
    assert second.send("203.0.113.7", 53, bytes(9000))
    pair.settle()
    assert pair.targets.flow_readers[1].received == [("203.0.113.7", 53, bytes(9000))]
    assert not pair.targets.flow_readers[0].received
    assert reader.closed is EndReason.LIMIT


def test_a_flow_s_end_before_another_s_datagram_leaves_the_books_equal() -> None:
    """The sender judged a record by its first message alone, the receiver by all: their counts differed."""
    pair = MuxPair()
    flow(pair)
    flow(pair)
    pair.settle()
    first, second = (pair.client.mux.flows.open[number] for number in (1, 2))
    assert isinstance(first, DatagramFlow)
    assert isinstance(second, DatagramFlow)
    first.send("203.0.113.7", 53, bytes(1848 - 7))  # fills its record, so the end opens the next
    first.close()
    second.send("203.0.113.7", 53, b"x")
    pair.client.pull_all()
    assert pair.client.mux.outbox._ledger.total == 2
    pair.settle()
    assert pair.exit.mux._counter.total == 2
