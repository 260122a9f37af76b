"""Methods and keys; vectors of keys are those of the protocol's own texts."""

import base64

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.shadowsocks.methods import METHODS, new_password, secret_from


def test_keys_of_2017_are_those_of_openssl() -> None:
    # `openssl enc -aes-256-cbc -md md5 -nosalt -P -pass pass:barfoo!` says so
    assert secret_from("aes-256-gcm", "barfoo!").key.hex() == (
        "b3adc47839e047eb228870526dc8fc30b347287ffca3045dcea06b3fdf090acb"
    )
    assert secret_from("aes-128-gcm", "barfoo!").key.hex() == "b3adc47839e047eb228870526dc8fc30"


@pytest.mark.parametrize("name", METHODS)
def test_a_made_password_fits_its_method(name: str) -> None:
    password = new_password(name, lambda size: bytes(range(size)))
    secret = secret_from(name, password)
    assert len(secret.key) == secret.method.key_size
    assert password not in repr(secret)
    assert secret.key.hex() not in repr(secret)


@pytest.mark.parametrize("password", ["", "x", "AAAA", base64.b64encode(bytes(16)).decode()])
def test_a_key_of_2022_must_be_of_its_size(password: str) -> None:
    with pytest.raises(ConfigurationError, match="32 octets"):
        secret_from("2022-blake3-aes-256-gcm", password)


def test_an_unknown_method_is_told_with_those_known() -> None:
    with pytest.raises(ConfigurationError, match=r"rc4-md5.*chacha20-ietf-poly1305"):
        secret_from("rc4-md5", "x")
