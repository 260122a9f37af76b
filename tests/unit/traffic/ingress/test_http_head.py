import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.traffic.ingress.http_head import (
    MAX_FIELDS,
    HttpError,
    body_length,
    encode_head,
    end_to_end,
    error_page,
    parse_request,
    parse_response,
    split_head,
    tokens,
)


def test_request_head_is_read_in_order_and_spelling() -> None:
    head = parse_request(b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Odd:  v  w \r\nEmpty:\r\n\r\n")
    assert (head.method, head.target, head.minor_version) == (b"GET", b"http://a/", 1)
    assert head.fields == [(b"Host", b"a"), (b"X-Odd", b"v  w"), (b"Empty", b"")]


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET http://a/\r\n\r\n",
        b"GET  http://a/ HTTP/1.1\r\n\r\n",
        b"GET http://a/ HTTP/1.1 \r\n\r\n",
        b" GET http://a/ HTTP/1.1\r\n\r\n",
        b"GET http://a/ b HTTP/1.1\r\n\r\n",
        b"GET http://a/\x00 HTTP/1.1\r\n\r\n",
        b"G(T http://a/ HTTP/1.1\r\n\r\n",
        b"GET http://a/ http/1.1\r\n\r\n",
        b"GET http://a/ HTTP/1.1\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\nb: c\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\x00\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\n: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nH\xe9: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nA: \x7f\r\n\r\n",
    ],
)
def test_what_parsers_could_read_differently_is_refused(head: bytes) -> None:
    with pytest.raises(HttpError) as refusal:
        parse_request(head)
    assert refusal.value.status == 400


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2"])
def test_other_versions_are_refused(version: bytes) -> None:
    with pytest.raises(HttpError) as refusal:
        parse_request(b"GET http://a/ " + version + b"\r\n\r\n")
    assert refusal.value.status == 505


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", (1, 200, b"OK")),
        (b"HTTP/1.0 404 Not Found", (0, 404, b"Not Found")),
        (b"HTTP/1.1 200 ", (1, 200, b"")),
        (b"HTTP/1.1 200", (1, 200, b"")),
        (b"HTTP/1.1 299 caf\xe9", (1, 299, b"caf\xe9")),
    ],
)
def test_status_lines(line: bytes, expected: tuple[int, int, bytes]) -> None:
    head = parse_response(line + b"\r\n\r\n")
    assert (head.minor_version, head.status, head.reason) == expected


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 099 X",
        b"ICY 200 OK",
        b"HTTP/2 200",
        b"HTTP/1.1 200 OK\r\nA : b",
        b"SSH-2.0-x",
    ],
)
def test_malformed_responses_are_a_bad_gateway(head: bytes) -> None:
    with pytest.raises(HttpError) as refusal:
        parse_response(head + b"\r\n\r\n")
    assert refusal.value.status == 502


def test_head_limit() -> None:
    head = b"GET http://a/ HTTP/1.1\r\nA: %b\r\n\r\n"
    whole = head % (b"x" * (200 - len(head) + 2))
    assert len(whole) == 200
    assert split_head(whole, 200) == 200
    assert split_head(whole[:150], 200) is None
    with pytest.raises(HttpError) as refusal:
        split_head(whole, 199)
    assert refusal.value.status == 431


def test_number_of_fields_is_limited() -> None:
    assert len(parse_request(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MAX_FIELDS + b"\r\n").fields) == MAX_FIELDS
    with pytest.raises(HttpError) as refusal:
        parse_request(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n")
    assert refusal.value.status == 431


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], None),
        ([(b"Content-Length", b"12")], 12),
        ([(b"content-length", b"0")], 0),
        ([(b"Transfer-Encoding", b"chunked")], -1),
        ([(b"Transfer-Encoding", b"Chunked")], -1),
    ],
)
def test_body_length(fields: list[tuple[bytes, bytes]], length: int | None) -> None:
    assert body_length(fields, 1) == length


