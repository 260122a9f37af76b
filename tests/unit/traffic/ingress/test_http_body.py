import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.traffic.ingress.http_body import (
    MAX_CHUNK_LINE,
    MAX_TRAILERS,
    ChunkedBody,
    LengthBody,
    UntilCloseBody,
)
from vigilnet.traffic.ingress.http_head import HttpError


def take_all(body: ChunkedBody | LengthBody, octets: bytes, step: int = 10**9) -> int:
    """Feed in pieces until the body is complete or the octets are used up; return what belonged to it."""
    taken = 0
    while taken < len(octets) and not body.is_complete:
        taken += body.take(memoryview(octets)[taken : taken + step])
    return taken


def test_length_body() -> None:
    body = LengthBody(5)
    assert not body.is_complete
    assert body.take(memoryview(b"abc")) == 3
    assert body.take(memoryview(b"defgh")) == 2
    assert body.is_complete
    assert LengthBody(0).is_complete


def test_body_until_close_takes_everything_and_never_ends() -> None:
    body = UntilCloseBody()
    assert body.take(memoryview(b"abc")) == 3
    assert not body.is_complete


@pytest.mark.parametrize(
    "octets",
    [
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;name=value\r\nhello\r\n0\r\n\r\n",
        b"5 ;x\r\nhello\r\n00\r\n\r\n",
        b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\nTrailer: x\r\nOther:\r\n\r\n",
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_chunked_body_ends_where_it_ends_however_it_is_cut(octets: bytes, step: int) -> None:
    body = ChunkedBody()
    assert take_all(body, octets + b"GET http://next/", step) == len(octets)
    assert body.is_complete


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5 \r\n",
        b" 5\r\n",
        b"5\n",
        b"5\r\nhello\n",
        b"5\r\nhelloX\r\n",
        b"5;\rx\r\n",
        b"5;\x00\r\n",
        b"1" * 16 + b"\r\n",
        b"0\r\n folded\r\n",
        b"0\r\nno colon\r\n",
        b"0\r\nA: b\nB: c\r\n",
        b"5;" + b"x" * MAX_CHUNK_LINE,
        b"0\r\nA: " + b"x" * MAX_TRAILERS + b"\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * (MAX_TRAILERS // 6 + 1),
    ],
)
def test_malformed_chunks_are_refused(octets: bytes) -> None:
    with pytest.raises(HttpError):
        take_all(ChunkedBody(), octets)


def test_chunk_line_limit() -> None:
    line = b"5;" + b"x" * (MAX_CHUNK_LINE - 4) + b"\r\n"
    assert len(line) == MAX_CHUNK_LINE
    assert take_all(ChunkedBody(), line) == MAX_CHUNK_LINE
    with pytest.raises(HttpError):
        take_all(ChunkedBody(), b"5;x" + line[2:])


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.integers(1, 60), st.binary(max_size=20))
def test_chunks_are_counted_exactly(chunks: list[bytes], step: int, rest: bytes) -> None:
    encoded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    body = ChunkedBody()
    assert take_all(body, encoded + rest, step) == len(encoded)
    assert body.is_complete


@given(st.binary(max_size=200))
def test_any_octets_are_chunks_or_refused(octets: bytes) -> None:
    try:
        assert take_all(ChunkedBody(), octets) <= len(octets)
    except HttpError:
        return
