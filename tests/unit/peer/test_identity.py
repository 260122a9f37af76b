"""Identities, their libp2p peer ids and key files."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.identity import Identity, is_signed_by, parse_peer_id, peer_id_text

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "libp2p-peerid" / "peer_ids.json").read_text())
KEYS = VECTORS["key_encoding_vectors"]
ED25519 = bytes.fromhex(KEYS["ed25519"]["private_protobuf_hex"])


def test_libp2p_key_file_is_read_and_written_back() -> None:
    identity = Identity.from_libp2p_protobuf(ED25519)
    assert identity.to_libp2p_protobuf() == ED25519
    assert KEYS["ed25519"]["public_protobuf_hex"] == "08011220" + identity.public.hex()
    assert parse_peer_id(identity.peer_id) == identity.public


def test_older_key_file_with_a_repeated_public_key_is_read() -> None:
    identity = Identity.from_libp2p_protobuf(ED25519)
    old = bytes.fromhex("08011260") + ED25519[4:] + identity.public
    assert Identity.from_libp2p_protobuf(old).public == identity.public
    with pytest.raises(RemoteProtocolError):
        Identity.from_libp2p_protobuf(old[:-1] + b"\0")


@pytest.mark.parametrize("kind", ["ecdsa", "secp256k1", "rsa"])
def test_other_kinds_of_keys_are_refused(kind: str) -> None:
    for half in ("private_protobuf_hex", "public_protobuf_hex"):
        with pytest.raises(RemoteProtocolError):
            Identity.from_libp2p_protobuf(bytes.fromhex(KEYS[kind][half]))


def test_halves_that_do_not_fit_are_refused() -> None:
    for index in range(len(ED25519)):
        broken = bytearray(ED25519)
        broken[index] ^= 1
        with pytest.raises(RemoteProtocolError):
            Identity.from_libp2p_protobuf(bytes(broken))
    for data in (b"", ED25519[:-1], ED25519 + b"\0"):
        with pytest.raises(RemoteProtocolError):
            Identity.from_libp2p_protobuf(data)


def test_textual_examples() -> None:
    texts = [text for text, _ in VECTORS["textual_examples"]]
    for text in texts[:2]:  # SHA-256 multihashes: no key can be taken out
        with pytest.raises(RemoteProtocolError):
            parse_peer_id(text)
    assert peer_id_text(parse_peer_id(texts[2])) == texts[2]


@given(st.binary(min_size=32, max_size=32))
def test_peer_id_text_is_parsed_back(public: bytes) -> None:
    text = peer_id_text(public)
    assert text.startswith("12D3KooW")
    assert parse_peer_id(text) == public


@given(
    st.text(max_size=60)
    | st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=44, max_size=44)
)
def test_any_text_parses_or_blames_who_gave_it(text: str) -> None:
    for candidate in (text, "12D3KooW" + text):
        try:
            public = parse_peer_id(candidate)
        except RemoteProtocolError:
            continue
        assert peer_id_text(public) == candidate


def test_sizes_are_checked() -> None:
    with pytest.raises(LocalProtocolError):
        peer_id_text(bytes(31))
    with pytest.raises(LocalProtocolError):
        Identity.from_seed(bytes(33))


def test_signatures() -> None:
    identity = Identity.generate()
    signature = identity.sign(b"label\0message")
    assert is_signed_by(identity.public, signature, b"label\0message")
    assert not is_signed_by(identity.public, signature, b"label\0messagf")
    assert not is_signed_by(identity.public, signature[:-1], b"label\0message")
    assert not is_signed_by(b"short", signature, b"label\0message")


def test_a_signature_has_one_form() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    identity = Identity.generate()
    signature = identity.sign(b"m")
    second = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not is_signed_by(identity.public, second, b"m"), "else anyone could make a record equivocate"


def test_private_half_does_not_show() -> None:
    identity = Identity.generate()
    assert repr(identity) == "Identity([hidden])"
    assert Identity.from_seed(identity.seed()).public == identity.public
