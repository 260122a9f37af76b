"""Fuzz targets of what travels inside a circuit: any records at either end, any runs at a link's table.

Input is cut into records; each is given to a mux (or relay, or table) in a state with everything open.
Whatever comes, it is taken or blamed on the other end, books stay right, and we can go on sending.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.deterministic import counted_bytes
from tests.support.mux_pair import End, MuxPair
from tests.support.targets import FlowReader
from vigilnet.base.errors import RemoteProtocolError, VigilnetError
from vigilnet.traffic.cell import CELL_SIZE
from vigilnet.traffic.circuit.messages import DestroyReason, Refusal
from vigilnet.traffic.circuit.switch import LinkCircuits
from vigilnet.traffic.link.ports import RunReceiver, RunSource
from vigilnet.traffic.stream.messages import (
    Connected,
    Datagram,
    Echo,
    Resolve,
    Resolved,
    Sendme,
    Target,
    encode_credit,
)
from vigilnet.traffic.stream.wire import AREA_SIZES, EndReason, MessageType, encode_message, split_area

UDP = Target("", 0, 17)


def _open_pair() -> MuxPair:
    """Two ends with streams in several states, a flow and a look-up."""
    pair = MuxPair()
    pair.targets.answers_lookups = False
    for host in ("stall.test", "echo.test", "source-20000.test", "silent.test"):
        pair.open(host, takes=False)
    pair.client.mux.open_datagrams(UDP).set_consumer(FlowReader())
    pair.client.mux.resolve(Resolve("name.test", 1), lambda _: None)
    pair.settle()
    pair.open("stall.test").stream.close(EndReason.RESET)
    pair.client.pull_all()
    pair.client.sent.clear()
    return pair


def _feed(end: End, data: bytes) -> None:
    at = 0
    try:
        while at < len(data):
            cells = 7 if data[at] & 1 else 1
            size = AREA_SIZES[cells]
            # The first octet says how long the record is, the next two how much of it is given.
            given = min(int.from_bytes(data[at + 1 : at + 3], "big"), size)
            area = data[at + 3 : at + 3 + given].ljust(size, b"\0")
            at += 3 + given
            end.mux.receive(split_area(memoryview(area)), bytes(16), cells, 100.0)
    except RemoteProtocolError:
        pass
    end.pull_all()
    mux = end.mux
    waiting = sum(
        stream.pending_octets for stream in mux.streams.values() if stream not in mux.outbox._starved
    )
    assert mux.outbox._pending_octets == waiting
    assert mux._windows == sum(stream.receive_credit.window for stream in mux.streams.values())
    mux.close()
    assert mux._memory.waiting == 0
    assert mux._memory.windows == 0


def _client(data: bytes) -> None:
    _feed(_open_pair().client, data)


def _exit(data: bytes) -> None:
    _feed(_open_pair().exit, data)


@dataclass
class _Port:
    peer: bytes | None = None
    is_initiator: bool = False
    origin: str = ""
    sent: int = 0

    def activate(self, source: RunSource) -> None: ...

    def send_control(self, frame: memoryview) -> None:
        self.sent += 1

    def set_receiver(self, receiver: RunReceiver) -> None: ...

    def close(self) -> None: ...


@dataclass
class _Side:
    faults: list[VigilnetError] = field(default_factory=list)

    def relay(self, run: memoryview, cells: int, now: float) -> None:
        if run[20] == 1:
            raise RemoteProtocolError("test: this circuit does not like it")

    def created(self, body: memoryview) -> None: ...

    def destroyed(self, refusal: Refusal) -> None:
        assert isinstance(refusal.reason, DestroyReason)

    def fault(self, error: VigilnetError) -> None:
        self.faults.append(error)

    def link_closed(self) -> None: ...


class _Host:
    def create_received(self, link: LinkCircuits, circuit_id: int, body: bytes) -> None:
        assert circuit_id & 0x8000_0000
        assert len(body) == CELL_SIZE - 16

    def create_cancelled(self, link: LinkCircuits, circuit_id: int) -> None: ...

    def link_lost(self, link: LinkCircuits) -> None: ...


def _switch(data: bytes) -> None:
    """Headers of 16 octets each; the run behind is zeros."""
    place = LinkCircuits(_Host(), _Port(), lambda: 1.0, counted_bytes())
    for number in range(4):
        place.add(0x8000_0000 + number, _Side())
    for at in range(0, len(data) - 15, 16):
        cells = 7 if data[at + 5] == 7 else 1
        run = memoryview(bytearray(CELL_SIZE * cells))
        run[:16] = data[at : at + 16]
        run[16:24] = data[at + 8 : at + 16]
        try:
            place.run_received(run, 0, cells)
        except RemoteProtocolError:
            break
    place.link_closed()


def _record(*messages: bytes, cells: int = 1) -> bytes:
    area = b"".join(messages)
    return bytes((cells,)) + len(area).to_bytes(2, "big") + area


_SEEDS = [
    _record(encode_message(kind, stream, body))
    for stream in (0, 1, 2, 3, 5, 6, 7, 9)
    for kind, body in (
        (MessageType.BEGIN, Target("echo.test", 80).encode()),
        (MessageType.BEGIN, UDP.encode()),
        (MessageType.CONNECTED, Connected("192.0.2.1", 60).encode()),
        (MessageType.DATA, b"octets"),
        (MessageType.END, b"\0"),
        (MessageType.FIN, b""),
        (MessageType.CREDIT, encode_credit(1 << 24)),
        (MessageType.RESOLVE, Resolve("name.test", 1).encode()),
        (MessageType.RESOLVED, Resolved(0).encode()),
        (MessageType.DATAGRAM, Datagram("192.0.2.1", 53, b"x").encode()),
        (MessageType.DATAGRAM_PART, b"first octets"),
        (MessageType.ECHO, Echo(False, 1, 1, b"").encode()),
        (MessageType.SENDME, Sendme(28, bytes(16)).encode()),
    )
]
_SEEDS += [left + right for left, right in zip(_SEEDS, _SEEDS[7:], strict=False)]
_HEADERS = [
    number.to_bytes(4, "big") + bytes((command, cells)) + bytes(10)
    for number in (0x8000_0000, 0x8000_0003, 0x8000_0009, 1)
    for command in range(5)
    for cells in (1, 7)
]

TARGETS: dict[str, Callable[[bytes], None]] = {"client": _client, "exit": _exit, "switch": _switch}

SEEDS: dict[str, list[bytes]] = {
    "client": _SEEDS,
    "exit": _SEEDS,
    "switch": [*_HEADERS, b"".join(_HEADERS[:5])],
}
