"""Gossip frames: golden octets, one meaning each, every limit."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gossip_frames import EXAMPLES, SALT, frames, items, keys, ranges_frames
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.routing.discovery.wire import (
    LAST_KEY,
    MAX_CONTENT,
    MAX_FRAME,
    MAX_HAVE,
    MAX_ITEMS,
    MAX_LIST,
    MAX_PROOF_SIZE,
    MAX_RANGES,
    MAX_WANT,
    Frame,
    Have,
    Item,
    Items,
    ItemType,
    Mode,
    Range,
    Ranges,
    Want,
    decode_frame,
    decode_proof,
    encode_frame,
    encode_proof,
    item_size,
    pack_entry,
    pack_items,
    range_size,
    split_entry,
)

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "gossip.json").read_text())


@pytest.mark.parametrize("name", list(VECTORS["frames"]))
def test_vectors(name: str) -> None:
    body = bytes.fromhex(VECTORS["frames"][name])
    assert encode_frame(decode_frame(body)) == body


def test_vector_of_ranges_says_what_the_specification_says() -> None:
    frame = decode_frame(bytes.fromhex(VECTORS["frames"]["ranges"]))
    assert frame == Ranges(
        SALT,
        (
            Range(b"\x10" + bytes(7), Mode.SKIP),
            Range(b"\x80" + bytes(7), Mode.DIGEST, b"digest..", ()),
            Range(
                LAST_KEY, Mode.LIST, entries=(pack_entry(b"\x90" * 8, 7), pack_entry(b"\xff" * 8, 2**64 - 1))
            ),
        ),
    )


@pytest.mark.parametrize("frame", EXAMPLES)
def test_each_form_round_trips(frame: Frame) -> None:
    assert decode_frame(encode_frame(frame)) == frame


@given(frames)
def test_round_trip(frame: Frame) -> None:
    assert decode_frame(encode_frame(frame)) == frame


@given(frames, st.binary(max_size=20))
def test_padding_behind_a_frame_is_ignored(frame: Frame, padding: bytes) -> None:
    assert decode_frame(encode_frame(frame) + padding) == frame


@given(
    st.binary(max_size=120)
    | st.builds(
        lambda kind, content: bytes((kind,)) + len(content).to_bytes(2, "big") + content,
        st.integers(0, 5),
        st.binary(max_size=100),
    )
)
def test_any_octets_are_a_frame_or_blame_the_neighbour(body: bytes) -> None:
    try:
        frame = decode_frame(body)
    except RemoteProtocolError:
        return
    if not isinstance(frame, Items):  # of those, unknown types are left out
        assert encode_frame(frame) == body[: 3 + int.from_bytes(body[1:3], "big")]


@given(keys, st.integers(0, 2**64 - 1))
def test_entries_are_a_key_and_a_version(key: bytes, version: int) -> None:
    assert split_entry(pack_entry(key, version)) == (key, version)


def raw(kind: int, content: bytes) -> bytes:
    return bytes((kind,)) + len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "octets"),
        (b"\x01\x00", "octets"),
        (bytes(MAX_FRAME + 1), "octets"),
        (raw(0, b""), "kind 0"),
        (raw(5, b""), "kind 5"),
        (b"\x02\x00\x10" + bytes(15), "announced"),
        (raw(2, b""), "have"),
        (raw(2, bytes(17)), "have"),
        (raw(3, b""), "want"),
        (raw(3, bytes(9)), "want"),
        (raw(4, b""), "none"),
        (raw(4, b"\x00\x00"), "cut"),
        (raw(4, b"\x00\x00\x02a"), "cut"),
        (raw(4, b"\x00\x00\x00"), "item: 0"),
        (raw(1, bytes(7)), "cut"),
        (raw(1, SALT), "does not end"),
        (raw(1, SALT + bytes(8)), "range: cut"),
        (raw(1, SALT + LAST_KEY + b"\x03"), "mode 3"),
        (raw(1, SALT + LAST_KEY + b"\x02"), "list cut"),
        (raw(1, SALT + LAST_KEY + b"\x01" + bytes(7)), "digest cut"),
        (raw(1, SALT + LAST_KEY + b"\x02\x01" + bytes(15)), "list cut"),
        (raw(1, SALT + (b"\x80" * 8 + b"\x00") * 2), "not ascending"),
        (raw(1, SALT + b"\x80" * 8 + b"\x00"), "does not end"),
        (raw(1, SALT + LAST_KEY + b"\x02\x02" + bytes(32)), "entries not ascending"),
        (raw(1, SALT + b"\x80" * 8 + b"\x02\x01" + b"\x90" * 16 + LAST_KEY + b"\x00"), "outside it"),
        (
            raw(1, SALT + b"\x80" * 8 + b"\x00" + LAST_KEY + b"\x02\x01" + b"\x80" * 16),
            "not ascending, or out",
        ),
    ],
)
def test_malformed_frames_are_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        decode_frame(body)


def many_ranges(count: int) -> Ranges:
    lasts = [number.to_bytes(8, "big") for number in range(1, count)]
    return Ranges(SALT, tuple(Range(last, Mode.SKIP) for last in [*lasts, LAST_KEY]))


def listing(count: int) -> Ranges:
    listed = tuple(pack_entry(number.to_bytes(8, "big"), 1) for number in range(count))
    return Ranges(SALT, (Range(LAST_KEY, Mode.LIST, entries=listed),))


@pytest.mark.parametrize(
    "frame",
    [
        many_ranges(MAX_RANGES),
        listing(MAX_LIST),
        Have(tuple(bytes(16) for _ in range(MAX_HAVE))),
        Want(tuple(bytes(8) for _ in range(MAX_WANT))),
        Items((Item(ItemType.RECORD, bytes(1024)), Item(ItemType.PROOF, bytes(MAX_PROOF_SIZE)))),
    ],
)
def test_the_fullest_frames_pass(frame: Frame) -> None:
    body = encode_frame(frame)
    assert len(body) <= MAX_FRAME
    assert decode_frame(body) == frame


@pytest.mark.parametrize(
    "frame",
    [
        many_ranges(MAX_RANGES + 1),
        Ranges(SALT, ()),
        Have(()),
        Have(tuple(bytes(16) for _ in range(MAX_HAVE + 1))),
        Want(()),
        Want(tuple(bytes(8) for _ in range(MAX_WANT + 1))),
        Items(()),
    ],
)
def test_what_is_beyond_a_limit_is_our_own_bug(frame: Frame) -> None:
    with pytest.raises(LocalProtocolError):
        encode_frame(frame)


@pytest.mark.parametrize(
    "body",
    [
        raw(1, SALT + b"".join(part.last + b"\x00" for part in many_ranges(MAX_RANGES + 1).ranges)),
        raw(3, bytes(8 * (MAX_WANT + 1))),
        raw(4, b"\x00" + (1025).to_bytes(2, "big") + bytes(1025)),
        raw(4, b"\x01" + (MAX_PROOF_SIZE + 1).to_bytes(2, "big") + bytes(MAX_PROOF_SIZE + 1)),
    ],
)
def test_one_more_than_a_limit_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_frame(body)


def test_items_of_a_newer_version_are_passed_over() -> None:
    body = raw(4, b"\x07\x00\x02xx" + b"\x00\x00\x01r" + b"\x63\x00\x00")
    assert decode_frame(body) == Items((Item(ItemType.RECORD, b"r"),))


def test_a_frame_has_so_many_items_and_no_more_known_or_not() -> None:
    for head in (b"\x00\x00\x01r", b"\x63\x00\x00"):
        assert isinstance(decode_frame(raw(4, head * MAX_ITEMS)), Items)
        with pytest.raises(RemoteProtocolError, match="more than"):
            decode_frame(raw(4, head * (MAX_ITEMS + 1)))
    small = [Item(ItemType.RECORD, b"r")] * (MAX_ITEMS + 1)
    assert [len(frame.items) for frame in pack_items(small)] == [MAX_ITEMS, 1]


@given(st.lists(items, max_size=60))
def test_items_are_shared_out_over_as_few_frames_as_take_them(given_items: list[Item]) -> None:
    packed = list(pack_items(given_items))
    assert [item for frame in packed for item in frame.items] == given_items
    for frame in packed:
        assert len(encode_frame(frame)) <= MAX_FRAME
    for left, right in pairwise(packed):
        assert sum(map(item_size, left.items)) + item_size(right.items[0]) > MAX_CONTENT


@given(ranges_frames())
def test_size_of_a_range_is_what_it_takes(frame: Ranges) -> None:
    assert len(encode_frame(frame)) == 3 + 8 + sum(map(range_size, frame.ranges))


def test_proofs_are_two_records() -> None:
    assert decode_proof(encode_proof(b"one", b"two")) == (b"one", b"two")
    assert len(encode_proof(bytes(1024), bytes(1024))) == MAX_PROOF_SIZE
    for octets in (b"", encode_proof(b"", b"two"), encode_proof(bytes(1025), b"")):
        with pytest.raises(RemoteProtocolError):
            decode_proof(octets)
