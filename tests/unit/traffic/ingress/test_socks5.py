from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.ingress.socks5 import (
    Socks5Machine,
    SocksCommand,
    SocksReply,
    SocksRequest,
    encode_reply,
    isolation_key,
    reply_for_end,
)
from vigilnet.traffic.stream.wire import EndReason

GREETING = bytes([5, 1, 0])
IPV4_REQUEST = bytes([5, 1, 0, 1, 93, 184, 216, 34, 0, 80])


def name_request(name: bytes, port: int = 443, command: int = 1) -> bytes:
    return bytes([5, command, 0, 3, len(name)]) + name + port.to_bytes(2)


@pytest.mark.parametrize(
    ("octets", "answer", "request_"),
    [
        pytest.param(
            GREETING + IPV4_REQUEST,
            b"\x05\x00",
            SocksRequest(SocksCommand.CONNECT, "93.184.216.34", 80, "", b""),
            id="ipv4",
        ),
        pytest.param(
            GREETING + bytes([5, 1, 0, 4]) + IPv6Address("2001:db8::1").packed + b"\x01\xbb",
            b"\x05\x00",
            SocksRequest(SocksCommand.CONNECT, "2001:db8::1", 443, "", b""),
            id="ipv6",
        ),
        pytest.param(
            GREETING + bytes([5, 1, 0, 4]) + IPv6Address("::ffff:93.184.216.34").packed + b"\x01\xbb",
            b"\x05\x00",
            SocksRequest(SocksCommand.CONNECT, "93.184.216.34", 443, "", b""),
            id="mapped ipv6 is ipv4",
        ),
        pytest.param(
            GREETING + name_request(b"example.com"),
            b"\x05\x00",
            SocksRequest(SocksCommand.CONNECT, "example.com", 443, "", b""),
            id="name",
        ),
        pytest.param(
            GREETING + name_request(b"example.com.") + b"GET /",
            b"\x05\x00",
            SocksRequest(SocksCommand.CONNECT, "example.com", 443, "", b"GET /"),
            id="name with final dot, early data",
        ),
        pytest.param(
            GREETING + name_request(b"127.0.0.1", 80),
            b"\x05\x00",
            SocksRequest(SocksCommand.CONNECT, "127.0.0.1", 80, "", b""),
            id="address as a name",
        ),
        pytest.param(
            bytes([5, 3, 0, 1, 2]) + bytes([1, 2]) + b"me" + bytes([3]) + b"pwd" + IPV4_REQUEST,
            b"\x05\x02\x01\x00",
            SocksRequest(SocksCommand.CONNECT, "93.184.216.34", 80, isolation_key(b"me", b"pwd"), b""),
            id="login",
        ),
        pytest.param(
            bytes([5, 1, 2, 1, 0, 0]) + IPV4_REQUEST,
            b"\x05\x02\x01\x00",
            SocksRequest(SocksCommand.CONNECT, "93.184.216.34", 80, isolation_key(b"", b""), b""),
            id="empty login",
        ),
        pytest.param(
            GREETING + bytes([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]),
            b"\x05\x00",
            SocksRequest(SocksCommand.UDP_ASSOCIATE, "0.0.0.0", 0, "", b""),  # noqa: S104 - as the client sends
            id="associate",
        ),
    ],
)
def test_requests_are_understood_however_they_are_cut(
    octets: bytes, answer: bytes, request_: SocksRequest
) -> None:
    machine = Socks5Machine()
    assert machine.receive(octets) == request_
    assert machine.data_to_send() == answer
    slow = Socks5Machine()
    found = None
    for at in range(len(octets) - len(request_.early)):
        assert found is None
        found = slow.receive(octets[at : at + 1])
    assert found is not None
    assert (found.host, found.port, found.isolation) == (request_.host, request_.port, request_.isolation)
    assert slow.data_to_send() == answer


