"""How others reach this node: which addresses a relay tells, and what is known of how it is connected."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.node.endpoints import is_unspecified
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options
from vigilnet.peer.address import TransportKind
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.introduction_io import IntroductionCounts, IntroductionService
from vigilnet.routing.discovery.port_mapping_io import Mapped, PortMapper
from vigilnet.routing.discovery.reachability import Mapping, ReachFacts, is_public
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.local_address_io import preferred_addresses

FIRST_ANSWER_S: Final = 8.0  # that a start waits for the router

Endpoint = tuple[str, int]


class Reach:
    """Finds the addresses of a relay that was told to listen everywhere; make it inside the running loop.

    Args:
        options: the node's settings.
        clock: time.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self.on_changed: Callable[[], None] = lambda: None  # the router's answer is another one
        self._started_at = clock.now()
        self._mapper: PortMapper | None = None
        self._answered = asyncio.Event()
        self.dht_problem = ""

    async def endpoints(self, listening: Sequence[Endpoint]) -> list[Endpoint]:
        """Return where others reach us: what we listen on, or what stands for "everywhere".

        That is the address by which this machine goes outward, if it is public; else, if the settings say
        so, a port of the router's; else the private address, for whoever hears of it on the LAN.
        """
        found: list[Endpoint] = []
        on_lan: list[Endpoint] = []
        for host, port in listening:
            if not is_unspecified(host):
                found.append((host, port))
                continue
            local = preferred_addresses()[":" in host]
            if local and (is_public(local) or self._options.link.allow_private_addresses):
                found.append((local, port))
            elif local:
                on_lan.append((local, port))
        behind = next((port for host, port in on_lan if ":" not in host), None)
        if not found and behind is not None and self._options.relay.map_port:
            found += await self._ask_router(behind)
        uses = self._options.discovery.uses
        return found or (on_lan if uses("mdns") or uses("beacon") else [])

    async def _ask_router(self, port: int) -> list[Endpoint]:
        self._mapper = PortMapper(port, self._mapped)
        self._mapper.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER_S):
                await self._answered.wait()
        return self.mapped_endpoints(port)

    def is_reachable(self, hosts: Iterable[str]) -> bool:
        """Whether others than our LAN can dial one of these."""
        return any(self._options.link.allow_private_addresses or is_public(host) for host in hosts)

    def mapped_endpoints(self, port: int) -> list[Endpoint]:
        """Return what the router gave us, if it is of use."""
        mapped = self._mapper.now if self._mapper is not None else Mapped()
        is_good = mapped.state is Mapping.MAPPED and is_public(mapped.external)
        return [(mapped.external, mapped.port or port)] if is_good else []

    def _mapped(self, mapped: Mapped) -> None:
        is_first = not self._answered.is_set()
        self._answered.set()
        if not is_first:
            self.on_changed()

    def facts(
        self,
        known: KnownRelays,
        links: LinkService,
        own: PeerRecord | None,
        introductions: IntroductionService | None = None,
    ) -> ReachFacts:
        """Return what is known now."""
        counts = introductions.counts if introductions is not None else IntroductionCounts()
        relays, dials = known.relays(), links.dials
        mapped = self._mapper.now if self._mapper is not None else Mapped()
        uses = self._options.discovery.uses
        return ReachFacts(
            is_relay=own is not None,
            uptime_s=self._clock.now() - self._started_at,
            local=preferred_addresses(),
            advertised=tuple(address.host for address in own.addresses if address.port)
            if own is not None
            else (),
            mapping=mapped.state,
            external=mapped.external,
            known=len(relays),
            expired_only=not relays and known.has_known,
            has_sources=bool(
                self._options.node.invites
                or self._options.node.peer_files
                or self._options.node.peers_folder
                or self._options.discovery.welcome_lists
                or uses("mdns")
                or uses("beacon")
                or uses("directories")
            ),
            linked=links.count,
            dialled=dials.worked,
            failed=dials.failed,
            was_dialled=dials.was_dialled,
            introducers=len(own.introducers) if own is not None else 0,
            punches=counts.punches,
            punched=counts.punched,
            has_cover=any(
                address.transport != TransportKind.TCP for record in relays for address in record.addresses
            ),
            dht=self.dht_problem,
        )

    async def close(self) -> None:
        """Give the router's port back."""
        if self._mapper is not None:
            await self._mapper.close()
