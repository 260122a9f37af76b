"""One relay's side of a circuit: what may end here, and what closes the circuit."""

from dataclasses import dataclass, field

import pytest

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, new_frame
from vigilnet.traffic.circuit.messages import DestroyReason, Extend, PadNegotiate, Refusal
from vigilnet.traffic.circuit.onion import BadRecordError, ClientOnion, RelayOnion
from vigilnet.traffic.circuit.padding import check_wish
from vigilnet.traffic.circuit.relay import MAX_DRAIN_CELLS, RelayCircuit, RelayState
from vigilnet.traffic.circuit.run_queue import QueueBudget, RunQueue
from vigilnet.traffic.link.ports import LinkPort, RunReceiver, RunSource
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.mux import StreamMux
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.wire import AREA_AT, MessageType, encode_message, split_area


@dataclass
class Port:
    """A link of which only the far end's name matters."""

    peer: bytes | None = None
    is_initiator: bool = False
    origin: str = ""
    active: list[RunSource] = field(default_factory=list)

    def activate(self, source: RunSource) -> None:
        self.active.append(source)

    def send_control(self, frame: memoryview) -> None: ...

    def set_receiver(self, receiver: RunReceiver) -> None: ...

    def close(self) -> None: ...


@dataclass
class Host:
    """What the node would do, noted."""

    extends: list[Extend] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    cuts: list[DestroyReason] = field(default_factory=list)
    wishes: list[PadNegotiate] = field(default_factory=list)
    failures: int = 0

    def relay_extend(self, circuit: RelayCircuit, request: Extend) -> None:
        self.extends.append(request)

    def relay_record(self, circuit: RelayCircuit, encoded: bytes) -> None:
        self.records.append(encoded)

    def relay_end(self, circuit: RelayCircuit) -> StreamMux:
        return StreamMux(circuit, MuxOptions(), lambda: 0.0, acceptor=None, is_client=False)

    def relay_pad(self, circuit: RelayCircuit, end: StreamMux, wish: PadNegotiate) -> None:
        check_wish(wish)
        self.wishes.append(wish)

    def relay_cut(self, circuit: RelayCircuit, reason: DestroyReason) -> None:
        self.cuts.append(reason)

    def relay_failed(self, circuit: RelayCircuit) -> None:
        self.failures += 1


def make_queue(port: LinkPort) -> RunQueue:
    return RunQueue(port, 0.0, lambda queue, delay: None, QueueBudget(1 << 40, lambda: None))


class Bench:
    """A client of two hops, of which the first is the relay under test."""

    def __init__(self) -> None:
        self.client = ClientOnion(bytes)
        self.client.add_hop(Suite.AES_256_GCM, b"f" * 32, b"b" * 32)
        self.client.add_hop(Suite.AES_256_GCM, b"F" * 32, b"B" * 32)
        self.host = Host()
        self.port = Port()
        onion = RelayOnion(Suite.AES_256_GCM, b"f" * 32, b"b" * 32)
        self.circuit = RelayCircuit(self.host, onion, 7, make_queue(self.port))

    def send(self, *messages: bytes, hop: int = 1) -> None:
        """Have the client send one record to `hop`; the relay takes it."""
        record = self.client.new_record(1, hop)
        area = b"".join(messages)
        record[AREA_AT : AREA_AT + len(area)] = area
        frame, _ = self.client.seal(record, hop)
        self.circuit.forward(frame[RUN_AT : RUN_AT + CELL_SIZE], 1, 1.0)

    def answers(self) -> list[tuple[int, bytes]]:
        """Type and body of every message that the relay itself sent back so far."""
        found = []
        while (frame := self.circuit.backward_queue.pull(1.0)) is not None:
            hop, area, _ = self.client.open(frame[RUN_AT : RUN_AT + CELL_SIZE])
            assert hop == 1
            found += [(kind, bytes(body)) for kind, _, body in split_area(area)]
        return found

    def extend(self) -> RunQueue:
        """Let the circuit go on to a next hop."""
        self.send(encode_message(MessageType.EXTEND, 0, EXTEND))
        queue = make_queue(Port())
        self.circuit.extended(queue, 9, b"created")
        assert self.answers() == [(MessageType.EXTENDED, b"created")]
        return queue


EXTEND = Extend(b"n" * 32, 0, bytes(1300)).encode()
PADDING = encode_message(MessageType.PADDING, 0)
BEGIN = encode_message(MessageType.BEGIN, 1, Target("example.org", 80).encode())


def test_extend_asks_the_node_and_its_answer_goes_back() -> None:
    bench = Bench()
    queue = bench.extend()
    assert bench.host.extends[0].identity == b"n" * 32
    assert bench.circuit.state is RelayState.MIDDLE
    assert bench.circuit.next is queue.port
    bench.send(PADDING, hop=2)
    assert queue.octets == CELL_SIZE


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [encode_message(MessageType.EXTEND, 0, EXTEND), PADDING],
        [encode_message(MessageType.EXTEND, 1, EXTEND)],
        [PADDING, encode_message(MessageType.EXTEND, 0, b"")],
        [encode_message(MessageType.EXTENDED, 0)],
        [encode_message(MessageType.TRUNCATE, 0, b"x")],
        [encode_message(MessageType.PAD_NEGOTIATE, 0, b"\3" + bytes(4))],
        [encode_message(99, 0)],
    ],
    ids=[
        "empty",
        "extend-and-more",
        "on-a-stream",
        "extend-second",
        "extended",
        "body",
        "padding",
        "unknown",
    ],
)
def test_what_no_client_may_send_closes_the_circuit(messages: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError):
        Bench().send(*messages)


