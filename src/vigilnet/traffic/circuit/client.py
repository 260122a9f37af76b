"""The client's side of one circuit: building it hop by hop, then carrying streams (sans-IO).

docs/spec/circuit.md sections 4.2 and 5. Whatever the rules do not allow from a hop closes the
circuit: an ignored cell would be a channel that relays could use among themselves.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from vigilnet.base.errors import ErrorKind, LocalProtocolError, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import RUN_AT, RUN_HEADER_SIZE, Command, new_frame, pack_run_header
from vigilnet.traffic.circuit.handshake import ClientHandshake, fill_cell
from vigilnet.traffic.circuit.messages import DestroyReason, Extend, PadNegotiate, Refusal
from vigilnet.traffic.circuit.onion import MAX_HOPS, ClientOnion
from vigilnet.traffic.circuit.padding import Padder, PaddingAllowance, PaddingProfile, check_wish
from vigilnet.traffic.circuit.puzzle import MAX_EFFORT, PuzzleSolver, Solution
from vigilnet.traffic.link.ports import LinkPort
from vigilnet.traffic.stream.flow_control import CLIENT_TOLERANCE, ChangeBudget
from vigilnet.traffic.stream.memory import StreamMemory
from vigilnet.traffic.stream.mux import STREAM_TYPES, StreamMux
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.wire import AREA_AT, MessageType, encode_message, split_area

_log = get_logger(__name__)

BUILD_TIMEOUT_S: Final = 10.0
MAX_PUZZLE_TRIES: Final = 1  # for one hop; what the relay asked stays good while its effort rises once
MAX_PADDING_PER_HOP: Final = 2


class CircuitClosedError(VigilnetError):
    """The circuit could not be built, or is gone."""

    kind = ErrorKind.CLOSED

    def __init__(self, message: str, reason: DestroyReason = DestroyReason.NONE, hop: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.hop = hop  # where it failed, 1-based; 0: not known


class CircuitState(Enum):
    """Where a circuit of ours stands."""

    BUILDING = "building"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True)
class Hop:
    """What the client must know of a relay to make it a hop, from its record."""

    identity: bytes
    onion_public: bytes
    suite: Suite
    encoded_record: bytes = b""
    sequence: int = 0


class ClientHost(Protocol):
    """What a client circuit asks of the circuit service."""

    def client_solve(self, circuit: "ClientCircuit", solver: PuzzleSolver) -> None:
        """Solve a relay's puzzle outside the event loop's turn, then call `circuit.solved`."""
        ...

    def client_recreate(self, circuit: "ClientCircuit") -> int:
        """The guard refused the CREATE: return a fresh circuit id on the same link."""
        ...

    def client_opened(self, circuit: "ClientCircuit") -> None:
        """All hops answered."""
        ...

    def client_closed(self, circuit: "ClientCircuit", error: CircuitClosedError) -> None:
        """The circuit is gone, or could not be built."""
        ...

    def client_wake_in(self, circuit: "ClientCircuit", delay: float) -> None:
        """Activate the circuit on its link after `delay` seconds."""
        ...


class ClientCircuit:
    """One circuit of ours; a `RunSource` of the link to its guard, and its mux's `Carriage`."""

    def __init__(
        self,
        host: ClientHost,
        hops: Sequence[Hop],
        port: LinkPort,
        circuit_id: int,
        options: MuxOptions,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        network: str = "",
        memory: StreamMemory | None = None,
    ) -> None:
        if not 1 <= len(hops) <= MAX_HOPS:
            raise LocalProtocolError(f"circuit: {len(hops)} hops, expected 1 to {MAX_HOPS}")
        self._host = host
        self.hops = tuple(hops)
        self.port = port
        self.circuit_id = circuit_id
        self._options = options
        self._clock = clock
        self._random_bytes = random_bytes
        self._network = network
        self._onion = ClientOnion(random_bytes)
        self._own: deque[tuple[int, bytes]] = deque()  # (hop, message): records of their own
        self._handshake: ClientHandshake | None = None
        self._is_asking = False  # a CREATE or EXTEND is on its way: exactly one answer may come
        self._puzzle_tries = 0
        self._record_given = False
        self._asked_at = clock()
        self._budget = ChangeBudget(self._asked_at, CLIENT_TOLERANCE)
        self.state = CircuitState.BUILDING
        self.created_at = self._asked_at
        self.opened_at = 0.0
        self.cells_received = 0
        self.cells_sent = 0
        self.mux = StreamMux(self, options, clock, acceptor=None, is_client=True, memory=memory)
        self._padding_taken = PaddingAllowance()
        self._wish: PadNegotiate | None = None
        self._wish_again_at = math.inf

    @property
    def reached(self) -> int:
        """How many hops have answered."""
        return self._onion.hops

    def start(self) -> None:
        """Send CREATE to the guard."""
        self._begin_handshake()
        self._send_create(None)

    def _begin_handshake(self) -> None:
        number = self._onion.hops
        hop = self.hops[number]
        self._asked_at = self._clock()
        try:
            self._handshake = ClientHandshake(
                hop.identity, hop.onion_public, hop.suite, network=self._network
            )
        except RemoteProtocolError:
            self.fail(
                f"circuit: the onion key of hop {number + 1} is none", DestroyReason.PROTOCOL, number + 1
            )

    def _send_create(self, solution: Solution | None) -> None:
        """Ask the next hop, by a cell if it is the guard, else through the present last hop."""
        if self._handshake is None:  # closed meanwhile
            return
        self._is_asking = True
        body = self._handshake.create_body(solution)
        reached = self._onion.hops
        if not reached:
            frame = new_frame(1)
            pack_run_header(frame, RUN_AT, self.circuit_id, Command.CREATE, 1)
            at = RUN_AT + RUN_HEADER_SIZE
            filled = fill_cell(body, self._random_bytes)
            frame[at : at + len(filled)] = filled
            self.port.send_control(frame)
            return
        hop = self.hops[reached]
        sequence = hop.sequence if self._record_given else 0
        message = Extend(hop.identity, sequence, body).encode()
        self._send_own(reached, MessageType.EXTEND, message)

    def solved(self, solution: Solution | None) -> None:
        """A puzzle was solved (or not): go on with the CREATE it was for."""
        if self.state is not CircuitState.BUILDING:
            return
        if solution is None:
            self.fail("circuit: puzzle not solved", DestroyReason.PUZZLE)
            return
        self._send_create(solution)

    def created(self, body: memoryview) -> None:
        """CREATED came from the guard (its cell's body), or EXTENDED from the present last hop."""
        handshake = self._handshake
        if handshake is None or not self._is_asking:
            raise RemoteProtocolError("circuit: created without a create")
        self._handshake = None
        self._is_asking = False
        keys, _ = handshake.finish(body)
        self._onion.add_hop(keys.suite, keys.forward, keys.backward, self._network)
        self.mux.round_trip_s = self._clock() - self._asked_at
        self._puzzle_tries = 0
        self._record_given = False
        if self._onion.hops < len(self.hops):
            self._begin_handshake()
            self._send_create(None)
            return
        self.state = CircuitState.OPEN
        self.opened_at = self._clock()
        self._pad()
        self._host.client_opened(self)

    def _pad(self) -> None:
        """A few PADDING records to each hop, in random order, so that numbers of records tell less."""
        dice = self._random_bytes(len(self.hops) * (MAX_PADDING_PER_HOP + 1))
        order = []
        for index in range(len(self.hops)):
            count = dice[index] % (MAX_PADDING_PER_HOP + 1)
            weights = dice[len(self.hops) + index * MAX_PADDING_PER_HOP :]
            order += [(weights[turn], index + 1) for turn in range(count)]
        for _, hop in sorted(order):
            self._send_own(hop, MessageType.PADDING, b"")

    def pad(self, wish: PadNegotiate) -> None:
        """Have the last hop pad the circuit, and pad it alike, until further notice.

        Raises:
            LocalProtocolError: the circuit is not open.
        """
        if self.state is not CircuitState.OPEN:
            raise LocalProtocolError("circuit: padding before it is open")
        self._wish = wish
        self._ask_for_padding()

    def _ask_for_padding(self) -> None:
        wish, now = self._wish, self._clock()
        if wish is None:
            return
        is_wanted = check_wish(wish) is not PaddingProfile.OFF
        self._wish_again_at = now + wish.seconds / 2 if is_wanted else math.inf
        self._padding_taken.ask(wish, now)
        self._send_own(len(self.hops), MessageType.PAD_NEGOTIATE, wish.encode())
        self.mux.outbox.pace(Padder(wish, now, self._random_bytes) if is_wanted else None, now)

    def _refused(self, refusal: Refusal, hop: int) -> None:
        """The next hop was not reached: solve its puzzle, give the record, or give up."""
        if not self._is_asking:
            raise RemoteProtocolError("circuit: refused what was not asked")
        self._is_asking = False
        demand = refusal.puzzle
        if refusal.reason is DestroyReason.PUZZLE and demand is not None and demand.effort <= MAX_EFFORT:
            self._puzzle_tries += 1
            if self._puzzle_tries <= MAX_PUZZLE_TRIES:
                if not hop:
                    self.circuit_id = self._host.client_recreate(self)
                self._begin_handshake()
                if self._handshake is not None:
                    self._host.client_solve(self, PuzzleSolver(self._handshake.puzzle_target, demand))
                return
        record = self.hops[hop].encoded_record
        if refusal.reason is DestroyReason.NEED_RECORD and hop and record and not self._record_given:
            self._record_given = True
            self._send_own(hop, MessageType.RECORD, record)
            self._begin_handshake()
            self._send_create(None)
            return
        self.fail(
            f"circuit: hop {hop + 1} refused ({refusal.reason.name.lower().replace('_', ' ')})",
            refusal.reason,
            hop + 1,
        )

    def _send_own(self, hop: int, kind: MessageType, body: bytes) -> None:
        self._own.append((hop, encode_message(kind, 0, body)))
        self.port.activate(self)

    def pull(self, now: float) -> memoryview | None:
        """Return the next frame view for the guard, or None."""
        if self.state is CircuitState.CLOSED:
            return None
        if self._own:
            try:
                return self._pull_own()
            except VigilnetError as error:
                self.failed(error)
                return None
        if self.state is CircuitState.OPEN:
            if now >= self._wish_again_at:
                self._ask_for_padding()
                return self._pull_own()
            return self.mux.pull(now)
        return None

    def _pull_own(self) -> memoryview:
        hop, message = self._own.popleft()
        record = self._onion.new_record(1, hop)
        record[AREA_AT : AREA_AT + len(message)] = message
        frame, _ = self._onion.seal(record, hop)
        pack_run_header(frame, RUN_AT, self.circuit_id, Command.RELAY, 1)
        self.cells_sent += 1
        return frame

    def failed(self, error: Exception) -> None:
        """A record could not be made: end the circuit, never try its counter again."""
        _log.failure("circuit failed, this is a bug: please report it", error)
        self.fail("circuit: failed by a bug of ours", DestroyReason.PROTOCOL)

    def new_record(self, cells: int) -> memoryview:
        """Return a buffer for a record to the last hop (for the mux)."""
        return self._onion.new_record(cells, len(self.hops))

    def seal(self, record: memoryview, cells: int) -> tuple[memoryview, bytes]:
        """Seal a record for the last hop, header included (for the mux)."""
        frame, tag = self._onion.seal(record, len(self.hops))
        pack_run_header(frame, RUN_AT, self.circuit_id, Command.RELAY, cells)
        self.cells_sent += cells
        return frame, tag

    def wake(self) -> None:
        """The mux has something to send."""
        if self.state is CircuitState.OPEN:
            self.port.activate(self)

    def wake_later(self, delay: float) -> None:
        """The mux has something that must wait."""
        self._host.client_wake_in(self, delay)

    def receive(self, run: memoryview, cells: int, now: float) -> None:
        """Take a run from the guard.

        Raises:
            RemoteProtocolError: nothing that an honest path sends; close the circuit.
        """
        if self.state is CircuitState.CLOSED:
            return
        if not self._budget.take(cells, now):
            raise RemoteProtocolError("circuit: run length changes more often than relays allow")
        self.cells_received += cells
        hop, area, tag = self._onion.open(run)
        messages = split_area(area)
        if not messages:
            raise RemoteProtocolError("circuit: a record without any message")
        if self.state is CircuitState.OPEN and hop == len(self.hops) and messages[0][0] in STREAM_TYPES:
            for kind, _, _ in messages:
                if kind not in STREAM_TYPES:
                    raise RemoteProtocolError(f"circuit: unexpected message type {kind}")
            self.mux.receive(messages, tag, cells, now)
            return
        if len(messages) > 1:
            raise RemoteProtocolError("circuit: several messages in a control record")
        kind, stream, body = messages[0]
        if stream:
            raise RemoteProtocolError("circuit: control message on a stream")
        self._control(kind, hop, body)

    def _control(self, kind: int, hop: int, body: memoryview) -> None:
        if kind == MessageType.EXTENDED:
            if hop != self._onion.hops:
                raise RemoteProtocolError("circuit: extended from a hop that was not asked")
            self.created(body)
        elif kind == MessageType.TRUNCATED:
            refusal = Refusal.decode(body)
            if self.state is CircuitState.BUILDING and hop == self._onion.hops:
                self._refused(refusal, hop)
            else:
                self.fail(
                    f"circuit: cut behind hop {hop} ({refusal.reason.name.lower().replace('_', ' ')})",
                    refusal.reason,
                    hop,
                )
        elif kind != MessageType.PADDING or hop != len(self.hops) or not self._may_be_padded():
            raise RemoteProtocolError(f"circuit: unexpected message type {kind} from hop {hop}")

    def _may_be_padded(self) -> bool:
        """Whether one more padding record is what we asked for."""
        return self.state is CircuitState.OPEN and self._padding_taken.take(self._clock())

    def destroyed(self, refusal: Refusal) -> None:
        """The guard destroyed the circuit."""
        if self.state is CircuitState.BUILDING and not self._onion.hops:
            self._refused(refusal, 0)
        else:
            self.fail(f"circuit: destroyed ({refusal.reason.name.lower()})", refusal.reason, 1)

    def deadline(self) -> float | None:
        """When `on_deadline` wants to be called: the build's time-out."""
        return self.created_at + BUILD_TIMEOUT_S if self.state is CircuitState.BUILDING else None

    def on_deadline(self, now: float) -> None:
        """Give up a build that takes too long."""
        deadline = self.deadline()
        if deadline is not None and now >= deadline:
            hop = self._onion.hops + 1
            self.fail(f"circuit: hop {hop} did not answer in time", DestroyReason.TIMEOUT, hop)

    def fail(self, message: str, reason: DestroyReason, hop: int = 0) -> None:
        """Close the circuit because of an error; safe to call twice."""
        if self.state is CircuitState.CLOSED:
            return
        self.state = CircuitState.CLOSED
        self._onion.truncate(0)
        self._handshake = None
        self._own.clear()
        self.mux.close()
        self._host.client_closed(self, CircuitClosedError(message, reason, hop))

    def close(self) -> None:
        """Close the circuit in good order; its keys are dropped."""
        self.fail("circuit: closed", DestroyReason.CLOSED)
