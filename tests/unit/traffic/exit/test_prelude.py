import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.traffic.exit.prelude import (
    MAX_FIELDS,
    MAX_PRELUDE,
    Prelude,
    PreludeError,
    PreludeReader,
    answer,
    answer_for,
)
from vigilnet.traffic.stream.wire import EndReason

WHOLE = b"CONNECT A.example:443 HTTP/1.1\r\nHost: a.example:443\r\nUser-Agent: x y\r\nEmpty:\r\n\r\n"


def read(data: bytes) -> Prelude | None:
    return PreludeReader().feed(data)


def test_a_prelude_names_its_target_and_the_rest_is_the_target_s() -> None:
    assert read(WHOLE + b"hello") == Prelude("a.example", 443, b"hello")
    assert read(b"CONNECT [2001:db8::1]:80 HTTP/1.1\r\n\r\n") == Prelude("2001:db8::1", 80, b"")
    assert read(b"CONNECT 192.0.2.1:65535 HTTP/1.1\r\n\r\n") == Prelude("192.0.2.1", 65_535, b"")


def test_it_may_come_in_pieces() -> None:
    reader = PreludeReader()
    for at in range(len(WHOLE) - 1):
        assert reader.feed(WHOLE[at : at + 1]) is None
    assert reader.feed(WHOLE[-1:] + b"rest") == Prelude("a.example", 443, b"rest")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 405),
        (b"connect a:1 HTTP/1.1\r\n\r\n", 405),
        (b"CONNECT a:1 HTTP/1.0\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/2.0\r\n\r\n", 505),
        (b"CONNECT  a:1 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1 \r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/11\r\n\r\n", 400),
        (b"CONNECT a HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:0 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:01 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:65536 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT :1 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT u@a:1 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT http://a:1 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT 2001:db8::1:1 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT [a.example]:1 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT [::1%lo]:1 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a\xc3\xa4:1 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: b:1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nHost: a:1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nX : y\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n folded\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nX: y\n\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nX: a\rb\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\nHost: a:1\n\n\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", 400),
        (b"\r\nCONNECT a:1 HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(PreludeError) as caught:
        read(data)
    assert caught.value.status == status


def test_eight_kibibytes_are_the_limit() -> None:
    start, end = b"CONNECT a:1 HTTP/1.1\r\nX: ", b"\r\n\r\n"
    fits = start + b"y" * (MAX_PRELUDE - len(start) - len(end)) + end
    assert len(fits) == MAX_PRELUDE
    assert read(fits) == Prelude("a", 1, b"")
    with pytest.raises(PreludeError) as caught:
        read(fits[:-4] + b"y" + end)
    assert caught.value.status == 431


def test_so_many_fields_are_the_limit() -> None:
    head = b"CONNECT a:1 HTTP/1.1\r\n"
    assert read(head + b"X: y\r\n" * MAX_FIELDS + b"\r\n")
    with pytest.raises(PreludeError) as caught:
        read(head + b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n")
    assert caught.value.status == 431


def test_answers_say_what_went_wrong_and_end() -> None:
    assert answer(405).startswith(b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\n")
    for reason, status in (
        (EndReason.POLICY, b"403"),
        (EndReason.TIMEOUT, b"504"),
        (EndReason.REFUSED, b"502"),
    ):
        assert answer_for(reason).startswith(b"HTTP/1.1 " + status)
        assert answer_for(reason).endswith(b"Content-Length: 0\r\nConnection: close\r\n\r\n")


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_octets_are_read_or_refused_and_cuts_do_not_matter(data: bytes, cut: int) -> None:
    def outcome(*pieces: bytes) -> object:
        reader, found = PreludeReader(), None
        try:
            for piece in pieces:
                found = found or reader.feed(piece)
        except PreludeError as error:
            return error.status
        return found and (found.host, found.port)

    octets = b"CONNECT " + data + b"\r\n\r\n"
    assert outcome(octets) == outcome(octets[:cut], octets[cut:])
