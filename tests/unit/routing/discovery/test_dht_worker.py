"""What goes over the pipes to the DHT's process: one meaning each, every limit, either direction only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.routing.discovery.dht_worker import (
    MAX_FRAME,
    Bootstrap,
    Done,
    Forget,
    Frame,
    FrameReader,
    Get,
    Put,
    Ready,
    Refused,
    Value,
    Withdraw,
    encode_frame,
)

keys = st.binary(min_size=20, max_size=20)
ids = st.integers(0, 2**32 - 1)
ports = st.integers(0, 65_535)
hosts = st.text("0123456789abcdef.:", max_size=60)
requests = st.one_of(
    st.builds(Bootstrap, hosts, ports),
    st.builds(Put, keys, st.binary(min_size=1, max_size=1024)),
    st.builds(Withdraw, keys),
    st.builds(Get, ids, keys, st.integers(0, 255)),
    st.builds(Forget, ids),
)
reports = st.one_of(
    st.builds(Ready, ports),
    st.builds(Value, ids, st.binary(max_size=1024)),
    st.builds(Done, ids, st.booleans()),
    st.builds(Refused, hosts),
)


@pytest.mark.parametrize(
    ("frame", "octets"),
    [
        (Bootstrap("192.0.2.1", 4001), "000c010fa1" + b"192.0.2.1".hex()),
        (Put(bytes(20), b"v"), "001602" + "00" * 20 + "76"),
        (Withdraw(bytes(20)), "001503" + "00" * 20),
        (Get(7, bytes(20), 32), "001a0400000007" + "00" * 20 + "20"),
        (Forget(7), "00050500000007"),
        (Ready(4001), "0003110fa1"),
        (Value(7, b"v"), "0006120000000776"),
        (Done(7, is_answered=True), "0006130000000701"),
        (Refused("taken"), "000614" + b"taken".hex()),
    ],
)
def test_golden_octets(frame: Frame, octets: str) -> None:
    assert encode_frame(frame).hex() == octets


@given(st.lists(requests, max_size=4) | st.lists(reports, max_size=4), st.integers(1, 50))
def test_round_trip_in_pieces_of_any_size(frames: list[Frame], size: int) -> None:
    octets = b"".join(map(encode_frame, frames))
    reader = FrameReader(is_relay=bool(frames) and isinstance(frames[0], Ready | Value | Done | Refused))
    found = [frame for at in range(0, len(octets), size) for frame in reader.feed(octets[at : at + size])]
    assert found == frames


@given(st.booleans(), st.binary(max_size=60))
def test_any_octets_are_frames_or_blame_who_wrote_them(is_relay: bool, octets: bytes) -> None:
    try:
        frames = FrameReader(is_relay=is_relay).feed(octets)
    except RemoteProtocolError:
        return
    again = b"".join(map(encode_frame, frames))
    assert octets.startswith(again)


@pytest.mark.parametrize(
    ("is_relay", "octets"),
    [
        (True, b"\0\0\x11"),
        (True, (MAX_FRAME + 1).to_bytes(2, "big") + b"\x12"),
        (True, b"\0\1\1"),
        (False, b"\0\1\x11"),
        (False, b"\0\1\6"),
        (True, b"\0\1\x15"),
        (False, b"\0\2\1\0"),
        (False, b"\0\4\1\0\1\xff"),
        (False, b"\0\x15\2" + bytes(20)),
        (False, (1 + 20 + 1025).to_bytes(2, "big") + b"\2" + bytes(20 + 1025)),
        (True, (1 + 4 + 1025).to_bytes(2, "big") + b"\x12" + bytes(4 + 1025)),
        (True, b"\0\6\x13\0\0\0\1\2"),
        (True, (1 + 201).to_bytes(2, "big") + b"\x14" + b"x" * 201),
    ],
)
def test_what_is_malformed_or_beyond_a_limit_is_refused(is_relay: bool, octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        FrameReader(is_relay=is_relay).feed(octets)


@pytest.mark.parametrize("frame", [Withdraw(bytes(19)), Put(bytes(20), bytes(3000))])
def test_our_own_bugs_are_told(frame: Frame) -> None:
    with pytest.raises(LocalProtocolError):
        encode_frame(frame)
