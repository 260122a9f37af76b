"""Two stream muxes joined directly: records are kept in lists until a test delivers them."""

from collections import deque
from dataclasses import dataclass, field

from tests.support.targets import FlowReader, Reader, Targets
from vigilnet.crypto.kdf import sha256
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.mux import Acceptor, StreamMux
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.wire import AREA_AT, AREA_SIZES, MessageType, encode_message, split_area

Message = tuple[int, int, bytes]


MOMENT_S = 0.01


@dataclass
class Record:
    """One record on its way."""

    area: bytes
    cells: int
    tag: bytes

    @property
    def messages(self) -> list[Message]:
        return [(kind, stream, bytes(body)) for kind, stream, body in split_area(memoryview(self.area))]


@dataclass
class ListCarriage:
    """A `Carriage` whose records are made when a test pulls."""

    sealed: int = 0
    wakes: int = 0
    later: list[float] = field(default_factory=list)

    def new_record(self, cells: int) -> memoryview:
        return memoryview(bytearray(RUN_AT + CELL_SIZE * cells))

    def seal(self, record: memoryview, cells: int) -> tuple[memoryview, bytes]:
        self.sealed += 1
        assert len(record) == RUN_AT + CELL_SIZE * cells
        return record, self.tag

    def failed(self, error: Exception) -> None:
        raise error

    @property
    def tag(self) -> bytes:
        """The tag of the youngest record."""
        return sha256(self.sealed.to_bytes(8, "big"))[:16]

    def wake(self) -> None:
        self.wakes += 1

    def wake_later(self, delay: float) -> None:
        self.later.append(delay)


class End:
    """One mux and what it has sent that is not delivered yet."""

    def __init__(
        self, pair: "MuxPair", options: MuxOptions, acceptor: Acceptor | None, *, is_client: bool
    ) -> None:
        self._pair = pair
        self.carriage = ListCarriage()
        self.mux = StreamMux(self.carriage, options, lambda: pair.now, acceptor=acceptor, is_client=is_client)
        self.sent: deque[Record] = deque()

    def pull(self) -> Record | None:
        """Have the mux make one record, and keep it for delivery."""
        frame = self.mux.pull(self._pair.now)
        if frame is None:
            return None
        cells = (len(frame) - RUN_AT) // CELL_SIZE
        area = bytes(frame[AREA_AT : AREA_AT + AREA_SIZES[cells]])
        record = Record(area, cells, self.carriage.tag)
        self.sent.append(record)
        return record

    def pull_all(self) -> list[Record]:
        """Pull until there is nothing."""
        made = []
        while (record := self.pull()) is not None:
            made.append(record)
        return made

    def receive(self, *messages: Message, cells: int = 1, tag: bytes = b"t" * 16) -> None:
        """Let the mux take messages that a test made up."""
        area = b"".join(encode_message(*message) for message in messages)
        self.receive_record(Record(area.ljust(AREA_SIZES[cells], b"\0"), cells, tag))

    def receive_record(self, record: Record) -> None:
        self.mux.receive(split_area(memoryview(record.area)), record.tag, record.cells, self._pair.now)


class MuxPair:
    """A client's mux and an exit's; time stands still unless told."""

    def __init__(
        self,
        options: MuxOptions | None = None,
        exit_options: MuxOptions | None = None,
        acceptor: Acceptor | None = None,
    ) -> None:
        self.now = 100.0
        self.targets = Targets()
        options = options or MuxOptions()
        self.client = End(self, options, None, is_client=True)
        self.exit = End(self, exit_options or options, acceptor or self.targets, is_client=False)

    def step(self) -> bool:
        """Make and deliver one record each way; whether there was any."""
        busy = False
        for sender, receiver in ((self.client, self.exit), (self.exit, self.client)):
            sender.pull()
            if sender.sent:
                busy = True
                receiver.receive_record(sender.sent.popleft())
        return busy

    def settle(self) -> None:
        """Deliver until nothing more is sent, not even a moment later."""
        for _ in range(1_000_000):
            if not self.step() and not self._let_time_pass():
                return
        raise AssertionError("the two ends never stop talking")

    def _let_time_pass(self) -> bool:
        """Let the few ms pass that a mux holds something back; whether there was anything."""
        held = [
            delay for end in (self.client, self.exit) for delay in end.carriage.later if delay <= MOMENT_S
        ]
        for end in (self.client, self.exit):
            end.carriage.later = [delay for delay in end.carriage.later if delay > MOMENT_S]
        self.now += max(held, default=0.0)
        return bool(held)

    def open(self, host: str = "echo.test", *, takes: bool = True) -> Reader:
        """Open a stream from the client."""
        stream = self.client.mux.open_stream(Target(host, 80))
        reader = Reader(stream, takes)
        stream.set_consumer(reader)
        return reader

    @property
    def exit_reader(self) -> Reader:
        """The target's end of the youngest stream."""
        return self.targets.readers[-1]


def end_of(reason: int) -> bytes:
    """Body of END."""
    return bytes((reason,))


BEGIN = Target("stall.test", 80).encode()
DATA = MessageType.DATA


def flow(pair: MuxPair) -> FlowReader:
    """Open a flow of datagrams from the client."""
    reader = FlowReader()
    pair.client.mux.open_datagrams(Target("", 0, 17)).set_consumer(reader)
    return reader
