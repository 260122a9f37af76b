"""Fuzz targets of the proxies: whatever an application or a site sends, the machines answer or refuse."""

from collections.abc import Callable

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.ingress.hosts import canonical_host
from vigilnet.traffic.ingress.http_body import ChunkedBody
from vigilnet.traffic.ingress.http_head import (
    body_length,
    encode_head,
    end_to_end,
    parse_request,
    parse_response,
    split_head,
)
from vigilnet.traffic.ingress.http_proxy import HttpProxyMachine
from vigilnet.traffic.ingress.socks5 import Socks5Machine, SocksCommand, SocksReply
from vigilnet.traffic.ingress.socks5_udp import decode_datagram, encode_datagram
from vigilnet.traffic.stream.messages import Target

GET = b"GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _pieces(data: bytes) -> list[bytes]:
    """Cut the octets at places that they themselves choose."""
    step = 1 + (data[0] if data else 0)
    return [data[at : at + step] for at in range(1, len(data), step)]


def _socks(data: bytes) -> None:
    machine = Socks5Machine()
    try:
        for piece in _pieces(data):
            request = machine.receive(piece)
            if request is not None:
                assert Target(request.host, request.port or 1).fault() == ""
                assert request.port or request.command is not SocksCommand.CONNECT
                machine.reply(SocksReply.SUCCEEDED)
                return
    except RemoteProtocolError:
        assert machine.data_to_send()


def _datagram(data: bytes) -> None:
    try:
        found = decode_datagram(data)
    except RemoteProtocolError:
        return
    if data[3] != 3:
        again = decode_datagram(encode_datagram(*found))
        assert again == found


def _host(data: bytes) -> None:
    try:
        host = canonical_host(data.decode("latin-1"))
    except RemoteProtocolError:
        return
    assert Target.decode(Target(host, 80).encode()).host == host


def _head(data: bytes) -> None:
    for read in (parse_request, parse_response):
        try:
            size = split_head(data)
            if size is None:
                return
            head = read(data[:size])
            fields = end_to_end(head.fields)
            body_length(head.fields, head.minor_version)
        except RemoteProtocolError:
            continue
        assert b"\n" not in encode_head(b"", fields).replace(b"\r\n", b"")


def _chunks(data: bytes) -> None:
    body = ChunkedBody()
    try:
        for piece in _pieces(data):
            taken = body.take(memoryview(piece))
            assert taken == len(piece) or body.is_complete
    except RemoteProtocolError:
        return


def _http(data: bytes) -> None:
    """The first octet of each piece says whose turn it is."""
    machine = HttpProxyMachine()
    for piece in _pieces(data):
        wanted = machine.take_open()
        if wanted is not None:
            assert Target(wanted.host, wanted.port).fault() == ""
            machine.opened()
        if piece[0] & 1 and machine.wants_client_data:
            machine.client_received(piece[1:])
        else:
            machine.origin_received(memoryview(piece)[1:])
        machine.to_client()
        machine.to_origin()
    machine.origin_ended(is_clean=bool(data[-1:] == b"\0"))
    machine.client_ended()


def _response(data: bytes) -> None:
    machine = HttpProxyMachine()
    machine.client_received(GET)
    machine.take_open()
    machine.opened()
    for piece in _pieces(data):
        machine.origin_received(memoryview(piece))
        machine.to_client()
    machine.origin_ended(is_clean=True)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "socks": _socks,
    "datagram": _datagram,
    "host": _host,
    "head": _head,
    "chunks": _chunks,
    "http": _http,
    "response": _response,
}
SEEDS: dict[str, list[bytes]] = {
    "socks": [
        bytes([255, 5, 1, 0, 5, 1, 0, 1, 93, 184, 216, 34, 0, 80]),
        bytes([255, 5, 1, 2, 1, 1, 65, 1, 66, 5, 1, 0, 3, 9]) + b"a.example" + bytes([0, 80]),
        bytes([255, 5, 1, 0, 5, 3, 0, 4]) + bytes(18),
    ],
    "datagram": [
        bytes([0, 0, 0, 1, 1, 2, 3, 4, 0, 53]) + b"hi",
        bytes([0, 0, 0, 3, 9]) + b"a.example\0\x35x",
    ],
    "host": [b"a.example", b"::ffff:1.2.3.4", b"0x7f.1", b"2001:db8::1"],
    "head": [GET, OK, POST],
    "chunks": [b"\xff5\r\nhello\r\n0\r\n\r\n", b"\x02a;x=y\r\n0123456789\r\n0\r\nA: b\r\n\r\n"],
    "http": [b"\xff\x01" + GET, b"\xff\x01" + POST, b"\xff\x01CONNECT a.example:443 HTTP/1.1\r\n\r\n"],
    "response": [
        b"\xff" + OK,
        b"\x05HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
}
