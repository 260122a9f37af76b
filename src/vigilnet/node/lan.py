"""The sources on the LAN of one node, mDNS and the beacon: when they run, and what they show.

A relay shows itself and hears of others all the time. A client says nothing of itself, but to ask at all
tells the LAN that somebody here uses VigilNet; so it asks only while it knows no relay by other means.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.tasks import TaskGroup
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options
from vigilnet.node.own_record import OwnRecord
from vigilnet.peer.sources import Source
from vigilnet.routing.discovery.beacon import Beacon
from vigilnet.routing.discovery.beacon_io import BeaconService

LOOK_S: Final = 1.0
GRACE_S: Final = 15.0  # a client goes on so long after the first relay: a path wants three


class _Mdns(Protocol):
    """mDNS, which is loaded only where it is used."""

    def start(self) -> None:
        """Begin."""
        ...

    def own_changed(self) -> None:
        """Show our new record."""
        ...

    async def close(self) -> None:
        """Say goodbye."""
        ...


class Lan:
    """mDNS and the beacon; make it inside the running loop.

    Args:
        options: the node's settings.
        clock: time.
        known: the peer table.
        own: who we are; None on a client.
        random_bytes: chance.
    """

    def __init__(
        self,
        options: Options,
        clock: Clock,
        known: KnownRelays,
        own: OwnRecord | None,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._options = options.discovery
        self._folder = options.node.peers_folder
        self._clock = clock
        self._known = known
        self._own = own
        self._random_bytes = random_bytes
        self._mdns: _Mdns | None = None
        self._beacon: BeaconService | None = None
        self._needed_at = float("-inf")
        self._tasks = TaskGroup("lan")

    def start(self) -> None:
        """Begin, if the settings name a source of the LAN; who is told of peers by a folder needs none."""
        if self._folder is not None:
            return
        if self._options.uses("mdns") or self._options.uses("beacon"):
            self._tasks.start("keep", self._keep())

    @property
    def is_running(self) -> bool:
        """Whether sockets are open now."""
        return self._mdns is not None or self._beacon is not None

    async def _keep(self) -> None:
        """Run the sources while they are needed."""
        while True:
            now = self._clock.now()
            if self._own is not None or not self._known.relays():
                self._needed_at = now
            if now == self._needed_at and not self.is_running:
                self._open()
            elif now - self._needed_at > GRACE_S:
                await self._stop()
            await asyncio.sleep(LOOK_S)

    def _open(self) -> None:
        own, known = self._own, self._known

        def take(encoded: bytes, source: Source) -> None:
            known.take(encoded, source)

        if self._options.uses("mdns"):
            from vigilnet.routing.discovery.mdns_io import MdnsService  # takes 5 MB: only who uses it

            self._mdns = MdnsService(take, (lambda: own.parsed) if own is not None else None, self._clock)
            self._mdns.start()
        if self._options.uses("beacon"):
            machine = Beacon(
                lambda: own.record if own is not None else b"",
                lambda: not known.relays(),
                self._random_bytes,
                self._clock.now(),
            )
            self._beacon = BeaconService(machine, take, self._clock)
            self._beacon.start()

    def own_changed(self) -> None:
        """We have issued a new record."""
        if self._mdns is not None:
            self._mdns.own_changed()
        if self._beacon is not None:
            self._beacon.own_changed()

    async def _stop(self) -> None:
        mdns, beacon = self._mdns, self._beacon
        self._mdns = self._beacon = None
        if beacon is not None:
            beacon.close()
        if mdns is not None:
            await mdns.close()

    async def close(self) -> None:
        """Say goodbye and close the sockets; safe to call twice."""
        await self._tasks.close()
        await self._stop()
