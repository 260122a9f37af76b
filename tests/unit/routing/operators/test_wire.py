"""Registrations and listings in JSON: golden text, round trips, limits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.operators import START, Relay
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.routing.operators.wire import (
    MAX_TIME,
    Registration,
    decode_listing,
    decode_operator,
    decode_registration,
    encode_registration,
    host_of_multiaddr,
    multiaddr_text,
    to_base64,
    verified_record,
)

VECTOR = Path(__file__).parents[3] / "vectors" / "operators" / "registration.json"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=8),
    max_leaves=12,
)
FIELDS = ("peer_id", "addrs", "country", "capabilities", "last_seen", "first_seen", "record", "signed_at")


def test_golden_registration() -> None:
    vector = json.loads(VECTOR.read_text())
    said = decode_registration(vector["registration"])
    assert encode_registration(said) == vector["registration"]
    record = verified_record(said, vector["network"])
    assert record is not None
    assert record.encoded.hex() == vector["record_hex"]
    assert encode_registration(Relay("golden").registration(START + 0.25)) == vector["registration"]


@given(st.integers(0, MAX_TIME), st.sampled_from(["DE", "US", "ZZ"]), st.booleans())
def test_registration_survives_the_way_through_json(time: int, country: str, is_signed: bool) -> None:
    said = replace(Relay("one").registration(), last_seen=time, country=country)
    if not is_signed:
        said = replace(said, record=b"", signed_at=0, signature=b"")
    assert decode_registration(json.loads(json.dumps(encode_registration(said)))) == said


@pytest.mark.slow
@given(JSON, st.lists(st.tuples(st.sampled_from(FIELDS), JSON), max_size=3))
def test_any_json_is_a_registration_or_refused(value: object, changes: list[tuple[str, object]]) -> None:
    good = encode_registration(Relay("one").registration())
    for tried in (value, good | dict(changes)):
        for decode in (decode_registration, decode_operator, lambda tried: decode_listing(tried, 10)):
            try:
                decode(tried)
            except RemoteProtocolError:
                continue


def test_listing_gives_the_records_and_leaves_out_what_has_none() -> None:
    record = Relay("one").record().encoded
    listing = {"DE": [{"record": to_base64(record)}, {"peer_id": "old"}], "FR": [], "US": ["?"]}
    assert decode_listing(listing, 10) == [record]
    assert decode_listing({"DE": [{"record": to_base64(record)}] * 5}, 3) == [record] * 3
    long = {"DE": [{"record": to_base64(bytes(1025))}]}
    bads: list[object] = [[], {"DE": {}}, {"DE": [{"record": 1}]}, long]
    for bad in bads:
        with pytest.raises(RemoteProtocolError):
            decode_listing(bad, 10)


def test_operator_without_record_is_none() -> None:
    assert decode_operator({}) is None
    assert decode_operator({"record": "AAAA"}) == bytes(3)


def test_multiaddrs_are_written_and_read() -> None:
    texts = [
        multiaddr_text(PeerAddress.tcp("2001:db8::1", 443)),
        multiaddr_text(PeerAddress.tcp("relay.example", 4001)),
        multiaddr_text(PeerAddress.build(TransportKind.QUIC, "192.0.2.1", 443)),
    ]
    assert texts == [
        "/ip6/2001:db8::1/tcp/443",
        "/dns/relay.example/tcp/4001",
        "/ip4/192.0.2.1/udp/443/quic-v1",
    ]
    assert host_of_multiaddr("/dns4/relay.example/tcp/4001/p2p/x") == "relay.example"
    assert host_of_multiaddr(texts[0]) == "2001:db8::1"


def test_signature_of_one_moment_does_not_serve_for_another() -> None:
    said = Relay("one").registration()
    assert verified_record(said, "lab") is not None
    assert verified_record(said, "") is None
    assert verified_record(replace(said, signed_at=said.signed_at + 1), "lab") is None
    with pytest.raises(RemoteProtocolError):
        verified_record(Registration("x", (), "DE", (), 0, 0, b"junk", 1, bytes(64)))
