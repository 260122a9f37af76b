import contextlib

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.page import (
    MAX_BODY,
    MAX_FRAME,
    MAX_HEAD,
    PageFetch,
    parse_date,
    user_agent,
)

HOST = "www.example.test"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
UNIX = 784_111_777.0


def h2(name: str = "chromium") -> PageFetch:
    return PageFetch(HOST, b"h2", name, "Chromium 156.0.8078.79 on Debian 12 (x86_64)")


def h1() -> PageFetch:
    return PageFetch(HOST, b"http/1.1", "curl", "curl 7.88.1 with OpenSSL 3.0.19")


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def block(**more: str) -> bytes:
    return Encoder().encode([(":status", "200"), ("date", DATE), *more.items()])


def test_the_request_is_a_preface_with_settings_and_one_get() -> None:
    data = h2().data_to_send()
    assert data.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x18\4\0\0\0\0\0\0\1\0\1\0\0")
    assert data.count(b"\0\0\4\x08\0\0\0\0\0\0\xef\0\1") == 1
    assert h2().data_to_send() == data
    assert h2("firefox").data_to_send() != data


def test_date_and_status_are_read_to_the_end_of_the_stream() -> None:
    page = h2()
    page.data_to_send()
    answer = frame(4, 0, 0, bytes.fromhex("000300000080")) + frame(8, 0, 0, b"\0\1\0\0")
    answer += frame(1, 4, 1, block(server="nginx")) + frame(0, 0, 1, b"abc")
    for at in range(len(answer)):
        page.receive(answer[at : at + 1])
    assert (page.status, page.date, page.is_done) == (200, UNIX, False)
    assert page.data_to_send() == frame(4, 1, 0, b"")
    page.receive(frame(6, 0, 0, b"12345678"))
    assert page.data_to_send() == frame(6, 1, 0, b"12345678")
    page.receive(frame(0, 1, 1, b""))
    assert page.is_done
    page.receive(b"whatever comes now")


def test_padded_and_continued_headers_are_headers() -> None:
    octets = block()
    page = h2()
    page.receive(frame(1, 8 | 0x20 | 1, 1, b"\2" + bytes(5) + octets[:4] + b"\0\0"))
    page.receive(frame(9, 4, 1, octets[4:]))
    assert (page.status, page.date, page.is_done) == (200, UNIX, True)


@pytest.mark.parametrize("end", [frame(7, 0, 0, bytes(8)), frame(3, 0, 1, bytes(4))])
def test_a_refusal_ends_it(end: bytes) -> None:
    page = h2()
    page.receive(end)
    assert page.is_done
    assert page.date is None


@pytest.mark.parametrize(
    "fault",
    [
        frame(0, 0, 0, b"")[:9].replace(b"\0\0\0", (MAX_FRAME + 1).to_bytes(3, "big"), 1),
        frame(0, 0, 3, b"of a stream not opened"),
        frame(5, 4, 1, b"\0\0\0\2"),
        frame(9, 4, 1, b"no headers before"),
        frame(1, 0, 1, b"") + frame(0, 0, 1, b"data in between"),
        frame(1, 4 | 8, 1, b"\xff\0"),
        frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        frame(1, 0, 1, bytes(MAX_FRAME)) + frame(9, 0, 1, bytes(MAX_FRAME)) * (MAX_HEAD // MAX_FRAME),
    ],
)
def test_what_breaks_the_rules_is_the_origin_s_fault(fault: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        h2().receive(fault)


def test_a_long_page_is_left_unread() -> None:
    page = h2()
    page.receive(frame(1, 4, 1, block()))
    chunk = frame(0, 0, 1, bytes(MAX_FRAME))
    for _ in range(MAX_BODY // MAX_FRAME):
        page.receive(chunk)
    assert not page.is_done
    page.receive(frame(0, 0, 1, b"1"))
    assert page.is_done


def test_the_older_http_is_read_too() -> None:
    page = h1()
    assert page.data_to_send().startswith(
        b"GET / HTTP/1.1\r\nHost: www.example.test\r\nUser-Agent: curl/7.88.1\r\n"
    )
    answer = f"HTTP/1.1 200 OK\r\nDate: {DATE}\r\nContent-Length: 3\r\n\r\nab".encode()
    for at in range(len(answer)):
        page.receive(answer[at : at + 1])
    assert (page.status, page.date, page.is_done) == (200, UNIX, False)
    page.receive(b"c")
    assert page.is_done


@pytest.mark.parametrize("fault", [b"SSH-2.0-x\r\n\r\n", b"x" * (MAX_HEAD + 1)])
def test_what_is_no_http_is_the_origin_s_fault(fault: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        h1().receive(fault)


@given(st.binary(max_size=300), st.booleans())
def test_any_octets_are_read_or_blame_the_origin(data: bytes, is_h2: bool) -> None:
    page = h2() if is_h2 else h1()
    with contextlib.suppress(RemoteProtocolError):
        page.receive(data)


@given(st.binary(max_size=100))
def test_any_header_block_is_read_or_blames_the_origin(octets: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        h2().receive(frame(1, 5, 1, octets))


@pytest.mark.parametrize("text", ["", "today", "Sun, 99 Nov 1994 08:49:37 GMT", "1" * 400])
def test_a_date_that_is_none(text: str) -> None:
    assert parse_date(text) is None


def test_browsers_call_themselves_by_their_version() -> None:
    assert "Chrome/156.0.0.0" in user_agent("chromium", "Chromium 156.0.8078.79 on Debian")
    assert user_agent("firefox", "Firefox 153.7.0esr on").endswith("Firefox/153.0")
    assert user_agent("mine", "by hand").endswith("Safari/537.36")
