"""Relays and clients that lie: what crosses a link of theirs can be changed, dropped, repeated or made up.

A `MaliciousRelay` is an honest relay whose links pass through its `hook`, and whose circuits can be
made to say anything (`say`). It holds its own hop's keys and nobody else's, as an attacker would.
A client lies by `say_as_client`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.links import ListSource, seeded_random
from tests.support.onion_network import OnionNode
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, Command, new_frame, pack_run_header
from vigilnet.traffic.circuit.client import ClientCircuit
from vigilnet.traffic.circuit.relay import RelayCircuit
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.circuit.switch import LinkCircuits
from vigilnet.traffic.link.ports import LinkPort, RunReceiver, RunSource
from vigilnet.traffic.stream.wire import AREA_AT, MessageType, encode_message


@dataclass
class Crossing:
    """One run that crosses a link of the liar."""

    run: bytearray  # header included
    is_outgoing: bool
    neighbour: bytes | None  # identity; None for a client
    port: LinkPort

    @property
    def circuit_id(self) -> int:
        return int.from_bytes(self.run[:4], "big")

    @property
    def command(self) -> int:
        return self.run[4]

    @property
    def is_relay(self) -> bool:
        return self.run[4] == Command.RELAY


Hook = Callable[[Crossing], Sequence[bytes | bytearray] | None]
"""Returns what crosses instead: None for the run unchanged, [] to drop it, several to add some."""


def frame_of(run: bytes | bytearray) -> memoryview:
    """Return a frame view with `run` in it."""
    frame = new_frame(len(run) // CELL_SIZE)
    frame[RUN_AT : RUN_AT + len(run)] = run
    return frame


class _TamperedSource:
    """What a link pulls instead of an honest source."""

    def __init__(self, port: "TamperedPort", source: RunSource) -> None:
        self._port = port
        self._source = source
        self._extra: list[memoryview] = []

    def pull(self, now: float) -> memoryview | None:
        while not self._extra:
            frame = self._source.pull(now)
            if frame is None:
                return None
            self._extra = self._port.changed(frame)
        return self._extra.pop(0)


class TamperedPort:
    """A `LinkPort` whose frames pass the hook on their way out."""

    def __init__(self, port: LinkPort, liar: "MaliciousCircuits") -> None:
        self.real = port
        self._liar = liar
        self._sources: dict[RunSource, _TamperedSource] = {}

    @property
    def peer(self) -> bytes | None:
        return self.real.peer

    @property
    def origin(self) -> str:
        return self.real.origin

    @property
    def is_initiator(self) -> bool:
        return self.real.is_initiator

    def changed(self, frame: memoryview) -> list[memoryview]:
        run = bytearray(frame[RUN_AT:-16])
        runs = self._liar.hook(Crossing(run, True, self.peer, self.real))
        return [frame] if runs is None else [frame_of(run) for run in runs]

    def activate(self, source: RunSource) -> None:
        self.real.activate(self._sources.setdefault(source, _TamperedSource(self, source)))

    def send_control(self, frame: memoryview) -> None:
        for changed in self.changed(frame):
            self.real.send_control(changed)

    def set_receiver(self, receiver: RunReceiver) -> None:
        self.real.set_receiver(receiver)

    def close(self) -> None:
        self.real.close()


class _TamperedReceiver:
    """Delivers what the hook makes of the runs that come in."""

    def __init__(self, place: LinkCircuits, port: TamperedPort, liar: "MaliciousCircuits") -> None:
        self._place = place
        self._port = port
        self._liar = liar

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        run = bytearray(buffer[at : at + CELL_SIZE * cells])
        runs = self._liar.hook(Crossing(run, False, self._port.peer, self._port.real))
        for each in [run] if runs is None else runs:
            view = memoryview(bytearray(each))
            self._place.run_received(view, 0, len(view) // CELL_SIZE)

    def link_closed(self) -> None:
        self._place.link_closed()


class MaliciousCircuits(CircuitService):
    """A circuit room whose links pass through `hook`."""

    hook: Hook = staticmethod(lambda crossing: None)

    def attach(self, port: LinkPort) -> RunReceiver:
        tampered = TamperedPort(port, self)
        place = self._places[port] = LinkCircuits(self, tampered, self._clock.now, self._random_bytes)
        return _TamperedReceiver(place, tampered, self)

    def link_lost(self, link: LinkCircuits) -> None:
        assert isinstance(link.port, TamperedPort)
        self._places.pop(link.port.real, None)
        if self.relay is not None:
            self.relay.link_lost(link)


class MaliciousRelay(OnionNode):
    """A relay that lies as its `hook` says."""

    def make_circuits(self) -> CircuitService:
        network = self.network
        self.liar = MaliciousCircuits(
            self.links, network.options, network.clock, seeded_random(f"circuits {self.name}")
        )
        return self.liar

    @property
    def hook(self) -> Hook:
        return self.liar.hook

    @hook.setter
    def hook(self, hook: Hook) -> None:
        self.liar.hook = hook


class Once:
    """A hook that acts on the nth run (from 0) that fits, and leaves all others alone."""

    def __init__(
        self,
        act: Callable[[Crossing], Sequence[bytes | bytearray] | None],
        fits: Callable[[Crossing], bool] = lambda crossing: crossing.is_relay,
        nth: int = 0,
    ) -> None:
        self._act = act
        self._fits = fits
        self._left = nth
        self.is_done = False

    def __call__(self, crossing: Crossing) -> Sequence[bytes | bytearray] | None:
        if self.is_done or not self._fits(crossing):
            return None
        self._left -= 1
        if self._left >= 0:
            return None
        self.is_done = True
        return self._act(crossing)


def goes_on(circuit: RelayCircuit) -> Callable[[Crossing], bool]:
    """Fits RELAY runs of a circuit that the liar passes on towards the exit."""
    return lambda crossing: (
        crossing.is_relay and crossing.is_outgoing and crossing.circuit_id == circuit.next_id
    )


def comes_back(circuit: RelayCircuit) -> Callable[[Crossing], bool]:
    """Fits RELAY runs of a circuit that the liar passes on towards the client."""
    return lambda crossing: (
        crossing.is_relay and crossing.is_outgoing and crossing.circuit_id == circuit.previous_id
    )


def area_of(*messages: tuple[int, int, bytes]) -> bytes:
    """Return the area of (type, stream, body)s, without the zeros behind."""
    return b"".join(encode_message(kind, stream, body) for kind, stream, body in messages)


def say(circuit: RelayCircuit, area: bytes, cells: int = 1) -> bytes:
    """Make a relay say `area` to the client, as a well-formed record of its own hop; returns its tag."""
    record = circuit.new_record(cells)
    record[AREA_AT : AREA_AT + len(area)] = area
    frame, tag = circuit.seal(record, cells)
    circuit.backward_queue.push(frame, cells)
    return tag


def say_as_client(circuit: ClientCircuit, hop: int, area: bytes, cells: int = 1) -> bytes:
    """Make a client say `area` to hop `hop`, as a well-formed record; returns its tag."""
    record = circuit._onion.new_record(cells, hop)
    record[AREA_AT : AREA_AT + len(area)] = area
    frame, tag = circuit._onion.seal(record, hop)
    pack_run_header(frame, RUN_AT, circuit.circuit_id, Command.RELAY, cells)
    circuit.port.activate(ListSource(frame))
    return tag


def data(stream: int, body: bytes) -> tuple[int, int, bytes]:
    """A DATA message for `area_of`."""
    return MessageType.DATA, stream, body
