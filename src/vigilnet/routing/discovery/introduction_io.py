"""Introductions at work: a relay that nobody can dial is asked, by a neighbour of its choice, to dial.

Three parts in one service, since each is small: the introducer's machine fed from links; on a relay that is
behind a router, the neighbours that hold it; and `introduce`, which gets a link to such a relay.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVarTuple, Unpack

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import Capability, PeerRecord
from vigilnet.routing.discovery.calls import CALLED_BURST, CALLED_RATE, PunchLimits, is_place_of
from vigilnet.routing.discovery.introducer import Introducer
from vigilnet.routing.discovery.introduction import (
    NO_FLAGS,
    NONCE_SIZE,
    Answer,
    AnswerStatus,
    Call,
    Endpoint,
    Flags,
    Frame,
    Held,
    HeldStatus,
    Hold,
    Introduce,
    decode_frame,
    encode_frame,
)
from vigilnet.routing.discovery.limits import Bucket

# Our choice.
WANTED: Final = 3  # introducers
MAX_TRIED: Final = 3  # introducers of one relay
ANSWER_S: Final = 3.0
LINK_S: Final = 4.0  # from the answer to the link
LOOK_S: Final = 2.0
LOST_S: Final = 60.0  # an introducer that cannot be reached for so long is replaced
HOLD_AGAIN_S: Final = 30.0
MAX_ASKED: Final = 64  # questions of ours under way

_log = get_logger(__name__)
_Given = TypeVarTuple("_Given")


class IntroductionError(VigilnetError):
    """The relay could not be had to dial us, and not be dialled either."""

    kind = ErrorKind.UNREACHABLE


class IntroductionLink(Protocol):
    """What introductions need of an open link."""

    is_relay: bool

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

    @property
    def open_ends(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """Our and the neighbour's host and port of a plain TCP connection; None for all others."""
        ...

    def send_gossip(self, body: bytes) -> bool:
        """Send a frame; False when too many wait already."""
        ...


class Links(Protocol):
    """What introductions need of the link room."""

    def get(self, identity: bytes) -> IntroductionLink | None:
        """Return the open link to `identity`."""
        ...

    async def connect(self, identity: bytes) -> IntroductionLink:
        """Return the open link to `identity`, dialling if there is none; raises VigilnetError."""
        ...

    def keep(self, identity: bytes) -> None:
        """Hold a link open until `release`."""
        ...

    def release(self, identity: bytes) -> None:
        """Hold it no longer."""
        ...


class Puncher(Protocol):
    """Opens a connection by dialling from both ends at once."""

    async def dial(self, record: PeerRecord, local: tuple[str, int], remote: Endpoint) -> None:
        """Dial, and open a link to `record` over it; raises VigilnetError or OSError."""
        ...

    async def accept(self, local: tuple[str, int], remote: Endpoint) -> None:
        """Dial, and let the other end open a link over it; raises OSError."""
        ...


class Table(Protocol):
    """What introductions need of the peer table."""

    def get(self, identity: bytes) -> PeerRecord | None:
        """Return the current record of `identity`."""
        ...

    def relays(self) -> Iterable[PeerRecord]:
        """Return every relay whose record is current."""
        ...

    def admit(self, encoded: bytes, host: str) -> PeerRecord:
        """Judge a record that came by a neighbour at `host`; raises RemoteProtocolError."""
        ...


@dataclass
class IntroductionCounts:
    """What became of introductions since the start, for the status and the doctor."""

    asked: int = 0  # by us
    dialled_back: int = 0
    punches: int = 0  # tries from both ends at once, by whichever end
    punched: int = 0  # of them, those that led to a connection
    failed: int = 0
    followed: int = 0  # calls of others that we followed


