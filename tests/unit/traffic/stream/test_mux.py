"""The mux: which message is taken when, credit, windows, run lengths, order and ends."""

from collections.abc import Callable

import pytest

from tests.support.mux_pair import BEGIN, DATA, End, Message, MuxPair, Record, end_of, flow
from tests.support.targets import Reader, Writer, pattern
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.circuit.messages import DestroyReason, Refusal
from vigilnet.traffic.stream import late as late_module
from vigilnet.traffic.stream.congestion import CongestionParameters
from vigilnet.traffic.stream.messages import (
    Datagram,
    Echo,
    Resolve,
    Resolved,
    Sendme,
    Target,
    encode_credit,
)
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import MAX_STREAM_ID, EndReason, MessageType

UDP = Target("", 0, 17)
ICMP = Target("203.0.113.1", 0, 1)
WIDE = MuxOptions(congestion=CongestionParameters(start=3584))


# --- every message in every state --------------------------------------------------------------------

MESSAGES: dict[str, Message] = {
    "begin": (MessageType.BEGIN, 1, BEGIN),
    "connected": (MessageType.CONNECTED, 1, b""),
    "data": (DATA, 1, b"octets"),
    "empty data": (DATA, 1, b""),
    "too much data": (DATA, 1, b""),  # replaced: more than the credit, in several records
    "end": (MessageType.END, 1, end_of(EndReason.DONE)),
    "bad end": (MessageType.END, 1, b"\x09"),
    "fin": (MessageType.FIN, 1, b""),
    "bad fin": (MessageType.FIN, 1, b"x"),
    "credit": (MessageType.CREDIT, 1, encode_credit(1 << 20)),
    "credit that does not grow": (MessageType.CREDIT, 1, encode_credit(64 * 1024)),
    "resolve": (MessageType.RESOLVE, 1, Resolve("name.test", 1).encode()),
    "resolved": (MessageType.RESOLVED, 1, Resolved(0).encode()),
    "datagram": (MessageType.DATAGRAM, 1, Datagram("203.0.113.1", 53, b"q").encode()),
    "echo": (MessageType.ECHO, 1, Echo(is_reply=False, identifier=1, sequence=1, payload=b"").encode()),
    "sendme on a stream": (MessageType.SENDME, 1, Sendme(28, b"t" * 16).encode()),
    "sendme for nothing": (MessageType.SENDME, 0, Sendme(28, b"t" * 16).encode()),
    "data on 0": (DATA, 0, b"octets"),
    "begin on 0": (MessageType.BEGIN, 0, BEGIN),
    "connected on 0": (MessageType.CONNECTED, 0, b""),
    "end on 0": (MessageType.END, 0, end_of(EndReason.DONE)),
    "fin on 0": (MessageType.FIN, 0, b""),
    "resolve on 0": (MessageType.RESOLVE, 0, Resolve("name.test", 1).encode()),
    "resolved on 0": (MessageType.RESOLVED, 0, Resolved(0).encode()),
    "datagram part": (MessageType.DATAGRAM_PART, 1, b"part"),
    "datagram on 0": (MessageType.DATAGRAM, 0, Datagram("203.0.113.1", 53, b"q").encode()),
    "begin directory": (MessageType.BEGIN_DIRECTORY, 1, b""),
    "begin directory on 0": (MessageType.BEGIN_DIRECTORY, 0, b""),
    "bad begin directory": (MessageType.BEGIN_DIRECTORY, 1, b"x"),
    "padding": (MessageType.PADDING, 0, b""),
    "extend": (MessageType.EXTEND, 0, b"x"),
    "truncated": (MessageType.TRUNCATED, 0, Refusal(DestroyReason.CLOSED).encode()),
    "unknown type": (99, 1, b""),
    "data on another stream": (DATA, 2, b"octets"),
    "end on another stream": (MessageType.END, 2, end_of(EndReason.DONE)),
}


Act = Callable[[MuxPair], object]


