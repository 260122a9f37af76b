"""Keeps the records of unlisted relays fresh: nobody but the relay itself can give them."""

import asyncio
from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.node.known_relays import KnownRelays
from vigilnet.peer.sources import Source
from vigilnet.routing.circuits.service import hop_of
from vigilnet.routing.discovery.directory import Fetch
from vigilnet.routing.discovery.fetch_io import OpenDirectory, ask
from vigilnet.routing.discovery.wire import ItemType
from vigilnet.traffic.circuit.service import CircuitService

AGE_S: Final = 4 * 3600  # a relay makes a new record each 3 h
LOOK_S: Final = 600.0
SOURCE: Final = Source("unlisted relay", is_limited=False, name="invites")

_log = get_logger(__name__)


class UnlistedRenewal:
    """Asks unlisted relays for their own record, over a circuit of one hop to them.

    Args:
        circuits: builds circuits.
        known: the peer table.
        identities: of the unlisted relays that we were invited to.
        clock: time.
    """

    def __init__(
        self,
        circuits: CircuitService,
        known: KnownRelays,
        identities: Callable[[], frozenset[bytes]],
        clock: Clock,
    ) -> None:
        self._circuits = circuits
        self._known = known
        self._identities = identities
        self._clock = clock

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Renew each record that is old, and still good enough to get there."""
        for identity in self._identities():
            record = self._known.get(identity)
            if record is None or self._clock.wall() < record.published + AGE_S:
                continue
            try:
                await self._renew(identity)
            except (VigilnetError, OSError) as error:
                _log.info("record of an unlisted relay is not renewed yet", reason=str(error))

    async def _renew(self, identity: bytes) -> None:
        record = self._known.get(identity)
        if record is None:
            return
        circuit = await self._circuits.build([hop_of(record)])
        directory = OpenDirectory(circuit.mux.open_directory(), SOURCE, circuit.close)
        for item in await ask(directory, Fetch(at_most=1).encode()):
            if item.type is ItemType.RECORD:
                self._known.take(item.octets, SOURCE)