def test_a_second_extend_closes_the_circuit() -> None:
    bench = Bench()
    bench.send(encode_message(MessageType.EXTEND, 0, EXTEND))
    with pytest.raises(RemoteProtocolError, match="second extend"):
        bench.send(encode_message(MessageType.EXTEND, 0, EXTEND))


def test_streams_are_for_the_last_hop_only() -> None:
    bench = Bench()
    bench.extend()
    with pytest.raises(RemoteProtocolError, match="middle hop"):
        bench.send(BEGIN)


def test_control_and_stream_messages_share_a_record() -> None:
    bench = Bench()
    bench.send(PADDING, PADDING)
    assert bench.circuit.end is None
    bench.send(PADDING, BEGIN)
    assert bench.circuit.end is not None
    assert bench.answers() == [(MessageType.END, b"\2")], "no exit here: refused by policy"
    bench.circuit.wake_later(1.0)


def test_a_record_for_the_next_extend_is_handed_on() -> None:
    bench = Bench()
    bench.send(encode_message(MessageType.RECORD, 0, b"record"))
    assert bench.host.records == [b"record"]


def test_records_are_taken_as_often_as_extending_needs_them() -> None:
    bench = Bench()
    message = encode_message(MessageType.RECORD, 0, b"record")
    for _ in range(4):
        bench.send(message)
    with pytest.raises(RemoteProtocolError, match="more peer records"):
        bench.send(message)
    assert len(bench.host.records) == 4


def test_a_middle_hop_takes_no_record() -> None:
    bench = Bench()
    bench.extend()
    with pytest.raises(RemoteProtocolError, match="unexpected"):
        bench.send(encode_message(MessageType.RECORD, 0, b"record"))
    assert not bench.host.records


def test_an_extend_that_failed_leaves_the_circuit_as_it_was() -> None:
    bench = Bench()
    bench.send(encode_message(MessageType.EXTEND, 0, EXTEND))
    refusal = Refusal(DestroyReason.OVERLOAD)
    bench.circuit.extend_failed(refusal)
    bench.circuit.extend_failed(refusal)
    assert bench.answers() == [(MessageType.TRUNCATED, refusal.encode())]
    assert bench.circuit.state is RelayState.LAST


def test_truncate_cuts_what_lies_behind_and_drains_what_is_on_its_way() -> None:
    bench = Bench()
    queue = bench.extend()
    bench.send(encode_message(MessageType.TRUNCATE, 0))
    assert bench.host.cuts == [DestroyReason.CLOSED]
    assert bench.answers() == [(MessageType.TRUNCATED, Refusal(DestroyReason.NONE).encode())]
    assert queue.is_closing
    bench.send(PADDING, hop=2)
    bench.circuit.drain_cells = 0
    with pytest.raises(BadRecordError):
        bench.send(PADDING, hop=2)


def test_a_lost_next_hop_is_told_once() -> None:
    bench = Bench()
    bench.circuit.next_hop_gone(Refusal(DestroyReason.CLOSED))
    assert bench.answers() == []
    bench.extend()
    bench.circuit.next_hop_gone(Refusal(DestroyReason.CLOSED))
    bench.circuit.next_hop_gone(Refusal(DestroyReason.CLOSED))
    assert len(bench.answers()) == 1
    assert bench.circuit.drain_cells == MAX_DRAIN_CELLS


def test_extending_ends_the_streams_that_ended_here() -> None:
    bench = Bench()
    bench.send(BEGIN)
    bench.answers()
    bench.extend()
    assert bench.circuit.end is None


def test_after_its_close_a_circuit_takes_nothing_and_says_nothing() -> None:
    bench = Bench()
    bench.send(BEGIN)
    bench.circuit.close()
    bench.send(PADDING)
    bench.circuit.backward(new_frame(1)[RUN_AT : RUN_AT + CELL_SIZE], 1, 1.0)
    bench.circuit.send_truncated(Refusal(DestroyReason.CLOSED))
    bench.circuit.extended(make_queue(Port()), 9, b"")
    assert bench.circuit.state is RelayState.CLOSED
    with pytest.raises(RemoteProtocolError):
        bench.circuit.seal(bench.circuit.new_record(1), 1)


def test_bug_while_a_record_is_made_drops_the_keys_at_once() -> None:
    bench = Bench()
    bench.send(BEGIN)
    end = bench.circuit.end
    assert end is not None
    end.outbox._fill_streams = None  # type: ignore[method-assign, assignment]  # a bug
    end.outbox._choose_cells = None  # type: ignore[method-assign, assignment]
    assert bench.circuit.backward_queue.pull(0.0) is None
    assert bench.host.failures == 1
    assert bench.circuit._onion is None
    assert bench.circuit.backward_queue.pull(0.0) is None
