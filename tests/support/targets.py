"""Targets in memory behind an exit, and consumers of streams for tests.

`Targets` serves `Acceptor`: the host name of a request says what the target does. `Reader` is the
client's (or a target's) end of a stream: it counts, hashes, and takes octets only as told.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from vigilnet.traffic.stream.datagrams import DatagramFlow, Flow
from vigilnet.traffic.stream.messages import Resolve, Resolved, ResourceRecord, Target
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason

TARGET_ADDRESS = "203.0.113.80"
CHUNK = 16 * 1024


@cache
def pattern(octets: int, seed: int = 0) -> bytes:
    """Return `octets` octets that differ at every place of a record."""
    return hashlib.shake_256(f"pattern/{seed}".encode()).digest(octets)


@dataclass
class Reader:
    """A StreamConsumer that takes everything at once unless `takes` is False."""

    stream: Stream
    takes: bool = True
    keeps: bool = True
    address: str | None = None
    data: bytearray = field(default_factory=bytearray)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    octets: int = 0
    untaken: int = 0
    has_eof: bool = False
    ended: EndReason | None = None
    events: list[str] = field(default_factory=list)
    on_event: Callable[[str], None] = lambda _: None

    def connected(self, address: str, ttl: int) -> None:
        self.address = address
        self._note("connected")

    def data_received(self, data: memoryview) -> None:
        assert self.ended is None, "data after the stream was closed"
        assert not self.has_eof, "data after the end of file"
        self.octets += len(data)
        self.digest.update(data)
        if self.keeps:
            self.data += data
        if self.takes:
            self.stream.consumed(len(data))
        else:
            self.untaken += len(data)
        self._note("data")

    def take(self, octets: int | None = None) -> None:
        """Let the application take what waits, or some of it."""
        count = self.untaken if octets is None else min(octets, self.untaken)
        self.untaken -= count
        self.stream.consumed(count)

    def eof_received(self) -> None:
        assert not self.has_eof, "two ends of file"
        self.has_eof = True
        self._note("eof")

    def stream_closed(self, reason: EndReason) -> None:
        assert self.ended is None, "closed twice"
        self.ended = reason
        self._note("closed")

    def writable(self) -> None:
        self._note("writable")

    def _note(self, event: str) -> None:
        if not self.events or event != "data" or self.events[-1] != "data":
            self.events.append(event)
        self.on_event(event)


class Writer:
    """Writes `data` to a stream as it has room, then half-closes it."""

    def __init__(self, reader: Reader, data: bytes, *, ends: bool = True) -> None:
        self._reader = reader
        self._data = memoryview(data)
        self._ends = ends
        self._before = reader.on_event
        reader.on_event = self._event
        self.go_on()

    def _event(self, event: str) -> None:
        if event == "writable":
            self.go_on()
        self._before(event)

    def go_on(self) -> None:
        stream = self._reader.stream
        while self._data and stream.closed is None and (room := stream.room()) > 0:
            count = min(room, CHUNK)
            stream.write(bytes(self._data[:count]))
            self._data = self._data[count:]
        if not self._data and self._ends:
            self._ends = False
            stream.write_eof()


class Targets:
    """What an exit reaches; serves `Acceptor`.

    | host | what it does |
    | --- | --- |
    | echo.test | sends back what it gets, half-closes after the client did |
    | sink.test | takes everything; after the client's end answers with its SHA-256 |
    | source-N.test | sends `pattern(N)` and half-closes |
    | stall.test | accepts and never takes an octet |
    | silent.test | never answers the request |
    | refused.test, policy.test, ... | closes with the reason of that name |
    """

    def __init__(self) -> None:
        self.requests: list[Target] = []
        self.readers: list[Reader] = []
        self.writers: list[Writer] = []
        self.flows: list[DatagramFlow] = []
        self.flow_readers: list[EchoFlow] = []
        self.lookups: list[tuple[Resolve, Callable[[Resolved], None]]] = []
        self.answers_lookups = True
        self.refused_ports: set[int] = set()

    def begin(self, stream: Stream, target: Target) -> None:
        self.requests.append(target)
        name = target.host.partition(".")[0]
        reasons = {reason.name.lower().replace("_", "-"): reason for reason in EndReason}
        if target.port in self.refused_ports:
            stream.close(EndReason.POLICY)
            return
        if name in reasons:
            stream.close(reasons[name])
            return
        reader = Reader(stream, takes=name not in ("stall", "silent"), keeps=False)
        self.readers.append(reader)
        stream.set_consumer(reader)
        if name == "silent":
            return
        stream.accept(TARGET_ADDRESS, 60)
        if name == "echo":
            _Echo(reader)
        elif name == "sink":
            reader.on_event = lambda event: self._answer_sink(reader, event)
        elif name.startswith("source-"):
            self.writers.append(Writer(reader, pattern(int(name.removeprefix("source-")))))

    @staticmethod
    def _answer_sink(reader: Reader, event: str) -> None:
        if event == "eof":
            reader.stream.write(reader.digest.digest())
            reader.stream.write_eof()

    def resolve(self, request: Resolve, answer: Callable[[Resolved], None]) -> None:
        self.lookups.append((request, answer))
        if self.answers_lookups:
            answer(Resolved(0, (ResourceRecord(request.qtype, 60, b"\xcb\x00\x71\x50"),)))

    def open_echo(self, flow: Flow, target: Target) -> None:
        """Refuse: echoes need a system."""
        flow.close(EndReason.POLICY)

    def open_datagrams(self, flow: DatagramFlow, target: Target) -> None:
        self.flows.append(flow)
        self.flow_readers.append(EchoFlow(flow))
        flow.set_consumer(self.flow_readers[-1])
        flow.accept()


class _Echo:
    """Sends back what a reader gets, taking it only as far as it can be sent on."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiting = bytearray()
        reader.takes = False
        reader.keeps = True
        reader.on_event = self._event

    def _event(self, event: str) -> None:
        reader, stream = self._reader, self._reader.stream
        if event in ("data", "writable", "eof"):
            while reader.data and stream.closed is None and (room := stream.room()) > 0:
                piece = bytes(reader.data[:room])
                del reader.data[: len(piece)]
                stream.write(piece)
                reader.take(len(piece))
            if reader.has_eof and not reader.data:
                stream.write_eof()


@dataclass
class EchoFlow:
    """A target for datagrams that sends each back; serves `DatagramConsumer`."""

    flow: DatagramFlow
    received: list[tuple[str, int, bytes]] = field(default_factory=list)
    closed: EndReason | None = None

    def flow_connected(self) -> None:
        raise AssertionError("an exit's flow is not told that it is connected")

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        self.received.append((host, port, payload))
        self.flow.send(host, port, payload)

    def flow_closed(self, reason: EndReason) -> None:
        self.closed = reason


@dataclass
class FlowReader:
    """The client's end of a flow."""

    is_connected: bool = False
    received: list[tuple[str, int, bytes]] = field(default_factory=list)
    closed: EndReason | None = None

    def flow_connected(self) -> None:
        self.is_connected = True

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        self.received.append((host, port, payload))

    def flow_closed(self, reason: EndReason) -> None:
        assert self.closed is None, "closed twice"
        self.closed = reason
