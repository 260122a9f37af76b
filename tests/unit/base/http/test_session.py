from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError
from vigilnet.base.http.messages import Request, Response, error_response, text_response
from vigilnet.base.http.session import Limits, ServerSession, Stage

LIMITS = Limits(max_head=1000, head_s=10, body_s=5)
GET = b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"


def _session(max_body: int | Response = 10) -> ServerSession:
    return ServerSession(lambda _: max_body, Request("", "", peer="192.0.2.1"), LIMITS, 0.0)


def _post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /a HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _status(session: ServerSession) -> int:
    return int(session.data_to_send().split(b" ", 2)[1])


def test_request_is_read_answered_and_followed_by_another() -> None:
    session = _session()
    request = session.receive(GET + GET, 1.0)
    assert request is not None
    assert (request.method, request.path, request.query, request.peer) == (
        "GET",
        "/a",
        {"x": "1"},
        "192.0.2.1",
    )
    session.answer(text_response("ok"), 1.0)
    reply = session.data_to_send()
    assert reply.startswith(b"HTTP/1.1 200")
    assert b"Cache-Control: no-store" in reply
    assert reply.endswith(b"\r\n\r\nok")
    assert session.next_request(1.0) is not None


def test_body_in_pieces_is_joined() -> None:
    session = _session()
    data = _post(b"0123456789")
    assert session.receive(data[:-5], 0) is None
    request = session.receive(data[-5:], 0)
    assert request is not None
    assert request.body == b"0123456789"


def test_body_at_its_limit_is_taken_and_one_octet_more_refused_unread() -> None:
    assert _session().receive(_post(b"x" * 10), 0) is not None
    session = _session()
    assert session.receive(_post(b"x" * 11)[:-11], 0) is None
    assert (session.stage, _status(session), session.was_refused_unread) == (Stage.OVER, 413, True)


def test_chunked_body_is_held_to_the_same_limit() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    taken = _session().receive(head + b"a\r\n0123456789\r\n0\r\n\r\n", 0)
    assert taken is not None
    assert taken.body == b"0123456789"
    session = _session()
    assert session.receive(head + b"b\r\n0123456789a\r\n", 0) is None
    assert _status(session) == 413


def test_head_at_its_limit_and_beyond() -> None:
    def head(size: int) -> bytes:
        start = b"GET / HTTP/1.1\r\nHost: h\r\nX: "
        return start + b"x" * (size - len(start))

    session = _session()
    assert session.receive(head(LIMITS.max_head), 0) is None
    assert session.data_to_send() == b""
    session.receive(b"x", 0)
    assert (session.stage, _status(session)) == (Stage.OVER, 431)


def test_refusal_of_the_judge_is_answered_before_the_body_comes() -> None:
    session = _session(error_response(403, "no"))
    session.receive(_post(b"x" * 9)[:-9], 0)
    assert (session.stage, _status(session)) == (Stage.OVER, 403)
    assert session.receive(b"x" * 9, 0) is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\n", 415),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_bad_requests_are_refused_and_the_connection_ends(data: bytes, status: int) -> None:
    session = _session()
    assert session.receive(data, 0) is None
    assert (session.stage, _status(session)) == (Stage.OVER, status)


def test_head_that_takes_too_long_is_told_so_and_an_idle_connection_just_ends() -> None:
    slow, idle = _session(), _session()
    slow.receive(b"GET / HT", 1.0)
    for session in (slow, idle):
        assert session.deadline() == 10.0
        session.on_deadline(9.9)
        assert session.deadline() == 10.0
        session.on_deadline(10.0)
        assert session.stage is Stage.OVER
    assert _status(slow) == 408
    assert idle.data_to_send() == b""


def test_body_has_its_own_time() -> None:
    session = _session()
    session.receive(_post(b"x" * 9)[:-9], 8.0)
    assert session.deadline() == 13.0
    session.on_deadline(13.0)
    assert _status(session) == 408


def test_answering_takes_the_time_it_takes() -> None:
    session = _session()
    session.receive(GET, 0)
    assert session.deadline() is None
    session.on_deadline(1e9)
    assert session.stage is Stage.ANSWERING


def test_head_request_is_answered_without_body() -> None:
    session = _session()
    session.receive(GET.replace(b"GET", b"HEAD"), 0)
    session.answer(text_response("hello"), 0)
    reply = session.data_to_send()
    assert b"Content-Length: 5" in reply
    assert reply.endswith(b"\r\n\r\n")


def test_answer_may_close_the_connection() -> None:
    session = _session()
    session.receive(GET, 0)
    session.answer(Response(200, b"x", headers={"Connection": "close"}), 0)
    assert session.stage is Stage.OVER
    assert b"Connection: close" in session.data_to_send()


def test_streamed_answer_is_chunked_and_closes() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b""

    session = _session()
    session.receive(GET, 0)
    session.answer(Response(200, chunks()), 0)
    session.send_chunk(b"abc")
    session.send_chunk(b"")
    session.end_answer(0)
    assert session.data_to_send().endswith(b"3\r\nabc\r\n0\r\n\r\n")
    assert session.stage is Stage.OVER


def test_who_waits_for_100_continue_gets_it_once_the_head_was_judged() -> None:
    session = _session()
    session.receive(_post(b"x" * 3, "Expect: 100-continue")[:-3], 0)
    assert session.data_to_send().startswith(b"HTTP/1.1 100")
    assert session.receive(b"xxx", 0) is not None


def test_answer_without_a_request_is_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError):
        _session().answer(text_response("x"), 0)


def test_end_of_the_stream_ends_it_silently() -> None:
    session = _session()
    assert session.receive(b"", 0) is None
    assert (session.stage, session.data_to_send()) == (Stage.OVER, b"")


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_any_octets_are_a_request_or_refused(pieces: list[bytes], begins_well: bool) -> None:
    session = _session()
    for piece in [b"POST / HTTP/1.1\r\nHost: h\r\n", *pieces] if begins_well else pieces:
        if session.receive(piece, 0) is not None:
            session.answer(text_response("ok"), 0)
    assert session.stage in Stage
