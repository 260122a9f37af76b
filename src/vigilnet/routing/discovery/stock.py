"""What this relay passes on: the peer table as gossip serves it (discovery.md sections 5.4, 5.5)."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import PeerRecord, is_signature_valid, parse_record
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome, Verdict
from vigilnet.routing.discovery.inventory import Inventory
from vigilnet.routing.discovery.limits import PrefixLimits
from vigilnet.routing.discovery.wire import (
    KEY_SIZE,
    PROVEN,
    REVOKED,
    Item,
    ItemType,
    decode_proof,
    encode_proof,
    pack_entry,
    split_entry,
)

MAX_REFUSED: Final = 8192
_FINAL: Final = (Outcome.OWN, Outcome.STALE, Outcome.REVOKED, Outcome.EQUIVOCATING)  # whoever signed it
REFUSED_S: Final = 600.0  # what the table refused is not asked for again


class Table(Protocol):
    """What gossip needs of the peer table."""

    network: str
    work_bits: int
    version: int

    def offer(self, encoded: bytes, source: Source, wall: float, now: float) -> Verdict:
        """Judge a record."""
        ...

    def offer_proof(self, first: bytes, second: bytes, source: Source, wall: float, now: float) -> Verdict:
        """Judge a proof of equivocation."""
        ...

    def records(self) -> Iterator[PeerRecord]:
        """Give all records."""
        ...

    def revocations(self) -> Iterator[PeerRecord]:
        """Give all revocations."""
        ...

    def proofs(self) -> Iterator[tuple[bytes, bytes]]:
        """Give all proofs of equivocation."""
        ...

    def is_reached(self, identity: bytes) -> bool:
        """Whether we dialled it with success."""
        ...


class Judged:
    """What became of an item, and which identity and version it is about."""

    __slots__ = ("entry", "is_fault", "is_new", "key", "verdict", "version")

    def __init__(self, verdict: Verdict, key: bytes, version: int) -> None:
        self.verdict = verdict
        self.key = key
        self.version = version
        self.entry = pack_entry(key, version)
        self.is_fault = verdict.is_fault  # whoever sent it cannot have checked it
        self.is_new = False  # it is passed on from now on


class Stock:
    """The items that are passed on, those that are not yet, and those that never will be.

    Args:
        table: the peer table.
        own: gives our own encoded record, b"" while there is none.
        has_prefix_limits: off in labs and LANs, where all share one prefix.
    """

    def __init__(self, table: Table, own: Callable[[], bytes], *, has_prefix_limits: bool) -> None:
        self._table = table
        self._own = own
        self._limits = PrefixLimits() if has_prefix_limits else None
        self.inventory = Inventory()
        self._refused: dict[bytes, float] = {}  # entry to until when
        self._withheld: set[bytes] = set()  # entries that we know and do not pass on yet
        self._seen = -1  # version of the table that the inventory tells
        self.own_key = b""

    @property
    def is_current(self) -> bool:
        """Whether the inventory tells the present table; else `look`."""
        return self._table.version == self._seen

    def is_wanted(self, entry: bytes) -> bool:
        """Whether an entry of a neighbour is news to us."""
        key, version = split_entry(entry)
        return (
            key != self.own_key
            and version > self.inventory.version(key)
            and entry not in self._refused
            and entry not in self._withheld
        )

    def is_costly(self, key: bytes) -> bool:
        """Whether an item under `key` will have its identity's work checked."""
        return self._table.work_bits > 0 and key not in self.inventory

    def judge(self, item: Item, source: Source, now: float, wall: float) -> Judged | None:
        """Have the table judge an item, and hold it if it is good; None: malformed."""
        was_current = self.is_current
        try:
            verdict, records = self._offer(item, source, now, wall)
        except RemoteProtocolError:
            return None
        judged = Judged(verdict, records[0].identity[:KEY_SIZE], version_of(records[0], item))
        if verdict.is_accepted:
            judged.is_new = self._hold(records[0], judged.version, item, now)
        elif verdict.outcome in _FINAL:
            self._refuse(judged.entry, now)
        elif verdict.outcome is Outcome.NOT_CURRENT:
            # decided without a look at the signature: a forgery must not keep the real one out
            judged.is_fault = not all(is_signature_valid(record, self._table.network) for record in records)
            if not judged.is_fault:
                self._refuse(judged.entry, now)
        if was_current:
            self._seen = self._table.version
        return judged

    def _offer(self, item: Item, source: Source, now: float, wall: float) -> tuple[Verdict, list[PeerRecord]]:
        """Return the verdict and the records in an item."""
        table = self._table
        if item.type is ItemType.PROOF:
            pair = decode_proof(item.octets)
            records = [parse_record(encoded, table.network) for encoded in pair]
            return table.offer_proof(*pair, source, wall, now), records
        verdict = table.offer(item.octets, source, wall, now)
        return verdict, [verdict.record or parse_record(item.octets, table.network)]

    def _refuse(self, entry: bytes, now: float) -> None:
        while len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[entry] = now + REFUSED_S

    def _hold(self, record: PeerRecord, version: int, item: Item, now: float) -> bool:
        """Serve an item from now on, unless its prefix has had its share; return whether we do."""
        key = record.identity[:KEY_SIZE]
        entry = pack_entry(key, version)
        if not self._may_pass(record, version, now):
            self._withheld.add(entry)
            return False
        self._withheld.discard(entry)
        self.inventory.put(key, version, item)
        return True

    def _may_pass(self, record: PeerRecord, version: int, now: float) -> bool:
        key = record.identity[:KEY_SIZE]
        is_free = (
            self._limits is None
            or key in self.inventory
            or key == self.own_key
            or version == PROVEN
            or self._table.is_reached(record.identity)
        )
        return is_free or self._limits is None or self._limits.may_pass(record, now)

    def look(self, now: float) -> list[bytes]:
        """Take over what other sources changed in the table, and what expired; return the new entries."""
        self._refused = {entry: until for entry, until in self._refused.items() if until > now}
        if self.is_current and not self._withheld and not self._is_own_new():
            return []
        held = {
            record.identity[:KEY_SIZE]: (version_of(record, item), record, item)
            for record, item in self._current()
        }
        for key in [entry[:KEY_SIZE] for entry in self.inventory]:
            if key not in held:
                self.inventory.drop(key)
        self._withheld = {
            entry for entry in self._withheld if held.get(entry[:KEY_SIZE], (0,))[0] == split_entry(entry)[1]
        }
        self._seen = self._table.version
        return [
            pack_entry(key, version)
            for key, (version, record, item) in held.items()
            if self.inventory.version(key) != version and self._hold(record, version, item, now)
        ]

    def _is_own_new(self) -> bool:
        item = self.inventory.item(self.own_key)
        return self._own() != (b"" if item is None else item.octets)

    def _current(self) -> Iterator[tuple[PeerRecord, Item]]:
        """Give everything that could be passed on, of one identity the weightiest last."""
        own, network = self._own(), self._table.network
        if own:
            record = parse_record(own, network)
            self.own_key = record.identity[:KEY_SIZE]
            yield record, Item(ItemType.RECORD, own)
        for record in self._table.records():
            yield record, Item(ItemType.RECORD, record.encoded)
        for first, second in self._table.proofs():
            yield parse_record(first, network), Item(ItemType.PROOF, encode_proof(first, second))
        for record in self._table.revocations():
            yield record, Item(ItemType.RECORD, record.encoded)


def version_of(record: PeerRecord, item: Item) -> int:
    """Return the version of an item about the identity of `record`."""
    if item.type is ItemType.PROOF:
        return PROVEN
    return REVOKED if record.revoked else record.sequence
