"""A relay's gossip at work: links in, frames out, a few neighbours kept, strangers tried out."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.address import prefix_of
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.routing.discovery.gossip import Gossip, Pace
from vigilnet.routing.discovery.limits import prefixes
from vigilnet.routing.discovery.neighbourhood import Neighbourhood, place_of, places
from vigilnet.routing.discovery.stock import Table

# Our choice.
CARE_S: Final = 1.0  # between two looks at the neighbourhood
DIAL_SPACING_S: Final = 0.2
MAX_DIALS: Final = 3  # at once
MAX_WAIT_S: Final = 30.0  # between two dials when nobody can be reached
MAX_UNANSWERED: Final = 3
UNUSED_S: Final = 20.0  # then a link of ours that nobody needs is closed

_log = get_logger(__name__)


class GossipLink(Protocol):
    """What gossip needs of an open link."""

    is_relay: bool
    opened_at: float | None

    @property
    def peer(self) -> bytes | None:
        """The neighbour's identity."""
        ...

    @property
    def is_initiator(self) -> bool:
        """Whether we dialled."""
        ...

    @property
    def remote_host(self) -> str:
        """The neighbour's address."""
        ...

    def send_gossip(self, body: bytes) -> bool:
        """Send a frame; False when too many wait already."""
        ...

    def close(self) -> None:
        """Close in good order."""
        ...


class Links(Protocol):
    """What gossip needs of the link room."""

    on_neighbour: Callable[[bytes], None]

    def get(self, identity: bytes) -> GossipLink | None:
        """Return the open link to `identity`."""
        ...

    async def connect(self, identity: bytes) -> GossipLink:
        """Return the open link to `identity`, dialling if there is none; raises VigilnetError."""
        ...

    async def verify(self, identity: bytes) -> None:
        """Dial `identity` even if it dialled us; raises VigilnetError."""
        ...


class ReachTable(Table, Protocol):
    """The peer table, with what is remembered of dials."""

    def mark_reached(self, identity: bytes) -> None:
        """A link that we dialled has opened."""
        ...


@dataclass(frozen=True)
class GossipStatus:
    """What gossip did so far, for the status."""

    neighbours: int
    chosen: int
    items: int
    octets_sent: int
    octets_received: int


