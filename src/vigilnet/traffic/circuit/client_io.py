"""Builds and keeps the circuits of ours: timers, puzzles, and the way to the guard's link."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.circuit.client import (
    BUILD_TIMEOUT_S,
    CircuitClosedError,
    CircuitState,
    ClientCircuit,
    Hop,
)
from vigilnet.traffic.circuit.messages import DestroyReason, Refusal
from vigilnet.traffic.circuit.onion import BadRecordError
from vigilnet.traffic.circuit.puzzle import PuzzleSolver
from vigilnet.traffic.circuit.switch import LinkCircuits
from vigilnet.traffic.stream.memory import StreamMemory
from vigilnet.traffic.stream.outbox import MuxOptions

_log = get_logger(__name__)


class LinkFinder(Protocol):
    """Opens the link to a neighbour, or joins the one that is open."""

    async def link_to(self, identity: bytes) -> LinkCircuits:
        """Return the tables of the link to `identity`; raises VigilnetError or OSError."""
        ...


class _ClientSide:
    """A circuit of ours as its guard's link sees it."""

    __slots__ = ("circuit", "relay")

    def __init__(self, circuit: ClientCircuit) -> None:
        self.circuit = circuit
        self.relay = circuit.receive

    def created(self, body: memoryview) -> None:
        self.circuit.created(body)

    def destroyed(self, refusal: Refusal) -> None:
        self.circuit.destroyed(refusal)

    def fault(self, error: VigilnetError) -> None:
        is_bad_record = isinstance(error, BadRecordError)
        self.circuit.fail(str(error), DestroyReason.BAD_RECORD if is_bad_record else DestroyReason.PROTOCOL)

    def link_closed(self) -> None:
        self.circuit.fail("circuit: the link to its guard closed", DestroyReason.CLOSED, 1)


class ClientRole:
    """All circuits that this node built for itself."""

    def __init__(
        self,
        links: LinkFinder,
        options: MuxOptions,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        network: str,
    ) -> None:
        self._links = links
        self._options = options
        self._clock = clock
        self._random_bytes = random_bytes
        self._network = network
        self._memory = StreamMemory()
        self._tasks = TaskGroup("client circuits")
        self._waiting: dict[ClientCircuit, asyncio.Future[None]] = {}
        self._places: dict[ClientCircuit, LinkCircuits] = {}
        self.on_closed: Callable[[ClientCircuit, CircuitClosedError], None] = lambda circuit, error: None

    @property
    def circuits(self) -> list[ClientCircuit]:
        """The circuits that are open or being built, oldest first."""
        return list(self._places)

    async def build(self, hops: Sequence[Hop]) -> ClientCircuit:
        """Build a circuit through `hops`, guard first.

        Raises:
            CircuitClosedError: it could not be built; says at which hop and why.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(BUILD_TIMEOUT_S):
                place = await self._links.link_to(hops[0].identity)
        except TimeoutError as error:
            raise CircuitClosedError(
                "circuit: no link to the first hop in time", DestroyReason.TIMEOUT, 1
            ) from error
        except (VigilnetError, OSError) as error:
            raise CircuitClosedError(
                f"circuit: no link to the first hop ({error})", DestroyReason.CONNECT_FAILED, 1
            ) from error
        circuit = ClientCircuit(
            self,
            hops,
            place.port,
            place.new_id(),
            self._options,
            self._clock.now,
            self._random_bytes,
            self._network,
            self._memory,
        )
        self._places[circuit] = place
        place.add(circuit.circuit_id, _ClientSide(circuit))
        waiting = self._waiting[circuit] = loop.create_future()
        timer = loop.call_later(BUILD_TIMEOUT_S, lambda: circuit.on_deadline(self._clock.now() + 0.01))
        try:
            circuit.start()
            await waiting
        except asyncio.CancelledError:
            circuit.close()
            raise
        finally:
            timer.cancel()
            self._waiting.pop(circuit, None)
        return circuit

    def client_opened(self, circuit: ClientCircuit) -> None:
        """A build is finished."""
        waiting = self._waiting.get(circuit)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def client_closed(self, circuit: ClientCircuit, error: CircuitClosedError) -> None:
        """A circuit is gone: free its id, tell the guard, tell who waits."""
        place = self._places.pop(circuit, None)
        if place is not None:
            place.destroy(circuit.circuit_id, Refusal(DestroyReason.CLOSED))
        waiting = self._waiting.get(circuit)
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
        else:
            _log.debug("circuit closed", reason=error.reason.name, hop=error.hop)
        self.on_closed(circuit, error)

    def client_recreate(self, circuit: ClientCircuit) -> int:
        """The guard asks for a puzzle: go on under a fresh id."""
        place = self._places[circuit]
        place.remove(circuit.circuit_id)
        circuit_id = place.new_id()
        place.add(circuit_id, _ClientSide(circuit))
        return circuit_id

    def client_solve(self, circuit: ClientCircuit, solver: PuzzleSolver) -> None:
        """Solve in slices in a thread, so that streams go on meanwhile."""
        self._tasks.start("puzzle", self._solve(circuit, solver))

    async def _solve(self, circuit: ClientCircuit, solver: PuzzleSolver) -> None:
        loop = asyncio.get_running_loop()
        solution = None
        while solution is None and circuit.state is CircuitState.BUILDING:
            solution = await loop.run_in_executor(None, solver.step)
        circuit.solved(solution)

    def client_wake_in(self, circuit: ClientCircuit, delay: float) -> None:
        """Activate the circuit on its link later."""
        asyncio.get_running_loop().call_later(delay, circuit.wake)

    async def close(self) -> None:
        """Close every circuit."""
        for circuit in self.circuits:
            circuit.close()
        await self._tasks.close()
