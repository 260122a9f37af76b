import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.stream.wire import (
    MAX_BODY,
    MESSAGE_MARK,
    MessageType,
    encode_message,
    pack_message_header,
    split_area,
)

SMALL = MAX_BODY[1] + 8
LARGE = MAX_BODY[7] + 8


def area(*messages: bytes, size: int = SMALL) -> memoryview:
    return memoryview(b"".join(messages).ljust(size, b"\0"))


def parsed(view: memoryview) -> list[tuple[int, int, bytes]]:
    return [(kind, stream, bytes(body)) for kind, stream, body in split_area(view)]


def test_golden_message() -> None:
    octets = encode_message(MessageType.SENDME, 0, bytes(range(20)))
    assert octets.hex() == "140000000014564e" + bytes(range(20)).hex()
    assert encode_message(MessageType.END, 0x0102, b"\x03").hex() == "040001020001564e03"


def test_packed_header_equals_encoded_message() -> None:
    buffer = bytearray(20)
    pack_message_header(buffer, 4, MessageType.DATA, 513, 8, MESSAGE_MARK)
    assert bytes(buffer[4:]) == encode_message(MessageType.DATA, 513, bytes(8))


@pytest.mark.parametrize("cells", [1, 7])
def test_data_may_fill_the_area_exactly(cells: int) -> None:
    body = b"\x55" * MAX_BODY[cells]
    view = memoryview(encode_message(MessageType.DATA, 7, body))
    assert len(view) == 2048 * cells - 192
    assert parsed(view) == [(MessageType.DATA, 7, body)]


def test_bodies_are_views_into_the_area() -> None:
    view = area(encode_message(MessageType.DATA, 7, b"abc"))
    assert split_area(view)[0][2].obj is view.obj


def test_empty_area_has_no_messages() -> None:
    assert split_area(memoryview(bytes(LARGE))) == []


@pytest.mark.parametrize("free", range(8))
def test_rest_too_short_for_a_header_must_be_zero(free: int) -> None:
    message = encode_message(MessageType.DATA, 1, bytes(SMALL - 8 - free))
    assert len(split_area(area(message))) == 1
    if free:
        with pytest.raises(RemoteProtocolError, match="other than zero"):
            split_area(memoryview(message + bytes(free - 1) + b"\1"))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_any_octet_behind_the_last_message_is_refused(size: int) -> None:
    message = encode_message(MessageType.END, 1, b"\0")
    for at in (len(message) + 1, len(message) + 7, len(message) + 8, size // 2, size - 1):
        octets = bytearray(area(message, size=size))
        octets[at] = 1
        with pytest.raises(RemoteProtocolError):
            split_area(memoryview(octets))


@pytest.mark.parametrize("at", [1, 6, 7])
def test_wrong_constant_octets_are_refused(at: int) -> None:
    octets = bytearray(area(encode_message(MessageType.END, 1, b"\0")))
    octets[at] ^= 1
    with pytest.raises(RemoteProtocolError, match="constant"):
        split_area(memoryview(octets))


def test_length_may_reach_the_end_and_not_beyond() -> None:
    octets = bytearray(encode_message(MessageType.DATA, 1, bytes(SMALL - 8)))
    assert len(split_area(memoryview(octets))) == 1
    pack_message_header(octets, 0, MessageType.DATA, 1, SMALL - 7, MESSAGE_MARK)
    with pytest.raises(RemoteProtocolError, match="announced"):
        split_area(memoryview(octets))


def test_body_beyond_the_largest_record_is_our_own_bug() -> None:
    encode_message(MessageType.DATA, 1, bytes(MAX_BODY[7]))
    with pytest.raises(LocalProtocolError):
        encode_message(MessageType.DATA, 1, bytes(MAX_BODY[7] + 1))


@given(
    st.lists(st.tuples(st.integers(1, 255), st.integers(0, 0xFFFF), st.binary(max_size=200)), max_size=8),
    st.sampled_from([SMALL, LARGE]),
)
def test_what_is_packed_is_split_again(messages: list[tuple[int, int, bytes]], size: int) -> None:
    assert parsed(area(*(encode_message(*message) for message in messages), size=size)) == messages


@given(st.binary(max_size=400))
def test_any_octets_parse_or_blame_the_peer(octets: bytes) -> None:
    try:
        found = parsed(memoryview(octets))
    except RemoteProtocolError:
        return
    assert b"".join(encode_message(*message) for message in found).ljust(len(octets), b"\0") == octets
