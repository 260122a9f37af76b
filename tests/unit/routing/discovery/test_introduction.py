"""What introductions look like: golden octets, one meaning each, every limit."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.routing.discovery.introduction import (
    Answer,
    AnswerStatus,
    Call,
    Endpoint,
    Flags,
    Frame,
    Held,
    HeldStatus,
    Hold,
    Introduce,
    decode_frame,
    encode_frame,
    is_introduction,
)

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "introduction.json").read_text())

nonces = st.binary(min_size=8, max_size=8)
flags = st.sampled_from([Flags(0), Flags.BEHIND])
ports = st.integers(0, 65_535)
endpoints = st.one_of(
    st.just(Endpoint()),
    st.builds(Endpoint, st.ip_addresses(v=4).map(str), ports),
    st.builds(
        Endpoint, st.ip_addresses(v=6).map(str).filter(lambda text: not text.startswith("::ffff:")), ports
    ),
)
frames = st.one_of(
    st.just(Hold()),
    st.builds(Held, st.sampled_from(HeldStatus), endpoints),
    st.builds(Introduce, nonces, st.binary(min_size=32, max_size=32), flags),
    st.builds(Call, nonces, st.binary(min_size=1, max_size=1024), endpoints, flags),
    st.builds(Answer, nonces, st.sampled_from(AnswerStatus), endpoints),
)


@pytest.mark.parametrize("name", list(VECTORS["frames"]))
def test_vectors(name: str) -> None:
    body = bytes.fromhex(VECTORS["frames"][name])
    assert encode_frame(decode_frame(body)) == body


def test_vector_of_a_call_says_what_the_specification_says() -> None:
    frame = decode_frame(bytes.fromhex(VECTORS["frames"]["call"]))
    assert frame == Call(b"noncenon", b"a record", Endpoint("192.0.2.1", 4001), Flags.BEHIND)


@given(frames, st.binary(max_size=20))
def test_round_trip_with_padding_behind(frame: Frame, padding: bytes) -> None:
    body = encode_frame(frame) + padding
    assert is_introduction(body)
    assert decode_frame(body) == frame


@given(
    st.binary(max_size=100)
    | st.builds(
        lambda kind, content: bytes((kind,)) + len(content).to_bytes(2, "big") + content,
        st.integers(15, 21),
        st.binary(max_size=80),
    )
)
def test_any_octets_are_a_frame_or_blame_the_neighbour(body: bytes) -> None:
    try:
        frame = decode_frame(body)
    except RemoteProtocolError:
        return
    encoded = encode_frame(frame)
    if not isinstance(frame, Introduce | Call):  # of those, flags that are not known are dropped
        assert encoded == body[: len(encoded)]


def raw(kind: int, content: bytes) -> bytes:
    return bytes((kind,)) + len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x10\x00", "octets"),
        (b"\x10\x00\x01", "announced"),
        (raw(15, b""), "kind 15"),
        (raw(21, b""), "kind 21"),
        (raw(16, b"x"), "hold"),
        (raw(17, b""), "held"),
        (raw(17, b"\3\0"), "held"),
        (raw(17, b"\0"), "endpoint"),
        (raw(17, b"\0\0x"), "held"),
        (raw(17, b"\0\5"), "unknown kind"),
        (raw(17, b"\0\4" + bytes(5)), "endpoint: cut"),
        (raw(17, b"\0\6" + bytes(17)), "endpoint: cut"),
        (raw(17, b"\0\6" + bytes(10) + b"\xff\xff" + bytes(4 + 2)), "inside ipv6"),
        (raw(18, bytes(40)), "introduce"),
        (raw(18, bytes(42)), "introduce"),
        (raw(19, bytes(8)), "call"),
        (raw(19, bytes(10)), "a record of 0"),
        (raw(19, bytes(10) + bytes(1025)), "a record of 1025"),
        (raw(20, bytes(8)), "answer"),
        (raw(20, bytes(8) + b"\5\0"), "answer"),
        (raw(20, bytes(11)), "answer"),
    ],
)
def test_malformed_frames_are_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        decode_frame(body)


@pytest.mark.parametrize(
    "frame",
    [
        Introduce(bytes(7), bytes(32)),
        Introduce(bytes(8), bytes(31)),
        Call(bytes(8), b""),
        Call(bytes(8), bytes(1025)),
        Answer(bytes(9), AnswerStatus.REFUSED),
        Held(HeldStatus.HELD, Endpoint("a.name", 1)),
    ],
)
def test_what_is_beyond_a_limit_is_our_own_bug(frame: Frame) -> None:
    with pytest.raises(LocalProtocolError):
        encode_frame(frame)


def test_only_a_whole_endpoint_can_be_dialled() -> None:
    assert Endpoint("192.0.2.1", 1).is_whole
    assert not Endpoint("192.0.2.1").is_whole
    assert not Endpoint().is_whole


def test_gossip_is_no_introduction() -> None:
    assert not is_introduction(b"")
    assert not is_introduction(b"\x04\x00\x00")
    assert not is_introduction(b"\x20\x00\x00")
