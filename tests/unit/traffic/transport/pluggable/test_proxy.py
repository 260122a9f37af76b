from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.pluggable.proxy import (
    MAX_HEAD,
    HttpConnectClient,
    Proxy,
    ProxyClient,
    Socks4Client,
    read_proxy,
)
from vigilnet.traffic.transport.pluggable.socks import SocksClient, SocksRefusedError

HELD = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        (
            "socks5://tor:test1234@198.51.100.1:8000",
            Proxy("socks5", "198.51.100.1", 8000, b"tor", b"test1234"),
        ),
        ("socks4a://198.51.100.2:8001", Proxy("socks4a", "198.51.100.2", 8001)),
        ("socks4a://me@198.51.100.2:8001", Proxy("socks4a", "198.51.100.2", 8001, b"me")),
        ("http://[2001:db8::1]:3128/", Proxy("http", "2001:db8::1", 3128)),
    ],
)
def test_what_a_parent_names_is_read(text: str, proxy: Proxy) -> None:
    assert read_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    [
        "", "socks5", "socks5://", "socks5://192.0.2.1", "socks5://192.0.2.1:0", "https://192.0.2.1:1",
        "socks4a://me:secret@192.0.2.1:1", "socks4a://a%00b@192.0.2.1:1", "http://:x@192.0.2.1:1",
        f"socks5://{'u' * 256}@192.0.2.1:1", "socks5://192.0.2.1:1/path",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_proxy(text)


def test_each_kind_has_its_client() -> None:
    assert isinstance(Proxy("socks5", "192.0.2.1", 1).client("a.example", 443), SocksClient)
    asked = Proxy("socks4a", "192.0.2.1", 1, b"me").client("a.example", 443).data_to_send()
    assert asked == b"\4\1\x01\xbb\0\0\0\1me\0a.example\0"
    assert Socks4Client("192.0.2.7", 80).data_to_send() == b"\4\1\0\x50\xc0\0\2\7\0"
    assert Proxy("http", "192.0.2.1", 1, b"u", b"p").client("2001:db8::1", 443).data_to_send() == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"
        b"Proxy-Authorization: Basic dTpw\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("make", "answer"), [(Socks4Client, b"\0\x5a" + bytes(6)), (HttpConnectClient, HELD)]
)
def test_an_answer_opens_however_it_comes_in_pieces(
    make: Callable[[str, int], ProxyClient], answer: bytes
) -> None:
    client = make("a.example", 443)
    assert client.data_to_send()
    assert client.data_to_send() == b""
    for at in range(len(answer)):
        assert not client.is_open
        client.receive(answer[at : at + 1])
    assert client.is_open
    with pytest.raises(RemoteProtocolError, match="behind"):
        client.receive(b"x")


@pytest.mark.parametrize(
    ("client", "answer", "match"),
    [
        (Socks4Client("a.example", 1), b"\0\x5b" + bytes(6), "refused"),
        (Socks4Client("a.example", 1), b"\0\x10" + bytes(6), "no"),
        (HttpConnectClient("a.example", 1), b"HTTP/1.1 407 Who are you\r\n\r\n", "407"),
    ],
)
def test_a_no_is_told(client: ProxyClient, answer: bytes, match: str) -> None:
    with pytest.raises(SocksRefusedError, match=match):
        client.receive(answer)


@pytest.mark.parametrize(
    ("client", "answer"),
    [
        (Socks4Client("a.example", 1), b"\5"),
        (Socks4Client("a.example", 1), b"\0\x5a" + bytes(7)),
        (HttpConnectClient("a.example", 1), b"SSH-2.0\r\n\r\n"),
        (HttpConnectClient("a.example", 1), HELD + b"x"),
        (HttpConnectClient("a.example", 1), b"HTTP/1.1 200 OK\r\n" + b"x" * MAX_HEAD),
    ],
)
def test_another_language_is_blamed(client: ProxyClient, answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        client.receive(answer)


@pytest.mark.parametrize("host", ["", "a b", "a\r\nb", "ä.example"])
def test_hosts_that_cannot_travel_are_our_own_fault(host: str) -> None:
    for kind in ("socks5", "socks4a", "http"):
        if kind != "http" and host in ("a b", "a\r\nb"):
            continue  # a length says where the name ends
        with pytest.raises(LocalProtocolError):
            Proxy(kind, "192.0.2.1", 1).client(host, 1)
    with pytest.raises(LocalProtocolError):
        Socks4Client("2001:db8::1", 1)


@given(st.binary(max_size=60), st.booleans())
def test_any_answer_opens_or_is_blamed(data: bytes, is_http: bool) -> None:
    client: ProxyClient = HttpConnectClient("a", 1) if is_http else Socks4Client("a", 1)
    try:
        client.receive(data)
    except RemoteProtocolError:
        return
    assert not client.is_open or data.endswith(b"\r\n\r\n") or len(data) == 8
