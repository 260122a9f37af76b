"""This node's introductions, joined to its links, its peer table and its record (discovery.md section 11)."""

import asyncio
from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.introduction import Endpoint, is_introduction
from vigilnet.routing.discovery.introduction_io import IntroductionError, IntroductionService
from vigilnet.routing.discovery.service import GossipService
from vigilnet.traffic.link.dial_io import is_private
from vigilnet.traffic.link.link_io import Link
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.tcp_io import TcpTransport

PUNCH_S: Final = 4.0
FIRST_GAP_S: Final = 1.0  # between two records that differ in introducers
MAX_GAP_S: Final = 60.0

_log = get_logger(__name__)


class TcpPuncher:
    """Serves `introduction_io.Puncher` with plain TCP.

    Args:
        links: opens links over the connections.
        transport: makes them.
        allow_private: whether private addresses may be dialled.
    """

    def __init__(self, links: LinkService, transport: TcpTransport, *, allow_private: bool) -> None:
        self._links = links
        self._transport = transport
        self._allow_private = allow_private

    async def dial(self, record: PeerRecord, local: tuple[str, int], remote: Endpoint) -> None:
        """Dial, and open a link."""
        self._check(remote)
        carrier = await self._transport.punch(local, (remote.host, remote.port), PUNCH_S)
        await self._links.open_over(record.identity, carrier, PeerAddress.tcp(remote.host, remote.port))

    async def accept(self, local: tuple[str, int], remote: Endpoint) -> None:
        """Dial, and let the other end open a link."""
        self._check(remote)
        self._links.accept(await self._transport.punch(local, (remote.host, remote.port), PUNCH_S))

    def _check(self, remote: Endpoint) -> None:
        if is_private(remote.host) and not self._allow_private:
            raise IntroductionError("the other relay is seen at a private address")


def introduction_service(
    options: Options,
    links: LinkService,
    known: KnownRelays,
    transport: TcpTransport | None,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
    *,
    own: bytes,
    is_behind: bool,
    changed: Callable[[], None],
) -> IntroductionService:
    """Make the service and let links use it."""
    is_private_network = options.link.allow_private_addresses
    puncher = (
        TcpPuncher(links, transport, allow_private=is_private_network) if transport is not None else None
    )
    service = IntroductionService(
        links, known, puncher, clock, random_bytes,
        own=own, is_behind=is_behind, changed=changed, has_prefix_limits=not is_private_network,
    )  # fmt: skip

    async def introduce(identity: bytes) -> None:
        record = known.get(identity)
        if record is None or not record.introducers:
            raise IntroductionError("the peer's record has no address that we can and may dial")
        await service.introduce(record)

    links.dialler.introduce = introduce
    return service


def share_links(links: LinkService, gossip: GossipService, introductions: IntroductionService) -> None:
    """Give each of the two rooms its frames, and tell both of links."""
    gossip_changed, gossip_frame = gossip.neighbour_changed, gossip.frame_received

    def changed(identity: bytes) -> None:
        introductions.neighbour_changed(identity)
        gossip_changed(identity)

    def received(link: Link, body: bytes) -> None:
        if is_introduction(body):
            introductions.frame_received(link, body)
        else:
            gossip_frame(link, body)

    links.on_neighbour, links.on_gossip = changed, received


class RecordChanges:
    """Lets a record change at once the first time, then more and more seldom: each is passed on by everybody.

    Args:
        apply: issues the new record.
        clock: time.
    """

    def __init__(self, apply: Callable[[], None], clock: Clock) -> None:
        self._apply = apply
        self._clock = clock
        self._gap_s = FIRST_GAP_S
        self._next_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def changed(self) -> None:
        """Something that the record says is other now."""
        wait = self._next_at - self._clock.now()
        if wait <= 0:
            self._run()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._run)

    def _run(self) -> None:
        self._timer = None
        self._next_at = self._clock.now() + self._gap_s
        self._gap_s = min(MAX_GAP_S, 2 * self._gap_s)
        try:
            self._apply()
        except EnvironmentRefusedError as error:
            _log.warning("own record could not be renewed, trying again", reason=str(error))
            self.changed()

    def close(self) -> None:
        """Change nothing more."""
        if self._timer is not None:
            self._timer.cancel()
