"""What is remembered of one identity, and its form on disk (docs/spec/peer.md section 6)."""

from dataclasses import dataclass, replace
from typing import Final

from vigilnet.base.codec import Value
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE, OnionKey, PeerRecord, parse_record
from vigilnet.peer.sources import LONE_NAMES, Source
from vigilnet.peer.wire import read_array, read_map, read_octets, read_uint
from vigilnet.peer.work import NONCE_SIZE, epoch_of

MAX_SOURCES_KEPT: Final = 4
MAX_ONION_DAYS: Final = 4  # days whose onion key is remembered: more than a record lives
OUR_DISK: Final = Source("our own disk", is_limited=False, name="cache")


@dataclass
class Memory:
    """What is remembered of one identity, longer than its record lives."""

    sequence: int  # the highest seen
    digest: bytes  # of the record with that sequence
    epoch: int  # of the work that was checked last
    nonce: bytes  # of that work: another nonce would make us pass on what others blame us for
    heard: int  # Unix seconds of the last record accepted
    record: PeerRecord | None = None  # the one to use, or the revocation
    onion_keys: tuple[OnionKey, ...] = ()  # one per day, also of records that are gone
    sources: tuple[Source, ...] = ()  # of different places that named the record
    is_reached: bool = False
    revoked_until: int = 0  # Unix seconds; outlasts the revocation itself when there is no room for it
    marked_until: int = 0  # Unix seconds: signed different records, for whatever reason
    refused_until: int = 0  # Unix seconds, the same at every node: signed different onion keys for one day
    proof: tuple[bytes, bytes] | None = None

    @property
    def is_revocation(self) -> bool:
        """Whether the record is a revocation."""
        return self.record is not None and self.record.revoked

    @property
    def weighty_until(self) -> int:
        """Until when there is more to remember than a sequence, Unix seconds; 0 if there is not."""
        return max(self.revoked_until, self.marked_until, self.refused_until)

    def has_other_onion_key(self, record: PeerRecord) -> bool:
        """Whether `record` has another onion key for a day than was seen before."""
        seen = {key.day: key.public for key in self.onion_keys}
        return any(seen.get(key.day, key.public) != key.public for key in record.onion_keys)

    def conflicts_with(self, record: PeerRecord) -> bool:
        """Whether the identity, if it signed `record`, has signed two things where it must sign one."""
        same_sequence = record.sequence == self.sequence and record.digest != self.digest
        return same_sequence or self.has_other_onion_key(record)

    def is_stale(self, record: PeerRecord) -> bool:
        """Whether `record` is older than what was seen; the newest may come back after it was dropped."""
        is_dropped_one = self.record is None and record.digest == self.digest
        return record.sequence <= self.sequence and not is_dropped_one

    def name_by(self, source: Source) -> None:
        """Note one more source of the record, if of another place: many of one must not crowd others out."""
        places = [(known.place, known.name in LONE_NAMES) for known in self.sources]
        if (source.place, source.name in LONE_NAMES) not in places and len(places) < MAX_SOURCES_KEPT:
            self.sources = (*self.sources, source)

    def updated(self, record: PeerRecord, source: Source, wall: int) -> "Memory":
        """Return what is remembered once `record` was accepted."""
        days = {key.day: key for key in (*self.onion_keys, *record.onion_keys)}
        newest = max((self.sequence, self.digest), (record.sequence, record.digest))
        return replace(
            self,
            sequence=newest[0],
            digest=newest[1],
            epoch=epoch_of(record.published),
            nonce=record.nonce,
            heard=wall,
            record=record,
            onion_keys=tuple(days[day] for day in sorted(days))[-MAX_ONION_DAYS:],
            sources=(source,),
            revoked_until=record.end if record.revoked else self.revoked_until,
        )


def memory_values(identity: bytes, memory: Memory) -> dict[int, Value]:
    """Return a memory as plain values for the disk."""
    return {
        0: identity,
        1: memory.sequence,
        2: memory.digest,
        3: memory.epoch,
        4: memory.heard,
        5: b"" if memory.record is None else memory.record.encoded,
        6: [[key.public, key.not_after] for key in memory.onion_keys],
        7: memory.marked_until,
        8: memory.refused_until,
        9: memory.proof or [],
        10: memory.nonce,
        11: memory.is_reached,
        12: memory.revoked_until,
    }


def read_memory(value: Value, network: str) -> tuple[bytes, Memory]:
    """Return identity and memory of what `memory_values` gave; signatures are not checked again."""
    fields = read_map(value, "memory of a peer")
    if fields.keys() != set(range(13)) or type(fields[11]) is not bool:
        raise RemoteProtocolError("memory of a peer: keys missing, unknown or of a wrong type")
    identity = read_octets(fields[0], "memory of a peer: identity", 32)
    encoded = read_octets(fields[5], "memory of a peer: record", 0, MAX_RECORD_SIZE)
    record = parse_record(encoded, network) if encoded else None
    if record is not None and record.identity != identity:
        raise RemoteProtocolError("memory of a peer: record of another identity")
    proof = read_array(fields[9], "memory of a peer: proof", 0, 2)
    pair = [read_octets(item, "memory of a peer: proof", 1, MAX_RECORD_SIZE) for item in proof]
    keys = read_array(fields[6], "memory of a peer: onion keys", 0, MAX_ONION_DAYS)
    return identity, Memory(
        sequence=read_uint(fields[1], "memory of a peer: sequence"),
        digest=read_octets(fields[2], "memory of a peer: digest", 32),
        epoch=read_uint(fields[3], "memory of a peer: epoch"),
        nonce=read_octets(fields[10], "memory of a peer: nonce", NONCE_SIZE),
        heard=read_uint(fields[4], "memory of a peer: time"),
        record=record,
        onion_keys=tuple(map(_read_onion_key, keys)),
        sources=(OUR_DISK,) if record else (),
        is_reached=fields[11] is True,
        revoked_until=read_uint(fields[12], "memory of a peer: time"),
        marked_until=read_uint(fields[7], "memory of a peer: time"),
        refused_until=read_uint(fields[8], "memory of a peer: time"),
        proof=(pair[0], pair[1]) if len(pair) == 2 else None,
    )


def _read_onion_key(value: Value) -> OnionKey:
    public, not_after = read_array(value, "memory of a peer: onion key", 2, 2)
    return OnionKey(
        read_octets(public, "memory of a peer: onion key", 32),
        read_uint(not_after, "memory of a peer: not-after"),
    )