class State:
    """A mux in one state, and what it takes there."""

    def __init__(self, *acts: Act, takes: str = "") -> None:
        self._acts = acts
        self.takes = set(takes.split(", "))

    def prepare(self, pair: MuxPair) -> None:
        for act in self._acts:
            act(pair)


def client_gets(name: str) -> Act:
    return lambda pair: pair.client.receive(MESSAGES[name])


def exit_gets(name: str) -> Act:
    return lambda pair: pair.exit.receive(MESSAGES[name])


def exit_begins(target: Target) -> Act:
    return lambda pair: pair.exit.receive((MessageType.BEGIN, 1, target.encode()))


def opened(pair: MuxPair) -> Reader:
    reader = pair.open("stall.test", takes=False)
    pair.settle()
    return reader


def ours_closed(pair: MuxPair) -> None:
    opened(pair).stream.close(EndReason.RESET)


def fin_then_ours_closed(pair: MuxPair) -> None:
    reader = opened(pair)
    pair.client.receive(MESSAGES["fin"])
    reader.stream.close(EndReason.RESET)


def fins_both_ways(pair: MuxPair) -> None:
    reader = opened(pair)
    reader.stream.write_eof()
    pair.client.pull_all()
    pair.client.receive(MESSAGES["fin"])
    assert reader.stream.closed is EndReason.DONE


def fin_sent(pair: MuxPair) -> None:
    opened(pair).stream.write_eof()
    pair.client.pull_all()


def open_flow(pair: MuxPair) -> None:
    flow(pair)
    pair.settle()


def close_flow(pair: MuxPair) -> None:
    pair.client.mux.flows.open[1].close()


def lookup(pair: MuxPair) -> None:
    pair.client.mux.resolve(Resolve("name.test", 1), lambda _: None)
    pair.client.pull_all()


def abandon(pair: MuxPair) -> None:
    pair.client.mux.abandon(1)


def slow_lookup(pair: MuxPair) -> None:
    pair.targets.answers_lookups = False
    pair.exit.receive(MESSAGES["resolve"])


def close_new_stream(pair: MuxPair) -> None:
    pair.open().stream.close(EndReason.RESET)


def exit_closes_flow(pair: MuxPair) -> None:
    pair.targets.flows[0].close(EndReason.LIMIT)


def with_directory(pair: MuxPair) -> None:
    pair.exit.mux._directory = lambda stream: stream.accept()


LATE = "end, credit, credit that does not grow"
STREAM = "end, fin, credit, data"
LATE_STREAM = f"{LATE}, fin, data"