def refusal(code: int) -> bytes:
    return bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        pytest.param(bytes([5, 0]), b"\x05\xff", id="no method"),
        pytest.param(bytes([5, 1, 1]), b"\x05\xff", id="gssapi only"),
        pytest.param(bytes([6, 1, 0]), b"\x05\xff", id="version 6"),
        pytest.param(bytes([0]), b"\x05\xff", id="version 0"),
        pytest.param(bytes([4, 1, 0, 80, 1, 2, 3, 4, 0]), b"\x00\x5b" + bytes(6), id="socks 4"),
        pytest.param(bytes([5, 1, 2, 2, 1, 65, 1, 65]), b"\x05\x02\x01\x01", id="login version"),
        pytest.param(GREETING + bytes([5, 2, 0, 1, 1, 2, 3, 4, 0, 80]), b"\x05\x00" + refusal(7), id="bind"),
        pytest.param(
            GREETING + bytes([5, 9, 0, 1, 1, 2, 3, 4, 0, 80]), b"\x05\x00" + refusal(7), id="command 9"
        ),
        pytest.param(
            GREETING + bytes([5, 1, 0, 2, 1, 2, 3, 4, 0, 80]), b"\x05\x00" + refusal(8), id="type 2"
        ),
        pytest.param(
            GREETING + bytes([5, 1, 1, 1, 1, 2, 3, 4, 0, 80]), b"\x05\x00" + refusal(1), id="reserved"
        ),
        pytest.param(
            GREETING + bytes([4, 1, 0, 1, 1, 2, 3, 4, 0, 80]), b"\x05\x00" + refusal(1), id="version"
        ),
        pytest.param(GREETING + bytes([5, 1, 0, 1, 1, 2, 3, 4, 0, 0]), b"\x05\x00" + refusal(1), id="port 0"),
        pytest.param(GREETING + name_request(b""), b"\x05\x00" + refusal(4), id="empty name"),
        pytest.param(GREETING + name_request(b"a b"), b"\x05\x00" + refusal(4), id="name with space"),
        pytest.param(GREETING + name_request(b"127.1"), b"\x05\x00" + refusal(4), id="short address"),
        pytest.param(GREETING + name_request(b"x" * 255), b"\x05\x00" + refusal(4), id="long label"),
        pytest.param(GREETING + name_request("ü.de".encode()), b"\x05\x00" + refusal(4), id="utf-8"),
        pytest.param(GREETING + name_request(b"a\r\nb.com"), b"\x05\x00" + refusal(4), id="line break"),
    ],
)
def test_each_fault_gets_its_reply(octets: bytes, answer: bytes) -> None:
    machine = Socks5Machine()
    with pytest.raises(RemoteProtocolError):
        machine.receive(octets)
    assert machine.data_to_send() == answer
    with pytest.raises(LocalProtocolError):
        machine.receive(b"more")


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"p"])
def test_http_on_the_socks_port_is_told_so_in_http(octets: bytes) -> None:
    machine = Socks5Machine()
    with pytest.raises(RemoteProtocolError, match="HTTP spoken"):
        machine.receive(octets)
    answer = machine.data_to_send()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"SOCKS5" in answer


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        (EndReason.DONE, 1),
        (EndReason.REFUSED, 5),
        (EndReason.POLICY, 2),
        (EndReason.RESOLVE_FAILED, 4),
        (EndReason.NO_ROUTE, 3),
        (EndReason.TIMEOUT, 6),
        (EndReason.RESET, 1),
        (EndReason.LIMIT, 1),
        (EndReason.CLOSING, 1),
    ],
)
def test_reply_for_each_end_of_a_stream(reason: EndReason, reply: int) -> None:
    assert reply_for_end(reason) == reply


def test_reply_is_sent_once_and_only_after_a_request() -> None:
    machine = Socks5Machine()
    with pytest.raises(LocalProtocolError):
        machine.reply(SocksReply.SUCCEEDED)
    machine.receive(GREETING + IPV4_REQUEST)
    machine.data_to_send()
    machine.reply(SocksReply.SUCCEEDED, "127.0.0.1", 4000)
    assert machine.data_to_send() == bytes([5, 0, 0, 1, 127, 0, 0, 1]) + (4000).to_bytes(2)
    assert machine.data_to_send() == b""
    with pytest.raises(LocalProtocolError):
        machine.reply(SocksReply.SUCCEEDED)


def test_reply_with_an_ipv6_address() -> None:
    assert (
        encode_reply(SocksReply.SUCCEEDED, "::1", 1)
        == bytes([5, 0, 0, 4]) + IPv6Address("::1").packed + b"\0\1"
    )


def test_different_logins_have_different_keys_also_when_they_join_alike() -> None:
    keys = {isolation_key(b"ab", b"c"), isolation_key(b"a", b"bc"), isolation_key(b"", b"abc"), ""}
    assert len(keys) == 4
    assert isolation_key(b"ab", b"c") == isolation_key(b"ab", b"c")


@given(st.binary(max_size=600), st.integers(1, 20))
def test_any_octets_give_a_request_or_blame_the_client(octets: bytes, step: int) -> None:
    machine = Socks5Machine()
    try:
        for at in range(0, len(octets), step):
            if machine.receive(octets[at : at + step]):
                return
    except RemoteProtocolError:
        assert machine.data_to_send()


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(1, 65535), st.binary(max_size=40))
def test_every_address_and_port_arrives(address: IPv4Address | IPv6Address, port: int, early: bytes) -> None:
    kind = 1 if address.version == 4 else 4
    machine = Socks5Machine()
    request = machine.receive(GREETING + bytes([5, 1, 0, kind]) + address.packed + port.to_bytes(2) + early)
    mapped = getattr(address, "ipv4_mapped", None)
    assert request == SocksRequest(SocksCommand.CONNECT, str(mapped or address), port, "", early)
