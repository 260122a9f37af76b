import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx import wire
from vigilnet.traffic.transport.htx.wire import (
    MAX_CERTIFICATES,
    MAX_CIPHERTEXT,
    MAX_MESSAGE,
    RETRY_RANDOM,
    MessageReader,
    RecordReader,
    decode_server_hello,
    encode_message,
    encode_record,
)

DECODERS: tuple[Callable[[bytes], object], ...] = (
    wire.decode_server_hello,
    wire.decode_encrypted_extensions,
    wire.decode_alpn,
    wire.decode_certificate,
    wire.decode_compressed_certificate,
    wire.decode_certificate_verify,
    wire.check_new_session_ticket,
    wire.decode_key_update,
    wire.decode_alert,
)


def server_hello(extensions: bytes, random: bytes = bytes(32), suite: int = 0x1301) -> bytes:
    return (
        b"\3\3"
        + random
        + b"\0"
        + suite.to_bytes(2, "big")
        + b"\0"
        + len(extensions).to_bytes(2, "big")
        + extensions
    )


VERSION = b"\0\x2b\0\2\3\4"


@given(st.lists(st.tuples(st.integers(20, 23), st.binary(max_size=300)), max_size=5), st.integers(1, 50))
def test_records_come_whole_however_they_are_cut(records: list[tuple[int, bytes]], step: int) -> None:
    stream = b"".join(encode_record(kind, fragment) for kind, fragment in records) + b"\x17\3"
    reader = RecordReader()
    found = [record for at in range(0, len(stream), step) for record in reader.feed(stream[at : at + step])]
    assert [(record.kind, record.fragment) for record in found] == records
    assert reader.leftover == b"\x17\3"


@pytest.mark.parametrize("header", [b"\x13\3\3\0\0", b"\x18\3\3\0\0", b"\x16\2\3\0\0", b"\x17\3\3\x41\x01"])
def test_what_is_no_record_is_refused(header: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        RecordReader().feed(header)


def test_the_longest_record_is_taken() -> None:
    (record,) = RecordReader().feed(encode_record(23, bytes(MAX_CIPHERTEXT)))
    assert len(record.fragment) == MAX_CIPHERTEXT


def test_messages_come_whole_however_they_are_cut() -> None:
    stream = encode_message(8, b"abc") + encode_message(20, b"") + b"\4"
    reader = MessageReader()
    found = []
    for at in range(len(stream)):
        reader.feed(stream[at : at + 1])
        while (message := reader.next()) is not None:
            found.append(message)
    assert found == [encode_message(8, b"abc"), encode_message(20, b"")]
    assert not reader.is_between_messages


def test_a_message_may_be_so_long_and_no_longer() -> None:
    reader = MessageReader()
    reader.feed(encode_message(11, bytes(MAX_MESSAGE)))
    assert reader.next() is not None
    reader.feed(b"\x0b" + (MAX_MESSAGE + 1).to_bytes(3, "big"))
    with pytest.raises(RemoteProtocolError):
        reader.next()
    with pytest.raises(RemoteProtocolError):
        reader.feed(b"")


def test_a_server_hello_is_read() -> None:
    hello = decode_server_hello(server_hello(VERSION + b"\0\x33\0\x05\0\x1d\0\1x"))
    assert (hello.version, hello.suite, hello.share_group, hello.share) == (0x0304, 0x1301, 29, b"x")
    assert not hello.is_retry
    assert decode_server_hello(server_hello(b"")).version == 0x0303


def test_a_retry_request_is_read() -> None:
    hello = decode_server_hello(server_hello(VERSION + b"\0\x33\0\2\0\x17\0\x2c\0\4\0\2ab", RETRY_RANDOM))
    assert hello.is_retry
    assert (hello.share_group, hello.cookie) == (23, b"ab")


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=120))
def test_any_octets_decode_or_blame_the_server(decode: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode(data)


def certificates(count: int) -> bytes:
    entries = b"\0\0\1x\0\0" * count
    return b"\0" + len(entries).to_bytes(3, "big") + entries


def test_a_chain_may_be_so_long_and_no_longer() -> None:
    assert len(wire.decode_certificate(certificates(MAX_CERTIFICATES))) == MAX_CERTIFICATES
    for count in (0, MAX_CERTIFICATES + 1):
        with pytest.raises(RemoteProtocolError):
            wire.decode_certificate(certificates(count))


def test_a_compressed_chain_says_a_size_in_bounds() -> None:
    body = (2).to_bytes(2, "big") + MAX_MESSAGE.to_bytes(3, "big") + b"\0\0\1x"
    assert wire.decode_compressed_certificate(body) == (2, MAX_MESSAGE, b"x")
    for size in (0, MAX_MESSAGE + 1):
        with pytest.raises(RemoteProtocolError):
            wire.decode_compressed_certificate(body[:2] + size.to_bytes(3, "big") + body[5:])


def test_key_updates_and_alerts_have_their_form() -> None:
    assert wire.decode_key_update(b"\1")
    assert not wire.decode_key_update(b"\0")
    assert wire.decode_alert(b"\2\x28") == (2, 40)
    for decode, data in (
        (wire.decode_key_update, b"\2"),
        (wire.decode_alert, b"\3\0"),
        (wire.decode_alert, b"\1"),
    ):
        with pytest.raises(RemoteProtocolError):
            decode(data)