STATES = {
    "client: nothing": State(),
    "client: opening": State(lambda pair: pair.open(takes=False), takes=f"{STREAM}, connected"),
    "client: open": State(opened, takes=STREAM),
    "client: fin received": State(opened, client_gets("fin"), takes="end, credit"),
    "client: fin sent": State(fin_sent, takes=STREAM),
    "client: closed by us": State(ours_closed, takes=LATE_STREAM),
    "client: closed by us while opening": State(close_new_stream, takes=f"{LATE_STREAM}, connected"),
    "client: closed by us behind their fin": State(fin_then_ours_closed, takes=LATE),
    "client: closed by us, then their fin": State(ours_closed, client_gets("fin"), takes=LATE),
    "client: closed by fins": State(fins_both_ways, takes=LATE),
    "client: closed by them": State(opened, client_gets("end")),
    "client: closed by us, then by them": State(ours_closed, client_gets("end")),
    "client: flow opening": State(flow, takes="connected, end, datagram, datagram part"),
    "client: flow": State(open_flow, takes="end, datagram, datagram part"),
    "client: flow closed by us": State(open_flow, close_flow, takes="end, datagram, datagram part"),
    "client: flow closed by us while opening": State(
        flow, close_flow, takes="end, datagram, datagram part, connected"
    ),
    "client: flow closed by them": State(open_flow, client_gets("end")),
    "client: look-up": State(lookup, takes="resolved, end"),
    "client: look-up answered": State(lookup, client_gets("resolved")),
    "client: look-up refused": State(lookup, client_gets("end")),
    "client: look-up abandoned": State(lookup, abandon, takes="resolved, end"),
    "client: look-up abandoned, answered": State(lookup, abandon, client_gets("resolved"), takes="end"),
    "exit: nothing": State(takes="begin, resolve, begin directory"),
    "exit: directory refused": State(exit_gets("begin directory"), takes=LATE_STREAM),
    "exit: directory": State(with_directory, exit_gets("begin directory"), takes=STREAM),
    "exit: begun": State(exit_begins(Target("silent.test", 80)), takes=STREAM),
    "exit: accepted": State(exit_gets("begin"), takes=STREAM),
    "exit: fin received": State(exit_gets("begin"), exit_gets("fin"), takes="end, credit"),
    "exit: refused": State(exit_begins(Target("refused.test", 80)), takes=LATE_STREAM),
    "exit: closed by them": State(exit_gets("begin"), exit_gets("end")),
    "exit: flow": State(exit_begins(UDP), takes="end, datagram, datagram part"),
    "exit: flow closed by us": State(
        exit_begins(UDP), exit_closes_flow, takes="end, datagram, datagram part"
    ),
    "exit: flow closed by them": State(exit_begins(UDP), exit_gets("end")),
    "exit: icmp refused": State(exit_begins(ICMP), takes="end, echo, datagram part"),
    "exit: look-up": State(slow_lookup, takes="end"),
    "exit: look-up answered": State(exit_gets("resolve"), takes="end"),
    "exit: look-up ended by them": State(slow_lookup, exit_gets("end")),
}


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("name", STATES)
def test_every_message_in_every_state(name: str, message: str) -> None:
    pair = MuxPair()
    state = STATES[name]
    state.prepare(pair)
    end = pair.client if name.startswith("client") else pair.exit

    def say() -> None:
        if message == "too much data":
            for _ in range(5):
                end.receive((DATA, 1, bytes(14_000)), cells=7)
        else:
            end.receive(MESSAGES[message])

    if message in state.takes:
        say()
        end.pull_all()
    else:
        with pytest.raises(RemoteProtocolError):
            say()


def test_every_message_meets_an_exit_that_serves_nothing() -> None:
    for request, late in (
        (MESSAGES["begin"], [MESSAGES["data"], MESSAGES["credit"], MESSAGES["fin"], MESSAGES["end"]]),
        (MESSAGES["resolve"], [MESSAGES["end"]]),
        ((MessageType.BEGIN, 1, UDP.encode()), [MESSAGES["datagram"], MESSAGES["end"]]),
        ((MessageType.BEGIN, 1, ICMP.encode()), [MESSAGES["echo"], MESSAGES["end"]]),
    ):
        pair = MuxPair()
        pair.exit.mux._acceptor = None
        pair.exit.receive(request)
        (record,) = pair.exit.pull_all()
        assert record.messages == [(MessageType.END, 1, end_of(EndReason.POLICY))]
        for message in late:
            pair.exit.receive(message)
        with pytest.raises(RemoteProtocolError):
            pair.exit.receive(late[-1])


def test_a_stream_to_the_last_hop_itself_carries_octets_both_ways() -> None:
    pair = MuxPair()
    served: list[Stream] = []
    pair.exit.mux._directory = served.append
    stream = pair.client.mux.open_directory()
    stream.write(b"which relays?")
    pair.settle()
    heard, told = Reader(served[0]), Reader(stream)
    served[0].set_consumer(heard)
    stream.set_consumer(told)
    served[0].accept()
    served[0].write(b"these" * 10_000)
    served[0].write_eof()
    pair.settle()
    assert heard.data == b"which relays?"
    assert told.data == b"these" * 10_000
    assert told.has_eof


def test_a_full_exit_refuses_streams_to_itself_as_others() -> None:
    pair = MuxPair()
    with_directory(pair)
    for _ in range(256):
        pair.open("silent.test")
    pair.settle()
    pair.exit.receive((MessageType.BEGIN_DIRECTORY, 999, b""))
    (record,) = pair.exit.pull_all()
    assert record.messages[-1] == (MessageType.END, 999, end_of(EndReason.LIMIT))


