"""What relays gossip, octet by octet (docs/spec/discovery.md section 5).

    frame  = u8 kind ‖ u16 length ‖ content ‖ padding, ignored           the body of link frame type 6
    1 RANGES   salt 8 ‖ 1 to 512 ranges: u64 last ‖ u8 mode ‖ ...         ascending, the last ends at 2^64-1
                 mode 0 SKIP nothing   1 DIGEST octets 8   2 LIST u8 n ‖ n entries
    2 HAVE     1 to 1023 entries: u64 key ‖ u64 version
    3 WANT     1 to 128 keys u64
    4 ITEMS    items: u8 type ‖ u16 length ‖ octets        type 0 record, 1 proof; others are passed over
    proof  = CBOR [record bstr, record bstr]

An entry stands for the newest that is known of one identity: `key` is the identity's first 8 octets,
`version` its record's sequence, 2^64-2 for a proof of equivocation, 2^64-1 for a revocation.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Final

from vigilnet.base.codec import decode, encode
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE
from vigilnet.peer.wire import read_array, read_octets

MAX_FRAME: Final = 16_384
HEAD_SIZE: Final = 3
MAX_CONTENT: Final = MAX_FRAME - HEAD_SIZE
SALT_SIZE: Final = 8
KEY_SIZE: Final = 8
ENTRY_SIZE: Final = 16
DIGEST_SIZE: Final = 8
MAX_RANGES: Final = 512
MAX_LIST: Final = 255
MAX_HAVE: Final = MAX_CONTENT // ENTRY_SIZE  # 1023
MAX_WANT: Final = 128
MAX_ITEMS: Final = 256  # of one frame, unknown ones too; a record has over 100 octets
LAST_KEY: Final = b"\xff" * KEY_SIZE
REVOKED: Final = (1 << 64) - 1
PROVEN: Final = (1 << 64) - 2
MAX_PROOF_SIZE: Final = 2 * MAX_RECORD_SIZE + 7
_ITEM_LIMITS: Final[dict[int, int]] = {0: MAX_RECORD_SIZE, 1: MAX_PROOF_SIZE}


class Kind(IntEnum):
    """What a frame is."""

    RANGES = 1
    HAVE = 2
    WANT = 3
    ITEMS = 4


class Mode(IntEnum):
    """What is said of a range."""

    SKIP = 0
    DIGEST = 1
    LIST = 2


class ItemType(IntEnum):
    """What an item is; types unknown here are passed over."""

    RECORD = 0
    PROOF = 1


@dataclass(frozen=True, slots=True)
class Range:
    """Keys from behind the range before up to `last`, and what is known of them."""

    last: bytes
    mode: Mode
    digest: bytes = b""
    entries: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranges:
    """One step of comparing two tables; all steps of one comparison have one salt."""

    salt: bytes
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Have:
    """Entries that the sender can serve."""

    entries: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """Keys whose newest item the sender asks for."""

    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A record (also a revocation) or a proof of equivocation, encoded."""

    type: ItemType
    octets: bytes


@dataclass(frozen=True, slots=True)
class Items:
    """Items, asked for or not, and how many of unknown types were among them."""

    items: tuple[Item, ...]
    passed_over: int = field(default=0, compare=False)


Frame = Ranges | Have | Want | Items


def pack_entry(key: bytes, version: int) -> bytes:
    """Return the 16 octets that stand for one version of one identity."""
    return key + version.to_bytes(8, "big")


def split_entry(entry: bytes) -> tuple[bytes, int]:
    """Return key and version."""
    return entry[:KEY_SIZE], int.from_bytes(entry[KEY_SIZE:], "big")


def encode_proof(first: bytes, second: bytes) -> bytes:
    """Return the octets of a proof of equivocation."""
    return encode([first, second])


def decode_proof(octets: bytes) -> tuple[bytes, bytes]:
    """Return the two encoded records of a proof; what they prove is for the peer table."""
    first, second = read_array(decode(octets, "proof", MAX_PROOF_SIZE), "proof", 2, 2)
    return (
        read_octets(first, "proof record", 1, MAX_RECORD_SIZE),
        read_octets(second, "proof record", 1, MAX_RECORD_SIZE),
    )


def encode_frame(frame: Frame) -> bytes:
    """Return one frame.

    Raises:
        LocalProtocolError: more than fits; our own bug.
    """
    match frame:
        case Ranges():
            kind, content = Kind.RANGES, frame.salt + b"".join(map(_encode_range, frame.ranges))
            is_fit = 0 < len(frame.ranges) <= MAX_RANGES
        case Have():
            kind, content = Kind.HAVE, b"".join(frame.entries)
            is_fit = bool(frame.entries)
        case Want():
            kind, content = Kind.WANT, b"".join(frame.keys)
            is_fit = 0 < len(frame.keys) <= MAX_WANT
        case Items():
            kind, content = Kind.ITEMS, b"".join(map(_encode_item, frame.items))
            is_fit = bool(frame.items)
    if not is_fit or len(content) > MAX_CONTENT:
        raise LocalProtocolError(f"gossip {kind.name}: {len(content)} octets, at most {MAX_CONTENT}")
    return bytes((kind,)) + len(content).to_bytes(2, "big") + content


def _encode_range(part: Range) -> bytes:
    head = part.last + bytes((part.mode,))
    if part.mode is Mode.LIST:
        return head + bytes((len(part.entries),)) + b"".join(part.entries)
    return head + part.digest