class GossipService:
    """Gossip of one relay; make it inside the running loop.

    Args:
        links: the link room; `on_neighbour` and gossip frames must lead here.
        table: the peer table.
        relays: gives every relay whose record is current.
        own: gives our own encoded record.
        clock: time.
        random_bytes: chance.
        neighbours: how many we keep of our own choice.
        is_needed: whether somebody else uses the link to a neighbour now.
        is_private_network: relays of a lab or LAN share prefixes: limits per prefix are off.
        pace: times and numbers.
    """

    def __init__(
        self,
        links: Links,
        table: ReachTable,
        relays: Callable[[], list[PeerRecord]],
        own: Callable[[], bytes],
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        neighbours: int,
        is_needed: Callable[[bytes], bool],
        is_private_network: bool,
        pace: Pace | None = None,
    ) -> None:
        self._links = links
        self._table = table
        self._relays = relays
        self._clock = clock
        self._is_needed = is_needed
        self._has_prefix_limits = not is_private_network
        self.gossip = Gossip(
            table, random_bytes, own, clock.now(), pace, has_prefix_limits=not is_private_network
        )
        self.neighbourhood = Neighbourhood(random_bytes, neighbours, is_private_network)
        self._tasks = TaskGroup("gossip")
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._dialled: set[bytes] = set()
        self._failures = 0
        self._next_dial_at = clock.now()
        self._wake = asyncio.Event()
        self._unneeded_since: dict[bytes, float] = {}
        self._octets = [0, 0]  # of neighbours that are gone

    def start(self) -> None:
        """Begin to look for neighbours."""
        self._links.on_neighbour = self.neighbour_changed
        self._tasks.start("care", self._care())
        self._set_timer()

    async def close(self) -> None:
        """Stop; links are closed by their own room."""
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()

    def status(self) -> GossipStatus:
        """Return a snapshot."""
        present = self.gossip.neighbours.values()
        return GossipStatus(
            neighbours=len(present),
            chosen=len(self.neighbourhood.chosen),
            items=len(self.gossip.stock.inventory),
            octets_sent=self._octets[0] + sum(one.octets_sent for one in present),
            octets_received=self._octets[1] + sum(one.octets_received for one in present),
        )

    # --- what other rooms tell -------------------------------------------------------------------

    def neighbour_changed(self, identity: bytes) -> None:
        """The link to a neighbour opened, was replaced or closed."""
        self._loop.call_soon(self._greet, identity)

    def frame_received(self, link: GossipLink, body: bytes) -> None:
        """A GOSSIP frame came over a link to a relay."""
        if link.peer is not None:
            self._greet(link.peer)  # it may speak before we were told that the link is open
            self.gossip.receive(link.peer, body, self._clock.now(), self._clock.wall())
            self._flush()

    def peers_changed(self) -> None:
        """A record became known, by whatever source, or our own is new."""
        self.gossip.learned(self._clock.now())
        self._wake.set()
        self._set_timer()

    def _greet(self, identity: bytes) -> None:
        link = self._links.get(identity)
        if link is None or not link.is_relay:
            self._part(identity)
            return
        if link.is_initiator:
            self._reached(identity)
        neighbour = self.gossip.neighbours.get(identity)
        if neighbour is not None:
            neighbour.is_ours = link.is_initiator
        else:
            key, place = f"link {prefix_of(link.remote_host)}", self._place_of(identity, link)
            source = Source(key, place, name="gossip")
            self.gossip.join(identity, source, self._clock.now(), is_ours=link.is_initiator)
            self._flush()

    def _reached(self, identity: bytes) -> None:
        if not self._table.is_reached(identity):
            self._table.mark_reached(identity)
            self.gossip.learned(self._clock.now())

    def _place_of(self, identity: bytes, link: GossipLink) -> str:
        families = sorted(
            place for record in self._relays() if record.identity == identity for place in places(record)
        )
        return " ".join([place_of(link.remote_host), *families])

    def _part(self, identity: bytes) -> None:
        gone = self.gossip.neighbours.get(identity)
        if gone is not None:
            self._octets[0] += gone.octets_sent
            self._octets[1] += gone.octets_received
            self.gossip.leave(identity, self._clock.now())
            self._flush()
            self._wake.set()

    # --- frames and time -------------------------------------------------------------------------

    def _flush(self) -> None:
        for identity, frame in self.gossip.frames_to_send():
            link = self._links.get(identity)
            if link is not None:
                link.send_gossip(frame)  # what does not fit the next comparison finds
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._tasks.is_closed:
            wait = self.gossip.deadline() - self._clock.now()
            self._timer = self._loop.call_later(max(0.0, wait), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.gossip.on_deadline(self._clock.now())
        self._flush()

    # --- neighbours ------------------------------------------------------------------------------

    async def _care(self) -> None:
        """Keep as many neighbours as we want, and try out strangers."""
        while True:
            now = self._clock.now()
            self._drop_failed(now)
            self._close_unneeded(now)
            self._wake.clear()
            pause = self._start_dial(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _start_dial(self, now: float) -> float:
        """Dial whom we want next, if it is time; return when to come again at the latest."""
        if len(self._dialled) >= MAX_DIALS:
            return CARE_S
        if now < self._next_dial_at:
            return self._next_dial_at - now
        record = self._next_to_dial(now)
        if record is None:
            return CARE_S
        self._dialled.add(record.identity)
        self._next_dial_at = now + DIAL_SPACING_S
        self._tasks.start("dial", self._dial(record))
        return DIAL_SPACING_S

    def _next_to_dial(self, now: float) -> PeerRecord | None:
        """Return whom to dial: a neighbour of our choice first, else a stranger to be tried."""
        relays = self._relays()
        neighbourhood = self.neighbourhood
        if not neighbourhood.is_full:
            record = neighbourhood.choose(relays, now)
            if record is not None:
                return record
        return neighbourhood.unreached(relays, self._table.is_reached, now)

    async def _dial(self, record: PeerRecord) -> None:
        """Open a link to a relay; after failures take more time for the next one."""
        try:
            if self._table.is_reached(record.identity):
                await self._links.connect(record.identity)
            else:
                await self._links.verify(record.identity)
                self._check_place(record)
                self._reached(record.identity)
            self._failures = 0
            self.neighbourhood.worked(record.identity)
        except (VigilnetError, OSError) as error:
            _log.debug("a relay cannot be reached", reason=str(error))
            now = self._clock.now()
            self._failures += 1
            self.neighbourhood.drop(record.identity, now)
            # many unreachable ones must not keep us from finding others: slow only where nobody answers
            longest = MAX_WAIT_S if not self.gossip.neighbours else CARE_S
            self._next_dial_at = now + min(longest, DIAL_SPACING_S * 2.0 ** min(self._failures, 20))
        finally:
            self._dialled.discard(record.identity)
            self._wake.set()

    def _check_place(self, record: PeerRecord) -> None:
        """A relay that had to dial us must come from where its record says: limits per prefix count on it.

        Raises:
            VigilnetError: it came from elsewhere.
        """
        link = self._links.get(record.identity)
        if record.is_dialable or link is None or not self._has_prefix_limits:
            return
        if prefix_of(link.remote_host) not in prefixes(record):
            raise VigilnetError("the relay dials from another network than its record says")

    def _drop_failed(self, now: float) -> None:
        for identity in list(self.neighbourhood.chosen):
            neighbour = self.gossip.neighbours.get(identity)
            is_silent = neighbour is not None and neighbour.unanswered >= MAX_UNANSWERED
            is_gone = self._links.get(identity) is None and identity not in self._dialled
            if is_gone or is_silent:
                self.neighbourhood.drop(identity, now)

    def _close_unneeded(self, now: float) -> None:
        """Close links that we opened to try somebody out, and that nobody needs."""
        unneeded = {
            identity
            for identity, neighbour in self.gossip.neighbours.items()
            if neighbour.is_ours
            and identity not in self.neighbourhood.chosen
            and not self._is_needed(identity)
        }
        self._unneeded_since = {identity: self._unneeded_since.get(identity, now) for identity in unneeded}
        for identity, since in self._unneeded_since.items():
            link = self._links.get(identity)
            if now - since >= UNUSED_S and link is not None:
                link.close()
