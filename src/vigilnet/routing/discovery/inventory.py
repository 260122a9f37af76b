"""What we can serve, sorted by key, and how two such tables are compared (discovery.md section 5.3).

Range-based reconciliation: compare digests of ranges of keys; where they differ, divide; where few are
left, list them. Two equal tables cost one digest, d differences O(d log n) octets. The digest is salted
afresh for each comparison: nobody can choose items so that a difference is hidden.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from vigilnet.crypto.kdf import sha256
from vigilnet.routing.discovery.wire import (
    DIGEST_SIZE,
    HEAD_SIZE,
    KEY_SIZE,
    LAST_KEY,
    MAX_FRAME,
    MAX_RANGES,
    SALT_SIZE,
    Item,
    Mode,
    Range,
    Ranges,
    pack_entry,
    range_size,
    split_entry,
)

LEAF: Final = 32  # entries; ranges with more are divided
BRANCHES: Final = 16
_BEYOND: Final = LAST_KEY + b"\xff" * 9  # behind every entry


class Inventory:
    """The newest item of each identity, by key."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []  # sorted
        self._items: dict[bytes, Item] = {}  # by key

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def __contains__(self, key: bytes) -> bool:
        return key in self._items

    def version(self, key: bytes) -> int:
        """Return the version held under `key`; -1 if there is none."""
        at = bisect_left(self._entries, key)
        if at < len(self._entries) and self._entries[at].startswith(key):
            return split_entry(self._entries[at])[1]
        return -1

    def item(self, key: bytes) -> Item | None:
        """Return the item held under `key`."""
        return self._items.get(key)

    def put(self, key: bytes, version: int, item: Item) -> bytes:
        """Hold `item` in the place of what was held under `key`; return its entry."""
        at = bisect_left(self._entries, key)
        entry = pack_entry(key, version)
        if key in self._items:
            self._entries[at] = entry
        else:
            self._entries.insert(at, entry)
        self._items[key] = item
        return entry

    def drop(self, key: bytes) -> None:
        """Hold nothing under `key`."""
        if self._items.pop(key, None) is not None:
            del self._entries[bisect_left(self._entries, key)]

    def between(self, floor: bytes, last: bytes) -> list[bytes]:
        """Return the entries with keys above `floor` (b"": all) and up to `last`."""
        start = bisect_left(self._entries, floor + _BEYOND[KEY_SIZE:]) if floor else 0
        return self._entries[start : bisect_left(self._entries, last + _BEYOND[KEY_SIZE:], start)]


@dataclass
class Difference:
    """What one step of a comparison found."""

    reply: Ranges | None = None  # to every step with a digest in it, if only to say that nothing differs
    have: list[bytes] = field(default_factory=list)  # entries that the other side lacks
    want: list[bytes] = field(default_factory=list)  # entries of the other side that we lack


def digest_of(salt: bytes, entries: list[bytes]) -> bytes:
    """Return what stands for a range's entries."""
    return sha256(salt, *entries)[:DIGEST_SIZE]


def begin(inventory: Inventory, salt: bytes) -> Ranges:
    """Return the first step of a comparison: one range, all keys."""
    return Ranges(salt, (_describe(salt, inventory.between(b"", LAST_KEY), LAST_KEY),))


def _describe(salt: bytes, entries: list[bytes], last: bytes) -> Range:
    if not entries:
        return Range(last, Mode.LIST)
    return Range(last, Mode.DIGEST, digest_of(salt, entries))


def compare(inventory: Inventory, step: Ranges, is_wanted: Callable[[bytes], bool]) -> Difference:
    """Answer one step.

    Args:
        inventory: our side.
        step: what the other side said.
        is_wanted: whether an entry of the other side is new to us; asked for listed ones.
    """
    found = Difference()
    parts: list[Range] = []
    floor, size = b"", HEAD_SIZE + SALT_SIZE
    for part in step.ranges:
        ours = inventory.between(floor, part.last)
        answer = _answer(step.salt, part, ours, found, is_wanted)
        added = sum(map(range_size, answer))
        # what does not fit is left for the next comparison
        if len(parts) + len(answer) >= MAX_RANGES or size + added > MAX_FRAME - KEY_SIZE - 1:
            break
        parts += answer
        size += added
        floor = part.last
    if any(part.mode is Mode.DIGEST for part in step.ranges):
        if not parts or parts[-1].last != LAST_KEY:
            parts.append(Range(LAST_KEY, Mode.SKIP))
        found.reply = Ranges(step.salt, tuple(_joined(parts)))
    return found


def _answer(
    salt: bytes, part: Range, ours: list[bytes], found: Difference, is_wanted: Callable[[bytes], bool]
) -> list[Range]:
    """Return what to say of one range of the other side."""
    skip = [Range(part.last, Mode.SKIP)]
    if part.mode is Mode.LIST:
        _compare_lists(part.entries, ours, found, is_wanted)
        return skip
    if part.mode is Mode.SKIP or digest_of(salt, ours) == part.digest:
        return skip
    if len(ours) <= LEAF:
        return [Range(part.last, Mode.LIST, entries=tuple(ours))]
    width = -(-len(ours) // BRANCHES)
    groups = [ours[at : at + width] for at in range(0, len(ours), width)]
    lasts = [*(group[-1][:KEY_SIZE] for group in groups[:-1]), part.last]
    return [_describe(salt, group, last) for group, last in zip(groups, lasts, strict=True)]


def _compare_lists(
    theirs: tuple[bytes, ...], ours: list[bytes], found: Difference, is_wanted: Callable[[bytes], bool]
) -> None:
    listed = {entry[:KEY_SIZE]: entry for entry in theirs}
    held = {entry[:KEY_SIZE]: entry for entry in ours}
    # of one key the greater entry is the newer one
    found.have += [entry for key, entry in held.items() if entry > listed.get(key, b"")]
    found.want += [entry for key, entry in listed.items() if entry > held.get(key, b"") and is_wanted(entry)]


def _joined(parts: list[Range]) -> Iterator[Range]:
    """Join neighbouring ranges that are skipped."""
    for at, part in enumerate(parts):
        follower = parts[at + 1] if at + 1 < len(parts) else None
        if part.mode is Mode.SKIP and follower is not None and follower.mode is Mode.SKIP:
            continue
        yield part
