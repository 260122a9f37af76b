"""Any interleaving of what two honest ends may do keeps octets in order, loses none, and raises nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from tests.support.mux_pair import End, MuxPair
from tests.support.targets import EchoFlow, FlowReader, Reader, pattern
from vigilnet.traffic.stream.congestion import CongestionParameters
from vigilnet.traffic.stream.datagrams import DatagramFlow, Flow
from vigilnet.traffic.stream.messages import Resolve, Resolved, Target
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason

PATTERN = pattern(4_000_000)
UDP = Target("", 0, 17)
SIDES = st.sampled_from(["client", "exit"])


@dataclass
class Side:
    """One end of one stream: what was written, and what the other end's consumer got."""

    reader: Reader
    written: int = 0
    has_ended: bool = False  # eof or close was asked for: no more writing
    was_cut: bool = False  # closed with a reason: what waits is lost

    def write(self, octets: int) -> None:
        if not self.has_ended and self.reader.stream.closed is None:
            self.reader.stream.write(PATTERN[self.written : self.written + octets])
            self.written += octets

    def eof(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self.reader.stream.write_eof()

    def close(self, reason: EndReason) -> None:
        if self.reader.stream.closed is None:
            self.has_ended = True
            self.was_cut |= reason is not EndReason.DONE
            self.reader.stream.close(reason)


@dataclass
class Pipe:
    """One stream, seen from both ends."""

    client: Side
    exit: Side | None = None


@dataclass
class PlainTargets:
    """An exit that accepts everything and leaves reading and writing to the machine."""

    pipes: dict[int, Pipe]
    flows: list[EchoFlow] = field(default_factory=list)
    lookups: list[Callable[[Resolved], None]] = field(default_factory=list)

    def begin(self, stream: Stream, target: Target) -> None:
        reader = Reader(stream, takes=False)
        self.pipes[stream.identifier].exit = Side(reader)
        stream.set_consumer(reader)
        if target.port != 1:  # port 1: accepted later, or never
            stream.accept("203.0.113.1", 60)

    def resolve(self, request: Resolve, answer: Callable[[Resolved], None]) -> None:
        self.lookups.append(answer)

    def open_echo(self, flow: Flow, target: Target) -> None:
        flow.close(EndReason.POLICY)

    def open_datagrams(self, flow: DatagramFlow, target: Target) -> None:
        consumer = EchoFlow(flow)
        self.flows.append(consumer)
        flow.set_consumer(consumer)
        flow.accept()


class MuxMachine(RuleBasedStateMachine):
    """The rules are what applications, links and time may do, in any order."""

    pipes = Bundle("pipes")
    flows = Bundle("flows")
    lookups = Bundle("lookups")

    @initialize(
        stream_credit=st.sampled_from([1_000, 20_000, 64 * 1024]),
        circuit_credit=st.sampled_from([5_000, 100_000, 8 * 1024 * 1024]),
        window=st.sampled_from([28, 56, 500]),
    )
    def start(self, stream_credit: int, circuit_credit: int, window: int) -> None:
        self.by_id: dict[int, Pipe] = {}
        self.targets = PlainTargets(self.by_id)
        congestion = CongestionParameters(start=window)
        options = MuxOptions(stream_credit, 4 * stream_credit, circuit_credit, congestion)
        self.pair = MuxPair(options, acceptor=self.targets)
        self.ends: dict[str, End] = {"client": self.pair.client, "exit": self.pair.exit}
        self.answers = 0
        self.drained_at = self.pair.now

    @rule(target=pipes, early=st.integers(0, 5000), port=st.sampled_from([1, 80]))
    def open(self, early: int, port: int) -> object:
        if not self.pair.client.mux.can_open:
            return multiple()
        stream = self.pair.client.mux.open_stream(Target("name.test", port), PATTERN[:early])
        reader = Reader(stream, takes=False)
        stream.set_consumer(reader)
        pipe = self.by_id[stream.identifier] = Pipe(Side(reader, early))
        return pipe

    @rule(
        pipe=pipes,
        side=SIDES,
        octets=st.sampled_from([1, 100, 1856, 14_136, 60_000]),
    )
    def write(self, pipe: Pipe, side: str, octets: int) -> None:
        if (end := self._side(pipe, side)) is not None and end.written + octets < 300_000:
            end.write(octets)

    @rule(pipe=pipes, side=SIDES)
    def write_eof(self, pipe: Pipe, side: str) -> None:
        if (end := self._side(pipe, side)) is not None:
            end.eof()

    @rule(pipe=pipes, side=SIDES, octets=st.integers(0, 100_000))
    def take(self, pipe: Pipe, side: str, octets: int) -> None:
        if (end := self._side(pipe, side)) is not None:
            end.reader.take(octets)

    @rule(pipe=pipes)
    def accept_late(self, pipe: Pipe) -> None:
        if pipe.exit is not None:
            pipe.exit.reader.stream.accept("203.0.113.1", 60)

    @rule(pipe=pipes, side=SIDES, reason=st.sampled_from(list(EndReason)))
    def close(self, pipe: Pipe, side: str, reason: EndReason) -> None:
        if (end := self._side(pipe, side)) is not None:
            end.close(reason)

    @rule(target=flows)
    def open_flow(self) -> object:
        if not self.pair.client.mux.can_open:
            return multiple()
        flow = self.pair.client.mux.open_datagrams(UDP)
        flow.set_consumer(FlowReader())
        return flow

    @rule(flow=flows, octets=st.sampled_from([0, 500, 5_000]))
    def send(self, flow: DatagramFlow, octets: int) -> None:
        flow.send("203.0.113.5", 53, bytes(octets))

    @rule(flow=flows)
    def close_flow(self, flow: DatagramFlow) -> None:
        flow.close()

    @rule(number=st.integers(0, 50))
    def exit_closes_flow(self, number: int) -> None:
        if self.targets.flows:
            self.targets.flows[number % len(self.targets.flows)].flow.close(EndReason.LIMIT)

    @rule(target=lookups)
    def resolve(self) -> object:
        if not self.pair.client.mux.can_open:
            return multiple()
        return self.pair.client.mux.resolve(Resolve("name.test", 1), self._answered)

    def _answered(self, answer: Resolved | EndReason) -> None:
        self.answers += 1

    @rule(lookup=consumes(lookups))
    def abandon(self, lookup: int) -> None:
        self.pair.client.mux.abandon(lookup)

    @rule()
    def answer(self) -> None:
        if self.targets.lookups:
            self.targets.lookups.pop()(Resolved(0))

    @rule(side=SIDES, records=st.integers(1, 10))
    def pull(self, side: str, records: int) -> None:
        for _ in range(records):
            self.ends[side].pull()

    @rule(side=SIDES, records=st.integers(1, 10))
    def deliver(self, side: str, records: int) -> None:
        sender = self.ends[side]
        receiver = self.ends["exit" if side == "client" else "client"]
        for _ in range(min(records, len(sender.sent))):
            receiver.receive_record(sender.sent.popleft())

    @rule(seconds=st.sampled_from([0.01, 0.25, 3.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.pair.now += seconds
        if self.pair.now - self.drained_at > 100:  # no network holds octets for longer than two minutes
            self.drained_at = self.pair.now
            self.pair.settle()

    @staticmethod
    def _side(pipe: Pipe, side: str) -> Side | None:
        return pipe.client if side == "client" else pipe.exit

    @invariant()
    def octets_are_in_order(self) -> None:
        for pipe in self.by_id.values():
            for sender, receiver in ((pipe.client, pipe.exit), (pipe.exit, pipe.client)):
                if receiver is not None and receiver.reader.octets:
                    got = receiver.reader.data
                    assert sender is not None
                    assert len(got) <= sender.written
                    assert got == PATTERN[: len(got)]

    @invariant()
    def books_agree(self) -> None:
        for end in self.ends.values():
            mux = end.mux
            counted = sum(
                stream.pending_octets for stream in mux.streams.values() if stream not in mux.outbox._starved
            )
            assert mux.outbox._pending_octets == counted
            assert mux.outbox._send_credit.room >= 0
            assert mux._receive_credit.unread <= mux._options.circuit_credit
            for stream in mux.streams.values():
                assert stream.send_credit.room >= 0
                assert stream.receive_credit.unread <= stream.receive_credit.window
            assert mux._windows == sum(stream.receive_credit.window for stream in mux.streams.values())

    def teardown(self) -> None:
        """Everybody reads on: then nothing may be left that was not cut."""
        if not hasattr(self, "pair"):
            return
        pair = self.pair
        for _ in range(2000):
            sides = [side for pipe in self.by_id.values() for side in (pipe.client, pipe.exit)]
            readers = [side.reader for side in sides if side is not None]
            for reader in readers:
                reader.take()
            if not pair.step():
                pair.now += 0.1  # run lengths may have to wait
                if not pair.step() and not any(reader.untaken for reader in readers):
                    break
        else:
            raise AssertionError("the two ends never stop talking")
        for pipe in self.by_id.values():
            self._check_whole(pipe.client, pipe.exit)
            self._check_whole(pipe.exit, pipe.client)

    @staticmethod
    def _check_whole(sender: Side | None, receiver: Side | None) -> None:
        if sender is None or receiver is None or sender.was_cut or receiver.was_cut:
            return
        if receiver.reader.stream.closed is not None and receiver.reader.stream._close_when_sent:
            return  # it went away itself, with DONE
        if receiver.reader.ended is EndReason.DONE and not receiver.reader.has_eof and receiver.has_ended:
            return
        assert receiver.reader.octets == sender.written


MuxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestMuxMachine = MuxMachine.TestCase
