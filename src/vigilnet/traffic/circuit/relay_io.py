"""What a relay does for others: answers CREATE in fair order, extends, tears down, forgets the idle."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.cell import RUN_AT, RUN_HEADER_SIZE, Command, new_frame, pack_run_header
from vigilnet.traffic.circuit.create_queue import CreateQueue
from vigilnet.traffic.circuit.handshake import (
    CheckedCreate,
    HopKeys,
    OnionSecrets,
    RelayHandshake,
    created_head,
    fill_cell,
)
from vigilnet.traffic.circuit.messages import DestroyReason, Extend, PadNegotiate, Refusal
from vigilnet.traffic.circuit.onion import BadRecordError, RelayOnion
from vigilnet.traffic.circuit.padding import Padder, PaddingProfile, check_wish
from vigilnet.traffic.circuit.puzzle import CreateRefusedError, EffortControl, PuzzleGate
from vigilnet.traffic.circuit.relay import RelayCircuit, RelayState
from vigilnet.traffic.circuit.run_queue import QueueBudget, QueueFullError, RunQueue
from vigilnet.traffic.circuit.switch import LinkCircuits, destroy_frame
from vigilnet.traffic.link.ports import LinkPort
from vigilnet.traffic.stream.memory import StreamMemory
from vigilnet.traffic.stream.mux import Acceptor, StreamMux
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.stream import Stream

# From the specification.
EXTEND_TIMEOUT_S: Final = 10.0
IDLE_S: Final = 600.0
MAX_DESTROY_DELAY_S: Final = 2.0
MAX_PUZZLE_REFUSALS: Final = 3

# Our choice.
CREATE_SLICE_S: Final = 0.004  # of handshakes before the loop's other work gets its turn
SWEEP_S: Final = 30.0
MAX_QUEUED_OCTETS: Final = 256 * 1024 * 1024  # over the queues of all circuits

_log = get_logger(__name__)


class Neighbours(Protocol):
    """How a relay reaches the next hop of somebody's circuit."""

    async def link_to(self, identity: bytes) -> LinkCircuits:
        """Return the tables of the link to `identity`; raises VigilnetError or OSError."""
        ...

    def may_extend(self, identity: bytes, least_sequence: int) -> DestroyReason | None:
        """Say why we do not extend to `identity`, or None if we may (record known and recent enough)."""
        ...

    def offer_record(self, encoded: bytes, port: LinkPort) -> None:
        """A client whose circuit comes by `port` gave us a peer record for its next EXTEND."""
        ...


class _PreviousSide:
    """A circuit as the link towards its client sees it."""

    __slots__ = ("circuit", "relay", "role")

    def __init__(self, role: "RelayRole", circuit: RelayCircuit) -> None:
        self.role = role
        self.circuit = circuit
        self.relay = circuit.forward

    def created(self, body: memoryview) -> None:
        """A neighbour answers what we did not ask: ignored."""

    def destroyed(self, refusal: Refusal) -> None:
        self.role.drop(self.circuit, refusal, at_once=True)

    def fault(self, error: VigilnetError) -> None:
        self.role.fault(self.circuit, error)

    def link_closed(self) -> None:
        self.role.drop(self.circuit, Refusal(DestroyReason.CLOSED), at_once=False)


class _NextSide:
    """A circuit as the link towards its next hop sees it, from CREATE on."""

    __slots__ = ("answer", "circuit", "gone", "relay", "role")

    def __init__(self, role: "RelayRole", circuit: RelayCircuit) -> None:
        self.role = role
        self.circuit = circuit
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.gone: Refusal | None = None  # destroyed before we had our turn to go on
        self.relay = circuit.backward

    def created(self, body: memoryview) -> None:
        if not self.answer.done():
            self.answer.set_result(created_head(body))

    def destroyed(self, refusal: Refusal) -> None:
        if not self.answer.done():
            self.answer.set_exception(NextHopRefusedError(refusal))
            return
        self.gone = refusal
        if self.role.is_known(self.circuit):
            self.role.next_gone(self.circuit, refusal)

    def fault(self, error: VigilnetError) -> None:
        self.role.fault(self.circuit, error)

    def link_closed(self) -> None:
        self.destroyed(Refusal(DestroyReason.CLOSED))


class NextHopRefusedError(VigilnetError):
    """The next hop answered with DESTROY."""

    kind = ErrorKind.REFUSED

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"next hop refused ({refusal.reason.name.lower()})")
        self.refusal = refusal


