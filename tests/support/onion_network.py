"""A whole onion network in memory: circuit rooms over link rooms on a virtual loop.

Handshakes, layers, links and flow control are the real ones; carriers are memory, targets are
objects (`targets.Targets`), time is virtual. One relay may be a liar (see `malicious_relay`).

    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(hops=3)
        assert await network.download(circuit, 1_000_000)

    play(scenario, relays=3)
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, TypeVar, Unpack

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.links import OPTIONS, TCP, FakeAddress, FakeLocal, FakeRecord, seeded_random
from tests.support.targets import Reader, Targets, Writer, pattern
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.crypto.aead import Suite
from vigilnet.peer.keyring import onion_key_id
from vigilnet.traffic.circuit.client import CircuitState, ClientCircuit, Hop
from vigilnet.traffic.circuit.messages import DestroyReason
from vigilnet.traffic.circuit.relay import RelayCircuit
from vigilnet.traffic.circuit.relay_io import RelayRole
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.memory import MemoryCarrier, MemoryHub

CHUNK = 16 * 1024  # delivered at once
UNSENT = 128 * 1024  # octets that a carrier takes ahead of its line

_T = TypeVar("_T")


class OnionLoop(VirtualLoop):
    """A virtual loop whose executor works at once, so that puzzles can be solved."""

    def run_in_executor(  # type: ignore[override]  # no waiting: typed by what it gives
        self, executor: object, func: Callable[..., _T], *args: object
    ) -> "asyncio.Future[_T]":
        done: asyncio.Future[_T] = self.create_future()
        done.set_result(func(*args))
        return done


class Settings(TypedDict, total=False):
    """What `play` passes on to `OnionNetwork`."""

    delay_s: float  # of every wire, one way
    rate: float  # of every wire, octets a second; 0: no limit
    options: MuxOptions
    link_options: Options
    suites: Sequence[Suite]  # which the relays prefer, in turn


class SlowCarrier(MemoryCarrier):
    """A memory carrier with a rate: octets leave one after the other, then travel `delay_s`.

    As a kernel does it takes `UNSENT` octets ahead of the line and as many as are on their way.
    """

    def __init__(self, loop: VirtualLoop, remote_host: str, delay_s: float, rate: float) -> None:
        super().__init__(loop, remote_host, CarrierKind.PLAIN, bytes(32), has_tls_records=False)
        self.rate = rate  # octets a second; 0: no limit
        self.outgoing.delay_s = delay_s
        self.outgoing.chunk = CHUNK
        if rate or delay_s:
            self.outgoing.capacity = 1 << 40
        self._time = loop.time
        self._line: deque[bytes | None] = deque()
        self._line_free = 0.0

    def write(self, parts: Sequence[memoryview | bytes]) -> bool:
        is_writable = super().write(parts)
        ahead = self._line_free - self._time()
        if not self.rate or ahead * self.rate < UNSENT:
            return is_writable
        self._loop.call_later(ahead - UNSENT / 2 / self.rate, self._line_drained)
        return False

    def _line_drained(self) -> None:
        if self._user is not None and not self.is_closed:
            self._user.carrier_writable()

    def _later(self, chunk: bytes | None) -> None:
        now = self._time()
        if self.rate and chunk:
            self._line_free = max(now, self._line_free) + len(chunk) / self.rate
        arrives = max(now, self._line_free) + self.outgoing.delay_s
        # Timers of one moment fire in any order: each takes what is next, not its own chunk.
        self._line.append(chunk)
        if arrives > now:
            self._loop.call_later(arrives - now, self._arrive_next)
        else:
            self._loop.call_soon(self._arrive_next)

    def _arrive_next(self) -> None:
        if self._other is not None:
            self._other._arrive(self._line.popleft())


class OnionHub(MemoryHub):
    """A hub whose pairs have a delay and a rate.

    `wires` says (delay in seconds, octets a second) by the pair of host names, in either order.
    """

    def __init__(self, loop: VirtualLoop, delay_s: float = 0.0, rate: float = 0.0) -> None:
        super().__init__(loop)
        self._virtual_loop = loop
        self.default = (delay_s, rate)
        self.wires: dict[frozenset[str], tuple[float, float]] = {}

    def connect(self, source: str, host: str, port: int) -> MemoryCarrier:
        self.dials.append((host, port))
        accept = self._accepts.get((host, port))
        if accept is None or host in self.unreachable:
            raise ConnectionRefusedError(f"memory: nobody listens at port {port}")
        delay, rate = self.wires.get(frozenset((source, host)), self.default)
        ends = [SlowCarrier(self._virtual_loop, remote, delay, rate) for remote in (host, source)]
        ends[0]._join(ends[1])
        ends[1]._join(ends[0])
        self.pairs.append((ends[0], ends[1]))
        self.loop.call_soon(accept, ends[1])
        return ends[0]


class OnionKeys:
    """A relay's onion keys; serves `OnionSecrets`."""

    def __init__(self) -> None:
        self.secret = X25519PrivateKey.generate()
        self.public = self.secret.public_key().public_bytes_raw()
        self.accepted = {onion_key_id(self.public): self.secret}

    def onion_secret(self, key_id: bytes) -> X25519PrivateKey | None:
        return self.accepted.get(key_id)