@pytest.mark.parametrize(
    ("message", "allowed"),
    [("end", 1), ("fin", 1), ("connected", 1), ("credit", 4)],
)
def test_late_messages_are_taken_as_often_as_allowed(message: str, allowed: int) -> None:
    pair = MuxPair()
    pair.open().stream.close(EndReason.RESET)
    for _ in range(allowed):
        pair.client.receive(MESSAGES[message])
    with pytest.raises(RemoteProtocolError):
        pair.client.receive(MESSAGES[message])


def test_late_data_is_taken_within_the_credit_and_gives_circuit_credit_back() -> None:
    options = MuxOptions(stream_credit=20_000, circuit_credit=40_000)
    pair = MuxPair(options)
    opened(pair).stream.close(EndReason.RESET)
    pair.client.pull_all()
    pair.client.receive((DATA, 1, bytes(10_000)), cells=7)
    pair.client.receive((DATA, 1, bytes(10_000)), cells=7)
    granted = [
        body
        for record in pair.client.pull_all()
        for kind, stream, body in record.messages
        if kind == 6 and not stream
    ]
    assert granted == [encode_credit(60_000)]
    with pytest.raises(RemoteProtocolError):
        pair.client.receive((DATA, 1, b"x"))


def test_closed_streams_are_forgotten_after_two_minutes_and_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(late_module, "MAX_CLOSED_REMEMBERED", 5)
    pair = MuxPair()
    for _ in range(20):
        pair.open().stream.close(EndReason.RESET)
        pair.client.pull_all()
    assert len(pair.client.mux._closed) == 5
    pair.now += 120.1
    pair.client.pull_all()
    pair.open().stream.close(EndReason.RESET)
    assert len(pair.client.mux._closed) == 1
    with pytest.raises(RemoteProtocolError):
        pair.client.receive((MessageType.END, 20, end_of(EndReason.DONE)))


def test_stream_closed_after_a_long_silence_is_remembered() -> None:
    pair = MuxPair()
    readers = [opened(pair), opened(pair)]
    pair.now += 60
    readers[0].stream.close(EndReason.RESET)
    pair.client.pull_all()
    readers[1].stream.close(EndReason.RESET)
    pair.client.receive((MessageType.CREDIT, 1, encode_credit(1 << 20)))


# --- streams -----------------------------------------------------------------------------------------


def test_octets_arrive_in_order_both_ways() -> None:
    pair = MuxPair()
    reader = pair.open("echo.test")
    data = pattern(500_000)
    Writer(reader, data)
    pair.settle()
    assert bytes(reader.data) == data
    assert reader.ended is EndReason.DONE
    assert reader.address == "203.0.113.80"
    assert pair.client.mux.is_idle
    assert pair.exit.mux.is_idle
    assert pair.client.mux.counters.sent == pair.exit.mux.counters.received == 500_000
    assert pair.client.mux.counters.received == pair.exit.mux.counters.sent == 500_000


def test_early_octets_follow_begin_in_the_same_record() -> None:
    pair = MuxPair()
    pair.client.mux.open_stream(Target("sink.test", 80), b"GET / HTTP/1.1")
    (record,) = pair.client.pull_all()
    assert [kind for kind, _, _ in record.messages] == [MessageType.BEGIN, DATA]


def test_half_close_leaves_the_other_direction_open() -> None:
    pair = MuxPair()
    reader = opened(pair)
    target = pair.exit_reader
    reader.stream.write(b"last words")
    reader.stream.write_eof()
    pair.settle()
    assert target.has_eof
    assert target.ended is None
    target.stream.write(b"answer")
    target.stream.write_eof()
    pair.settle()
    assert bytes(reader.data) == b"answer"
    assert reader.events[-2:] == ["eof", "closed"]
    assert reader.ended is target.ended is EndReason.DONE


