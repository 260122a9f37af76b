"""Noise handshakes: the public and the project's vectors, and everything an attacker may change in them."""

import json
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from kyber_py.ml_kem import ML_KEM_768  # type: ignore[import-untyped]  # has no types

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import Suite, new_aead, noise_nonce
from vigilnet.crypto.noise import (
    DH_SIZE,
    KEM_CIPHERTEXT_SIZE,
    KEM_PUBLIC_SIZE,
    NoiseHandshake,
    Pattern,
    SystemEphemerals,
    protocol_name,
)

FOLDER = Path(__file__).parents[2] / "vectors"
WYCHEPROOF = FOLDER / "wycheproof"
# the points of order 1, 2, 4 and 8 of Curve25519 and its twist, and their encodings beyond the prime
LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def dh_key(text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(text))


@dataclass
class Fixed:
    """The ephemerals of a vector."""

    dh: str
    kem_seed: str = ""
    kem_m: str = ""

    def dh_key(self) -> X25519PrivateKey:
        return dh_key(self.dh)

    def kem_key(self) -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(self.kem_seed))

    def encapsulate(self, public: MLKEM768PublicKey) -> tuple[bytes, bytes]:
        secret, ciphertext = ML_KEM_768._encaps_internal(public.public_bytes_raw(), bytes.fromhex(self.kem_m))
        return secret, ciphertext


def project_vectors() -> list[dict[str, Any]]:
    return [
        vector
        for room in ("link", "circuit", "circle")
        for vector in json.loads((FOLDER / "protocol" / f"{room}.json").read_text())["vectors"]
    ]


def public_vectors() -> list[dict[str, Any]]:
    vectors = json.loads((FOLDER / "noise" / "cacophony_25519_subset.json").read_text())["vectors"]
    return [vector for vector in vectors if vector["protocol_name"] in PUBLIC_NAMES]


PUBLIC_NAMES = [protocol_name(Pattern.XK, suite) for suite in Suite]
NAMES = {protocol_name(pattern, suite): (pattern, suite) for pattern in Pattern for suite in Suite}
VECTORS = project_vectors()


def sides(vector: dict[str, Any]) -> tuple[NoiseHandshake, NoiseHandshake]:
    """Initiator and responder of one of the project's vectors."""
    pattern, suite = NAMES[vector["protocol_name"]]
    psk = bytes.fromhex(vector["psk"]) if "psk" in vector else None
    prologue = bytes.fromhex(vector["prologue"])
    initiator = NoiseHandshake(
        pattern,
        suite,
        initiator=True,
        prologue=prologue,
        remote_static=bytes.fromhex(vector["resp_static_public"]),
        local_static=dh_key(vector["init_static"]) if "init_static" in vector else None,
        psk=psk,
        ephemerals=Fixed(vector["init_ephemeral"], vector.get("kem_seed_d_z", "")),
    )
    responder = NoiseHandshake(
        pattern,
        suite,
        initiator=False,
        prologue=prologue,
        local_static=dh_key(vector["resp_static"]),
        psk=psk,
        ephemerals=Fixed(vector["resp_ephemeral"], kem_m=vector.get("kem_m", "")),
    )
    return initiator, responder


def test_all_patterns_and_suites_in_use_have_a_vector() -> None:
    names = {vector["protocol_name"] for vector in VECTORS} | set(PUBLIC_NAMES)
    assert names >= set(NAMES) - {protocol_name(Pattern.XK_HFS_PSK0, Suite.AES_256_GCM)}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_project_vectors(vector: dict[str, Any]) -> None:
    writer, reader = initiator, responder = sides(vector)
    for message in vector["messages"]:
        sent = writer.write_message(bytes.fromhex(message["payload"]))
        assert sent.hex() == message["message"]
        assert len(sent) == message["length"]
        assert reader.read_message(sent).hex() == message["payload"]
        writer, reader = reader, writer
    assert initiator.is_finished
    keys = initiator.finish()
    assert responder.finish() == keys
    assert keys.handshake_hash.hex() == vector["handshake_hash"]
    assert keys.initiator_to_responder.hex() == vector["key_initiator_to_responder"]
    assert keys.responder_to_initiator.hex() == vector["key_responder_to_initiator"]
    if "init_static" in vector:
        assert responder.remote_static == dh_key(vector["init_static"]).public_key().public_bytes_raw()