@dataclass
class Keeper:
    """What one relay knows of others; serves `RecordKeeper`."""

    network: "OnionNetwork"
    unknown: set[bytes]  # identities whose record it lacks
    offered: list[bytes]
    origins: list[str] = field(default_factory=list)

    def may_extend(self, identity: bytes, least_sequence: int) -> DestroyReason | None:
        if identity in self.unknown or identity not in self.network.records:
            return DestroyReason.NEED_RECORD
        return None

    def offer_record(self, encoded: bytes, origin: str) -> None:
        self.origins.append(origin)
        self.offered.append(encoded)
        self.unknown.discard(encoded[:32])


class OnionNode:
    """One node: links, circuits and, on a relay, keys and targets."""

    def __init__(self, network: "OnionNetwork", name: str, host: str, local: FakeLocal | None) -> None:
        self.network = network
        self.name = name
        self.host = host
        self.local = local
        self.keys = OnionKeys()
        self.targets = Targets()
        self.keeper = Keeper(network, set(), [])
        self.links = LinkService(
            network.link_options,
            network.clock,
            {TCP: network.hub.transport(host)},
            network.records,
            local=local,
            admit=lambda encoded, host: FakeRecord.admit(encoded),
            network="",
            random_bytes=seeded_random(f"links {name}"),
        )
        self.circuits = self.make_circuits()
        self.links.on_link = self.circuits.attach

    def make_circuits(self) -> CircuitService:
        """Make the circuit room; liars make another one."""
        return CircuitService(
            self.links, self.network.options, self.network.clock, seeded_random(f"circuits {self.name}")
        )

    @property
    def identity(self) -> bytes:
        assert self.local is not None
        return self.local.identity

    @property
    def hop(self) -> Hop:
        """What clients must know of this relay."""
        assert self.local is not None
        return Hop(self.identity, self.keys.public, self.network.suite_of(self), self.local.record, 7)

    @property
    def relay(self) -> RelayRole:
        assert self.circuits.relay is not None
        return self.circuits.relay

    @property
    def relay_circuit(self) -> RelayCircuit:
        """The only circuit that crosses or ends at this relay."""
        (circuit,) = self.relay.circuits
        return circuit

    async def start(self, *, is_exit: bool) -> None:
        """Listen and relay."""
        await self.links.listen(self.host, 4001)
        self.circuits.enable_relay(self.identity, self.keys, self.keeper, self.targets if is_exit else None)

    async def close(self) -> None:
        await self.circuits.close()
        await self.links.close()


