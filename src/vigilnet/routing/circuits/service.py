"""The pool of circuits at work: builds ahead, opens streams for the proxies, retries what may be retried."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.descriptor import Capability, PeerRecord
from vigilnet.routing.circuits.opening_io import Opening, Openings
from vigilnet.routing.circuits.pool import Options, Pool, PooledCircuit
from vigilnet.routing.paths.bad_tags import BadTagBook
from vigilnet.routing.paths.selection import Dice, Guards, NoPathError, PathRequest, choose_path
from vigilnet.traffic.circuit.client import CircuitClosedError, CircuitState, ClientCircuit, Hop
from vigilnet.traffic.circuit.messages import DestroyReason
from vigilnet.traffic.ingress.ports import OnionUnavailableError, StreamTold
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.messages import BeginFlag, Resolve, Resolved, Target
from vigilnet.traffic.stream.mux import StreamMux
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

WAIT_FOR_CIRCUIT_S: Final = 30.0
AVOID_S: Final = 60.0
LOST_S: Final = 15.0  # another guard is preferred for so long when the link to one was lost
REFUSED_S: Final = 3600.0  # an exit's policy seldom changes
HOPELESS_BACKOFF_S: Final = 8.0  # reached when builds have failed for 7.75 s: a relay restarts in less
MAX_PARALLEL_BUILDS: Final = 4
FIRST_BACKOFF_S: Final = 0.25
MAX_BACKOFF_S: Final = 15.0
SWEEP_S: Final = 5.0
UDP: Final = Target("", 0, 17, BeginFlag.IPV4_OK | BeginFlag.IPV6_OK)

_log = get_logger(__name__)


class Circuits(Protocol):
    """What the pool needs of the circuit room."""

    async def build(self, hops: list[Hop]) -> ClientCircuit:
        """Build a circuit; raises CircuitClosedError."""
        ...


class Relays(Protocol):
    """What the pool needs of the peer room."""

    def relays(self) -> Iterable[PeerRecord]:
        """The relays that are known and current."""
        ...


class CircuitPool:
    """Circuits on demand; serves `ingress.ports.Dialler`.

    Args:
        circuits: builds circuits.
        relays: whom to build through.
        options: numbers and times.
        clock: time.
        random_bytes: chance.
        guards: our guards so far.
        is_private_network: see `choose_path`.
        is_vouched: see `choose_path`.
    """

    def __init__(
        self,
        circuits: Circuits,
        relays: Relays,
        options: Options,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        guards: Guards,
        *,
        is_private_network: bool,
        is_vouched: Callable[[PeerRecord], bool] = lambda record: True,
    ) -> None:
        self._circuits = circuits
        self._relays = relays
        self.options = options
        self._clock = clock
        self._dice = Dice(random_bytes)
        self.guards = guards
        self._is_private_network = is_private_network
        self._is_vouched = is_vouched
        self.pool = Pool(options, clock.now)
        self._tasks = TaskGroup("circuit pool")
        self._loop = asyncio.get_running_loop()
        self._openings = Openings(self, self._tasks, clock.now, lambda: self.options.stream_timeout_s)
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._waiting: dict[int | None, int] = {}  # port -> how many requests wait for a circuit
        self._avoid: dict[bytes, float] = {}
        self.bad_tags = BadTagBook(self._families_of)
        self._refused: dict[tuple[bytes, int], float] = {}  # (exit, port) -> until when not to ask again
        self._no_path: dict[int | None, str] = {}  # ports that no known path serves, and why
        self._backoff_s = 0.0
        self._next_build_at = 0.0
        self.last_error = ""
        self.first_circuit_ms: float | None = None
        self._started_at = clock.now()
        self.last_break = (0, 0)  # hop that broke an open circuit last (1-based), and of how many
        self.built = 0
        self.failed = 0

    def had_circuit(self) -> bool:
        """Whether a circuit was ever open: what we know of relays suffices."""
        return self.first_circuit_ms is not None

    def start(self) -> None:
        """Begin to build ahead."""
        self._tasks.start("maintain", self._maintain())

    async def close(self) -> None:
        """Stop building; circuits are closed by their own room."""
        self._openings.close()
        await self._tasks.close()

    @property
    def has_open_circuit(self) -> bool:
        """Whether a circuit is open now."""
        return any(entry.circuit.state is CircuitState.OPEN for entry in self.pool.entries)

    def relays_changed(self) -> None:
        """New relays are known: try again at once."""
        self._reset_backoff()
        self._no_path.clear()
        self._wake.set()

    def circuit_closed(self, circuit: ClientCircuit, error: CircuitClosedError) -> None:
        """A circuit is gone (called by the circuit room)."""
        entry = self.pool.remove(circuit)
        by_bad_tag = error.reason is DestroyReason.BAD_RECORD
        if entry is not None or by_bad_tag:
            self._book(circuit, by_bad_tag=by_bad_tag)
        if entry is not None:
            if not entry.is_retired and error.reason is not DestroyReason.CLOSED:
                self.last_break = (error.hop, len(circuit.hops))
            if error.hop == 1 and len(circuit.hops) > 1 and not by_bad_tag:
                # It may hang, and then a new link to it costs the whole time-out of a handshake.
                self.guards.failed(circuit.hops[0].identity, self._clock.now(), LOST_S)
            self._wake.set()
            self._notify()

    def reconfigure(self, options: Options) -> None:
        """Go on with other settings; paths that they rule out take nothing new."""
        before, self.options = self.options, options
        self.pool.reconfigure(options)
        if options.path_wishes != before.path_wishes:
            self._reset_backoff()
            self._no_path.clear()
            self.last_error = ""
            self.pool.retire_all()
        self._wake.set()

    def replace_circuit(self, circuit: ClientCircuit) -> None:
        """Whoever uses this circuit takes another for new streams."""
        self.pool.retire(circuit)
        self._wake.set()

    def _book(self, circuit: ClientCircuit, *, by_bad_tag: bool) -> None:
        """Put the end of a circuit into the books; a guard is left as seldom as their rule says."""
        hops = [hop.identity for hop in circuit.hops]
        self.bad_tags.circuit_ended(hops, self._clock.now(), by_bad_tag=by_bad_tag)
        if not by_bad_tag:
            return
        wall = self._clock.wall()
        guard = self.bad_tags.guard_to_leave(
            self.guards.kept, max(self.guards.left.values(), default=0.0), wall
        )
        if guard is not None:
            _log.warning("a guard is left: more than 30 % of our circuits over it died of changed records")
            self.guards.leave(guard, wall)

    def _families_of(self, identity: bytes) -> frozenset[bytes]:
        for record in self._relays.relays():
            if record.identity == identity:
                return frozenset(record.family)
        return frozenset()

    def new_identity(self) -> None:
        """Nothing new goes over any circuit of before."""
        self.pool.retire_all()
        self._wake.set()

    async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
        """Return a stream once the exit has reached `target`.

        Raises:
            StreamEndedError: the exit refused, or did not reach the target.
            OnionUnavailableError: no circuit can be had.
        """
        ask = _asking_for(target, early)
        return await self._openings.wait_open(ask, target.port, isolation, has_early=bool(early))

    def begin_stream(self, target: Target, isolation: str, early: bytes, told: StreamTold) -> Opening[Stream]:
        """As `open_stream`, without a task; see `Dialler`."""
        ask = _asking_for(target, early)
        return self._openings.begin(ask, target.port, isolation, told, has_early=bool(early))

    async def resolve(self, request: Resolve, isolation: str) -> Resolved:
        """Return what the exit's resolver says; raises as `open_stream`."""
        entry = await self.acquire(isolation, None)
        answered: asyncio.Future[Resolved | EndReason] = asyncio.get_running_loop().create_future()
        mux = entry.circuit.mux
        lookup = mux.resolve(request, lambda answer: None if answered.done() else answered.set_result(answer))
        try:
            async with asyncio.timeout(self.options.stream_timeout_s):
                answer = await answered
        except TimeoutError:
            raise StreamEndedError(EndReason.TIMEOUT) from None
        finally:
            mux.abandon(lookup)
        if isinstance(answer, EndReason):
            raise StreamEndedError(answer)
        return answer

    async def open_datagrams(self, isolation: str, target: Target = UDP) -> DatagramFlow:
        """Return a flow for UDP once an exit serves it, to one `target` if given; raises as `open_stream`."""
        return await self._openings.wait_open(
            lambda mux: mux.open_datagrams(target), target.port or None, isolation
        )

    async def open_echo(self, target: Target, isolation: str) -> EchoFlow:
        """Return a flow for ICMP echoes once an exit serves it; raises as `open_stream`."""
        return await self._openings.wait_open(
            lambda mux: mux.open_echo(target), target.port or None, isolation
        )

    def may_retry(
        self, entry: PooledCircuit, port: int | None, reason: EndReason, *, has_early: bool
    ) -> bool:
        """Whether another exit may do better, and nothing can happen twice."""
        if reason is EndReason.POLICY:
            # An exit that lists the port refused the address: others would too, and a page full of
            # private addresses must not use up our circuits.
            if port is None or (entry.exit_summary is not None and entry.exit_summary.allows(port)):
                return False
            self._refused[entry.exit, port] = self._clock.now() + REFUSED_S
            for other in self.pool.entries:
                if other.exit == entry.exit:
                    other.refused_ports.add(port)
            return True
        return reason in (EndReason.CLOSING, EndReason.LIMIT) and not has_early

    def take(self, isolation: str, port: int | None) -> PooledCircuit | None:
        """Return a circuit with room for one more request, or None if none is ready."""
        return self.pool.take(isolation, port)

    def taken(self) -> None:
        """A circuit was taken and the request queued: build another, behind the request."""
        self._loop.call_soon(self._build_ahead)

    def _build_ahead(self) -> None:
        if self.pool.wanted():
            self._wake.set()

    async def acquire(
        self, isolation: str, port: int | None, ended: EndReason | None = None
    ) -> PooledCircuit:
        """Return a circuit with room for one more request, waiting for one to be built.

        Args:
            isolation: whose circuit.
            port: the exit must serve it.
            ended: how the try before ended; raised if there is nobody else to ask.
        """
        entry = self.pool.take(isolation, port)
        if entry is not None:
            self.taken()
            return entry
        self._check_served(port)
        self._waiting[port] = self._waiting.get(port, 0) + 1
        self._no_path.pop(port, None)
        self._wake.set()
        try:
            async with asyncio.timeout(WAIT_FOR_CIRCUIT_S):
                while entry is None:
                    await self._changed.wait()
                    entry = self.pool.take(isolation, port)
                    if entry is None:
                        self._check_hope(port, ended)
        except TimeoutError:
            raise OnionUnavailableError(
                self.last_error or f"no circuit within {WAIT_FOR_CIRCUIT_S:.0f} s"
            ) from None
        finally:
            left = self._waiting[port] - 1
            if left:
                self._waiting[port] = left
            else:
                del self._waiting[port]
        return entry

    def _check_served(self, port: int | None) -> None:
        """Refuse at once what no known exit serves: it must not wait, nor count as a failed build.

        Raises:
            OnionUnavailableError: exits are known, and none of them accepts the port.
        """
        options = self.options
        exits = [
            record
            for record in self._relays.relays()
            if Capability.EXIT in record.capabilities
            and options.exit_country in ("", record.country)
            and options.exit_identity in (None, record.identity)
        ]
        if port is None or not exits:
            return
        if not any(record.exit_summary is None or record.exit_summary.allows(port) for record in exits):
            raise OnionUnavailableError(
                f"none of the {len(exits)} known exits accepts port {port}", EndReason.POLICY
            )

    def _check_hope(self, port: int | None, ended: EndReason | None) -> None:
        """Raise when waiting on is of no use: no path can serve the port, or builds fail again and again."""
        if port in self._no_path:
            if ended is not None:
                raise StreamEndedError(ended)
            raise OnionUnavailableError(self._no_path[port])
        if self._backoff_s >= HOPELESS_BACKOFF_S and self.last_error and not self.pool.building:
            raise OnionUnavailableError(self.last_error)

    def _notify(self) -> None:
        """Wake every request that waits; each takes what it can."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _maintain(self) -> None:
        while True:
            self._wake.clear()
            self.pool.sweep()
            # One look at the clock: timers fire a little early, and a second look may be behind the pause.
            pause = self._next_build_at - self._clock.now()
            if pause <= 0:
                self._start_builds()
            try:
                async with asyncio.timeout(pause if pause > 0 else SWEEP_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _start_builds(self) -> None:
        """Build for requests that wait, then ahead; call it when no pause after a failure is on."""
        ports = list(self._waiting) if self._waiting else [None]
        wanted = max(self.pool.wanted(), 0)
        demanded = len(ports) if self._waiting else 0
        if demanded and sum(self._waiting.values()) > 1:
            demanded = max(demanded, MAX_PARALLEL_BUILDS)
        for index in range(max(wanted, demanded)):
            if self.pool.building >= MAX_PARALLEL_BUILDS or not self.pool.may_build():
                return
            self.pool.building += 1
            self._tasks.start("build", self._build(ports[index % len(ports)]))

    async def _build(self, port: int | None) -> None:
        """Build one circuit and put it into the pool."""
        path: list[PeerRecord] = []
        wishes = self.options.path_wishes
        try:
            path = self._choose(port)
            circuit = await self._circuits.build([hop_of(record) for record in path])
        except NoPathError as error:
            self._no_path[port] = str(error)
            self._build_failed(path, error)
            return
        except CircuitClosedError as error:
            self._build_failed(path, error)
            return
        finally:
            self.pool.building -= 1
        if circuit.state is not CircuitState.OPEN:
            self._build_failed(path, CircuitClosedError("circuit: closed as soon as it was open"))
            return
        if wishes != self.options.path_wishes:
            circuit.close()  # somebody chose otherwise while it was built
            self._wake.set()
            return
        now = self._clock.now()
        if self.first_circuit_ms is None:
            self.first_circuit_ms = (now - self._started_at) * 1000
            _log.info("first circuit is up", milliseconds=round(self.first_circuit_ms))
        self.built += 1
        self.last_error = ""
        self._no_path.clear()
        self._reset_backoff()
        self.guards.worked(path[0].identity)
        last = path[-1]
        entry = PooledCircuit(circuit, last.identity, last.exit_summary, now)
        entry.refused_ports.update(port for exit_, port in self._refused if exit_ == last.identity)
        self.pool.add(entry)
        wish = self.options.padding_wish
        if wish is not None:
            circuit.pad(wish)
        self._notify()
        self._wake.set()

    def _reset_backoff(self) -> None:
        self._backoff_s = 0.0
        self._next_build_at = 0.0

    def _choose(self, port: int | None) -> list[PeerRecord]:
        now = self._clock.now()
        self._avoid = {identity: until for identity, until in self._avoid.items() if until > now}
        self._refused = {refusal: until for refusal, until in self._refused.items() if until > now}
        refusing = frozenset(exit_ for exit_, refused in self._refused if refused == port)
        options = self.options
        request = PathRequest(
            options.hops,
            port,
            frozenset(self._avoid) | self.bad_tags.avoided(now),
            refusing,
            exit=options.exit_identity,
            exit_country=options.exit_country,
        )
        try:
            return self._choose_with(request, now)
        except NoPathError:
            if not request.avoid:
                raise
            # Better a relay that failed a moment ago than none.
            return self._choose_with(replace(request, avoid=frozenset()), now)

    def _choose_with(self, request: PathRequest, now: float) -> list[PeerRecord]:
        return choose_path(
            self._relays.relays(),
            request,
            self.guards,
            self._dice,
            now,
            is_private_network=self._is_private_network,
            is_vouched=self._is_vouched,
        )

    def _build_failed(self, path: list[PeerRecord], error: NoPathError | CircuitClosedError) -> None:
        self.failed += 1
        self.last_error = str(error)
        by_bad_tag = isinstance(error, CircuitClosedError) and error.reason is DestroyReason.BAD_RECORD
        if isinstance(error, CircuitClosedError) and path and error.hop and not by_bad_tag:
            now = self._clock.now()
            blamed = path[min(error.hop, len(path)) - 1].identity
            if error.hop == 1 and len(path) > 1:
                self.guards.failed(blamed, now)
            else:
                self._avoid[blamed] = now + AVOID_S
        now = self._clock.now()
        if now >= self._next_build_at:  # builds that ran side by side count as one round
            self._backoff_s = min(MAX_BACKOFF_S, max(FIRST_BACKOFF_S, 2 * self._backoff_s))
            self._next_build_at = now + self._backoff_s
            self._wake.set()  # the pause is now known: `_maintain` waits for no more than that
        _log.debug("circuit not built", reason=str(error))
        self._notify()


def _asking_for(target: Target, early: bytes) -> Callable[[StreamMux], Stream]:
    return lambda mux: mux.open_stream(target, early)


def hop_of(record: PeerRecord) -> Hop:
    """Return what a circuit needs to know of a relay."""
    return Hop(
        record.identity,
        record.onion_key.public,
        record.preferred_suite,
        record.encoded,
        record.sequence,
    )
