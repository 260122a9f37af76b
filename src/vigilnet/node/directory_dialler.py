"""Which relay a client asks for records, and the circuit there."""

from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.node.known_relays import KnownRelays
from vigilnet.peer.descriptor import Capability, PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.routing.circuits.service import hop_of
from vigilnet.routing.discovery.fetch_io import OpenDirectory
from vigilnet.routing.discovery.neighbourhood import places
from vigilnet.routing.paths.selection import Dice, Guards, NoPathError, PathRequest, choose_path
from vigilnet.traffic.circuit.client import CircuitClosedError
from vigilnet.traffic.circuit.service import CircuitService

AVOIDED_S: Final = 600.0  # a directory that was asked just now, good or bad: the next one is another
MAX_AVOIDED: Final = 256


class DirectoryDialler:
    """Builds circuits to directories: as long as ours are, or as long as the known relays allow.

    A client that knows only its guard asks that, which sees it anyhow. From then on it asks relays by
    circuits, another one each time, so that no single one decides what it knows.

    Args:
        circuits: builds circuits.
        known: the peer table.
        guards: our guards.
        clock: time.
        random_bytes: chance.
        hops: how long our circuits are.
        is_private_network: relays of a lab or LAN share prefixes.
    """

    def __init__(
        self,
        circuits: CircuitService,
        known: KnownRelays,
        guards: Guards,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        hops: int,
        is_private_network: bool,
    ) -> None:
        self._circuits = circuits
        self._known = known
        self._guards = guards
        self._clock = clock
        self._dice = Dice(random_bytes)
        self._hops = hops
        self._is_private_network = is_private_network
        self._avoided: dict[bytes, float] = {}

    async def open(self, capability: Capability = Capability.DIRECTORY) -> OpenDirectory:
        """Return a stream to a directory.

        Args:
            capability: what else it must offer. Who is asked for more than the list that everybody gets
                learns what we look for: then it is never our guard, which knows our address.

        Raises:
            NoPathError: no relay that gives records is known.
            CircuitClosedError: the circuit could not be built.
        """
        path = self._choose(capability | Capability.DIRECTORY)
        directory = path[-1]
        self._avoid(directory.identity)
        try:
            circuit = await self._circuits.build([hop_of(record) for record in path])
        except CircuitClosedError as error:
            if error.hop == 1:
                self._guards.failed(path[0].identity, self._clock.now())
            raise
        self._guards.worked(path[0].identity)
        where = " ".join(sorted(places(directory)))
        source = Source(f"directory {directory.identity.hex()}", where, name="circuits")
        return OpenDirectory(circuit.mux.open_directory(), source, circuit.close)

    def _choose(self, capability: Capability) -> list[PeerRecord]:
        now, relays = self._clock.now(), self._known.relays()
        avoided = frozenset(identity for identity, until in self._avoided.items() if until > now)
        for hops in range(self._hops, 1, -1):
            request = PathRequest(hops, avoid=avoided, last=capability)
            try:
                return choose_path(
                    relays,
                    request,
                    self._guards,
                    self._dice,
                    now,
                    is_private_network=self._is_private_network,
                    is_vouched=self._known.is_vouched,
                )
            except NoPathError:
                continue
        if capability != Capability.DIRECTORY:
            raise NoPathError(f"directory: {len(relays)} relays known, too few for a circuit to look one up")
        wanted = capability | Capability.GUARD | Capability.RELAY
        entries = self._guards.entries()
        candidates = [
            record
            for record in relays
            if wanted in record.capabilities
            and record.is_dialable
            and (not entries or record.identity in entries)
        ]
        if not candidates:
            raise NoPathError(f"directory: {len(relays)} relays known, none of them can be asked for others")
        return [self._guards.choose(candidates, self._dice, now)]

    def _avoid(self, identity: bytes) -> None:
        self._avoided.pop(identity, None)
        while len(self._avoided) >= MAX_AVOIDED:
            del self._avoided[next(iter(self._avoided))]
        self._avoided[identity] = self._clock.now() + AVOIDED_S
