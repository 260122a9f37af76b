"""Keys of the DHT and requests for them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import RecordMaker
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.descriptor import Capability
from vigilnet.routing.discovery.dht import (
    DHT_KEY_SIZE,
    LOOKUP_SIZE,
    SHARDS,
    Lookup,
    country_tag,
    identity_key,
    keys_of,
    network_number,
    only_fitting,
    shard_of,
    tag_key,
    tags_of,
)
from vigilnet.routing.discovery.directory import Fetch, parse_request

VECTOR = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "dht.json").read_text())
IDENTITY = bytes.fromhex(VECTOR["identity"])
RECORD = RecordMaker("exit").record(1_800_000_000, country="CH")
EXIT = replace(RECORD, capabilities=Capability.RELAY | Capability.EXIT)


def test_vectors() -> None:
    assert identity_key(IDENTITY).hex() == VECTOR["identity_key"]
    assert identity_key(IDENTITY, "lab").hex() == VECTOR["identity_key_lab"]
    assert shard_of(IDENTITY) == VECTOR["shard"]
    assert tag_key("exit", VECTOR["shard"]).hex() == VECTOR["exit_key"]
    assert tag_key(country_tag("CH"), VECTOR["shard"]).hex() == VECTOR["exit_ch_key"]
    assert network_number("") == VECTOR["network_number"]
    assert network_number("lab") == VECTOR["network_number_lab"]
    assert parse_request(bytes.fromhex(VECTOR["lookup"])) == Lookup(identity_key(IDENTITY))


@given(st.binary(min_size=DHT_KEY_SIZE, max_size=DHT_KEY_SIZE))
def test_round_trip(key: bytes) -> None:
    assert parse_request(Lookup(key).encode()) == Lookup(key)


@given(st.binary(max_size=30) | st.binary(max_size=25).map(lambda octets: b"\x11\x00\x14" + octets))
def test_any_octets_are_one_request_or_its_beginning_or_blame_who_wrote_them(octets: bytes) -> None:
    try:
        request = parse_request(octets)
    except RemoteProtocolError:
        return
    assert request is None or request.encode() == octets


def test_a_request_is_taken_when_it_is_whole_and_not_one_octet_later() -> None:
    for whole in (Lookup(bytes(DHT_KEY_SIZE)).encode(), Fetch().encode()):
        assert all(parse_request(whole[:size]) is None for size in range(len(whole)))
        assert parse_request(whole) is not None
        with pytest.raises(RemoteProtocolError):
            parse_request(whole + b"\0")


def test_other_requests_are_refused() -> None:
    for octets in (b"\x12", b"\x11\x00\x15" + bytes(DHT_KEY_SIZE), bytes(LOOKUP_SIZE)):
        with pytest.raises(RemoteProtocolError):
            parse_request(octets)
    with pytest.raises(LocalProtocolError):
        Lookup(b"short").encode()


@given(st.binary(min_size=32, max_size=32))
def test_every_identity_has_a_shard(identity: bytes) -> None:
    assert 0 <= shard_of(identity) < SHARDS


def test_a_record_is_found_by_its_identity_and_what_it_offers() -> None:
    assert tags_of(RECORD) == ["relay"]
    assert tags_of(EXIT) == ["relay", "exit", "exit ch"]
    assert keys_of(EXIT) == [
        identity_key(EXIT.identity),
        *(tag_key(tag, shard_of(EXIT.identity)) for tag in ("relay", "exit", "exit ch")),
    ]
    assert not set(keys_of(EXIT)) & set(keys_of(EXIT, "lab"))


def test_records_that_do_not_belong_under_a_key_are_left_out() -> None:
    other = RecordMaker("other").record(1_800_000_000)
    assert only_fitting([RECORD, other], identity_key(other.identity)) == [other]
    assert only_fitting([RECORD, EXIT], tag_key("exit", shard_of(EXIT.identity))) == [EXIT]
    assert only_fitting([RECORD], identity_key(RECORD.identity, "lab")) == []
