"""Which circuit a run belongs to: the tables of one link (sans-IO, hot path).

Parses the 16 octets of a run's header and nothing else. docs/spec/circuit.md section 4.1.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.traffic.cell import (
    CELL_SIZE,
    INITIATOR_BIT,
    RUN_AT,
    RUN_HEADER_SIZE,
    Command,
    new_frame,
    pack_run_header,
)
from vigilnet.traffic.circuit.messages import DestroyReason, Refusal
from vigilnet.traffic.link.ports import LinkPort

MAX_USED_IDS: Final = 65_536  # remembered so that no id is used twice; older ones may collide, harmlessly

_log = get_logger(__name__)
_READ_HEADER: Final = Struct(">IBB10s").unpack_from
_RESERVED: Final = bytes(10)
_RELAY: Final = int(Command.RELAY)


class Side(Protocol):
    """One circuit as one of its two links sees it."""

    def relay(self, run: memoryview, cells: int, now: float) -> None:
        """A RELAY run came; errors tear the circuit down, never the link."""
        ...

    def created(self, body: memoryview) -> None:
        """CREATED came."""
        ...

    def destroyed(self, refusal: Refusal) -> None:
        """DESTROY came; the id is already free."""
        ...

    def fault(self, error: VigilnetError) -> None:
        """What came was wrong: tear the circuit down."""
        ...

    def link_closed(self) -> None:
        """The link is gone."""
        ...


class SwitchHost(Protocol):
    """Who takes new circuits and hears of lost links."""

    def create_received(self, link: "LinkCircuits", circuit_id: int, body: bytes) -> None:
        """A neighbour wants a circuit."""
        ...

    def create_cancelled(self, link: "LinkCircuits", circuit_id: int) -> None:
        """The neighbour gave up a circuit that we may not have answered yet."""
        ...

    def link_lost(self, link: "LinkCircuits") -> None:
        """The link closed; every side was told."""
        ...


class LinkCircuits:
    """The circuits of one link; its `RunReceiver`."""

    def __init__(
        self,
        host: SwitchHost,
        port: LinkPort,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._host = host
        self.port = port
        self._clock = clock
        self._random_bytes = random_bytes
        self._handlers: dict[int, Callable[[memoryview, int, float], None]] = {}
        self._sides: dict[int, Side] = {}
        self._used: dict[int, None] = {}
        self.is_closed = False

    @property
    def circuits(self) -> int:
        """How many circuits cross this link now."""
        return len(self._sides)

    def new_id(self) -> int:
        """Pick an unused id of our half."""
        top = INITIATOR_BIT if self.port.is_initiator else 0
        for _ in range(64):
            circuit_id = int.from_bytes(self._random_bytes(4), "big") & (INITIATOR_BIT - 1) | top
            if circuit_id and circuit_id not in self._used and circuit_id not in self._sides:
                return circuit_id
        raise LocalProtocolError("circuit id: no unused one found")

    def add(self, circuit_id: int, side: Side) -> None:
        """Deliver what comes for `circuit_id` to `side`."""
        self._sides[circuit_id] = side
        self._handlers[circuit_id] = side.relay
        self._mark_used(circuit_id)

    def remove(self, circuit_id: int) -> None:
        """Forget a circuit; what still comes for it is dropped."""
        self._sides.pop(circuit_id, None)
        self._handlers.pop(circuit_id, None)

    def destroy(self, circuit_id: int, refusal: Refusal) -> None:
        """Forget a circuit and tell the neighbour why."""
        self.remove(circuit_id)
        if not self.is_closed:
            self.port.send_control(destroy_frame(circuit_id, refusal))

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        """Hand one run to its circuit.

        Raises:
            RemoteProtocolError: the neighbour itself broke a rule; the link is closed.
        """
        circuit_id, command, announced, reserved = _READ_HEADER(buffer, at)
        if reserved != _RESERVED or announced != cells:
            raise RemoteProtocolError("run header: reserved octets set or wrong length")
        if command == _RELAY:
            handler = self._handlers.get(circuit_id)
            if handler is not None:
                try:
                    handler(buffer[at : at + CELL_SIZE * cells], cells, self._clock())
                except Exception as error:  # noqa: BLE001 what a remote client can cause ends a circuit, not the link
                    _blame(self._sides.get(circuit_id), error)
            return
        if cells != 1:
            raise RemoteProtocolError("run header: only RELAY may have 7 cells")
        self._command(command, circuit_id, buffer[at + RUN_HEADER_SIZE : at + CELL_SIZE])

    def _command(self, command: int, circuit_id: int, body: memoryview) -> None:
        if command == Command.CREATE:
            self._create(circuit_id, body)
        elif command == Command.CREATED:
            side = self._sides.get(circuit_id)
            if side is not None:
                try:
                    side.created(body)
                except Exception as error:  # noqa: BLE001 as above
                    _blame(side, error)
        elif command == Command.DESTROY:
            self._destroyed(circuit_id, body)
        elif command != Command.PADDING:
            raise RemoteProtocolError(f"run header: unknown command {command}")

    def _destroyed(self, circuit_id: int, body: memoryview) -> None:
        side = self._sides.get(circuit_id)
        if side is None:
            self._host.create_cancelled(self, circuit_id)
            return
        self.remove(circuit_id)
        try:
            side.destroyed(Refusal.from_cell(body))
        except Exception as error:  # noqa: BLE001 as above
            _blame(side, error)

    def _create(self, circuit_id: int, body: memoryview) -> None:
        theirs_has_top_bit = not self.port.is_initiator
        if not circuit_id or bool(circuit_id & INITIATOR_BIT) != theirs_has_top_bit:
            raise RemoteProtocolError("create: circuit id from the wrong half")
        side = self._sides.get(circuit_id)
        if side is not None:
            side.fault(RemoteProtocolError("create: on a used circuit id"))
            return
        if circuit_id in self._used:
            self._host.create_cancelled(self, circuit_id)
            self.destroy(circuit_id, Refusal(DestroyReason.PROTOCOL))
            return
        self._mark_used(circuit_id)
        self._host.create_received(self, circuit_id, bytes(body))

    def _mark_used(self, circuit_id: int) -> None:
        self._used[circuit_id] = None
        if len(self._used) > MAX_USED_IDS:
            del self._used[next(iter(self._used))]

    def link_closed(self) -> None:
        """Tell every circuit that the link is gone."""
        self.is_closed = True
        sides = list(self._sides.values())
        self._sides.clear()
        self._handlers.clear()
        for side in sides:
            try:
                side.link_closed()
            except Exception as error:  # noqa: BLE001 the others must hear of it too
                _blame(side, error)
        self._host.link_lost(self)


def _blame(side: Side | None, error: Exception) -> None:
    """Tear a circuit down for an error in handling it, unless it is gone already."""
    if not isinstance(error, VigilnetError):
        _log.failure("circuit failed, this is a bug: please report it", error)
        error = LocalProtocolError("circuit: failed by a bug of ours")
    if side is not None:
        side.fault(error)


def destroy_frame(circuit_id: int, refusal: Refusal) -> memoryview:
    """Return the frame view of a DESTROY cell."""
    frame = new_frame(1)
    pack_run_header(frame, RUN_AT, circuit_id, Command.DESTROY, 1)
    body = refusal.encode()
    at = RUN_AT + RUN_HEADER_SIZE
    frame[at : at + len(body)] = body
    return frame
