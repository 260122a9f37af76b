"""Gossip between relays: new records spread at once, comparisons mend what was missed (sans-IO).

What is new is announced to a few neighbours, who ask for it; own records, revocations and proofs go
whole. Now and then two tables are compared (`inventory`). The peer table alone judges what comes; only
what it accepted is passed on (docs/spec/discovery.md section 5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome
from vigilnet.routing.discovery.asking import Asking
from vigilnet.routing.discovery.inventory import begin, compare
from vigilnet.routing.discovery.neighbour import MAX_SERVE, Neighbour
from vigilnet.routing.discovery.stock import Stock, Table
from vigilnet.routing.discovery.wire import (
    MAX_HAVE,
    PROVEN,
    SALT_SIZE,
    Frame,
    Have,
    Item,
    Items,
    ItemType,
    Ranges,
    Want,
    decode_frame,
    encode_frame,
    item_size,
    pack_items,
    split_entry,
)

# Our choice.
MAX_PARTNERS: Final = 32  # of those who dialled us
MAX_PARTNERS_PER_PREFIX: Final = 2
MAX_LEFT: Final = 256  # neighbours that are gone and remembered

_T = TypeVar("_T")


@dataclass(frozen=True)
class Pace:
    """Times and numbers of gossip."""

    flush_s: float = 0.25  # how long news are gathered
    round_s: float = 60.0  # between two comparisons that we begin
    look_s: float = 1.0  # from a change of the table by others to our noticing
    sweep_s: float = 60.0  # between two full looks at the table
    tick_s: float = 0.25  # while something waits
    ask_s: float = 4.0  # then another neighbour is asked
    fanout: int = 6


class Gossip:
    """One relay's part.

    Args:
        table: the peer table.
        random_bytes: chance.
        own: gives our own encoded record, b"" while there is none.
        now: monotonic seconds.
        pace: times and numbers.
        has_prefix_limits: off in labs and LANs, where all share one prefix.
    """

    def __init__(
        self,
        table: Table,
        random_bytes: Callable[[int], bytes],
        own: Callable[[], bytes],
        now: float,
        pace: Pace | None = None,
        *,
        has_prefix_limits: bool = True,
    ) -> None:
        self._random_bytes = random_bytes
        self._own = own
        self._pace = pace or Pace()
        self._has_prefix_limits = has_prefix_limits
        self.neighbours: dict[bytes, Neighbour] = {}
        self.stock = Stock(table, own, has_prefix_limits=has_prefix_limits)
        self._asking = Asking(self.stock, self.neighbours, self._send_want, self._pace.ask_s)
        self._left: dict[bytes, Neighbour] = {}  # neighbours that are gone, the last one last
        self._rotation: list[bytes] = []
        self._fresh: dict[bytes, bytes] = {}  # entry to who brought it, b"" for nobody
        self._outbox: list[tuple[bytes, bytes]] = []
        self._flush_at: float | None = None
        self._look_at = now
        self._round_at = now + self._pace.round_s
        self._tick_at: float | None = None

    # --- neighbours ------------------------------------------------------------------------------

    def join(self, identity: bytes, source: Source, now: float, *, is_ours: bool) -> None:
        """A link to a relay has opened; who dialled it begins a comparison."""
        is_partner = is_ours or self._has_place_for(source)
        neighbour = Neighbour.at(identity, source, now, is_ours=is_ours, is_partner=is_partner)
        before = self._left.pop(identity, None)
        if before is not None:
            neighbour.resume(before)
        self.neighbours[identity] = neighbour
        own = self._own()
        if own:
            self._send(neighbour, Items((Item(ItemType.RECORD, own),)), now)
        if is_ours and not neighbour.is_muted(now):
            self._begin(neighbour, now)

    def _has_place_for(self, source: Source) -> bool:
        guests = [one for one in self.neighbours.values() if one.is_partner and not one.is_ours]
        alike = sum(one.source.key == source.key for one in guests)
        is_crowded = self._has_prefix_limits and alike >= MAX_PARTNERS_PER_PREFIX
        return len(guests) < MAX_PARTNERS and not is_crowded

    def leave(self, identity: bytes, now: float) -> None:
        """The link is gone; what was asked there is asked elsewhere."""
        neighbour = self.neighbours.pop(identity, None)
        if neighbour is not None:
            self._asking.left(neighbour, now)
            while len(self._left) >= MAX_LEFT:
                del self._left[next(iter(self._left))]
            self._left[identity] = neighbour
            neighbour.queue.clear()
            neighbour.serve.clear()

    # --- receiving -------------------------------------------------------------------------------

    def receive(self, identity: bytes, body: bytes, now: float, wall: float) -> None:
        """Take one frame from a neighbour; what it does wrong costs it our ear, not the link."""
        neighbour = self.neighbours.get(identity)
        if neighbour is None or neighbour.is_muted(now):
            return
        neighbour.octets_received += len(body)
        neighbour.frames_received += 1
        neighbour.unanswered = 0
        if not neighbour.hearing.take(len(body), now):
            return
        try:
            frame = decode_frame(body)
        except RemoteProtocolError:
            self._blame(neighbour, now)
            return
        match frame:
            case Ranges():
                self._on_ranges(neighbour, frame, now)
            case Have():
                self._want(neighbour, list(filter(self.stock.is_wanted, frame.entries)), now)
            case Want():
                room = max(0, MAX_SERVE - len(neighbour.serve))
                neighbour.serve.extend(frame.keys[:room])
                self._serve(neighbour, now)
            case Items():
                self._on_items(neighbour, frame.items, now, wall)
        self._wait(now)

    def _blame(self, neighbour: Neighbour, now: float) -> None:
        neighbour.blame(now)
        if neighbour.is_muted(now):
            self._asking.left(neighbour, now)

    def _on_ranges(self, neighbour: Neighbour, step: Ranges, now: float) -> None:
        if not neighbour.steps.take(1, now):
            return
        found = compare(self.stock.inventory, step, self.stock.is_wanted)
        if found.reply is not None:
            self._send(neighbour, found.reply, now)
        self._tell(neighbour, found.have, now)
        self._want(neighbour, found.want, now)

    def _want(self, neighbour: Neighbour, entries: list[bytes], now: float) -> None:
        if neighbour.is_partner and entries:
            self._asking.want(neighbour, entries, now)

    def _on_items(self, neighbour: Neighbour, items: Sequence[Item], now: float, wall: float) -> None:
        for item in items:
            is_asked = neighbour.asked > 0
            if not neighbour.is_partner or not (is_asked or neighbour.unasked.take(1, now)):
                return
            neighbour.asked -= is_asked
            self._take(neighbour, item, now, wall)
            if neighbour.is_muted(now):
                return
        self._asking.ask(neighbour, now)

    def _take(self, neighbour: Neighbour, item: Item, now: float, wall: float) -> None:
        """Have one item judged, and draw the consequences."""
        judged = self.stock.judge(item, neighbour.source, now, wall)
        if judged is None:
            self._blame(neighbour, now)
            return
        self._asking.came(judged.key, judged.version, neighbour)
        if judged.is_fault:
            self._blame(neighbour, now)
        elif judged.verdict.outcome is Outcome.LATER:
            self._asking.put_off(neighbour, judged.key, judged.version)
        elif judged.is_new:
            self._announce(judged.entry, neighbour.identity, now)

    def _announce(self, entry: bytes, origin: bytes, now: float) -> None:
        self._fresh[entry] = origin
        if self._flush_at is None:
            self._flush_at = now + self._pace.flush_s

    # --- sending ---------------------------------------------------------------------------------

    def frames_to_send(self) -> list[tuple[bytes, bytes]]:
        """Return what goes out now: the neighbour's identity and the frame."""
        frames, self._outbox = self._outbox, []
        return frames

    def _send(self, neighbour: Neighbour, frame: Frame, now: float, *, is_paid: bool = False) -> None:
        """Send a frame if the neighbour's share allows it; what is left out the next comparison finds."""
        body = encode_frame(frame)
        if is_paid or neighbour.sending.take(len(body), now):
            neighbour.octets_sent += len(body)
            neighbour.frames_sent += 1
            self._outbox.append((neighbour.identity, body))

    def _send_want(self, neighbour: Neighbour, keys: tuple[bytes, ...], now: float) -> None:
        self._send(neighbour, Want(keys), now)

    def _begin(self, neighbour: Neighbour, now: float) -> None:
        neighbour.unanswered += 1
        self._send(neighbour, begin(self.stock.inventory, self._random_bytes(SALT_SIZE)), now)

    def _tell(self, neighbour: Neighbour, entries: Sequence[bytes], now: float) -> None:
        for at in range(0, len(entries), MAX_HAVE):
            self._send(neighbour, Have(tuple(entries[at : at + MAX_HAVE])), now)

    def _serve(self, neighbour: Neighbour, now: float) -> None:
        """Send what a neighbour asked for, as far as its share goes."""
        items: list[Item] = []
        while neighbour.serve:
            item = self.stock.inventory.item(neighbour.serve[0])
            if item is not None:
                if not neighbour.sending.take(item_size(item), now):
                    break
                items.append(item)
            neighbour.serve.popleft()
        for frame in pack_items(items):
            self._send(neighbour, frame, now, is_paid=True)

    # --- time ------------------------------------------------------------------------------------

    def learned(self, now: float) -> None:
        """The table was changed by another source, or our own record was: look at it soon."""
        self._look_at = min(self._look_at, now + self._pace.look_s)

    def deadline(self) -> float:
        """When `on_deadline` wants to be called."""
        times = (self._flush_at, self._tick_at, self._look_at, self._round_at)
        return min(time for time in times if time is not None)

    def on_deadline(self, now: float) -> None:
        """Do what is due."""
        pace = self._pace
        if now >= self._look_at:
            self._look_at = now + pace.sweep_s
            for entry in self.stock.look(now):
                self._announce(entry, b"", now)
        if self._flush_at is not None and now >= self._flush_at:
            self._flush_at = None
            self._flush(now)
        if now >= self._round_at:
            self._round_at = now + pace.round_s
            self._compare_with_next(now)
        if self._tick_at is not None and now >= self._tick_at:
            self._tick_at = None
            self._tick(now)

    def _wait(self, now: float) -> None:
        """Come back soon if something waits."""
        if self._tick_at is None and (
            self._asking or any(one.queue or one.serve for one in self.neighbours.values())
        ):
            self._tick_at = now + self._pace.tick_s

    def _tick(self, now: float) -> None:
        self._asking.overdue(now)
        for neighbour in list(self.neighbours.values()):
            if neighbour.serve:
                self._serve(neighbour, now)
            if neighbour.queue:
                self._asking.ask(neighbour, now)
        self._wait(now)

    def _flush(self, now: float) -> None:
        """Tell a few neighbours what is new."""
        fresh, self._fresh = self._fresh, {}
        for neighbour in self._chosen(self._pace.fanout, now):
            whole, entries = self._news_for(neighbour, fresh)
            for frame in pack_items(whole):
                self._send(neighbour, frame, now)
            self._tell(neighbour, entries, now)

    def _news_for(self, neighbour: Neighbour, fresh: dict[bytes, bytes]) -> tuple[list[Item], list[bytes]]:
        """Return what a neighbour is sent whole, and what is announced to it."""
        whole: list[Item] = []
        entries: list[bytes] = []
        inventory = self.stock.inventory
        for entry, origin in fresh.items():
            key, version = split_entry(entry)
            item = inventory.item(key)
            if origin == neighbour.identity or item is None or inventory.version(key) != version:
                continue
            if version >= PROVEN or key == self.stock.own_key:
                whole.append(item)
            else:
                entries.append(entry)
        return whole, entries

    def _chosen(self, count: int, now: float) -> list[Neighbour]:
        """Draw whom to tell: half of them, if there are so many, from those whom we dialled ourselves."""
        partners = [one for one in self.neighbours.values() if one.is_partner and not one.is_muted(now)]
        ours = self._drawn([one for one in partners if one.is_ours], -(-count // 2))
        names = {one.identity for one in ours}
        rest = [one for one in partners if one.identity not in names]
        return [*ours, *self._drawn(rest, count - len(ours))]

    def _drawn(self, items: list[_T], count: int) -> list[_T]:
        """Draw `count` of `items` (which is used up) by chance."""
        for at in range(min(count, len(items))):
            other = at + int.from_bytes(self._random_bytes(4), "big") % (len(items) - at)
            items[at], items[other] = items[other], items[at]
        return items[:count]

    def _compare_with_next(self, now: float) -> None:
        """Begin a comparison with the partner whose turn it is; the order is drawn anew each time round."""
        self._rotation = [identity for identity in self._rotation if identity in self.neighbours]
        if not self._rotation:
            partners = [one.identity for one in self.neighbours.values() if one.is_partner]
            self._rotation = self._drawn(partners, len(partners))
        while self._rotation:
            neighbour = self.neighbours[self._rotation.pop()]
            if not neighbour.is_muted(now):
                self._begin(neighbour, now)
                return
