"""Dialogues with a SOCKS5 proxy, as RFC 1928 and 1929 have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.pluggable.socks import SocksClient, SocksRefusedError

REPLY = b"\5\0\0\1\x7f\0\0\1\0\1"


@pytest.mark.parametrize(
    ("host", "encoded"),
    [
        ("192.0.2.1", b"\1\xc0\0\2\1"),
        ("2001:db8::1", b"\4\x20\x01\x0d\xb8" + bytes(11) + b"\1"),
        ("a.example", b"\3\x09a.example"),
    ],
)
@pytest.mark.parametrize("piece", [1, 99])
def test_a_dialogue_with_a_login(host: str, encoded: bytes, piece: int) -> None:
    client = SocksClient(host, 443, (b"user", b"\0"))
    assert client.data_to_send() == b"\5\1\2"
    client.receive(b"\5")
    client.receive(b"\2")
    assert client.data_to_send() == b"\1\4user\1\0"
    client.receive(b"\1\0")
    assert client.data_to_send() == b"\5\1\0" + encoded + b"\1\xbb"
    for at in range(0, len(REPLY), piece):
        assert not client.is_open
        client.receive(REPLY[at : at + piece])
    assert client.is_open
    assert client.data_to_send() == b""


def test_a_dialogue_without_a_login() -> None:
    client = SocksClient("192.0.2.1", 1)
    assert client.data_to_send() == b"\5\1\0"
    client.receive(b"\5\0")
    client.receive(b"\5\0\0\3\1a\0\1")
    assert client.is_open


@pytest.mark.parametrize("said", [b"\5\xff", b"\5\0", b"\5\2\1\1", b"\5\2\1\0\5\5\0\1\0"])
def test_a_proxy_may_refuse(said: bytes) -> None:
    with pytest.raises(SocksRefusedError):
        SocksClient("192.0.2.1", 1, (b"u", b"p")).receive(said)


@pytest.mark.parametrize(
    "said", [b"\4\0", b"\5\2\1\0\4\0\0\1\0", b"\5\2\1\0\5\0\0\2\0", b"\5\2\1\0" + REPLY + b"x"]
)
def test_what_is_no_socks5_is_blamed(said: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        SocksClient("192.0.2.1", 1, (b"u", b"p")).receive(said)


@given(st.binary(max_size=60), st.booleans())
def test_any_octets_are_read_or_blamed(data: bytes, has_login: bool) -> None:
    client = SocksClient("192.0.2.1", 1, (b"u", b"p") if has_login else None)
    try:
        client.receive(data)
    except RemoteProtocolError:
        return
    client.data_to_send()


def test_what_cannot_travel_is_our_own_bug() -> None:
    for host in ("", "x" * 256, "\u00e4.example"):
        with pytest.raises(LocalProtocolError):
            SocksClient(host, 1)
    for credentials in ((b"", b"p"), (b"u", b"x" * 256)):
        with pytest.raises(LocalProtocolError):
            SocksClient("192.0.2.1", 1, credentials)