def test_close_with_octets_waiting_sends_them_first() -> None:
    pair = MuxPair()
    reader = pair.open("sink.test")
    reader.stream.write(bytes(200_000))
    reader.stream.close()
    assert reader.ended is None
    pair.settle()
    assert pair.exit_reader.octets == 200_000
    assert pair.exit_reader.ended is reader.ended is EndReason.DONE


def test_close_with_a_reason_drops_what_waits() -> None:
    pair = MuxPair()
    reader = pair.open("sink.test")
    reader.stream.write(bytes(200_000))
    reader.stream.close(EndReason.RESET)
    assert reader.ended is EndReason.RESET
    pair.settle()
    assert pair.exit_reader.ended is EndReason.RESET
    assert pair.client.mux.outbox._pending_octets == 0


def test_end_while_starved_leaves_no_octets_counted() -> None:
    pair = MuxPair()
    reader = pair.open("stall.test")
    reader.stream.write(bytes(200_000))
    pair.settle()
    assert reader.stream.pending_octets
    assert pair.client.mux.outbox._pending_octets == 0
    reader.stream.write(bytes(1000))
    assert pair.client.mux.outbox._pending_octets == 0
    reader.stream.close(EndReason.RESET)
    assert pair.client.mux.outbox._pending_octets == 0
    assert not pair.client.mux.outbox._starved


def test_refusal_reaches_the_client_with_its_reason() -> None:
    for reason in EndReason:
        pair = MuxPair()
        told: list[EndReason | None] = []
        reader = pair.open(f"{reason.name.lower().replace('_', '-')}.test")
        reader.stream.on_opened = told.append
        pair.settle()
        assert reader.ended is reason
        assert told == [reason]


def test_stream_ids_go_up_to_65535_and_no_further() -> None:
    pair = MuxPair()
    pair.client.mux._next_id = MAX_STREAM_ID
    reader = pair.open("sink.test")
    assert reader.stream.identifier == 65_535
    reader.stream.write(b"x")
    pair.settle()
    assert pair.exit_reader.octets == 1
    assert not pair.client.mux.can_open
    with pytest.raises(LocalProtocolError):
        pair.open()


def test_client_opens_at_most_256_streams_at_a_time() -> None:
    pair = MuxPair()
    readers = [pair.open("stall.test") for _ in range(256)]
    assert not pair.client.mux.can_open
    with pytest.raises(LocalProtocolError):
        pair.open()
    pair.settle()
    assert len(pair.exit.mux.streams) == 256
    readers[0].stream.close()
    assert pair.client.mux.can_open
    last = pair.open("echo.test")
    pair.settle()
    assert last.address is not None


@pytest.mark.parametrize("kind", ["begin", "resolve"])
def test_exit_refuses_the_257th_by_limit(kind: str) -> None:
    pair = MuxPair()
    for number in range(1, 257):
        pair.exit.receive((MessageType.BEGIN, number, BEGIN))
    pair.exit.pull_all()
    request, _, body = MESSAGES[kind]
    pair.exit.receive((request, 257, body))
    (record,) = pair.exit.pull_all()
    assert record.messages == [(MessageType.END, 257, end_of(EndReason.LIMIT))]
    assert len(pair.exit.mux.streams) == 256


def test_begin_on_a_look_up_s_number_closes_the_circuit() -> None:
    pair = MuxPair()
    slow_lookup(pair)
    with pytest.raises(RemoteProtocolError):
        pair.exit.receive(MESSAGES["begin"])


# --- credit ------------------------------------------------------------------------------------------


def test_sender_stops_at_the_stream_s_credit_and_goes_on_with_more() -> None:
    pair = MuxPair(WIDE)
    reader = pair.open("stall.test")
    reader.stream.write(bytes(200_000))
    pair.settle()
    target = pair.exit_reader
    assert target.octets == 64 * 1024
    target.take(40_000)
    pair.settle()
    assert target.octets == 40_000 + 128 * 1024  # the window doubled: it was read at once
    target.take()
    pair.settle()
    assert target.octets == 200_000


