"""Fuzz targets of the HTTP room: a server's session fed any octets, whole and octet by octet."""

from collections.abc import Callable

from vigilnet.base.http.messages import Request, text_response
from vigilnet.base.http.session import Limits, ServerSession, Stage

LIMITS = Limits(max_head=512)


def _feed(pieces: list[bytes]) -> None:
    session = ServerSession(lambda _: 64, Request("", ""), LIMITS, 0.0)
    for piece in pieces:
        request = session.receive(piece, 0.0)
        while request is not None:
            assert len(request.body) <= 64
            session.answer(text_response("ok"), 0.0)
            request = session.next_request(0.0)
    sent = session.data_to_send()
    assert session.stage is not Stage.ANSWERING
    assert not sent or sent.startswith(b"HTTP/1.1 ")


def _whole(data: bytes) -> None:
    _feed([data])


def _octets(data: bytes) -> None:
    _feed([data[at : at + 1] for at in range(len(data))])


_GET = b"GET /a?country=US HTTP/1.1\r\nHost: 127.0.0.1:8088\r\n\r\n"
_POST = (
    b'POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nContent-Type: application/json\r\n\r\n{"a": [1]}'
)
_CHUNKED = b"POST /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

TARGETS: dict[str, Callable[[bytes], None]] = {"whole": _whole, "octets": _octets}
SEEDS: dict[str, list[bytes]] = {"whole": [_GET, _POST, _CHUNKED, _GET + _POST], "octets": [_GET, _CHUNKED]}