@pytest.mark.parametrize("vector", public_vectors(), ids=lambda vector: vector["protocol_name"])
def test_public_vectors(vector: dict[str, Any]) -> None:
    pattern, suite = NAMES[vector["protocol_name"]]
    initiator = NoiseHandshake(
        pattern,
        suite,
        initiator=True,
        prologue=bytes.fromhex(vector["init_prologue"]),
        remote_static=bytes.fromhex(vector["init_remote_static"]),
        local_static=dh_key(vector["init_static"]),
        ephemerals=Fixed(vector["init_ephemeral"]),
    )
    responder = NoiseHandshake(
        pattern,
        suite,
        initiator=False,
        prologue=bytes.fromhex(vector["resp_prologue"]),
        local_static=dh_key(vector["resp_static"]),
        ephemerals=Fixed(vector["resp_ephemeral"]),
    )
    writer, reader = initiator, responder
    for message in vector["messages"][:3]:
        sent = writer.write_message(bytes.fromhex(message["payload"]))
        assert sent.hex() == message["ciphertext"]
        assert reader.read_message(sent).hex() == message["payload"]
        writer, reader = reader, writer
    keys = initiator.finish()
    assert keys == responder.finish()
    assert keys.handshake_hash.hex() == vector["handshake_hash"]
    directions = [keys.initiator_to_responder, keys.responder_to_initiator]
    for index, message in enumerate(vector["messages"][3:]):
        aead = new_aead(suite, directions[(index + 1) % 2])
        sent = aead.encrypt(noise_nonce(suite, index // 2), bytes.fromhex(message["payload"]), b"")
        assert sent.hex() == message["ciphertext"]


def fresh(
    pattern: Pattern,
    suite: Suite = Suite.AES_256_GCM,
    *,
    prologues: tuple[bytes, bytes] = (b"p", b"p"),
    psks: tuple[bytes | None, bytes | None] = (b"k" * 32, b"k" * 32),
    responder_static: X25519PrivateKey | None = None,
    known_static: bytes | None = None,
) -> tuple[NoiseHandshake, NoiseHandshake]:
    static = responder_static or X25519PrivateKey.generate()
    with_psk = pattern is Pattern.XK_HFS_PSK0
    initiator = NoiseHandshake(
        pattern,
        suite,
        initiator=True,
        prologue=prologues[0],
        remote_static=known_static or static.public_key().public_bytes_raw(),
        local_static=X25519PrivateKey.generate(),
        psk=psks[0] if with_psk else None,
    )
    responder = NoiseHandshake(
        pattern,
        suite,
        initiator=False,
        prologue=prologues[1],
        local_static=static,
        psk=psks[1] if with_psk else None,
    )
    return initiator, responder


def exchange(initiator: NoiseHandshake, responder: NoiseHandshake) -> None:
    writer, reader = initiator, responder
    while not reader.is_finished:
        reader.read_message(writer.write_message(b"payload"))
        writer, reader = reader, writer


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize("suite", Suite)
def test_fresh_handshakes_agree(pattern: Pattern, suite: Suite) -> None:
    initiator, responder = fresh(pattern, suite)
    exchange(initiator, responder)
    keys = initiator.finish()
    assert keys == responder.finish()
    assert keys.initiator_to_responder != keys.responder_to_initiator


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_every_flipped_octet_of_every_message_is_refused(vector: dict[str, Any]) -> None:
    """Attack test 9: at the latest by the next message of the one who was lied to."""
    writer, reader = sides(vector)
    for message in vector["messages"]:
        original = bytes.fromhex(message["message"])
        for index in range(len(original)):
            broken = bytearray(original)
            broken[index] ^= 1 << index % 8
            with pytest.raises(RemoteProtocolError):
                clone(reader).read_message(bytes(broken))
        writer.write_message(bytes.fromhex(message["payload"]))
        reader.read_message(original)
        writer, reader = reader, writer


def clone(side: NoiseHandshake) -> NoiseHandshake:
    """A second handshake in the very same state."""
    copied = copy(side)
    copied._state = copy(side._state)
    return copied


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_every_cut_message_is_refused(vector: dict[str, Any]) -> None:
    first = bytes.fromhex(vector["messages"][0]["message"])
    for size in (*range(min(100, len(first))), len(first) - 17, len(first) - 16, len(first) - 1):
        with pytest.raises(RemoteProtocolError):
            sides(vector)[1].read_message(first[:size])


def test_bit_255_of_an_ephemeral_is_caught_by_the_hash() -> None:
    """Attack test 11: X25519 ignores the bit, so the DH result is the same."""
    for pattern in Pattern:
        initiator, responder = fresh(pattern)
        message = bytearray(initiator.write_message())
        message[31] ^= 0x80
        with pytest.raises(RemoteProtocolError, match="tag does not verify"):
            responder.read_message(bytes(message))


@pytest.mark.parametrize("point", LOW_ORDER)
def test_low_order_ephemeral_is_refused(point: str) -> None:
    """Attack test 10, both directions."""
    for octets in (
        bytes.fromhex(point),
        bytes.fromhex(point)[:31] + bytes([bytes.fromhex(point)[31] | 0x80]),
    ):
        for pattern in Pattern:
            initiator, responder = fresh(pattern)
            first = initiator.write_message()
            with pytest.raises(RemoteProtocolError, match="degenerate"):
                responder.read_message(octets + first[DH_SIZE:])
            initiator, responder = fresh(pattern)
            responder.read_message(initiator.write_message())
            second = responder.write_message()
            with pytest.raises(RemoteProtocolError, match="degenerate"):
                initiator.read_message(octets + second[DH_SIZE:])


@pytest.mark.parametrize("point", LOW_ORDER)
def test_low_order_static_key_is_refused(point: str) -> None:
    """A record may name such a link key, and an initiator may send one."""
    octets = bytes.fromhex(point)
    for pattern in Pattern:
        initiator, _ = fresh(pattern, known_static=octets)
        with pytest.raises(RemoteProtocolError, match="degenerate"):
            initiator.write_message()
    initiator, responder = fresh(Pattern.XK_HFS)
    responder.read_message(initiator.write_message())
    initiator.read_message(responder.write_message())
    sealed = initiator._state.encrypt_and_hash(octets)
    with pytest.raises(RemoteProtocolError, match="degenerate"):
        responder.read_message(sealed + bytes(16))


def test_kem_key_beyond_the_modulus_is_refused() -> None:
    """Attack test 10: genuine tag, bad ML-KEM key inside."""
    tests = json.loads((WYCHEPROOF / "mlkem_768_encaps_test.json").read_text())["testGroups"]
    bad = [
        bytes.fromhex(test["ek"]) for group in tests for test in group["tests"] if test["result"] == "invalid"
    ]
    for public in [*bad[:16], b"\xff" * KEM_PUBLIC_SIZE]:
        initiator, responder = fresh(Pattern.NK_HFS)
        first = initiator._write_token("e") + initiator._write_token("es")
        first += initiator._state.encrypt_and_hash(public)
        first += initiator._state.encrypt_and_hash(b"")
        with pytest.raises(RemoteProtocolError, match="degenerate"):
            responder.read_message(first)


def test_kem_ciphertext_of_another_key_gives_other_keys() -> None:
    initiator, responder = fresh(Pattern.NK_HFS)
    responder.read_message(initiator.write_message())
    foreign = SystemEphemerals().kem_key().public_key()
    responder._re1 = foreign
    with pytest.raises(RemoteProtocolError, match="tag does not verify"):
        initiator.read_message(responder.write_message())


@pytest.mark.parametrize("pattern", Pattern)
def test_both_must_agree_on_prologue_and_static_key(pattern: Pattern) -> None:
    initiator, responder = fresh(pattern, prologues=(b"p", b"q"))
    with pytest.raises(RemoteProtocolError):
        responder.read_message(initiator.write_message())
    other = X25519PrivateKey.generate().public_key().public_bytes_raw()
    initiator, responder = fresh(pattern, known_static=other)
    with pytest.raises(RemoteProtocolError):
        responder.read_message(initiator.write_message())


def test_both_must_agree_on_pattern_suite_and_psk() -> None:
    static = X25519PrivateKey.generate()
    initiator, _ = fresh(Pattern.XK_HFS, responder_static=static)
    _, circuit = fresh(Pattern.NK_HFS, responder_static=static)
    _, other_suite = fresh(Pattern.XK_HFS, Suite.CHACHA20_POLY1305, responder_static=static)
    message = initiator.write_message()
    for responder in (circuit, other_suite):
        with pytest.raises(RemoteProtocolError):
            responder.read_message(message)
    initiator, responder = fresh(Pattern.XK_HFS_PSK0, psks=(b"k" * 32, b"K" * 32))
    with pytest.raises(RemoteProtocolError):
        responder.read_message(initiator.write_message())


def test_out_of_turn_is_our_own_bug() -> None:
    initiator, responder = fresh(Pattern.NK_HFS)
    with pytest.raises(LocalProtocolError, match="not our turn"):
        responder.write_message()
    with pytest.raises(LocalProtocolError, match="not the peer's turn"):
        initiator.read_message(b"")
    with pytest.raises(LocalProtocolError, match="finish before"):
        initiator.finish()
    exchange(initiator, responder)
    with pytest.raises(LocalProtocolError, match="turn"):
        initiator.write_message()
    with pytest.raises(LocalProtocolError, match="turn"):
        responder.read_message(b"")


def test_keys_that_are_missing_are_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError, match="responder's static"):
        NoiseHandshake(Pattern.NK_HFS, Suite.AES_256_GCM, initiator=True, prologue=b"")
    with pytest.raises(LocalProtocolError, match="responder needs"):
        NoiseHandshake(Pattern.NK_HFS, Suite.AES_256_GCM, initiator=False, prologue=b"")
    initiator, _ = fresh(Pattern.XK_HFS_PSK0, psks=(None, None))
    with pytest.raises(LocalProtocolError, match="no pre-shared key"):
        initiator.write_message()
    initiator, responder = fresh(Pattern.XK)
    initiator._s = None
    responder.read_message(initiator.write_message())
    initiator.read_message(responder.write_message())
    with pytest.raises(LocalProtocolError, match="no static key"):
        initiator.write_message()


@pytest.mark.parametrize("token", ["ekem1", "ee"])
def test_tokens_before_their_keys_are_our_own_bug(token: str) -> None:
    initiator, responder = fresh(Pattern.NK_HFS)
    with pytest.raises(LocalProtocolError):
        responder._write_token(token)
    with pytest.raises(LocalProtocolError):
        initiator._read_token(token, bytes(1200))


def test_finish_forgets_the_handshake_s_own_keys() -> None:
    initiator, responder = fresh(Pattern.XK_HFS)
    exchange(initiator, responder)
    for side in (initiator, responder):
        side.finish()
        assert (side._e, side._e1, side._re1, side._s, side._psk) == (None,) * 5
        assert side._state.ck == b""
        assert side._state.cipher is None


@given(st.sampled_from(Pattern), st.binary(max_size=3000))
def test_any_octets_as_first_message_blame_the_peer(pattern: Pattern, data: bytes) -> None:
    _, responder = fresh(pattern)
    with pytest.raises(RemoteProtocolError):
        responder.read_message(data)


def wycheproof_kem(name: str) -> list[dict[str, Any]]:
    groups = json.loads((WYCHEPROOF / name).read_text())["testGroups"]
    return [test for group in groups for test in group["tests"]]


def test_mlkem_decapsulation_wycheproof() -> None:
    for test in wycheproof_kem("mlkem_768_test.json"):
        try:
            key = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(test["seed"]))
            secret = key.decapsulate(bytes.fromhex(test["c"]))
        except ValueError:
            assert test["result"] == "invalid", test["tcId"]
            continue
        assert test["result"] == "valid", test["tcId"]
        assert secret.hex() == test["K"]
        assert key.public_key().public_bytes_raw().hex() == test["ek"]


