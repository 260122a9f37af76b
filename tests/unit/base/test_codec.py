"""Strict deterministic CBOR: one value, one encoding."""

import base64
import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.codec import MAX_DEPTH, Value, decode, encode
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError

APPENDIX_A = json.loads((Path(__file__).parents[2] / "vectors" / "cbor" / "appendix_a.json").read_text())

DIAGNOSED: dict[str, object] = {"40": b"", "4401020304": bytes([1, 2, 3, 4]), "a201020304": {1: 2, 3: 4}}


def is_known_here(item: dict[str, Any]) -> bool:
    """Whether RFC 8949 calls the item deterministic and the codec knows its type."""
    head = bytes.fromhex(item["hex"])[0]
    return (
        item["roundtrip"]
        and "decoded" in item
        and not isinstance(item["decoded"], float)
        and head not in (0x5F, 0x7F, 0x9F, 0xBF)
        and head >> 5 != 6
        and not (head >> 5 == 7 and head not in (0xF4, 0xF5, 0xF6))
    )


@pytest.mark.parametrize("item", APPENDIX_A, ids=lambda item: item["hex"][:24])
def test_appendix_a(item: dict[str, Any]) -> None:
    data = base64.b64decode(item["cbor"])
    if item["hex"] in DIAGNOSED:
        assert decode(data, "item") == DIAGNOSED[item["hex"]]
        return
    if not is_known_here(item):
        with pytest.raises(RemoteProtocolError):
            decode(data, "item")
        return
    value = decode(data, "item")
    assert json.loads(json.dumps(value)) == item["decoded"]
    assert encode(value) == data


def test_simple_value_24_in_two_octets_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        decode(bytes.fromhex("f818"), "item")


values: st.SearchStrategy[Value] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=300)
    | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.integers(-(2**64), 2**64 - 1), inner, max_size=5)
        | st.dictionaries(st.text(max_size=30), inner, max_size=30)
    ),
    max_leaves=20,
).filter(lambda value: depth_of(value) <= MAX_DEPTH)


def depth_of(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(values)
def test_decode_is_the_inverse_of_encode(value: Value) -> None:
    assert decode(encode(value), "value") == value


@given(st.binary(max_size=200))
def test_any_octets_have_one_value_or_blame_the_peer(data: bytes) -> None:
    try:
        value = decode(data, "value")
    except RemoteProtocolError:
        return
    assert encode(value) == data


@given(values, st.data())
def test_changed_octets_never_give_the_same_value(value: Value, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(encoded), "value")
    except RemoteProtocolError:
        return
    assert cbor2.dumps(other) != cbor2.dumps(value) or encode(other) != encode(value)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "0000",  # two items
        "1817",  # not the shortest integer
        "190001",
        "1a00000001",
        "1b0000000000000001",
        "18",  # cut heads
        "1901",
        "58",
        "5803616263" + "00",  # not the shortest length
        "4161" + "00",
        "42" + "61",  # cut string
        "5bffffffffffffffff",  # a length beyond everything
        "5b7fffffffffffffff61",
        "7b7fffffffffffffff",
        "9bffffffffffffffff",
        "bbffffffffffffffff",
        "bb8000000000000000",
        "9a7fffffff00",
        "61ff",  # not UTF-8
        "62c080",
        "63eda080",  # a surrogate
        "a201010102",  # duplicate key
        "a202000100",  # keys out of order
        "a2616200616100",
        "a218640020000" + "0",  # cut
        "a220001864" + "00",  # negative key before a longer one: bytewise order is the other way round
        "a1400" + "0",  # octets as key
        "a1f600",  # null as key
        "a1f500",  # true as key
        "a18000",  # array as key
        "a1a000",  # map as key
        "c000",  # tags
        "c24101",
        "c4820001",
        "c5821b7fffffffffffffff01",  # 2 to the power of 2^63
        "d81c81d81d00",  # a list that contains itself
        "d8236128",  # a broken regular expression
        "f7",  # undefined
        "f0",
        "f8ff",
        "f93c00",  # floats
        "fa3f800000",
        "fb3ff0000000000000",
        "5f4161ff",  # indefinite lengths
        "7f6161ff",
        "9fff",
        "bfff",
        "ff",
        "1c",  # reserved
        "5d",
        "fc",
    ],
)
def test_refused(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(bytes.fromhex(data), "item")


def test_order_of_keys_is_bytewise() -> None:
    value: Value = {-1: 0, 100: 0, 10: 0, 1000: 0}
    assert encode(value).hex() == "a40a001864001903e8002000"
    assert decode(encode(value), "map") == value


def test_depth_at_the_limit_and_beyond() -> None:
    value: Value = 0
    for _ in range(MAX_DEPTH):
        value = [value]
    assert decode(encode(value), "deep") == value
    with pytest.raises(LocalProtocolError, match="deep"):
        encode([value])
    with pytest.raises(RemoteProtocolError, match="deep"):
        decode(b"\x81" * (MAX_DEPTH + 1) + b"\0", "deep")
    with pytest.raises(RemoteProtocolError):
        decode(b"\x81" * 100_000, "deep")


def test_size_at_the_limit_and_beyond() -> None:
    assert decode(b"\x43abc", "short", 4) == b"abc"
    with pytest.raises(RemoteProtocolError, match="short: 4 octets, at most 3"):
        decode(b"\x43abc", "short", 3)


@pytest.mark.parametrize(
    "value", [2**64, -(2**64) - 1, 1.0, object(), {b"k": 1}, {True: 1}, {1.0: 1}, [{None: 1}]]
)
def test_values_without_an_encoding_are_our_own_bug(value: Any) -> None:  # noqa: ANN401 any wrong type
    with pytest.raises(LocalProtocolError):
        encode(value)
