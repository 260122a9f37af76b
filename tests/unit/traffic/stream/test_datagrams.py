"""One flow of datagrams by itself."""

from collections.abc import Callable, Sequence

import pytest

from tests.support.targets import FlowReader
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream.datagrams import DatagramFlow, Flow
from vigilnet.traffic.stream.messages import BeginFlag, Datagram, Target
from vigilnet.traffic.stream.wire import EndReason


class Owner:
    """A mux that takes datagrams while `takes` is set."""

    def __init__(self) -> None:
        self.flow = DatagramFlow(self, 3, Target("", 0, 17))
        self.takes = True
        self.most = 2  # at once
        self.sent: list[bytes] = []
        self.told: list[object] = []

    def send_datagram(self, flow: Flow, body: bytes) -> bool:
        if self.takes:
            self.sent.append(body)
        return self.takes

    def send_datagrams(self, flow: Flow, prefix: bytes, payloads: Sequence[bytes]) -> int:
        taken = list(payloads)[: self.most]
        self.sent += [prefix + payload for payload in taken]
        return len(taken)

    def has_room(self) -> bool:
        return self.takes

    def call_at_room(self, flow: Flow, told: Callable[[], None]) -> None:
        self.told.append(told)

    def flow_accepted(self, flow: Flow) -> None:
        self.told.append("accepted")

    def flow_closing(self, flow: Flow, reason: EndReason) -> None:
        self.told.append(reason)
        flow.on_closed(reason)


def test_consumer_that_comes_late_hears_the_state() -> None:
    owner = Owner()
    owner.flow.on_connected()
    owner.flow.on_message(memoryview(Datagram("192.0.2.1", 1, b"lost").encode()))
    reader = FlowReader()
    owner.flow.set_consumer(reader)
    assert reader.is_connected
    assert not reader.received, "datagrams before anybody listens are lost, as UDP may"
    owner.flow.on_closed(EndReason.LIMIT)
    owner.flow.on_closed(EndReason.DONE)
    assert reader.closed is EndReason.LIMIT
    late = FlowReader()
    owner.flow.set_consumer(late)
    assert late.closed is EndReason.LIMIT


def test_dropped_datagrams_are_counted() -> None:
    owner = Owner()
    assert owner.flow.send("192.0.2.1", 53, b"a")
    owner.takes = False
    assert not owner.flow.send("192.0.2.1", 53, b"b")
    owner.takes = True
    owner.flow.on_closed(EndReason.DONE)
    assert not owner.flow.send("192.0.2.1", 53, b"c")
    assert owner.flow.dropped == 2
    assert [Datagram.decode(body).payload for body in owner.sent] == [b"a"]


def test_who_waits_is_told_once_open_or_why_not() -> None:
    told: list[EndReason | None] = []
    owner = Owner()
    owner.flow.on_opened = told.append
    owner.flow.on_connected()
    with pytest.raises(RemoteProtocolError):
        owner.flow.on_connected()
    refused = Owner()
    refused.flow.on_opened = told.append
    refused.flow.on_closed(EndReason.POLICY)
    assert told == [None, EndReason.POLICY]


def test_closed_flow_asks_for_nothing_more() -> None:
    owner = Owner()
    owner.flow.accept()
    owner.flow.close(EndReason.LIMIT)
    owner.flow.close()
    owner.flow.accept()
    assert owner.told == ["accepted", EndReason.LIMIT]


@pytest.mark.parametrize("body", [b"", b"\0\x35\x05aaaa", b"\0\x35\x04\x01\x02"])
def test_malformed_datagram_is_the_other_end_s_fault(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Owner().flow.on_message(memoryview(body))


def test_who_waits_for_room_is_handed_on_unless_the_flow_is_closed() -> None:
    def told() -> None:
        pass

    owner = Owner()
    owner.takes = False
    assert not owner.flow.has_room
    owner.flow.call_at_room(told)
    owner.flow.on_closed(EndReason.DONE)
    owner.flow.call_at_room(told)
    assert owner.told == [told]


def test_datagrams_of_one_end_go_together_as_far_as_there_is_room() -> None:
    owner = Owner()
    assert owner.flow.send_all("192.0.2.1", 53, [b"a", b"b", b"c"]) == 2
    datagrams = [Datagram.decode(body) for body in owner.sent]
    assert [(one.host, one.port, one.payload) for one in datagrams] == [
        ("192.0.2.1", 53, b"a"),
        ("192.0.2.1", 53, b"b"),
    ]
    bound = DatagramFlow(owner, 5, Target("192.0.2.1", 53, 17, BeginFlag.CONNECTED_UDP))
    assert bound.send_all("", 0, [b"plain"]) == 1
    assert owner.sent[-1] == b"plain", "both ends know the address"
    owner.flow.on_closed(EndReason.DONE)
    assert owner.flow.send_all("192.0.2.1", 53, [b"late"]) == 0