def test_mlkem_keys_from_seed_wycheproof() -> None:
    for test in wycheproof_kem("mlkem_768_keygen_seed_test.json"):
        key = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(test["seed"]))
        assert key.public_key().public_bytes_raw().hex() == test["ek"]


def test_mlkem_encapsulation_wycheproof() -> None:
    """cryptography checks the key; the derandomised result is that of kyber-py, which made the vectors."""
    for test in wycheproof_kem("mlkem_768_encaps_test.json"):
        public = bytes.fromhex(test["ek"])
        if test["result"] == "invalid":
            with pytest.raises(ValueError, match="public key"):
                MLKEM768PublicKey.from_public_bytes(public)
            continue
        MLKEM768PublicKey.from_public_bytes(public)
        secret, ciphertext = ML_KEM_768._encaps_internal(public, bytes.fromhex(test["m"]))
        assert (secret.hex(), ciphertext.hex()) == (test["K"], test["c"])


def test_kem_of_cryptography_and_kyber_py_agree() -> None:
    key = SystemEphemerals().kem_key()
    secret, ciphertext = SystemEphemerals().encapsulate(key.public_key())
    assert (len(secret), len(ciphertext)) == (32, KEM_CIPHERTEXT_SIZE)
    assert key.decapsulate(ciphertext) == secret
    theirs, sealed = ML_KEM_768._encaps_internal(key.public_key().public_bytes_raw(), bytes(32))
    assert key.decapsulate(sealed) == theirs