class OnionNetwork:
    """Relays `relay0`, `relay1`, ... and a client; every relay is an exit too."""

    def __init__(
        self,
        loop: VirtualLoop,
        *,
        delay_s: float = 0.0,
        rate: float = 0.0,
        options: MuxOptions | None = None,
        link_options: Options = OPTIONS,
        suites: Sequence[Suite] = (Suite.AES_256_GCM,),
    ) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.hub = OnionHub(loop, delay_s, rate)
        self.options = options or MuxOptions()
        self.link_options = link_options
        self.suites = suites
        self.records: dict[bytes, FakeRecord] = {}
        self.relays: list[OnionNode] = []
        self.clients: list[OnionNode] = []

    def suite_of(self, node: OnionNode) -> Suite:
        """Which suite a relay prefers; they take turns."""
        return self.suites[self.relays.index(node) % len(self.suites)]

    async def start(self, relays: int, *, liars: "dict[int, type[OnionNode]] | None" = None) -> None:
        """Start relays and one client."""
        for index in range(relays):
            await self.add_relay((liars or {}).get(index, OnionNode))
        self.add_client()

    async def add_relay(self, kind: type[OnionNode] = OnionNode, *, is_exit: bool = True) -> OnionNode:
        """Start one more relay; its place in `relays` is its number."""
        number = len(self.relays)
        name = f"relay{number}"
        host = f"192.0.2.{number + 1}"
        local = FakeLocal(name.encode().ljust(32, b"."))
        node = kind(self, name, host, local)
        self.relays.append(node)
        record = replace(local.public, addresses=(FakeAddress(TCP, host, 4001),))
        self.records[local.identity] = replace(record, preferred_suite=self.suite_of(node))
        await node.start(is_exit=is_exit)
        return node

    def add_client(self) -> OnionNode:
        """Make one more anonymous client."""
        number = len(self.clients)
        client = OnionNode(self, f"client{number}", f"198.51.{100 + number}.1", None)
        self.clients.append(client)
        return client

    @property
    def client(self) -> OnionNode:
        return self.clients[0]

    def path(self, hops: int) -> list[Hop]:
        """The first relays as a path."""
        return [node.hop for node in self.relays[:hops]]

    async def build(self, hops: int | Sequence[int] = 3, client: OnionNode | None = None) -> ClientCircuit:
        """Build a circuit through the first relays, or those of the given numbers."""
        numbers = range(hops) if isinstance(hops, int) else hops
        path = [self.relays[number].hop for number in numbers]
        return await (client or self.client).circuits.build(path)

    def open(
        self,
        circuit: ClientCircuit,
        host: str = "echo.test",
        port: int = 80,
        *,
        takes: bool = True,
        keeps: bool = True,
    ) -> Reader:
        """Open a stream to a target; see `Targets` for the hosts."""
        stream = circuit.mux.open_stream(Target(host, port))
        reader = Reader(stream, takes, keeps)
        stream.set_consumer(reader)
        return reader

    async def wait_for(
        self, condition: Callable[[], object], limit_s: float = 60.0, step_s: float = 0.01
    ) -> None:
        """Let time pass until `condition` holds; fails after `limit_s` of virtual time."""
        for _ in range(20):  # without a delay everything happens in no time
            if condition():
                return
            await asyncio.sleep(0)
        end = self.loop.time() + limit_s
        while not condition():
            assert self.loop.time() < end, f"not within {limit_s} s"
            await asyncio.sleep(step_s)

    async def settle(self, seconds: float = 0.5) -> None:
        """Let everything under way arrive."""
        await asyncio.sleep(seconds)

    async def download(self, circuit: ClientCircuit, octets: int, limit_s: float = 600.0) -> bool:
        """Fetch `octets` from a target; whether they came unharmed."""
        reader = self.open(circuit, f"source-{octets}.test", keeps=False)
        await self.wait_for(lambda: reader.has_eof or reader.ended is not None, limit_s)
        reader.stream.write_eof()
        return reader.digest.digest() == hashlib.sha256(pattern(octets)).digest()

    async def upload(self, circuit: ClientCircuit, octets: int, limit_s: float = 600.0) -> bool:
        """Send `octets` to a target; whether it got them unharmed."""
        reader = self.open(circuit, "sink.test")
        data = pattern(octets, 1)
        Writer(reader, data)
        await self.wait_for(lambda: reader.has_eof or reader.ended is not None, limit_s)
        return bytes(reader.data) == hashlib.sha256(data).digest()

    async def exchange(self, circuit: ClientCircuit, octets: int, limit_s: float = 600.0) -> bool:
        """Send `octets` to a target that sends them back."""
        reader = self.open(circuit, "echo.test", keeps=False)
        data = pattern(octets, 2)
        Writer(reader, data)
        await self.wait_for(lambda: reader.has_eof or reader.ended is not None, limit_s)
        return reader.digest.digest() == hashlib.sha256(data).digest()

    def links_between(self, left: OnionNode, right: OnionNode) -> int:
        """How many links two nodes share; 1 where all is well."""
        if right.local is None:
            left, right = right, left
        return int(left.links.get(right.identity) is not None)

    def assert_relay_links_live(self) -> None:
        """No link that was open between relays was closed."""
        for ours, theirs in self.hub.pairs:
            if not ours.remote_host.startswith("198.") and not theirs.remote_host.startswith("198."):
                assert not ours.is_closed, "a link between relays was closed"
                assert not theirs.is_closed, "a link between relays was closed"

    def assert_nothing_left(self) -> None:
        """No circuit is left anywhere, and no task failed."""
        for node in [*self.relays, *self.clients]:
            assert not node.circuits.client.circuits, node.name
            if node.circuits.relay is not None:
                assert not node.relay.circuits, node.name
            for place in node.circuits._places.values():
                assert place.circuits == 0, node.name
        self.assert_no_failures()

    def assert_no_failures(self) -> None:
        """No task of any node failed unexpectedly."""
        for node in [*self.relays, *self.clients]:
            assert not node.circuits.client._tasks.failures, node.name
            if node.circuits.relay is not None:
                assert not node.relay._tasks.failures, node.name

    async def close(self) -> None:
        for node in [*self.clients, *self.relays]:
            await node.close()


def is_open(circuit: ClientCircuit) -> bool:
    """Whether a circuit is open; a function, so that type checkers do not remember the answer."""
    return circuit.state is CircuitState.OPEN


def play(
    scenario: Callable[[OnionNetwork], Coroutine[Any, Any, _T]],
    relays: int = 3,
    *,
    liars: dict[int, type[OnionNode]] | None = None,
    **settings: Unpack[Settings],
) -> _T:
    """Run a scenario over a new network of `relays` relays."""
    loop = OnionLoop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))

    async def main() -> _T:
        network = OnionNetwork(loop, **settings)
        await network.start(relays, liars=liars)
        result = await scenario(network)
        network.assert_no_failures()
        await network.close()
        return result

    result = run(main(), loop)
    assert not problems, problems
    return result


async def both(*awaitables: Awaitable[_T]) -> list[_T]:
    """Wait for several at once."""
    return list(await asyncio.gather(*awaitables))
