"""The table of known records, and the rules by which a record enters it (docs/spec/peer.md section 6).

A record is judged by itself, not by where it came from, cheapest check first: digest known → form →
times → sequence → signature → work. What was seen is remembered longer than the record lives: the
highest sequence for 30 d (no rollback), a revocation for 366 d, a proof of equivocation for 30 d.

A record says nothing about reachability: whoever dials calls `mark_reached` after a link handshake
with the record's link key. Limits per prefix belong to the tables of reached peers, not here: else
anyone could claim addresses in a relay's /24 and so keep the relay out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from vigilnet.base.codec import Value
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import (
    DAY_S,
    MAX_RECORD_SIZE,
    PeerRecord,
    is_signature_valid,
    parse_record,
    record_digest,
)
from vigilnet.peer.memory import Memory, memory_values, read_memory
from vigilnet.peer.sources import Source, WorkBudget
from vigilnet.peer.wire import read_array, read_uint
from vigilnet.peer.work import DEFAULT_BITS, epoch_of, is_work_done

MAX_EARLY_S: Final = 600
MEMORY_S: Final = 30 * DAY_S
MAX_RECORDS: Final = (
    8192  # our choice, below 40 MB; a quarter as many revocations, four times as many memories
)
EXPIRE_EACH_S: Final = 60
_VERSION: Final = 1


class Outcome(Enum):
    """What became of an offered record."""

    ACCEPTED = "accepted"
    KNOWN = "known already"
    OWN = "our own"
    STALE = "older than one seen before"
    NOT_CURRENT = "expired, or from the future"
    REVOKED = "of a revoked identity"
    EQUIVOCATING = "of an identity that signs different records for different peers"
    LATER = "too many new identities at once, offer it again later"
    MUTED = "source is muted"
    MALFORMED = "malformed"
    BAD_SIGNATURE = "not signed by its identity in this network"
    BAD_WORK = "without its identity work"


@dataclass(frozen=True)
class Verdict:
    """What became of an offered record, and why."""

    outcome: Outcome
    reason: str  # safe to show and to log
    record: PeerRecord | None = None  # the accepted one

    @property
    def is_accepted(self) -> bool:
        """Whether the record is new and now in the table: pass it on."""
        return self.outcome is Outcome.ACCEPTED

    @property
    def is_fault(self) -> bool:
        """Whether whoever offered it broke the rules: an honest node passes on only what it has checked."""
        return self.outcome in (Outcome.MALFORMED, Outcome.BAD_SIGNATURE, Outcome.BAD_WORK)


@dataclass
class PeerView:
    """All records that this node knows; `wall` is Unix seconds, `now` monotonic seconds.

    Args:
        network: name of a private network.
        work_bits: identity work asked of new identities.
        own: our own identity, whose records are not taken from others.
        max_records: how many records are kept; beyond it the oldest of the source that brought most
            is dropped, those of reached peers last.
    """

    network: str = ""
    work_bits: int = DEFAULT_BITS
    own: bytes | None = None
    max_records: int = MAX_RECORDS
    _memories: dict[bytes, Memory] = field(default_factory=dict)  # by identity, the last heard last
    _records: dict[bytes, bytes] = field(default_factory=dict)  # digest to identity
    _revocations: dict[bytes, bytes] = field(default_factory=dict)  # digest to identity
    _budget: WorkBudget = field(default_factory=WorkBudget)
    _expired_at: int = 0
    on_accepted: Callable[[PeerRecord], None] = lambda record: None  # told of every new record
    version: int = 0  # grows with every change of what `records`, `revocations` and `proofs` give

    def __len__(self) -> int:
        return len(self._records)

    def get(self, identity: bytes) -> PeerRecord | None:
        """Return the record of an identity, unless there is none that may be used."""
        memory = self._memories.get(identity)
        return None if memory is None or memory.is_revocation else memory.record

    def records(self) -> Iterator[PeerRecord]:
        """Give all records that may be used."""
        return self._of(self._records)

    def revocations(self) -> Iterator[PeerRecord]:
        """Give all revocations, which are passed on as long as they last."""
        return self._of(self._revocations)

    def proofs(self) -> Iterator[tuple[bytes, bytes]]:
        """Give pairs of records that prove equivocation, which are passed on, too."""
        return (memory.proof for memory in list(self._memories.values()) if memory.proof is not None)

    def sources(self, identity: bytes) -> tuple[Source, ...]:
        """Return sources of different places that named the very record that `get` returns."""
        memory = self._memories.get(identity)
        return () if memory is None else memory.sources

    def is_equivocating(self, identity: bytes) -> bool:
        """Whether the identity was seen to sign different records for one sequence or day."""
        memory = self._memories.get(identity)
        return memory is not None and max(memory.marked_until, memory.refused_until) > 0

    def offer(self, encoded: bytes, source: Source, wall: float, now: float) -> Verdict:
        """Judge a record and take it in if it is good and new."""
        if self._budget.is_muted(source, now):
            return _refuse(Outcome.MUTED)
        if len(encoded) <= MAX_RECORD_SIZE and self._is_known(encoded, source):
            return _refuse(Outcome.KNOWN)
        try:
            record = parse_record(encoded, self.network)
        except RemoteProtocolError as error:
            return Verdict(Outcome.MALFORMED, str(error))
        memory = self._memories.get(record.identity)
        refusal = self._judge_cheaply(record, memory, int(wall))
        if refusal is None and not is_signature_valid(record, self.network):
            refusal = Outcome.BAD_SIGNATURE
        if refusal is None and memory is not None and not record.revoked and memory.conflicts_with(record):
            self._note_equivocation(memory, record, int(wall))
            refusal = Outcome.EQUIVOCATING
        if refusal is None:
            refusal = self._judge_work(record, memory, source, now)
        if refusal is not None:
            return _refuse(refusal)
        self._store(record, memory, source, int(wall))
        return Verdict(Outcome.ACCEPTED, Outcome.ACCEPTED.value, record)

    def offer_proof(self, first: bytes, second: bytes, source: Source, wall: float, now: float) -> Verdict:
        """Judge two records that prove equivocation, current or not, and refuse their identity for 30 d.

        Only an identity that is known is refused: proofs about others would fill the memory for nothing.
        """
        if self._budget.is_muted(source, now):
            return _refuse(Outcome.MUTED)
        try:
            one, two = (parse_record(encoded, self.network) for encoded in (first, second))
        except RemoteProtocolError as error:
            return Verdict(Outcome.MALFORMED, str(error))
        keys = {key.day: key.public for key in one.onion_keys}
        if one.identity != two.identity or all(
            keys.get(key.day, key.public) == key.public for key in two.onion_keys
        ):
            return Verdict(Outcome.MALFORMED, "proof of equivocation: proves nothing")
        memory = self._memories.get(one.identity)
        if memory is None or int(wall) >= max(one.published, two.published) + MEMORY_S:
            return _refuse(Outcome.NOT_CURRENT)
        if memory.refused_until and memory.proof is not None:
            return _refuse(Outcome.KNOWN)
        if not all(is_signature_valid(record, self.network) for record in (one, two)):
            return _refuse(Outcome.BAD_SIGNATURE)
        memory.proof = (bytes(first), bytes(second))
        memory.refused_until = max(one.published, two.published) + MEMORY_S
        self.version += 1
        if not memory.is_revocation:
            self._drop_record(memory)
        return _refuse(Outcome.ACCEPTED)

    def mark_reached(self, identity: bytes) -> None:
        """A link handshake with the record's link key succeeded."""
        if identity in self._memories:
            self._memories[identity].is_reached = True

    def is_reached(self, identity: bytes) -> bool:
        """Whether `mark_reached` was called for the identity."""
        memory = self._memories.get(identity)
        return memory is not None and memory.is_reached

    def forget(self, identity: bytes) -> None:
        """Drop the record of an identity; its sequence, revocation and proof stay remembered."""
        memory = self._memories.get(identity)
        if memory is not None and not memory.is_revocation:
            self._drop_record(memory)

    def forget_unheard(self, since: float) -> None:
        """Drop the records that were accepted before `since`, Unix seconds; what else is remembered stays."""
        for memory in self._memories.values():
            if memory.heard < since and not memory.is_revocation:
                self._drop_record(memory)

    def expire(self, wall: float) -> None:
        """Drop what is over; call it once a minute or so."""
        now = self._expired_at = int(wall)
        for identity, memory in list(self._memories.items()):
            if memory.record is not None and now >= memory.record.end:
                self._drop_record(memory)
            if now >= memory.marked_until:
                memory.marked_until = 0
            if now >= memory.refused_until:
                self.version += memory.proof is not None
                memory.refused_until, memory.proof = 0, None
            if memory.record is None and now >= max(memory.heard + MEMORY_S, memory.weighty_until):
                del self._memories[identity]

    def to_values(self) -> Value:
        """Return everything as plain values for the disk."""
        return [_VERSION, self.network.encode(), [memory_values(*item) for item in self._memories.items()]]

    def load(self, values: Value, wall: float) -> None:
        """Take in what `to_values` gave; signatures and work of our own disk are not checked again.

        Raises:
            RemoteProtocolError: damaged, or of another network; nothing was taken in.
        """
        version, network, items = read_array(values, "peer view", 3, 3)
        read_uint(version, "peer view version", _VERSION, _VERSION)
        if network != self.network.encode():
            raise RemoteProtocolError("peer view: of another network")
        rows = read_array(items, "peer view entries", 0, 4 * self.max_records)
        self._memories = dict(read_memory(item, self.network) for item in rows)
        self._records, self._revocations = {}, {}
        for identity, memory in self._memories.items():
            if memory.record is not None:
                self._table(memory.record)[memory.record.digest] = identity
        self.version += 1
        self.expire(wall)

    def _of(self, table: dict[bytes, bytes]) -> Iterator[PeerRecord]:
        records = (self._memories[identity].record for identity in list(table.values()))
        return (record for record in records if record is not None)

    def _table(self, record: PeerRecord) -> dict[bytes, bytes]:
        return self._revocations if record.revoked else self._records

    def _is_known(self, encoded: bytes, source: Source) -> bool:
        digest = record_digest(encoded, self.network)
        identity = self._records.get(digest) or self._revocations.get(digest)
        if identity is None:
            return False
        self._memories[identity].name_by(source)
        return True

    def _judge_cheaply(self, record: PeerRecord, memory: Memory | None, wall: int) -> Outcome | None:
        """Say why the record is refused, without any cryptography."""
        if record.identity == self.own:
            return Outcome.OWN
        if not record.published - MAX_EARLY_S <= wall < record.end:
            return Outcome.NOT_CURRENT
        if memory is None:
            return None
        if wall < memory.revoked_until:
            return Outcome.REVOKED
        if record.revoked:
            return None  # final: a thief must not outrun it by higher sequences
        if wall < memory.refused_until:
            return Outcome.EQUIVOCATING
        return Outcome.STALE if memory.is_stale(record) and not memory.conflicts_with(record) else None

    def _judge_work(
        self, record: PeerRecord, memory: Memory | None, source: Source, now: float
    ) -> Outcome | None:
        epoch = epoch_of(record.published)
        if self.work_bits == 0 or (
            memory is not None and (memory.epoch, memory.nonce) == (epoch, record.nonce)
        ):
            return None
        if not self._budget.take(source, now):
            return Outcome.LATER
        if is_work_done(record.identity, record.nonce, epoch, self.work_bits, self.network):
            return None
        self._budget.note_bad_work(source, now)
        return Outcome.BAD_WORK

    def _note_equivocation(self, memory: Memory, record: PeerRecord, wall: int) -> None:
        if not memory.has_other_onion_key(record):
            memory.marked_until = wall + MEMORY_S  # one sequence, two records: the first is kept
            return
        memory.refused_until = record.published + MEMORY_S  # an onion key made for one client
        if memory.record is not None:
            memory.refused_until = max(memory.refused_until, memory.record.published + MEMORY_S)
            memory.proof = (memory.record.encoded, record.encoded)
            self.version += 1
            self._drop_record(memory)

    def _store(self, record: PeerRecord, memory: Memory | None, source: Source, wall: int) -> None:
        if memory is None:
            memory = Memory(record.sequence, record.digest, epoch_of(record.published), record.nonce, wall)
        else:
            self._drop_record(memory)
            del self._memories[record.identity]
        self._make_room(record, wall)
        self._memories[record.identity] = memory.updated(record, source, wall)
        self._table(record)[record.digest] = record.identity
        self.version += 1
        self.on_accepted(record)

    def _drop_record(self, memory: Memory) -> None:
        if memory.record is not None:
            self._table(memory.record).pop(memory.record.digest, None)
            memory.record, memory.sources = None, ()
            self.version += 1

    def _make_room(self, record: PeerRecord, wall: int) -> None:
        """Make room for `record`, so that no table passes its limit."""
        table = self._table(record)
        limit = max(1, self.max_records // 4) if record.revoked else self.max_records
        is_full = len(table) >= limit or len(self._memories) >= 4 * self.max_records
        if is_full and abs(wall - self._expired_at) >= EXPIRE_EACH_S:
            self.expire(wall)
        if len(table) >= limit:
            self._drop_record(self._memories[self._victim(table)])
        if len(self._memories) >= 4 * self.max_records:
            # at least half of them have no record
            spare = [identity for identity, memory in self._memories.items() if memory.record is None]
            light = (identity for identity in spare if not self._memories[identity].weighty_until)
            del self._memories[next(light, spare[0])]

    def _victim(self, table: dict[bytes, bytes]) -> bytes:
        """The record to drop: the oldest of the source that brought most, those of reached peers last."""
        unreached = [identity for identity in table.values() if not self._memories[identity].is_reached]
        brought: dict[str, list[bytes]] = {}
        for identity in unreached or table.values():
            brought.setdefault(self._memories[identity].sources[0].key, []).append(identity)
        return max(brought.values(), key=len)[0]


def _refuse(outcome: Outcome) -> Verdict:
    return Verdict(outcome, outcome.value)
