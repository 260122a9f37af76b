"""The extended OR port against a proxy's side written straight from Tor's specification."""

import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.deterministic import counted_bytes
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.pluggable.extended_or import MAX_BODY, MAX_COMMANDS, ExtendedOr

COOKIE = bytes(range(32))
NONCE = bytes(range(50, 82))
OKAY, DENY = b"\x10\0\0\0", b"\x10\1\0\0"


def command(number: int, body: bytes = b"") -> bytes:
    return number.to_bytes(2) + len(body).to_bytes(2) + body


USER, NAME, DONE = command(1, b"192.0.2.7:55"), command(2, b"obfs4"), command(0)


def digest(label: str, theirs: bytes, cookie: bytes = COOKIE) -> bytes:
    return hmac.new(cookie, label.encode() + NONCE + theirs, hashlib.sha256).digest()


def proven(cookie: bytes = COOKIE) -> ExtendedOr:
    port = ExtendedOr(COOKIE, counted_bytes(), "obfs4")
    assert port.data_to_send() == b"\1\0"
    port.receive(b"\1" + NONCE[:10])
    port.receive(NONCE[10:])
    answer = port.data_to_send()
    assert answer[:32] == digest("ExtORPort authentication server-to-client hash", answer[32:])
    port.receive(digest("ExtORPort authentication client-to-server hash", answer[32:], cookie))
    return port


def test_a_proxy_that_holds_the_cookie_hands_over_a_client() -> None:
    port = proven()
    assert port.data_to_send() == b"\1"
    port.receive(USER + NAME + command(99, b"later") + DONE[:3])
    assert not port.is_open
    port.receive(DONE[3:])
    assert port.is_open
    assert port.client_host == "192.0.2.7"
    assert port.data_to_send() == OKAY


def test_a_proxy_may_not_say_whose_connection_it_is() -> None:
    port = proven()
    port.receive(DONE)
    assert port.is_open
    assert port.client_host == ""


def test_a_proxy_without_the_cookie_is_told_and_blamed() -> None:
    port = ExtendedOr(COOKIE, counted_bytes(), "obfs4")
    port.receive(b"\1" + NONCE)
    port.data_to_send()
    with pytest.raises(RemoteProtocolError, match="cookie"):
        port.receive(bytes(32))
    assert port.data_to_send() == b"\0"


def test_another_transport_is_denied() -> None:
    port = proven()
    port.data_to_send()
    with pytest.raises(RemoteProtocolError):
        port.receive(command(2, b"meek"))
    assert port.data_to_send() == DENY


@pytest.mark.parametrize(
    "said",
    [
        command(1, b"nowhere"),
        DONE + b"x",
        (3).to_bytes(2) + (MAX_BODY + 1).to_bytes(2),
        command(99) * (MAX_COMMANDS + 1),
    ],
)
def test_what_a_proxy_may_not_say(said: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        proven().receive(said)


def test_commands_at_their_limits_are_taken() -> None:
    port = proven()
    port.receive(command(99, bytes(MAX_BODY)) * (MAX_COMMANDS - 1) + DONE)
    assert port.is_open


def test_only_safe_cookies_are_known() -> None:
    with pytest.raises(RemoteProtocolError, match="kind 2"):
        ExtendedOr(COOKIE, counted_bytes(), "obfs4").receive(b"\2" + NONCE)


@given(st.binary(max_size=100))
def test_any_octets_are_read_or_blamed(data: bytes) -> None:
    for port in (ExtendedOr(COOKIE, counted_bytes(), "obfs4"), proven()):
        with contextlib.suppress(RemoteProtocolError):
            port.receive(data)
        port.data_to_send()