class IntroductionService:
    """Introductions of one relay; make it inside the running loop.

    Args:
        links: the link room; frames that are introductions must lead to `frame_received`.
        table: the peer table.
        puncher: dials from both ends at once; None where plain TCP is not spoken.
        clock: time.
        random_bytes: chance.
        is_behind: whether nobody can dial us, so that we want to be introduced.
        changed: our introducers are others: a new record is due.
        has_prefix_limits: see `Introducer`.
    """

    def __init__(
        self,
        links: Links,
        table: Table,
        puncher: Puncher | None,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        own: bytes,
        is_behind: bool,
        changed: Callable[[], None],
        has_prefix_limits: bool,
    ) -> None:
        self._links = links
        self._table = table
        self._puncher = puncher
        self._clock = clock
        self._random_bytes = random_bytes
        self._own = own
        self._is_behind = is_behind
        self._changed = changed
        self.introducer = Introducer(self, random_bytes, has_prefix_limits=has_prefix_limits)
        self.counts = IntroductionCounts()
        self.chosen: dict[bytes, str] = {}  # our introducers, and from where they see us dial
        self._held_by: set[bytes] = set()  # on the links of now
        self._silent_since: dict[bytes, float] = {}
        self._asked_at: dict[bytes, float] = {}
        self._shunned: dict[bytes, float] = {}
        self._punching: set[bytes] = set()  # with whom
        self._answers: dict[bytes, asyncio.Future[Answer]] = {}
        self._waiting: dict[bytes, set[asyncio.Event]] = {}
        self._calls: dict[bytes, Bucket] = {}  # of each introducer: one that lies uses up its own
        self._punch_limits = PunchLimits() if has_prefix_limits else None
        self._tasks = TaskGroup("introductions")

    def start(self) -> None:
        """Begin to look for introducers, if nobody can dial us."""
        if self._is_behind:
            self.relays_changed()
            self._tasks.start("be introduced", self._be_introduced())

    def relays_changed(self) -> None:
        """A relay became known: the first ones are named in our record before anybody is dialled."""
        if self._is_behind and not self.chosen and self.choose():
            self._changed()

    async def close(self) -> None:
        """Stop."""
        await self._tasks.close()

    # --- serves `introducer.Neighbours` ----------------------------------------------------------

    def endpoint_of(self, identity: bytes) -> Endpoint:
        """Where a neighbour is seen."""
        link = self._links.get(identity)
        if link is None:
            return Endpoint()
        ends = link.open_ends
        if ends is not None and not link.is_initiator:
            return Endpoint(*ends[1])
        return Endpoint(link.remote_host)

    def record_of(self, identity: bytes) -> PeerRecord | None:
        """The record of a neighbour."""
        return self._table.get(identity) if self._links.get(identity) is not None else None

    # --- what other rooms tell -------------------------------------------------------------------

    def neighbour_changed(self, identity: bytes) -> None:
        """The link to a neighbour opened, was replaced or closed."""
        if self._links.get(identity) is None:
            self.introducer.left(identity)
            self._asked_at.pop(identity, None)
            self._held_by.discard(identity)
            return
        for event in self._waiting.get(identity, ()):
            event.set()

    def frame_received(self, link: IntroductionLink, body: bytes) -> None:
        """A frame of this room came over a link to a relay; malformed ones are passed over."""
        neighbour = link.peer
        if neighbour is None:
            return
        try:
            self._take(neighbour, decode_frame(body))
        except RemoteProtocolError as error:
            _log.debug("introduction refused", error=error)

    def _take(self, neighbour: bytes, frame: Frame) -> None:
        if isinstance(frame, Held):
            self._held(neighbour, frame)
        elif isinstance(frame, Call):
            self._called(neighbour, frame)
        elif isinstance(frame, Answer) and frame.nonce in self._answers:
            answer = self._answers.pop(frame.nonce)
            if not answer.done():
                answer.set_result(frame)
        else:
            for identity, out in self.introducer.receive(neighbour, frame, self._clock.now()):
                self._send(identity, out)

    def _send(self, identity: bytes, frame: Frame) -> bool:
        link = self._links.get(identity)
        return link is not None and link.send_gossip(encode_frame(frame))

    def addresses(self) -> list[PeerAddress]:
        """Our introducers, as our record names them."""
        return [PeerAddress.via(identity, host) for identity, host in self.chosen.items()]

    # --- being introduced ------------------------------------------------------------------------

    def needs(self, identity: bytes) -> bool:
        """Whether the link to a neighbour must stay: it introduces us."""
        return identity in self.chosen

    def choose(self) -> bool:
        """Pick introducers among the relays that are known; return whether there are others now."""
        now = self._clock.now()
        fitting = [
            record.identity
            for record in self._table.relays()
            if Capability.INTRODUCER in record.capabilities
            and record.is_dialable
            and record.identity not in self.chosen
            and record.identity != self._own
            and self._shunned.get(record.identity, 0.0) <= now
        ]
        fitting.sort(key=lambda _: self._random_bytes(8))
        added = fitting[: max(0, WANTED - len(self.chosen))]
        for identity in added:
            self.chosen[identity] = ""
            self._silent_since[identity] = now
            self._links.keep(identity)
        return bool(added)

    async def _be_introduced(self) -> None:
        """Keep introducers: ask those that are linked to hold us, replace those that are gone."""
        while True:
            now = self._clock.now()
            is_other = self._drop_lost(now)
            is_other |= self.choose()
            if is_other:
                self._changed()
            for identity in self.chosen:
                link = self._links.get(identity)
                due = self._asked_at.get(identity, float("-inf")) + HOLD_AGAIN_S
                # An introducer holds who dialled it; a link of the other way shows it no address of ours.
                is_held = identity in self._held_by
                if link is not None and link.is_initiator and not is_held and now >= due:
                    self._asked_at[identity] = now
                    self._send(identity, Hold())
            await asyncio.sleep(LOOK_S if self.chosen else LOOK_S / 4)

    def _drop_lost(self, now: float) -> bool:
        for identity in self.chosen:
            if identity in self._held_by:
                self._silent_since[identity] = now
        lost = [one for one in self.chosen if now - self._silent_since[one] >= LOST_S]
        for identity in lost:
            self._give_up(identity, now)
        return bool(lost)

    def _give_up(self, identity: bytes, now: float) -> None:
        self.chosen.pop(identity, None)
        self._held_by.discard(identity)
        self._silent_since.pop(identity, None)
        self._asked_at.pop(identity, None)
        self._calls.pop(identity, None)
        self._shunned = {one: until for one, until in self._shunned.items() if until > now}
        self._shunned[identity] = now + 10 * LOST_S
        self._links.release(identity)

    def _held(self, neighbour: bytes, frame: Held) -> None:
        if neighbour not in self.chosen:
            return
        if frame.status is not HeldStatus.HELD:
            self._give_up(neighbour, self._clock.now())
            self._changed()
            return
        if neighbour in self._held_by:
            return  # not asked: each other address would be another record of ours for all to pass on
        self._held_by.add(neighbour)
        if frame.endpoint.host and frame.endpoint.host != self.chosen[neighbour]:
            self.chosen[neighbour] = frame.endpoint.host
            self._changed()

    def _called(self, introducer: bytes, frame: Call) -> None:
        """Somebody asks us, by one of our introducers, to dial him."""
        if introducer not in self.chosen:
            raise RemoteProtocolError("call: by one that does not introduce us")
        status, now = AnswerStatus.REFUSED, self._clock.now()
        if self._calls.setdefault(introducer, Bucket(CALLED_BURST, CALLED_RATE, now)).take(1, now):
            asker = self._table.admit(frame.record, introducer.hex())
            if asker.identity in (self._own, introducer):
                raise RemoteProtocolError("call: to dial ourselves, or the introducer")
            status = self._follow(introducer, asker, frame)
        self._send(introducer, Answer(frame.nonce, status))

    def _follow(self, introducer: bytes, asker: PeerRecord, frame: Call) -> AnswerStatus:
        self.counts.followed += 1
        if Flags.BEHIND not in frame.flags:
            self._tasks.start("dial back", self._quietly(self._links.connect, asker.identity))
            return AnswerStatus.DIALLING
        link = self._links.get(introducer)
        ends = link.open_ends if link is not None else None
        if ends is None or self._puncher is None or not frame.endpoint.is_whole:
            return AnswerStatus.REFUSED
        if asker.identity not in self._punching:
            if not self._may_punch(asker, frame.endpoint):
                return AnswerStatus.REFUSED
            work = self._quietly(self._punch, self._puncher, asker, ends[0], frame.endpoint)
            self._tasks.start("punch", work)
        return AnswerStatus.PUNCHING

    def _may_punch(self, other: PeerRecord, remote: Endpoint) -> bool:
        """Whether to dial where an introducer sees a relay: only a place that it names itself, and seldom."""
        limits = self._punch_limits
        return is_place_of(other, remote) and (limits is None or limits.take(remote.host, self._clock.now()))

    async def _punch(
        self, puncher: Puncher, other: PeerRecord, local: tuple[str, int], remote: Endpoint
    ) -> None:
        """Dial at once with the other end; the smaller identity opens the link, for both may have asked."""
        self.counts.punches += 1
        self._punching.add(other.identity)
        try:
            if self._own < other.identity:
                await puncher.dial(other, local, remote)
            else:
                await puncher.accept(local, remote)
        finally:
            self._punching.discard(other.identity)
        self.counts.punched += 1

    @staticmethod
    async def _quietly(work: Callable[[Unpack[_Given]], Awaitable[object]], *given: *_Given) -> None:
        with contextlib.suppress(VigilnetError, OSError):
            await work(*given)

    # --- asking to be dialled --------------------------------------------------------------------

    async def introduce(self, record: PeerRecord) -> None:
        """Have a relay that nobody can dial dial us, or dial it from both ends at once; then there is a link.

        Raises:
            IntroductionError: none of its introducers could bring that about.
        """
        if self._links.get(record.identity) is not None:
            return  # it has dialled us by itself
        self.counts.asked += 1
        introducers = [one for one in record.introducers if self._may_ask(one)]
        introducers.sort(key=lambda one: (self._links.get(one) is None, self._random_bytes(8)))
        reason = "the relay is behind a router, and none of its introducers can be reached"
        for introducer in introducers[:MAX_TRIED]:
            try:
                await self._ask(introducer, record)
            except (VigilnetError, OSError) as error:
                reason = str(error) or "the relay's introducer does not answer"
            if self._links.get(record.identity) is not None:
                return
        self.counts.failed += 1
        raise IntroductionError(reason)

    def _may_ask(self, introducer: bytes) -> bool:
        record = self._table.get(introducer)
        return introducer != self._own and record is not None and record.is_dialable

    async def _ask(self, introducer: bytes, record: PeerRecord) -> None:
        if len(self._answers) >= MAX_ASKED:
            raise IntroductionError("introduction: too many are under way")
        async with asyncio.timeout(ANSWER_S):
            link = await self._links.connect(introducer)
        nonce, opened = self._random_bytes(NONCE_SIZE), asyncio.Event()
        answer = self._answers[nonce] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(record.identity, set()).add(opened)
        try:
            flags = Flags.BEHIND if self._is_behind else NO_FLAGS
            link.send_gossip(encode_frame(Introduce(nonce, record.identity, flags)))
            async with asyncio.timeout(ANSWER_S):
                said = await answer
            await self._meet(record, link, said, opened)
        finally:
            self._answers.pop(nonce, None)
            events = self._waiting[record.identity]
            events.discard(opened)
            if not events:
                del self._waiting[record.identity]

    async def _meet(
        self, record: PeerRecord, link: IntroductionLink, said: Answer, opened: asyncio.Event
    ) -> None:
        """Wait for the link that the relay dials, or dial from this end too."""
        if said.status is AnswerStatus.DIALLING and not self._is_behind:
            async with asyncio.timeout(LINK_S):
                await opened.wait()
            self.counts.dialled_back += 1
            return
        ends, puncher = link.open_ends, self._puncher
        is_offered = said.status is AnswerStatus.PUNCHING and self._is_behind  # else nobody asked for it
        if not is_offered or puncher is None or ends is None:
            raise IntroductionError(f"the relay is behind a router: {said.status.name.lower()}")
        if not said.endpoint.is_whole:
            raise IntroductionError("both relays are behind routers, and one does not link in the open")
        if record.identity not in self._punching:  # else the relay has asked for us, too
            if not self._may_punch(record, said.endpoint):
                raise IntroductionError(
                    "both relays are behind routers, and one is seen where it does not say"
                )
            await self._punch(puncher, record, ends[0], said.endpoint)
        async with asyncio.timeout(LINK_S):
            await opened.wait()
