"""mDNS at work: relays register themselves, everybody browses (docs/spec/discovery.md section 7)."""

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Final

from zeroconf import BadTypeInNameException, IPVersion, NonUniqueNameException, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.identity import peer_id_text
from vigilnet.peer.sources import LAN_PLACE, Source
from vigilnet.routing.discovery.limits import Bucket
from vigilnet.routing.discovery.mdns import SERVICE_TYPE, record_from_txt, record_to_txt

# Our choice.
RESOLVE_MS: Final = 3000
MAX_RESOLVES: Final = 8  # at once
MAX_PENDING: Final = 256  # services that came or changed and were not looked at yet
CHANGE_BURST: Final = 256.0
CHANGE_RATE: Final = 4.0

_log = get_logger(__name__)


class MdnsService:
    """Finds relays on the LAN; make it inside the running loop.

    Args:
        on_record: gets each record that is found, and its source.
        own: gives our own record; None on a client, which registers nothing.
        clock: time.
    """

    def __init__(
        self,
        on_record: Callable[[bytes, Source], None],
        own: Callable[[], PeerRecord | None] | None,
        clock: Clock,
    ) -> None:
        self._on_record = on_record
        self._own = own
        self._clock = clock
        self._tasks = TaskGroup("mdns")
        self._bucket = Bucket(CHANGE_BURST, CHANGE_RATE, clock.now())
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._registered: AsyncServiceInfo | None = None
        self._own_is_new = asyncio.Event()
        self._pending: dict[str, None] = {}
        self._resolving = 0

    def start(self) -> None:
        """Begin to browse, and to show ourselves if we are a relay; logs it if the machine refuses."""
        opened = self._open()
        if opened is None:
            return
        self._zeroconf = opened
        self._browser = AsyncServiceBrowser(opened.zeroconf, SERVICE_TYPE, handlers=[self._changed])
        if self._own is not None:
            self._own_is_new.set()
            self._tasks.start("show", self._show(opened))

    def _open(self) -> AsyncZeroconf | None:
        for version in (IPVersion.All, IPVersion.V4Only, IPVersion.V6Only):
            try:
                return AsyncZeroconf(ip_version=version)
            except OSError as error:
                _log.debug("mdns: sockets are not to be had", version=version.name, reason=error.strerror)
        _log.info("mdns is not to be had on this machine: is there a network, and port 5353 free to share?")
        return None

    def own_changed(self) -> None:
        """Our record is new: show it."""
        self._own_is_new.set()

    async def close(self) -> None:
        """Say goodbye and close the sockets; safe to call twice."""
        opened, self._zeroconf = self._zeroconf, None
        await self._tasks.close()
        if self._browser is not None:
            await self._browser.async_cancel()
            self._browser = None
        if opened is not None:
            if self._registered is not None:
                await (await opened.async_unregister_service(self._registered))
            await opened.async_close()

    async def _show(self, opened: AsyncZeroconf) -> None:
        """Register our record, and again whenever it is new; one at a time."""
        while True:
            await self._own_is_new.wait()
            self._own_is_new.clear()
            record = self._own() if self._own is not None else None
            if record is not None:
                await self._register(opened, _info_of(record))

    async def _register(self, opened: AsyncZeroconf, info: AsyncServiceInfo) -> None:
        try:
            if self._registered is None:
                await (await opened.async_register_service(info))
            else:
                await (await opened.async_update_service(info))
            self._registered = info
        except (NonUniqueNameException, BadTypeInNameException, OSError) as error:
            _log.warning("mdns: this relay cannot be shown", reason=type(error).__name__)

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """A service came or changed (called by the browser); of too many, those of now are left out."""
        if state_change is ServiceStateChange.Removed or len(self._pending) >= MAX_PENDING:
            return
        if self._tasks.is_closed or not self._bucket.take(1, self._clock.now()):
            return
        self._pending[name] = None
        if self._resolving < MAX_RESOLVES:
            self._resolving += 1
            self._tasks.start("resolve", self._resolve_pending(zeroconf))

    async def _resolve_pending(self, zeroconf: Zeroconf) -> None:
        try:
            while self._pending:
                name = next(iter(self._pending))
                del self._pending[name]
                await self._resolve(zeroconf, name)
        finally:
            self._resolving -= 1

    async def _resolve(self, zeroconf: Zeroconf, name: str) -> None:
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, name)
            if await info.async_request(zeroconf, RESOLVE_MS):
                # each name has limits of its own: one bad neighbour must not silence all of the LAN
                self._on_record(
                    record_from_txt(info.properties), Source(f"mdns {name}", LAN_PLACE, name="mdns")
                )
        except (RemoteProtocolError, BadTypeInNameException, OSError) as error:
            _log.debug("mdns: a service is none of ours", reason=type(error).__name__)


def _info_of(record: PeerRecord) -> AsyncServiceInfo:
    peer_id = peer_id_text(record.identity)
    hosts = [address.host for address in record.addresses if address.port]
    packed = [ipaddress.ip_address(host).packed for host in hosts if _is_ip(host)]
    return AsyncServiceInfo(
        SERVICE_TYPE,
        f"{peer_id}.{SERVICE_TYPE}",
        port=next((address.port for address in record.addresses if address.port), 0),
        addresses=packed,
        properties=record_to_txt(record.encoded),
        server=f"{peer_id[-16:]}.local.",
    )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
