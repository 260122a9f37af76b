"""Records as mDNS TXT strings: what is shown is found again, anything else is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE
from vigilnet.routing.discovery.mdns import MAX_PIECES, PIECE_SIZE, record_from_txt, record_to_txt

VECTOR = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "lan.json").read_text())


def shown(record: bytes) -> dict[bytes, bytes | None]:
    """The TXT strings as a browser gets them."""
    return {key.encode(): piece for key, piece in record_to_txt(record).items()}


def test_vector() -> None:
    record = bytes.fromhex(VECTOR["record"])
    assert {key: piece.hex() for key, piece in record_to_txt(record).items()} == VECTOR["txt"]
    assert (
        record_from_txt({key.encode(): bytes.fromhex(value) for key, value in VECTOR["txt"].items()})
        == record
    )


@given(st.binary(min_size=1, max_size=MAX_RECORD_SIZE))
def test_round_trip(record: bytes) -> None:
    assert record_from_txt(shown(record)) == record


@given(
    st.dictionaries(
        st.sampled_from([b"r0", b"r1", b"r2", b"r3", b"r4", b"r5", b"x"]),
        st.none() | st.binary(max_size=3) | st.integers(248, 252).map(bytes),
    )
)
def test_any_strings_are_the_one_form_of_their_record_or_blame_who_showed_them(
    properties: dict[bytes, bytes | None],
) -> None:
    try:
        record = record_from_txt(properties)
    except RemoteProtocolError:
        return
    assert shown(record).items() <= properties.items()


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {b"r1": b"x"},
        {b"r0": b""},
        {b"r0": bytes(PIECE_SIZE + 1)},
        {b"r0": b"short", b"r1": b"more"},
        {b"r%d" % number: bytes(PIECE_SIZE) for number in range(MAX_PIECES + 1)},
        {b"r%d" % number: bytes(PIECE_SIZE) for number in range(MAX_PIECES)},
    ],
)
def test_what_is_no_record_is_refused(properties: dict[bytes, bytes | None]) -> None:
    with pytest.raises(RemoteProtocolError):
        record_from_txt(properties)


def test_longest_record() -> None:
    assert record_from_txt(shown(bytes(MAX_RECORD_SIZE))) == bytes(MAX_RECORD_SIZE)