def test_sender_stops_at_the_circuit_s_credit() -> None:
    pair = MuxPair(MuxOptions(circuit_credit=100_000, congestion=CongestionParameters(start=3584)))
    for _ in range(4):
        pair.open("stall.test").stream.write(bytes(50_000))
    pair.client.pull_all()
    assert sum(stream.sent_octets for stream in pair.client.mux.streams.values()) == 100_000


def test_readers_that_stall_hold_up_nobody_however_many_they_are() -> None:
    pair = MuxPair(WIDE)
    grown = [pair.open("source-9000000.test") for _ in range(5)]
    for reader in grown:
        while reader.octets < 3_000_000:
            pair.step()
        reader.takes = False
    stalled = [pair.open("source-200000.test", takes=False) for _ in range(230)]
    fast = [pair.open("source-300000.test") for _ in range(20)]
    pair.settle()
    assert [reader.octets for reader in fast] == [300_000] * 20
    assert all(reader.untaken for reader in stalled)
    held = sum(stream.receive_credit.unread for stream in pair.client.mux.streams.values())
    assert held <= (8 * 1024 + 235 * 64) * 1024


def test_windows_grow_no_further_than_the_circuit_s_memory_together() -> None:
    pair = MuxPair(MuxOptions(circuit_credit=1024 * 1024, congestion=CongestionParameters(start=3584)))
    readers = [pair.open("source-3000000.test") for _ in range(10)]
    windows = []
    while not all(reader.has_eof for reader in readers):
        pair.step()
        open_now = pair.client.mux.streams.values()
        windows.append(sum(stream.receive_credit.window for stream in open_now))
        assert pair.client.mux._windows == windows[-1]
    assert 1000 * 1024 <= max(windows) <= 1024 * 1024
    for reader in readers:
        reader.stream.close()
    assert pair.client.mux._windows == 0


def test_more_than_the_circuit_s_credit_closes_the_circuit() -> None:
    pair = MuxPair(MuxOptions(circuit_credit=10_000))
    pair.exit.receive((MessageType.BEGIN, 1, BEGIN), (MessageType.BEGIN, 2, BEGIN))
    pair.exit.receive((DATA, 1, bytes(9_000)), cells=7)
    pair.exit.receive((DATA, 2, bytes(10_000)), cells=7)
    with pytest.raises(RemoteProtocolError):
        pair.exit.receive((DATA, 1, bytes(10_001)), cells=7)


def test_octets_before_a_reset_arrive_before_it() -> None:
    pair = MuxPair()
    reader = pair.open("stall.test")
    pair.settle()
    pair.exit_reader.stream.write(bytes(200_000))
    pair.exit_reader.stream.close(EndReason.RESET, sends_first=True)
    pair.settle()
    assert reader.octets == 200_000
    assert (reader.has_eof, reader.ended, pair.exit_reader.ended) == (False, EndReason.RESET, EndReason.RESET)


def test_circuit_credit_that_does_not_grow_closes_the_circuit() -> None:
    pair = MuxPair()
    pair.client.receive((MessageType.CREDIT, 0, encode_credit(8 * 1024 * 1024 + 1)))
    with pytest.raises(RemoteProtocolError):
        pair.client.receive((MessageType.CREDIT, 0, encode_credit(8 * 1024 * 1024 + 1)))


def test_streams_closed_unread_do_not_use_up_the_circuit_s_credit() -> None:
    pair = MuxPair(MuxOptions(circuit_credit=128 * 1024))
    for _ in range(10):
        reader = pair.open("stall.test")
        reader.stream.write(bytes(64 * 1024))
        pair.settle()
        assert pair.exit_reader.octets == 64 * 1024
        pair.exit_reader.stream.close(EndReason.RESET)
        pair.settle()
    assert pair.exit.mux._receive_credit.unread == 0


