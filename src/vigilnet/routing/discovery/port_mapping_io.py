"""A port of the router's for a relay behind it (discovery.md section 10).

By PCP or NAT-PMP (`port_control`), which need two datagrams, else by UPnP with the library miniupnpc.
"""

import asyncio
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.routing.discovery.port_control import RefusedError
from vigilnet.routing.discovery.port_control_io import PortControl, default_gateway
from vigilnet.routing.discovery.reachability import Mapping

DISCOVER_MS: Final = 2000
LEASE_S: Final = 3600
RENEW_S: Final = 1200.0
RETRY_S: Final = 600.0
NAME: Final = "relay"  # as the router shows it

_log = get_logger(__name__)


@dataclass(frozen=True)
class Mapped:
    """What came of asking."""

    state: Mapping = Mapping.OFF
    external: str = ""  # the router's address outward
    port: int = 0  # the router's
    how: str = ""  # PCP, NAT-PMP or UPnP


class PortMapper:
    """Keeps one TCP port mapped; make it inside the running loop.

    Args:
        port: ours, and the router's.
        changed: called when the state is another one.
        library: makes the library's client; None loads it.
        gateway: the router's address, "" if the system does not tell.
        random_bytes: for a nonce.
    """

    def __init__(
        self,
        port: int,
        changed: Callable[[Mapped], None],
        library: Callable[[], Any] | None = None,
        gateway: Callable[[], str] = default_gateway,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._port = port
        self._gateway = gateway
        self._random_bytes = random_bytes
        self._control: PortControl | None = None
        self._changed = changed
        self._library = library
        self._router: Any = None
        self._tasks = TaskGroup("port mapping")
        self.now = Mapped()

    def start(self) -> None:
        """Begin to ask the router, again and again."""
        self._tasks.start("map", self._keep())

    async def close(self) -> None:
        """Give the port back."""
        await self._tasks.close()
        control, self._control = self._control, None
        if control is not None:
            await control.unmap()
        router, self._router = self._router, None
        if router is not None:
            await asyncio.to_thread(self._unmap, router)

    async def _keep(self) -> None:
        while True:
            found = await self._by_control()
            if found is None:
                found = await asyncio.to_thread(self._map)
            if found != self.now:
                self.now = found
                _log.info("asked the router for a port", outcome=found.state.value, how=found.how)
                self._changed(found)
            await asyncio.sleep(RENEW_S if found.state is Mapping.MAPPED else RETRY_S)

    async def _by_control(self) -> Mapped | None:
        """Ask by PCP or NAT-PMP; None if the router speaks neither."""
        gateway = await asyncio.to_thread(self._gateway)
        if not gateway:
            return None
        if self._control is None:
            self._control = PortControl(gateway, self._port, self._random_bytes)
        try:
            given = await self._control.map(LEASE_S)
        except RefusedError as error:
            _log.debug("the router gives no port", reason=str(error))
            return Mapped(Mapping.REFUSED)
        except (OSError, RemoteProtocolError) as error:
            _log.debug("the router speaks no PCP", reason=str(error) or type(error).__name__)
            self._control = None
            return None
        return Mapped(Mapping.MAPPED, given.host, given.port, self._control.protocol)

    def _map(self) -> Mapped:
        """Find the router and ask; in a thread, since the library waits."""
        if self._library is None:
            try:
                self._library = importlib.import_module("miniupnpc").UPnP
            except ImportError:
                return Mapped(Mapping.MISSING)
        try:
            router = self._library()
            router.discoverdelay = DISCOVER_MS
            if not router.discover():
                return Mapped(Mapping.NO_ROUTER)
            router.selectigd()
            external = str(router.externalipaddress())
        except Exception as error:  # noqa: BLE001  # the library raises bare Exception
            _log.debug("no router to ask for a port", reason=str(error))
            return Mapped(Mapping.NO_ROUTER)
        try:
            done = router.addportmapping(self._port, "TCP", router.lanaddr, self._port, NAME, "", LEASE_S)
        except Exception as error:  # noqa: BLE001  # as above
            _log.debug("the router gives no port", reason=str(error))
            done = False
        if not done:
            return Mapped(Mapping.REFUSED, external)
        self._router = router
        return Mapped(Mapping.MAPPED, external, self._port, "UPnP")

    def _unmap(self, router: Any) -> None:  # noqa: ANN401  # the library's
        try:
            router.deleteportmapping(self._port, "TCP")
        except Exception as error:  # noqa: BLE001  # as above
            _log.debug("the router keeps the port until its lease ends", reason=str(error))