def _encode_item(item: Item) -> bytes:
    return bytes((item.type,)) + len(item.octets).to_bytes(2, "big") + item.octets


def item_size(item: Item) -> int:
    """Return how many octets of a frame an item takes."""
    return 3 + len(item.octets)


def range_size(part: Range) -> int:
    """Return how many octets of a frame a range takes."""
    head = KEY_SIZE + 1
    return head + (1 + ENTRY_SIZE * len(part.entries) if part.mode is Mode.LIST else len(part.digest))


def decode_frame(body: bytes) -> Frame:
    """Parse one frame.

    Raises:
        RemoteProtocolError: unknown kind, malformed, or beyond a limit.
    """
    if not HEAD_SIZE <= len(body) <= MAX_FRAME:
        raise RemoteProtocolError(f"gossip: {len(body)} octets, {HEAD_SIZE} to {MAX_FRAME} expected")
    length = int.from_bytes(body[1:HEAD_SIZE], "big")
    content = body[HEAD_SIZE : HEAD_SIZE + length]
    if len(content) != length:
        raise RemoteProtocolError(f"gossip: {len(content)} octets of content, {length} announced")
    if body[0] == Kind.RANGES:
        return _decode_ranges(content)
    if body[0] == Kind.HAVE:
        return Have(_split(content, ENTRY_SIZE, MAX_HAVE, "have"))
    if body[0] == Kind.WANT:
        return Want(_split(content, KEY_SIZE, MAX_WANT, "want"))
    if body[0] == Kind.ITEMS:
        return _decode_items(content)
    raise RemoteProtocolError(f"gossip: kind {body[0]} is unknown")


def _split(content: bytes, size: int, limit: int, what: str) -> tuple[bytes, ...]:
    count, rest = divmod(len(content), size)
    if rest or not 0 < count <= limit:
        raise RemoteProtocolError(f"gossip {what}: {len(content)} octets, 1 to {limit} of {size} expected")
    return tuple(content[at : at + size] for at in range(0, len(content), size))


def _decode_ranges(content: bytes) -> Ranges:
    if len(content) < SALT_SIZE:
        raise RemoteProtocolError("gossip ranges: cut")
    parts: list[Range] = []
    at, floor = SALT_SIZE, b""
    while at < len(content):
        part, at = _decode_range(content, at, floor)
        parts.append(part)
        if part.last <= floor or len(parts) > MAX_RANGES:
            raise RemoteProtocolError("gossip ranges: not ascending, or too many")
        floor = part.last
    if floor != LAST_KEY:
        raise RemoteProtocolError("gossip ranges: the last does not end at the last key")
    return Ranges(content[:SALT_SIZE], tuple(parts))


def _decode_range(content: bytes, at: int, floor: bytes) -> tuple[Range, int]:
    """Return one range and where the next begins; `floor` is the end of the one before, b"" at first."""
    last, rest = content[at : at + KEY_SIZE], at + KEY_SIZE + 1
    if rest > len(content):
        raise RemoteProtocolError("gossip range: cut")
    mode = content[rest - 1]
    if mode == Mode.SKIP:
        return Range(last, Mode.SKIP), rest
    if mode == Mode.DIGEST:
        end = rest + DIGEST_SIZE
        if end > len(content):
            raise RemoteProtocolError("gossip range: digest cut")
        return Range(last, Mode.DIGEST, content[rest:end]), end
    if mode != Mode.LIST or rest == len(content):
        raise RemoteProtocolError(f"gossip range: mode {mode} is unknown, or list cut")
    end = rest + 1 + ENTRY_SIZE * content[rest]
    if end > len(content):
        raise RemoteProtocolError("gossip range: list cut")
    entries = tuple(content[start : start + ENTRY_SIZE] for start in range(rest + 1, end, ENTRY_SIZE))
    keys = [floor, *(entry[:KEY_SIZE] for entry in entries)]
    if keys[-1] > last or any(left >= right for left, right in pairwise(keys)):
        raise RemoteProtocolError("gossip range: entries not ascending, or outside it")
    return Range(last, Mode.LIST, entries=entries), end


def _decode_items(content: bytes) -> Items:
    items: list[Item] = []
    at = count = 0
    while at < len(content):
        count += 1
        if count > MAX_ITEMS:
            raise RemoteProtocolError(f"gossip items: more than {MAX_ITEMS}")
        size = int.from_bytes(content[at + 1 : at + 3], "big")
        octets = content[at + 3 : at + 3 + size]
        if at + 3 > len(content) or len(octets) != size:
            raise RemoteProtocolError("gossip items: cut")
        limit = _ITEM_LIMITS.get(content[at])
        if limit is not None:
            if not 0 < size <= limit:
                raise RemoteProtocolError(f"gossip item: {size} octets, 1 to {limit} expected")
            items.append(Item(ItemType(content[at]), octets))
        at += 3 + size
    if not content:
        raise RemoteProtocolError("gossip items: none")
    return Items(tuple(items), count - len(items))


def pack_items(items: Iterable[Item]) -> Iterator[Items]:
    """Share out items over as few frames as take them in their order."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if size + item_size(item) > MAX_CONTENT or len(batch) == MAX_ITEMS:
            yield Items(tuple(batch))
            batch, size = [], 0
        batch.append(item)
        size += item_size(item)
    if batch:
        yield Items(tuple(batch))
