"""What the device is like when nobody asks: the helper's word now and then, and a network's sign-in page.

A page that should be there is asked for straight out, the same that desktops ask for, and only while VigilNet
is on and has had no path for some seconds. `device.portal_probe` names it; empty: never.
"""

import asyncio
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.node.status import ClientFacts
from vigilnet.traffic.device.portal_io import Resolve, find_portal
from vigilnet.traffic.device.service import DeviceSnapshot

LOOK_S: Final = 2.0
REFRESH_S: Final = 10.0  # between two questions to the helper, which asks the firewall
STUCK_S: Final = 6.0  # so long without a path before the network is asked
PROBE_EVERY_S: Final = 30.0
_log = get_logger(__name__)


class Watched(Protocol):
    """What is looked at: the process around the node."""

    def client_facts(self) -> ClientFacts | None:
        """Where the client's side stands; None: it is off."""
        ...

    async def refreshed(self) -> DeviceSnapshot:
        """How the device is, asked anew."""
        ...

    def names_of_network(self) -> tuple[str, Resolve]:
        """The page to ask for, and who tells addresses as this network does."""
        ...


class DeviceWatch:
    """Looks every few seconds, until it is cancelled."""

    def __init__(self, watched: Watched, clock: Clock) -> None:
        self._watched = watched
        self._clock = clock
        self._stuck_at: float | None = None
        self._probe_at = 0.0
        self._refresh_at = 0.0
        self.portal = ""  # the sign-in page that this network wants seen

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                await self.look()
            except VigilnetError as error:
                _log.debug("device not looked at", reason=str(error))
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once."""
        facts, now = self._watched.client_facts(), self._clock.now()
        if now >= self._refresh_at:
            self._refresh_at = now + REFRESH_S
            await self._watched.refreshed()
        if facts is None or facts.has_path:
            self._stuck_at, self._probe_at, self.portal = None, 0.0, ""
            return
        if self._stuck_at is None:
            self._stuck_at = now
        probe, resolve = self._watched.names_of_network()
        if not probe or now < max(self._stuck_at + STUCK_S, self._probe_at):
            return
        self._probe_at = now + PROBE_EVERY_S
        try:
            self.portal = (await find_portal(resolve, probe)).url
        except VigilnetError:
            self.portal = ""  # nothing answers: no network, not a portal
