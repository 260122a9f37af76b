"""Key derivation against Wycheproof, RFC 4231 and Noise's definition."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError
from vigilnet.crypto.kdf import hkdf_expand, hkdf_extract, hmac_sha256, is_equal, noise_hkdf, sha256

WYCHEPROOF = json.loads(
    (Path(__file__).parents[2] / "vectors" / "wycheproof" / "hkdf_sha256_test.json").read_text()
)
TESTS = [test for group in WYCHEPROOF["testGroups"] for test in group["tests"]]


@pytest.mark.parametrize("test", TESTS, ids=lambda test: str(test["tcId"]))
def test_hkdf_wycheproof(test: dict[str, Any]) -> None:
    key, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
    pseudo_random_key = hkdf_extract(salt, key)
    if test["result"] == "valid":
        assert hkdf_expand(pseudo_random_key, info, test["size"]).hex() == test["okm"]
    else:
        assert test["size"] > 255 * 32
        with pytest.raises(LocalProtocolError):
            hkdf_expand(pseudo_random_key, info, test["size"])


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80), st.integers(1, 255 * 32))
def test_hkdf_agrees_with_cryptography(salt: bytes, secret: bytes, info: bytes, size: int) -> None:
    assert hkdf_expand(hkdf_extract(salt, secret), info, size) == HKDF(SHA256(), size, salt, info).derive(
        secret
    )


def test_hmac_of_rfc_4231() -> None:
    tag = hmac_sha256(b"\x0b" * 20, b"Hi ", b"There")
    assert tag.hex() == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"


def test_sha256_is_over_the_concatenation() -> None:
    assert sha256(b"ab", b"c").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_noise_hkdf_is_the_chain_of_hmacs_in_its_definition(chaining_key: bytes, secret: bytes) -> None:
    temp = hmac_sha256(chaining_key, secret)
    first = hmac_sha256(temp, b"\x01")
    second = hmac_sha256(temp, first, b"\x02")
    third = hmac_sha256(temp, second, b"\x03")
    assert noise_hkdf(chaining_key, secret, 2) == [first, second]
    assert noise_hkdf(chaining_key, secret, 3) == [first, second, third]


def test_comparison() -> None:
    assert is_equal(b"same", b"same")
    assert not is_equal(b"same", b"sane")
    assert not is_equal(b"same", b"same longer")