@pytest.mark.parametrize(
    ("fields", "minor", "status"),
    [
        ([(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")], 1, 400),
        ([(b"Content-Length", b"1"), (b"Content-Length", b"1")], 1, 400),
        ([(b"Content-Length", b"1"), (b"Content-Length", b"2")], 1, 400),
        ([(b"Content-Length", b"1, 1")], 1, 400),
        ([(b"Content-Length", b"+1")], 1, 400),
        ([(b"Content-Length", b"-1")], 1, 400),
        ([(b"Content-Length", b"0x1")], 1, 400),
        ([(b"Content-Length", b"1 1")], 1, 400),
        ([(b"Content-Length", b"")], 1, 400),
        ([(b"Content-Length", b"9" * 19)], 1, 400),
        ([(b"Transfer-Encoding", b"chunked")], 0, 400),
        ([(b"Transfer-Encoding", b"gzip, chunked")], 1, 501),
        ([(b"Transfer-Encoding", b"chunked, chunked")], 1, 501),
        ([(b"Transfer-Encoding", b"identity")], 1, 501),
        ([(b"Transfer-Encoding", b"xchunked")], 1, 501),
        ([(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"identity")], 1, 501),
        ([(b"Transfer-Encoding", b"")], 1, 501),
    ],
)
def test_doubtful_framings_are_refused(fields: list[tuple[bytes, bytes]], minor: int, status: int) -> None:
    with pytest.raises(HttpError) as refusal:
        body_length(fields, minor)
    assert refusal.value.status == status


def test_hop_by_hop_fields_are_dropped_and_no_other() -> None:
    fields = [
        (b"Host", b"a"),
        (b"Connection", b"keep-alive, X-Mine"),
        (b"Keep-Alive", b"3"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"PROXY-AUTHORIZATION", b"Basic eDp5"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"TE", b"trailers"),
        (b"Upgrade", b"h2c"),
        (b"x-mine", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-Yours", b"2"),
    ]
    assert [name for name, _ in end_to_end(fields)] == [b"Host", b"Transfer-Encoding", b"X-Yours"]


@pytest.mark.parametrize("name", [b"Host", b"content-length", b"Transfer-Encoding", b"Cookie"])
def test_connection_cannot_take_away_what_the_next_reader_needs(name: bytes) -> None:
    with pytest.raises(HttpError):
        end_to_end([(b"Connection", b"close, " + name)])


def test_tokens_of_several_fields() -> None:
    assert tokens([(b"Connection", b"a, B ,"), (b"x", b"y"), (b"connection", b"c")], b"connection") == [
        b"a",
        b"b",
        b"c",
    ]


def test_error_page_is_a_whole_response_and_escapes() -> None:
    page = error_page(403, "<b>", "a & b", ["Allow: GET"])
    head, _, body = page.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert head.endswith(b"Allow: GET")
    assert b"<b>" not in body
    assert b"a &amp; b" in body
    assert b"igil" not in page


def test_hostile_heads_take_linear_time() -> None:
    start = time.process_time()
    for filler in (b" ", b"\t ", b"a", b",", b" ,"):
        hostile = b"GET http://a/ HTTP/1.1\r\nA:" + filler * (30_000 // len(filler)) + b"\x01\r\n\r\n"
        with pytest.raises(HttpError):
            parse_request(hostile)
    assert time.process_time() - start < 0.5


@given(st.binary(max_size=400))
def test_any_octets_are_a_head_or_an_error(octets: bytes) -> None:
    for read in (parse_request, parse_response):
        try:
            head = read(octets + b"\r\n\r\n")
            end_to_end(head.fields)
            body_length(head.fields, head.minor_version)
        except HttpError:
            continue


NAMES = st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True)
VALUES = st.from_regex(rb"([!-~]([ -~]{0,20}[!-~])?)?", fullmatch=True)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=10))
def test_encoded_fields_are_read_back(fields: list[tuple[bytes, bytes]]) -> None:
    encoded = encode_head(b"GET http://a/ HTTP/1.1", fields)
    assert split_head(encoded) == len(encoded)
    assert parse_request(encoded).fields == fields
