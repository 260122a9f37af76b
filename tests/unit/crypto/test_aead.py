"""AEAD suites against Wycheproof, nonces, and key streams made without a tag."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.crypto.aead import (
    KEY_SIZE,
    NONCE_SIZE,
    Suite,
    big_endian_nonce,
    keystream_columns,
    little_endian_nonce,
    new_aead,
    noise_nonce,
)

WYCHEPROOF = Path(__file__).parents[2] / "vectors" / "wycheproof"
FILES = {Suite.AES_256_GCM: "aes_gcm_test.json", Suite.CHACHA20_POLY1305: "chacha20_poly1305_test.json"}


def vectors(suite: Suite) -> list[dict[str, Any]]:
    """The vectors of the sizes that the suite has: 256-bit keys, 128-bit tags; nonces of all sizes."""
    groups = json.loads((WYCHEPROOF / FILES[suite]).read_text())["testGroups"]
    return [
        {**test, "iv_size": group["ivSize"]}
        for group in groups
        if group["keySize"] == 256 and group["tagSize"] == 128
        for test in group["tests"]
    ]


@pytest.mark.parametrize("suite", Suite)
def test_wycheproof(suite: Suite) -> None:
    seen = 0
    for test in vectors(suite):
        key, nonce, aad, message, sealed = (
            bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct")
        )
        sealed += bytes.fromhex(test["tag"])
        aead = new_aead(suite, key)
        if test["result"] == "valid" and len(nonce) == NONCE_SIZE:
            assert aead.encrypt(nonce, message, aad) == sealed, test["tcId"]
            assert aead.decrypt(nonce, sealed, aad) == message
            seen += 1
        elif test["result"] == "invalid":
            with pytest.raises((InvalidTag, ValueError)):
                aead.decrypt(nonce, sealed, aad)
            seen += 1
    assert seen > 60


def test_nonces_are_those_of_noise() -> None:
    counter = 0x0102030405060708
    assert big_endian_nonce(counter).hex() == "000000000102030405060708"
    assert little_endian_nonce(counter).hex() == "000000000807060504030201"
    assert noise_nonce(Suite.AES_256_GCM, counter) == big_endian_nonce(counter)
    assert noise_nonce(Suite.CHACHA20_POLY1305, counter) == little_endian_nonce(counter)


@given(
    st.sampled_from(Suite),
    st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE),
    st.integers(0, 2**64 - 9),
    st.integers(1, 8),
    st.integers(1, 9),
)
def test_keystream_columns_are_what_seal_xors_onto_its_plaintext(
    suite: Suite, key: bytes, first: int, count: int, blocks: int
) -> None:
    size = 16 * blocks
    aead = new_aead(suite, key)
    expected = [
        aead.encrypt(big_endian_nonce(counter), bytes(size), None)[:size]
        for counter in range(first, first + count)
    ]
    columns = keystream_columns(suite, key, first, count, blocks)
    assert [
        b"".join(column[at : at + 16] for column in columns) for at in range(0, 16 * count, 16)
    ] == expected
