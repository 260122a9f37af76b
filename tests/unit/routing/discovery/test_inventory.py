"""Comparing two tables finds exactly what each side lacks, for little."""

import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigilnet.routing.discovery.inventory import Inventory, begin, compare, digest_of
from vigilnet.routing.discovery.wire import (
    LAST_KEY,
    MAX_FRAME,
    Item,
    ItemType,
    Mode,
    Ranges,
    decode_frame,
    encode_frame,
    pack_entry,
    split_entry,
)

SALT = b"saltsalt"
NOTHING = Item(ItemType.RECORD, b"x")


def inventory_of(versions: dict[bytes, int]) -> Inventory:
    inventory = Inventory()
    for key, version in versions.items():
        inventory.put(key, version, NOTHING)
    return inventory


@dataclass
class Side:
    inventory: Inventory
    lacks: set[bytes] = field(default_factory=set)


@dataclass
class Outcome:
    steps: int
    octets: int
    left_lacks: set[bytes]
    right_lacks: set[bytes]


def compared(left: Inventory, right: Inventory) -> Outcome:
    """Run one comparison to its end, over encoded frames."""
    sides = [Side(left), Side(right)]
    step: Ranges | None = begin(left, SALT)
    steps = octets = 0
    while step is not None:
        body = encode_frame(step)
        assert len(body) <= MAX_FRAME
        steps, octets = steps + 1, octets + len(body)
        received = decode_frame(body)
        assert isinstance(received, Ranges)
        here, there = sides[steps % 2], sides[1 - steps % 2]
        found = compare(here.inventory, received, lambda _: True)
        here.lacks |= set(found.want)
        there.lacks |= set(found.have)
        step = found.reply
        assert steps < 20
    return Outcome(steps, octets, sides[0].lacks, sides[1].lacks)


def lacking(one: dict[bytes, int], other: dict[bytes, int]) -> set[bytes]:
    """What `one` lacks of `other`."""
    return {pack_entry(key, version) for key, version in other.items() if version > one.get(key, -1)}


keys = st.integers(0, 400).map(lambda number: (number * 0x0123456789ABCD % 2**64).to_bytes(8, "big"))
tables = st.dictionaries(keys, st.integers(0, 3), max_size=150)


@settings(max_examples=60)
@given(tables, tables)
def test_a_comparison_finds_just_what_each_side_lacks(
    left: dict[bytes, int], right: dict[bytes, int]
) -> None:
    found = compared(inventory_of(left), inventory_of(right))
    assert found.left_lacks == lacking(left, right)
    assert found.right_lacks == lacking(right, left)


@given(tables)
def test_equal_tables_cost_two_small_frames(table: dict[bytes, int]) -> None:
    found = compared(inventory_of(table), inventory_of(table))
    assert not found.left_lacks | found.right_lacks
    if table:
        assert (found.steps, found.octets) == (2, 28 + 20)


def random_table(size: int, seed: int) -> dict[bytes, int]:
    dice = random.Random(seed)
    return {dice.randbytes(8): dice.randrange(2**40) for _ in range(size)}


@pytest.mark.parametrize(("missing", "octets"), [(1, 1_600), (10, 12_000), (100, 60_000)])
def test_few_differences_in_a_large_table_cost_little(missing: int, octets: int) -> None:
    table = random_table(8192, 1)
    left = dict(list(table.items())[missing:])
    found = compared(inventory_of(left), inventory_of(table))
    assert found.left_lacks <= lacking(left, table)
    assert len(found.left_lacks) >= min(missing, 25)  # what does not fit waits for the next comparison
    assert found.octets < octets
    assert found.steps <= 5


def test_repeated_comparisons_find_everything_however_much_it_is() -> None:
    left, right = random_table(3000, 2), random_table(3000, 3)
    ours, theirs = inventory_of(left), inventory_of(right)
    for _ in range(100):
        found = compared(ours, theirs)
        for inventory, lacks in ((ours, found.left_lacks), (theirs, found.right_lacks)):
            for entry in lacks:
                inventory.put(*split_entry(entry), NOTHING)
        if not found.left_lacks | found.right_lacks:
            break
    assert list(ours) == list(theirs)
    assert len(ours) == 6000


def test_a_newcomer_says_that_it_has_nothing_and_is_told_all() -> None:
    table = random_table(500, 4)
    found = compared(Inventory(), inventory_of(table))
    assert found.left_lacks == lacking({}, table)
    assert found.steps == 1


def test_nothing_is_answered_to_what_asks_nothing() -> None:
    inventory = inventory_of(random_table(10, 5))
    skip = Ranges(SALT, ())
    for step in (skip, Ranges(SALT, begin(Inventory(), SALT).ranges)):
        assert compare(inventory, step, lambda _: True).reply is None


def test_salts_change_what_stands_for_a_range() -> None:
    inventory = inventory_of(random_table(10, 6))
    one, two = (begin(inventory, salt).ranges[0] for salt in (SALT, b"otherone"))
    assert one.mode is two.mode is Mode.DIGEST
    assert one.digest != two.digest


def test_digest_vector() -> None:
    vector = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "gossip.json").read_text())[
        "digest"
    ]
    listed = [bytes.fromhex(entry) for entry in vector["entries"]]
    digest = digest_of(bytes.fromhex(vector["salt"]), listed)
    assert digest.hex() == vector["digest"]
    assert digest == hashlib.sha256(b"saltsalt" + b"".join(listed)).digest()[:8]


def test_entries_are_held_one_per_key_and_found_by_key() -> None:
    inventory = Inventory()
    for key in (b"\x00" * 8, LAST_KEY, b"\x80" * 8):
        inventory.put(key, 1, NOTHING)
    inventory.put(b"\x80" * 8, 2, Item(ItemType.RECORD, b"new"))
    assert list(inventory) == [pack_entry(bytes(8), 1), pack_entry(b"\x80" * 8, 2), pack_entry(LAST_KEY, 1)]
    assert inventory.item(b"\x80" * 8) == Item(ItemType.RECORD, b"new")
    assert (inventory.version(b"\x80" * 8), inventory.version(b"\x81" * 8)) == (2, -1)
    assert inventory.between(b"", bytes(8)) == [pack_entry(bytes(8), 1)]
    assert inventory.between(bytes(8), b"\x80" * 8) == [pack_entry(b"\x80" * 8, 2)]
    assert inventory.between(b"\x80" * 8, LAST_KEY) == [pack_entry(LAST_KEY, 1)]
    inventory.drop(b"\x80" * 8)
    inventory.drop(b"\x81" * 8)
    assert len(inventory) == 2
    assert b"\x80" * 8 not in inventory