class RelayRole:
    """All circuits that cross or end at this node for others; serves `RelayHost`."""

    def __init__(
        self,
        neighbours: Neighbours,
        identity: bytes,
        secrets: OnionSecrets,
        options: MuxOptions,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        network: str,
    ) -> None:
        self._neighbours = neighbours
        self._identity = identity
        self._options = options
        self._clock = clock
        self._random_bytes = random_bytes
        self._network = network
        self.acceptor: Acceptor | None = None
        self.directory: Callable[[Stream], None] | None = None  # serves streams that ask for peer records
        now = clock.now()
        self.gate = PuzzleGate(identity, random_bytes, now, network)
        self._handshake = RelayHandshake(identity, secrets, self.gate, network=network)
        self._effort = EffortControl(now)
        self._creates = CreateQueue(self._handshake, self.gate, self._effort)
        self._is_scheduled = False
        self._places: dict[RelayCircuit, tuple[LinkCircuits, tuple[LinkCircuits, int] | None]] = {}
        self._puzzle_refusals: dict[RelayCircuit, int] = {}
        self._tasks = TaskGroup("relay circuits")
        self.bad_records = 0
        self.ended_cells = 0  # forwarded by circuits that are gone
        self.stream_memory = StreamMemory()
        self.queues = QueueBudget(MAX_QUEUED_OCTETS, self._relieve)
        # Queues of circuits that are gone, not drained yet, by the link and id they had.
        self._ending: dict[tuple[LinkCircuits, int], RunQueue] = {}

    def start(self) -> None:
        """Begin to sweep idle circuits and to steer the puzzle's effort."""
        self._tasks.start("sweep", self._sweep())

    @property
    def circuits(self) -> list[RelayCircuit]:
        """The circuits that cross or end here."""
        return list(self._places)

    def is_known(self, circuit: RelayCircuit) -> bool:
        """Whether `circuit` is still alive here."""
        return circuit in self._places

    def create_received(self, link: LinkCircuits, circuit_id: int, body: bytes) -> None:
        """Let a CREATE wait for its turn, or refuse it at once."""
        if self._creates.offer(link, circuit_id, body, self._clock.now()):
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._answer_creates)

    def _answer_creates(self) -> None:
        """Answer waiting CREATEs for one slice of time."""
        self._is_scheduled = False
        now = self._clock.now()
        end = now + CREATE_SLICE_S
        while (waiting := self._creates.take(now)) is not None:
            self._answer_create(waiting.link, waiting.circuit_id, waiting.create)
            done = self._clock.now()
            self._effort.handshake_done(done - now)
            now = done
            if done >= end and self._creates.has_turns:
                self._schedule()
                return
        self._effort.queue_emptied()

    def create_cancelled(self, link: LinkCircuits, circuit_id: int) -> None:
        """The neighbour gave a circuit up: do not answer its CREATE any more."""
        self._creates.cancel(link, circuit_id)

    def _answer_create(self, link: LinkCircuits, circuit_id: int, create: CheckedCreate) -> None:
        try:
            answer = self._handshake.answer(create)
        except CreateRefusedError as error:
            link.destroy(circuit_id, Refusal(error.reason))
            return
        except Exception as error:  # noqa: BLE001 others wait behind this one
            _log.failure("handshake failed, this is a bug: please report it", error)
            link.destroy(circuit_id, Refusal(DestroyReason.PROTOCOL))
            return
        self._open(link, circuit_id, answer.keys)
        link.port.send_control(
            _cell(circuit_id, Command.CREATED, fill_cell(answer.created_body, self._random_bytes))
        )

    def _open(self, link: LinkCircuits, circuit_id: int, keys: HopKeys) -> None:
        onion = RelayOnion(keys.suite, keys.forward, keys.backward, self._network)
        queue = RunQueue(link.port, self._clock.now(), self._wake_in, self.queues)
        circuit = RelayCircuit(self, onion, circuit_id, queue)
        circuit.last_used = self._clock.now()
        self._places[circuit] = (link, None)
        link.add(circuit_id, _PreviousSide(self, circuit))

    @staticmethod
    def _wake_in(queue: RunQueue, delay: float) -> None:
        asyncio.get_running_loop().call_later(delay, queue.port.activate, queue)

    def relay_extend(self, circuit: RelayCircuit, request: Extend) -> None:
        """Build the next hop in a task."""
        self._tasks.start("extend", self._extend(circuit, request))

    async def _extend(self, circuit: RelayCircuit, request: Extend) -> None:
        try:
            refusal = await self._try_extend(circuit, request)
            if refusal is not None and circuit in self._places:
                circuit.extend_failed(refusal)
        except QueueFullError as error:
            self.fault(circuit, error)

    async def _try_extend(self, circuit: RelayCircuit, request: Extend) -> Refusal | None:
        """Return why the next hop was not reached, None if it was or the circuit is gone."""
        if request.identity in (self._identity, circuit.previous.peer):
            return Refusal(DestroyReason.PROTOCOL)
        refused = self._neighbours.may_extend(request.identity, request.least_sequence)
        if refused is not None:
            return Refusal(refused)
        try:
            async with asyncio.timeout(EXTEND_TIMEOUT_S):
                await self._ask_next(circuit, request)
                return None
        except QueueFullError:
            raise
        except NextHopRefusedError as error:
            self._note_refusal(circuit, error.refusal)
            return error.refusal
        except TimeoutError:
            return Refusal(DestroyReason.TIMEOUT)
        except (VigilnetError, OSError):
            return Refusal(DestroyReason.CONNECT_FAILED)

    async def _ask_next(self, circuit: RelayCircuit, request: Extend) -> None:
        """Send CREATE to the next hop, wait for its answer and join the two halves."""
        place = await self._neighbours.link_to(request.identity)
        if circuit not in self._places:
            return
        next_id = place.new_id()
        side = _NextSide(self, circuit)
        place.add(next_id, side)
        place.port.send_control(
            _cell(next_id, Command.CREATE, fill_cell(request.create_body, self._random_bytes))
        )
        try:
            created = await side.answer
        except BaseException:
            place.destroy(next_id, Refusal(DestroyReason.CLOSED))
            raise
        if side.gone is not None:
            raise NextHopRefusedError(side.gone)
        if circuit not in self._places or circuit.state is not RelayState.EXTENDING:
            place.destroy(next_id, Refusal(DestroyReason.CLOSED))
            return
        self._places[circuit] = (self._places[circuit][0], (place, next_id))
        circuit.extended(
            RunQueue(place.port, self._clock.now(), self._wake_in, self.queues), next_id, created
        )

    def _note_refusal(self, circuit: RelayCircuit, refusal: Refusal) -> None:
        """The third junk puzzle from one circuit ends that circuit, and never a link."""
        if refusal.reason is not DestroyReason.PUZZLE:
            return
        refusals = self._puzzle_refusals[circuit] = self._puzzle_refusals.get(circuit, 0) + 1
        if refusals >= MAX_PUZZLE_REFUSALS and circuit in self._places:
            circuit.send_truncated(refusal)
            self.drop(circuit, Refusal(DestroyReason.CLOSED), at_once=False, tell_previous=True)

    def relay_record(self, circuit: RelayCircuit, encoded: bytes) -> None:
        """A client gives us a record; the peer room judges it."""
        self._neighbours.offer_record(encoded, circuit.previous)

    def relay_end(self, circuit: RelayCircuit) -> StreamMux:
        """Streams begin on a circuit that ends here."""
        return StreamMux(
            circuit,
            self._options,
            self._clock.now,
            acceptor=self.acceptor,
            is_client=False,
            memory=self.stream_memory,
            directory=self.directory,
        )

    def relay_pad(self, circuit: RelayCircuit, end: StreamMux, wish: PadNegotiate) -> None:
        """Pad a circuit that ends here as its client wishes."""
        now = self._clock.now()
        is_wanted = check_wish(wish) is not PaddingProfile.OFF
        end.outbox.pace(Padder(wish, now, self._random_bytes) if is_wanted else None, now)

    def relay_failed(self, circuit: RelayCircuit) -> None:
        """A bug of ours: tear the circuit down, behind the link's pull that met it."""
        asyncio.get_running_loop().call_soon(self._drop_failed, circuit)

    def _drop_failed(self, circuit: RelayCircuit) -> None:
        self.drop(circuit, Refusal(DestroyReason.CLOSED), at_once=False, tell_previous=True)

    def relay_cut(self, circuit: RelayCircuit, reason: DestroyReason) -> None:
        """Destroy what lies behind us."""
        place, next_hop = self._places[circuit]
        self._places[circuit] = (place, None)
        if next_hop is not None:
            next_hop[0].destroy(next_hop[1], Refusal(reason))

    def next_gone(self, circuit: RelayCircuit, refusal: Refusal) -> None:
        """The next hop destroyed its part, or its link closed."""
        self._places[circuit] = (self._places[circuit][0], None)
        circuit.next_hop_gone(refusal)

    def fault(self, circuit: RelayCircuit, error: VigilnetError) -> None:
        """Something wrong came on a circuit: TRUNCATED to the client, DESTROY to both sides, keys gone."""
        if circuit not in self._places:
            return
        is_bad_record = isinstance(error, BadRecordError)
        if is_bad_record:
            self.bad_records += 1
        reason = DestroyReason.BAD_RECORD if is_bad_record else DestroyReason.PROTOCOL
        _log.debug("circuit torn down", reason=reason.name)
        circuit.send_truncated(Refusal(reason))
        self.drop(circuit, Refusal(DestroyReason.CLOSED), at_once=False, tell_previous=True)

    def drop(
        self, circuit: RelayCircuit, refusal: Refusal, *, at_once: bool, tell_previous: bool = False
    ) -> None:
        """Forget a circuit and tell its neighbours.

        Args:
            circuit: the circuit; nothing happens if it is already gone.
            refusal: what the next hop is told.
            at_once: whether the next hop is told now (we pass a DESTROY on) or after a random time up
                to 2 s (we start it ourselves), so that times do not tell where it began.
            tell_previous: whether the previous hop must be told too, behind what is on its way to it.
        """
        place = self._places.pop(circuit, None)
        self._puzzle_refusals.pop(circuit, None)
        if place is None:
            return
        self.ended_cells += circuit.relayed_cells
        link, next_hop = place
        if circuit.forward_queue is not None:
            circuit.forward_queue.clear()
        if not tell_previous:  # nobody wants any more what is on its way back
            circuit.backward_queue.clear()
        circuit.close()
        link.remove(circuit.previous_id)
        if tell_previous and not link.is_closed:
            circuit.backward_queue.push_last(
                destroy_frame(circuit.previous_id, Refusal(DestroyReason.CLOSED))
            )
            self._ending[link, circuit.previous_id] = circuit.backward_queue
        if next_hop is None:
            return
        next_hop[0].remove(next_hop[1])
        if at_once:
            next_hop[0].destroy(next_hop[1], Refusal(DestroyReason.CLOSED))
        else:
            dice = int.from_bytes(self._random_bytes(2), "big") / 65_536
            asyncio.get_running_loop().call_later(
                dice * MAX_DESTROY_DELAY_S, next_hop[0].destroy, next_hop[1], refusal
            )

    def _relieve(self) -> None:
        """All queues together hold too much: drop what has waited longest, until a tenth is free.

        Queues of circuits that are gone count like any other: else a client that reads nothing and has
        his circuits torn down would hold the budget for ever, and cost all others their circuits. A
        tenth at once, since looking for the oldest takes long when they are many.
        """
        waiting: list[tuple[int, RelayCircuit | tuple[LinkCircuits, int]]] = [
            (since, circuit)
            for circuit in self._places
            for queue in (circuit.backward_queue, circuit.forward_queue)
            if queue is not None and (since := queue.waiting_since) is not None
        ]
        waiting += [
            (since, place)
            for place, queue in self._ending.items()
            if (since := queue.waiting_since) is not None
        ]
        waiting.sort(key=lambda item: item[0])
        enough = self.queues.limit * 9 // 10
        for _, oldest in waiting:
            if self.queues.used <= enough:
                return
            self._drop_waiting(oldest)

    def _drop_waiting(self, oldest: "RelayCircuit | tuple[LinkCircuits, int]") -> None:
        """Drop a circuit, or the queue of one that is gone."""
        _log.debug("circuit torn down", reason="all queues are full")
        if not isinstance(oldest, RelayCircuit):
            link, previous_id = oldest
            self._ending.pop(oldest).clear()
        elif oldest in self._places:
            link, previous_id = self._places[oldest][0], oldest.previous_id
            self.drop(oldest, Refusal(DestroyReason.OVERLOAD), at_once=False)
        else:  # it had runs waiting both ways, and is gone
            return
        link.destroy(previous_id, Refusal(DestroyReason.OVERLOAD))

    def link_lost(self, link: LinkCircuits) -> None:
        """A link closed: forget what it asked for, and what still waited for it."""
        for place in [place for place in self._ending if place[0] is link]:
            self._ending.pop(place).clear()
        self._creates.forget(link)

    async def _sweep(self) -> None:
        """Destroy circuits without a record for 600 s; steer the effort."""
        while True:
            await asyncio.sleep(max(0.01, min(SWEEP_S, self._effort.deadline - self._clock.now())))
            now = self._clock.now()
            if now >= self._effort.deadline:
                self.gate.set_effort(self._effort.on_deadline(now, self._creates.waiting))
            self._ending = {place: queue for place, queue in self._ending.items() if queue.octets}
            for circuit in self.circuits:
                if now - circuit.last_used > IDLE_S:
                    self.drop(circuit, Refusal(DestroyReason.CLOSED), at_once=False, tell_previous=True)

    async def close(self) -> None:
        """Drop every circuit."""
        await self._tasks.close()
        for circuit in self.circuits:
            self.drop(circuit, Refusal(DestroyReason.CLOSED), at_once=True, tell_previous=True)


def _cell(circuit_id: int, command: Command, body: bytes) -> memoryview:
    frame = new_frame(1)
    pack_run_header(frame, RUN_AT, circuit_id, command, 1)
    at = RUN_AT + RUN_HEADER_SIZE
    frame[at : at + len(body)] = body
    return frame
