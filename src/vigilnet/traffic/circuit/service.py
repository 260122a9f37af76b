"""All circuits of a node over all its links: ours, and those we relay for others."""

from collections.abc import Callable, Sequence
from typing import Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.traffic.circuit.client import ClientCircuit, Hop
from vigilnet.traffic.circuit.client_io import ClientRole
from vigilnet.traffic.circuit.handshake import OnionSecrets
from vigilnet.traffic.circuit.messages import DestroyReason, Refusal
from vigilnet.traffic.circuit.relay_io import RelayRole
from vigilnet.traffic.circuit.switch import LinkCircuits
from vigilnet.traffic.link.ports import LinkPort, RunReceiver
from vigilnet.traffic.stream.mux import Acceptor
from vigilnet.traffic.stream.outbox import MuxOptions


class Links(Protocol):
    """What the circuit room needs of the link room."""

    async def connect(self, identity: bytes) -> LinkPort:
        """Open the link to `identity`, or join the one that is open."""
        ...


class RecordKeeper(Protocol):
    """What a relay needs of the peer room to extend circuits."""

    def may_extend(self, identity: bytes, least_sequence: int) -> DestroyReason | None:
        """Say why we do not extend to `identity`, or None if we may."""
        ...

    def offer_record(self, encoded: bytes, origin: str) -> None:
        """A client gave us a peer record; `origin` stands for the neighbour that it came by."""
        ...


class CircuitService:
    """The circuit room of one node.

    Args:
        links: opens links; it must deliver every new link to `attach`.
        options: windows of streams.
        clock: time.
        random_bytes: randomness for ids, fill and padding.
        network: name of the private network, if any.
    """

    def __init__(
        self,
        links: Links,
        options: MuxOptions,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        network: str = "",
    ) -> None:
        self._links = links
        self._options = options
        self._clock = clock
        self._random_bytes = random_bytes
        self._network = network
        self._places: dict[LinkPort, LinkCircuits] = {}
        self._records: RecordKeeper | None = None
        self.client = ClientRole(self, options, clock, random_bytes, network)
        self.relay: RelayRole | None = None

    def enable_relay(
        self, identity: bytes, secrets: OnionSecrets, records: RecordKeeper, acceptor: Acceptor | None
    ) -> None:
        """Serve circuits of others; with an acceptor, as an exit too."""
        self._records = records
        self.relay = RelayRole(
            self, identity, secrets, self._options, self._clock, self._random_bytes, self._network
        )
        self.relay.acceptor = acceptor
        self.relay.start()

    def attach(self, port: LinkPort) -> RunReceiver:
        """Take a new link; returns what its runs are delivered to."""
        place = self._places[port] = LinkCircuits(self, port, self._clock.now, self._random_bytes)
        return place

    async def build(self, hops: Sequence[Hop]) -> ClientCircuit:
        """Build a circuit of ours through `hops`, guard first; raises CircuitClosedError."""
        return await self.client.build(hops)

    async def link_to(self, identity: bytes) -> LinkCircuits:
        """Return the tables of the link to a neighbour, opening it if need be."""
        place = self._places.get(await self._links.connect(identity))
        if place is None:  # every new link is attached before anybody gets it
            raise VigilnetError("link: lost as soon as it was open", ErrorKind.CLOSED)
        return place

    def circuits_over(self, port: LinkPort) -> int:
        """Return how many circuits cross a link, ours and those of others."""
        place = self._places.get(port)
        return 0 if place is None else place.circuits

    def may_extend(self, identity: bytes, least_sequence: int) -> DestroyReason | None:
        """Ask the peer room."""
        if self._records is None:
            return DestroyReason.POLICY
        return self._records.may_extend(identity, least_sequence)

    def offer_record(self, encoded: bytes, port: LinkPort) -> None:
        """Hand a client's record to the peer room."""
        if self._records is not None:
            self._records.offer_record(encoded, port.origin)

    def create_received(self, link: LinkCircuits, circuit_id: int, body: bytes) -> None:
        """A neighbour wants a circuit; only relays answer."""
        if self.relay is None:
            link.destroy(circuit_id, Refusal(DestroyReason.POLICY))
        else:
            self.relay.create_received(link, circuit_id, body)

    def create_cancelled(self, link: LinkCircuits, circuit_id: int) -> None:
        """A neighbour gave up a circuit before it was answered."""
        if self.relay is not None:
            self.relay.create_cancelled(link, circuit_id)

    def link_lost(self, link: LinkCircuits) -> None:
        """A link closed."""
        self._places.pop(link.port, None)
        if self.relay is not None:
            self.relay.link_lost(link)

    async def close(self) -> None:
        """Close all circuits."""
        await self.client.close()
        if self.relay is not None:
            await self.relay.close()
