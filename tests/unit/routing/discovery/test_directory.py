"""What clients ask and directories answer: nothing that tells clients apart, nothing that was not checked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gossip_network import chance
from tests.support.records import RecordMaker
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.directory import (
    GRID_S,
    MAX_ANSWER,
    MAX_ITEMS,
    MAX_PER_PREFIX,
    AnswerReader,
    Fetch,
    choose_items,
)
from vigilnet.routing.discovery.wire import (
    MAX_FRAME,
    Have,
    Item,
    Items,
    ItemType,
    encode_frame,
    encode_proof,
    pack_items,
)

NOW = 1_800_003_600 // GRID_S * GRID_S
VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "gossip.json").read_text())


def relay(name: str, host: str, published: int = NOW) -> PeerRecord:
    return replace(RecordMaker(name).record(published), addresses=(PeerAddress.tcp(host, 4001),))


def answer(request: Fetch, records: list[PeerRecord], *, seed: str = "x", limits: bool = True) -> list[Item]:
    return list(choose_items(request, records, [], [], chance(seed), has_prefix_limits=limits))


def test_vector() -> None:
    octets = bytes.fromhex(VECTORS["fetch"])
    assert Fetch.decode(octets) == Fetch(1_799_992_800, 64)
    assert Fetch(1_799_992_800, 64).encode() == octets


@given(st.integers(0, (2**32 - 1) // GRID_S), st.integers(0, 2**16 - 1))
def test_round_trip(steps: int, at_most: int) -> None:
    request = Fetch(steps * GRID_S, at_most)
    assert Fetch.decode(request.encode()) == request


@given(st.binary(max_size=12) | st.binary(min_size=6, max_size=6).map(lambda rest: b"\x10\x00\x06" + rest))
def test_any_octets_are_a_request_or_blame_the_client(octets: bytes) -> None:
    try:
        request = Fetch.decode(octets)
    except RemoteProtocolError:
        return
    assert request.encode() == octets


def test_since_is_on_the_grid_that_all_share() -> None:
    with pytest.raises(LocalProtocolError):
        Fetch(GRID_S + 1).encode()
    with pytest.raises(RemoteProtocolError):
        Fetch.decode(b"\x10\x00\x06" + (GRID_S + 1).to_bytes(4, "big") + b"\x00\x00")


def test_all_is_all_in_an_order_that_says_nothing() -> None:
    records = [relay(f"r{n}", f"{20 + n}.1.1.1") for n in range(30)]
    one, two = answer(Fetch(), records, seed="one"), answer(Fetch(), records, seed="two")
    assert {item.octets for item in one} == {item.octets for item in two} == {r.encoded for r in records}
    assert one != two


def test_a_sample_is_drawn_anew_each_time() -> None:
    records = [relay(f"r{n}", f"{20 + n}.1.1.1") for n in range(30)]
    seen = {item.octets for n in range(40) for item in answer(Fetch(at_most=3), records, seed=str(n))}
    assert all(len(answer(Fetch(at_most=3), records, seed=str(n))) == 3 for n in range(5))
    assert len(seen) == 30


def test_only_what_is_new_since_the_time_asked_for() -> None:
    old, new = relay("old", "20.1.1.1", NOW - GRID_S), relay("new", "21.1.1.1", NOW)
    assert [item.octets for item in answer(Fetch(NOW), [old, new])] == [new.encoded]


def test_few_relays_of_one_prefix_are_handed_out() -> None:
    sybils = [relay(f"s{n}", f"192.0.2.{n}") for n in range(100)]
    honest = [relay(f"h{n}", f"{20 + n}.1.1.1") for n in range(10)]
    found = {item.octets for item in answer(Fetch(), [*sybils, *honest])}
    assert {record.encoded for record in honest} <= found
    assert len(found) == 10 + MAX_PER_PREFIX
    assert len(answer(Fetch(), sybils, limits=False)) == 100


def test_revocations_and_proofs_come_with_all_and_not_with_a_sample() -> None:
    gone = RecordMaker("gone").record(NOW, revoked=True)
    proof = (b"one record", b"another")
    for at_most, expected in ((0, 3), (5, 1)):
        items = choose_items(
            Fetch(at_most=at_most),
            [relay("r", "20.1.1.1")],
            [gone],
            [proof],
            chance("x"),
            has_prefix_limits=True,
        )
        assert len(list(items)) == expected
    (_, _, last) = choose_items(
        Fetch(), [relay("r", "20.1.1.1")], [gone], [proof], chance("x"), has_prefix_limits=True
    )
    assert last == Item(ItemType.PROOF, encode_proof(*proof))


items_lists = st.lists(
    st.builds(Item, st.sampled_from(ItemType), st.binary(min_size=1, max_size=900)), max_size=40
)


@given(items_lists, st.integers(1, 5000))
def test_an_answer_is_read_however_it_is_cut(given_items: list[Item], size: int) -> None:
    octets = b"".join(map(encode_frame, pack_items(given_items)))
    reader, found = AnswerReader(), []
    for at in range(0, len(octets), size):
        found += list(reader.feed(octets[at : at + size]))
    assert found == given_items
    assert reader.is_complete


@given(st.binary(max_size=300))
def test_any_octets_are_an_answer_or_blame_the_directory(octets: bytes) -> None:
    try:
        list(AnswerReader().feed(octets))
    except RemoteProtocolError:
        return


def test_a_cut_answer_is_not_complete() -> None:
    octets = encode_frame(Items((Item(ItemType.RECORD, b"record"),)))
    reader = AnswerReader()
    assert list(reader.feed(octets[:-1])) == []
    assert not reader.is_complete


def test_other_frames_and_too_long_ones_are_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        list(AnswerReader().feed(encode_frame(Have((bytes(16),)))))
    with pytest.raises(RemoteProtocolError):
        list(AnswerReader().feed(b"\x04" + (MAX_FRAME - 2).to_bytes(2, "big")))


@pytest.mark.parametrize(
    ("body", "at_once"),
    [
        (bytes((4,)) + (1027 * 8).to_bytes(2, "big") + (b"\x00\x04\x00" + bytes(1024)) * 8, 8),  # octets
        (b"\x04\x00\x40" + b"\x00\x00\x01r" * 16, 16),  # records
        (b"\x04\x00\x30" + b"\x63\x00\x00" * 16, 16),  # what we do not know
    ],
)
def test_an_answer_ends_somewhere(body: bytes, at_once: int) -> None:
    reader, passed = AnswerReader(), 0

    def read_on() -> None:
        nonlocal passed
        while True:
            list(reader.feed(body))
            passed += at_once

    with pytest.raises(RemoteProtocolError, match="over"):
        read_on()
    assert passed <= MAX_ITEMS
    assert passed * 1024 <= MAX_ANSWER