def test_reader_that_stalls_stops_nobody_else() -> None:
    pair = MuxPair()
    stalled = [pair.open("source-3000000.test", takes=False) for _ in range(3)]
    fast = [pair.open("source-300000.test") for _ in range(20)]
    pair.settle()
    assert all(reader.octets == 300_000 for reader in fast)
    assert all(reader.octets == 64 * 1024 for reader in stalled)
    assert sum(writer._reader.stream.pending_octets for writer in pair.targets.writers) <= 3 * 256 * 1024


# --- acknowledgement and window ----------------------------------------------------------------------


def fill_window(pair: MuxPair) -> list[Record]:
    """Have the client send until its window is full; nothing is delivered."""
    reader = pair.open("stall.test")
    reader.stream.write(bytes(600_000))
    return pair.client.pull_all()


BIG_CREDIT = MuxOptions(stream_credit=1 << 20)


def test_sender_stops_at_its_window() -> None:
    pair = MuxPair(BIG_CREDIT)
    records = fill_window(pair)
    assert 56 <= sum(record.cells for record in records) <= 56 + 6
    assert pair.client.mux.congestion.window == 56


def test_acknowledgements_open_the_window_again() -> None:
    pair = MuxPair(BIG_CREDIT)
    fill_window(pair)
    while pair.client.sent:
        pair.exit.receive_record(pair.client.sent.popleft())
    answers = [message for record in pair.exit.pull_all() for message in record.messages]
    sendmes = [Sendme.decode(body) for kind, _, body in answers if kind == MessageType.SENDME]
    assert [sendme.count for sendme in sendmes] == [56], "crossings this close share one"
    pair.now += 0.1
    while pair.exit.sent:
        pair.client.receive_record(pair.exit.sent.popleft())
    assert pair.client.mux.congestion.window == 112
    assert pair.client.mux.round_trip_s == pytest.approx(0.1)
    assert pair.client.pull_all()


@pytest.mark.parametrize(
    "lie",
    [
        lambda count, tag: (count, bytes(16)),
        lambda count, tag: (count, bytes((tag[0] ^ 1,)) + tag[1:]),
        lambda count, tag: (count + 1, tag),
        lambda count, tag: (count - 1, tag),
        lambda count, tag: (count + 28, tag),
        lambda count, tag: (0, tag),
        lambda count, tag: (0xFFFF_FFFF, tag),
    ],
)
def test_forged_acknowledgement_closes_the_circuit(lie: Callable[[int, bytes], tuple[int, bytes]]) -> None:
    pair = MuxPair(BIG_CREDIT)
    records = fill_window(pair)
    crossing, cells = crossing_record(records)
    count, tag = lie(cells, crossing.tag)
    with pytest.raises(RemoteProtocolError):
        pair.client.receive((MessageType.SENDME, 0, Sendme(count & 0xFFFF_FFFF, tag).encode()))


def crossing_record(records: list[Record]) -> tuple[Record, int]:
    """The record that reaches 28 cells, and the count behind it."""
    total = 0
    for record in records:
        total += record.cells * any(kind == DATA for kind, _, _ in record.messages)
        if total >= 28:
            return record, total
    raise AssertionError("too few records")


def test_repeated_and_early_acknowledgements_close_the_circuit() -> None:
    pair = MuxPair(BIG_CREDIT)
    records = fill_window(pair)
    crossing, cells = crossing_record(records)
    honest = (MessageType.SENDME, 0, Sendme(cells, crossing.tag).encode())
    pair.client.receive(honest)
    with pytest.raises(RemoteProtocolError):
        pair.client.receive(honest)
    with pytest.raises(RemoteProtocolError):  # the tag of a record that did not cross
        pair.client.receive((MessageType.SENDME, 0, Sendme(56, records[-2].tag).encode()))


def test_records_without_data_count_for_nothing() -> None:
    pair = MuxPair()
    for _ in range(40):
        pair.open("stall.test").stream.write_eof()
        pair.step()
    assert pair.client.mux.outbox._ledger.total == pair.exit.mux._counter.total == 0


