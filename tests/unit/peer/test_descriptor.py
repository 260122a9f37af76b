"""The signed peer record: one encoding, every limit, and the shared vector byte for byte."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import RecordMaker
from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.peer.descriptor import (
    DAY_S,
    Capability,
    ExitSummary,
    OnionKey,
    PeerRecord,
    PuzzleHint,
    decode_record,
    is_signature_valid,
    parse_record,
    sign_record,
)
from vigilnet.peer.identity import Identity
from vigilnet.peer.work import epoch_of, is_work_done, work_hash

VECTORS = Path(__file__).parents[2] / "vectors" / "protocol"
VECTOR = json.loads((VECTORS / "record.json").read_text())["vectors"][0]
ENCODED = bytes.fromhex(VECTOR["record"])
OWNER = Identity.from_seed(bytes.fromhex(VECTOR["identity_seed"]))

PUBLISHED = 1_800_000_000
DAY = PUBLISHED // DAY_S
IDENTITY = Identity.from_seed(bytes(range(32)))
MINIMAL = PeerRecord(
    identity=IDENTITY.public,
    sequence=PUBLISHED * 1000,
    published=PUBLISHED,
    lifetime=86_400,
    link_key=b"L" * 32,
    onion_keys=(OnionKey(b"O" * 32, (DAY + 3) * DAY_S),),
    capabilities=Capability.RELAY,
)
REVOKED = PeerRecord(IDENTITY.public, PUBLISHED * 1000, PUBLISHED, 600, revoked=True)
HTX: dict[int, Value] = {0: b"H" * 32, 1: "www.example.org", 2: 1}


def sign(draft: PeerRecord) -> PeerRecord:
    return sign_record(IDENTITY, draft, nonce=bytes(8))


def body_of(record: PeerRecord) -> dict[int, Any]:
    body, _, _ = decode(record.encoded, "record")  # type: ignore[misc]
    return cast("dict[int, Any]", decode(cast("bytes", body), "body"))


def resigned(body: Mapping[int, Value], identity: Identity = IDENTITY) -> bytes:
    """A record signed over any body, as a peer that breaks the rules would make it."""
    encoded = encode(body)
    nonce = bytes(8)
    return encode([encoded, nonce, identity.sign(b"vigilnet v1 record\0" + nonce + encoded)])


def test_vector_decodes_to_its_fields() -> None:
    record = decode_record(ENCODED)
    assert record.identity == OWNER.public
    assert record.digest.hex() == VECTOR["record_digest"]
    assert record.sequence // 1000 - record.published <= 600
    assert record.preferred_suite is Suite.AES_256_GCM
    assert [address.transport for address in record.addresses] == [
        TransportKind.HTX,
        TransportKind.HTX,
        TransportKind.TCP,
    ]
    assert (record.addresses[2].host, record.addresses[2].port) == ("198.51.100.7", 1088)
    assert record.addresses[0].params[1] == "www.example.org"
    assert record.country == "DE"
    assert record.exit_summary == ExitSummary(True, ((443, 443), (80, 80)))
    assert record.puzzle is not None
    assert record.puzzle.effort == 64
    assert record.nonce.hex() == VECTOR["work_nonce"]


def test_vector_is_made_again_byte_for_byte() -> None:
    record = decode_record(ENCODED)
    draft = replace(record, encoded=b"", digest=b"")
    assert sign_record(OWNER, draft, nonce=bytes.fromhex(VECTOR["work_nonce"])).encoded == ENCODED


def test_vector_work() -> None:
    record = decode_record(ENCODED)
    epoch = epoch_of(record.published)
    assert epoch == VECTOR["work_epoch"]
    assert work_hash(record.identity, record.nonce, epoch).hex() == VECTOR["work_hash"]
    assert is_work_done(record.identity, record.nonce, epoch, VECTOR["work_bits"])


def test_size_with_mandatory_keys_only() -> None:
    assert len(sign(MINIMAL).encoded) == 221


def test_record_belongs_to_its_network_only() -> None:
    record = sign_record(IDENTITY, MINIMAL, nonce=bytes(8), network="lab")
    assert decode_record(record.encoded, "lab").digest == record.digest
    for other in ("", "lap"):
        with pytest.raises(RemoteProtocolError, match="signature"):
            decode_record(record.encoded, other)


def test_every_flipped_bit_is_refused() -> None:
    for index in range(len(ENCODED)):
        for bit in (0, 3, 7):
            broken = bytearray(ENCODED)
            broken[index] ^= 1 << bit
            with pytest.raises(RemoteProtocolError):
                decode_record(bytes(broken))


def test_every_cut_and_any_suffix_is_refused() -> None:
    for size in range(len(ENCODED)):
        with pytest.raises(RemoteProtocolError):
            decode_record(ENCODED[:size])
    with pytest.raises(RemoteProtocolError):
        decode_record(ENCODED + b"\0")


@given(st.binary(max_size=1100))
def test_any_octets_parse_or_blame_the_peer(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse_record(data)


FULL = replace(
    MINIMAL,
    onion_keys=(OnionKey(b"o" * 32, (DAY + 2) * DAY_S), *MINIMAL.onion_keys),
    addresses=(
        PeerAddress.tcp("192.0.2.1", 4001),
        PeerAddress.build(TransportKind.HTX, "2001:db8::1", 443, HTX),
    ),
    exit_summary=ExitSummary(False, ((25, 25), (1, 7))),
    country="CH",
    bandwidth_class=0,
    software="vigilnet 0.1.0",
    puzzle=PuzzleHint(b"S" * 16, 0, PUBLISHED),
    family=(b"f" * 8,),
    service_keys=(b"s" * 32,),
    extra={32: "kept", 99: [1, {2: None}]},
)


def test_all_fields_survive_encode_and_decode() -> None:
    record = decode_record(sign(FULL).encoded)
    assert replace(record, encoded=b"", digest=b"") == FULL
    assert record.onion_key == FULL.onion_keys[-1]
    assert record.onion_key.day == DAY
    assert record.end == PUBLISHED + 86_400


Body = dict[int, Any]


def changed(key: int, value: object) -> Callable[[Body], Body]:
    return lambda body: body | {key: value}


REFUSED: dict[str, Callable[[Body], Body]] = {
    "version": changed(0, 2),
    "identity size": changed(1, b"I" * 31),
    "identity type": changed(1, "I" * 32),
    "sequence early": changed(2, PUBLISHED * 1000 - 600_001),
    "sequence late": changed(2, PUBLISHED * 1000 + 600_001),
    "sequence of a thief": changed(2, (1 << 64) - 1),
    "published": changed(3, -1),
    "lifetime short": changed(4, 599),
    "lifetime long": changed(4, 172_801),
    "lifetime bool": changed(4, True),
    "link key": changed(5, b"L" * 33),
    "no onion key": changed(6, []),
    "three onion keys": changed(6, [[b"O" * 32, (DAY + n) * DAY_S] for n in (1, 2, 3)]),
    "onion key of two days": changed(6, [[b"O" * 32, (DAY + n) * DAY_S] for n in (3, 4)]),
    "onion keys out of order": changed(6, [[b"O" * 32, (DAY + n) * DAY_S] for n in (3, 2)]),
    "onion key not of a day": changed(6, [[b"O" * 32, (DAY + 3) * DAY_S + 1]]),
    "onion key of yesterday alone": changed(6, [[b"O" * 32, (DAY + 2) * DAY_S]]),
    "onion key of tomorrow": changed(6, [[b"O" * 32, (DAY + 4) * DAY_S]]),
    "onion key size": changed(6, [[b"O" * 31, (DAY + 3) * DAY_S]]),
    "onion key item": changed(6, [[b"O" * 32]]),
    "addresses empty": changed(7, []),
    "nine addresses": changed(7, [[1, bytes.fromhex("04c00002010601bb")]] * 9),
    "address item": changed(7, [[1]]),
    "address of 257": changed(7, [[99, b"x" * 252]]),
    "transport": changed(7, [[-1, bytes.fromhex("04c00002010601bb")]]),
    "multiaddr": changed(7, [[1, b"\x04\x01"]]),
    "params": changed(7, [[1, bytes.fromhex("04c00002010601bb"), {"a": 1}]]),
    "htx without params": changed(7, [[2, bytes.fromhex("04c00002010601bb")]]),
    "htx key": changed(7, [[2, bytes.fromhex("04c00002010601bb"), HTX | {0: b""}]]),
    "htx name": changed(7, [[2, bytes.fromhex("04c00002010601bb"), HTX | {1: ""}]]),
    "htx mode": changed(7, [[2, bytes.fromhex("04c00002010601bb"), HTX | {2: 3}]]),
    "htx issuer": changed(7, [[2, bytes.fromhex("04c00002010601bb"), HTX | {3: b"x"}]]),
    "capabilities": changed(8, 1 << 32),
    "suites": changed(9, 2),
    "suites size": changed(9, 1 << 32 | 6),
    "exit kind": changed(10, [2, []]),
    "exit ranges": changed(10, [0, [[1, 1]] * 17]),
    "exit range backwards": changed(10, [0, [[2, 1]]]),
    "exit port 0": changed(10, [0, [[0, 1]]]),
    "exit port 65536": changed(10, [0, [[1, 65536]]]),
    "country length": changed(11, "DEU"),
    "country case": changed(11, "de"),
    "bandwidth": changed(12, 64),
    "software empty": changed(13, ""),
    "software long": changed(13, "x" * 25),
    "software escape": changed(13, "x\x1b[31m"),
    "puzzle seed": changed(14, [b"S" * 15, 0, 0]),
    "puzzle effort": changed(14, [b"S" * 16, 1 << 32, 0]),
    "puzzle item": changed(14, [b"S" * 16, 1]),
    "family empty": changed(15, []),
    "family nine": changed(15, [b"f" * 8] * 9),
    "family size": changed(15, [b"f" * 7]),
    "service keys": changed(16, [b"s" * 32] * 5),
    "service key size": changed(16, [b"s" * 31]),
    "preferred unknown": changed(17, 3),
    "preferred 0": changed(17, 0),
    "revoked with the rest": changed(18, 1),
    "unknown below 32": changed(19, 1),
    "unknown 31": changed(31, 1),
    "negative key": changed(-1, 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_signed_but_beyond_a_limit_is_refused(name: str) -> None:
    encoded = resigned(REFUSED[name](body_of(sign(MINIMAL))))
    with pytest.raises(RemoteProtocolError) as caught:
        decode_record(encoded)
    assert "signature" not in str(caught.value)


AT_THE_LIMIT: dict[str, Callable[[Body], Body]] = {
    "sequence early": changed(2, PUBLISHED * 1000 - 600_000),
    "sequence late": changed(2, PUBLISHED * 1000 + 600_000),
    "lifetime short": changed(4, 600),
    "lifetime long": changed(4, 172_800),
    "address of 256": changed(7, [[99, b"x" * 251]]),
    "eight addresses": changed(7, [[1, bytes.fromhex("04c00002010601bb")]] * 8),
    "capabilities": changed(8, (1 << 32) - 1),
    "more suites": changed(9, (1 << 32) - 1),
    "ranges": changed(10, [1, [[1, 65535]] * 16]),
    "bandwidth": changed(12, 63),
    "software": changed(13, "x" * 24),
    "family": changed(15, [b"f" * 8] * 8),
    "service keys": changed(16, [b"s" * 32] * 4),
    "preferred": changed(17, 1),
    "unknown 32": changed(32, "kept"),
}


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_at_the_limit_is_accepted_and_kept(name: str) -> None:
    encoded = resigned(AT_THE_LIMIT[name](body_of(sign(MINIMAL))))
    record = decode_record(encoded)
    again = sign_record(IDENTITY, replace(record, encoded=b"", digest=b""), nonce=bytes(8))
    assert again.encoded == encoded


@pytest.mark.parametrize("key", [0, 1, 2, 3, 4, 5, 6, 8, 9, 17])
def test_each_mandatory_key_is_missed(key: int) -> None:
    body = body_of(sign(MINIMAL))
    del body[key]
    with pytest.raises(RemoteProtocolError, match=f"key {key} missing"):
        decode_record(resigned(body))


def test_revocation_has_only_its_own_keys() -> None:
    record = decode_record(sign(REVOKED).encoded)
    assert record.revoked
    assert record.end == PUBLISHED + 366 * DAY_S
    body = body_of(record)
    for wrong in (body | {18: 0}, body | {18: 2}, body | {32: 1}, {k: v for k, v in body.items() if k != 4}):
        with pytest.raises(RemoteProtocolError):
            decode_record(resigned(wrong))


def test_whole_record_is_limited_to_1024_octets() -> None:
    record = sign(MINIMAL)
    room = 1024 - len(record.encoded) - 2 - 3 - 1  # its key, its head, the longer head of the body
    assert len(sign(replace(MINIMAL, extra={32: b"x" * room})).encoded) == 1024
    with pytest.raises(LocalProtocolError, match="1025 octets"):
        sign(replace(MINIMAL, extra={32: b"x" * (room + 1)}))


def test_second_encodings_are_refused() -> None:
    body, nonce, signature = decode(ENCODED, "record")  # type: ignore[misc]
    assert isinstance(body, bytes)
    longer_head = b"\x83\x5a" + len(body).to_bytes(4) + body + ENCODED[-75:]
    swapped = bytes([body[0]]) + body[4:6] + body[1:4] + body[6:]
    for second in (longer_head, encode([swapped, nonce, signature]), b"\x9f" + ENCODED[1:] + b"\xff"):
        with pytest.raises(RemoteProtocolError):
            parse_record(second)


def test_signature_of_another_identity_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="signature"):
        decode_record(resigned(body_of(sign(MINIMAL)), Identity.generate()))
    assert is_signature_valid(parse_record(ENCODED))


def test_own_mistakes_are_ours() -> None:
    with pytest.raises(LocalProtocolError, match="another identity"):
        sign_record(OWNER, MINIMAL, nonce=bytes(8))
    with pytest.raises(LocalProtocolError, match="own record lifetime"):
        sign(replace(MINIMAL, lifetime=1))
    with pytest.raises(LocalProtocolError, match="own record nonce"):
        sign_record(IDENTITY, MINIMAL, nonce=b"short")


def test_work_is_done_at_signing_when_not_before() -> None:
    record = sign_record(IDENTITY, MINIMAL, work_bits=3, random_bytes=bytes)
    assert is_work_done(IDENTITY.public, record.nonce, epoch_of(PUBLISHED), 3)


def test_exit_summary_answers_for_ports() -> None:
    accept, reject = ExitSummary(True, ((80, 80), (400, 500))), ExitSummary(False, ((25, 25),))
    assert accept.allows(443)
    assert not accept.allows(25)
    assert reject.allows(443)
    assert not reject.allows(25)


def test_who_names_introducers_cannot_be_dialled_whatever_else_it_tells() -> None:
    maker = RecordMaker("relay")
    lan, other = PeerAddress.tcp("192.168.1.2", 4001), bytes(32)
    record = maker.record(
        PUBLISHED, addresses=[lan, PeerAddress.via(other, "5.1.0.2"), PeerAddress.via(b"x" * 32)]
    )
    assert record.introducers == {other: "5.1.0.2", b"x" * 32: ""}
    assert not record.is_dialable
    own = maker.record(PUBLISHED, addresses=[lan, PeerAddress.via(maker.identity.public, "5.1.0.2")])
    assert own.introducers == {}
    assert own.is_dialable