def test_control_goes_out_although_the_window_is_full() -> None:
    pair = MuxPair(BIG_CREDIT)
    fill_window(pair)
    pair.open("echo.test")
    (record,) = pair.client.pull_all()
    assert [kind for kind, _, _ in record.messages] == [MessageType.BEGIN]


# --- run lengths -------------------------------------------------------------------------------------


def test_little_goes_in_single_cells_and_much_in_runs() -> None:
    pair = MuxPair(BIG_CREDIT)
    reader = pair.open("stall.test")
    reader.stream.write(b"x")
    assert [record.cells for record in pair.client.pull_all()] == [1]
    reader.stream.write(bytes(50_000))
    assert [record.cells for record in pair.client.pull_all()] == [7, 7, 7, 7]
    reader.stream.write(b"x")
    assert [record.cells for record in pair.client.pull_all()] == [7], "200 ms have not passed"
    pair.now += 0.21
    reader.stream.write(b"x")
    assert [record.cells for record in pair.client.pull_all()] == [1]


def test_idle_wakes_do_not_put_off_the_end_of_a_bulk_phase() -> None:
    pair = MuxPair(BIG_CREDIT)
    reader = pair.open("stall.test")
    reader.stream.write(bytes(50_000))
    pair.client.pull_all()
    for _ in range(5):
        pair.now += 0.05
        assert pair.client.pull() is None
    reader.stream.write(b"x")
    assert [record.cells for record in pair.client.pull_all()] == [1]


def test_octets_without_credit_do_not_make_runs_of_seven() -> None:
    pair = MuxPair(WIDE)
    stuck = pair.open("stall.test")
    stuck.stream.write(bytes(64 * 1024 + 100_000))
    pair.settle()
    pair.now += 1
    quick = pair.open("sink.test")
    for _ in range(4):
        quick.stream.write(b"a few octets")
        assert [record.cells for record in pair.client.pull_all()] == [1]
        pair.now += 1


# --- the end of a circuit ----------------------------------------------------------------------------


def test_close_ends_everything_once() -> None:
    pair = MuxPair()
    pair.targets.answers_lookups = False
    reader, datagrams = pair.open("stall.test"), flow(pair)
    answers: list[Resolved | EndReason] = []
    pair.client.mux.resolve(Resolve("name.test", 1), answers.append)
    pair.settle()
    pair.client.mux.close()
    pair.client.mux.close()
    assert reader.ended is datagrams.closed is EndReason.CLOSING
    assert answers == [EndReason.CLOSING]
    assert pair.client.pull() is None
    assert not pair.client.mux.can_open
    reader.stream.write(b"x")
    reader.stream.consumed(0)
    reader.stream.close()
    pair.client.mux.send_control(MessageType.FIN, 1)
    assert pair.client.pull() is None
    pair.exit.mux.close()
    pair.targets.lookups[0][1](Resolved(0))
    assert pair.exit.pull() is None


def test_consumer_that_closes_the_circuit_in_a_call_stops_the_record_there() -> None:
    pair = MuxPair()
    reader = opened(pair)
    reader.on_event = lambda event: pair.client.mux.close() if event == "data" else None
    pair.client.receive((DATA, 1, b"first"), (DATA, 1, b"second"), (MessageType.END, 1, end_of(0)))
    assert reader.octets == 5
    assert reader.ended is EndReason.CLOSING


def test_consumer_that_closes_its_stream_in_a_call_hears_no_more() -> None:
    pair = MuxPair()
    reader = opened(pair)
    reader.on_event = lambda event: reader.stream.close(EndReason.RESET) if event == "data" else None
    pair.client.receive((DATA, 1, b"first"), (DATA, 1, b"second"), (MessageType.END, 1, end_of(0)))
    assert reader.octets == 5
    assert reader.ended is EndReason.RESET


def test_unused_mux_knows_it() -> None:
    pair = MuxPair()
    assert pair.client.mux.is_unused
    pair.open().stream.close()
    assert not pair.client.mux.is_unused
    assert pair.client.mux.is_idle


def test_end_is_a_plain_object() -> None:
    assert isinstance(MuxPair().client, End)
