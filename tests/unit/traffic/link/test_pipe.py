"""Pipes in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipes import NOW, exchange, pipes
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.link.framing import FrameType
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.pipe import PART_COST, PLAN_COST, WINDOW, Pipe, PipeState


def joined(*, has_tls_records: bool = False) -> tuple[Pipe, Pipe]:
    ours, theirs = pipes(has_tls_records=has_tls_records)
    exchange(ours, theirs)
    assert ours.state is theirs.state is PipeState.OPEN
    return ours, theirs


@pytest.mark.parametrize("has_tls_records", [False, True])
@settings(max_examples=10)
@given(sizes=st.lists(st.integers(0, 60_000), max_size=4), piece=st.integers(1, 20_000))
def test_octets_go_both_ways(has_tls_records: bool, sizes: list[int], piece: int) -> None:
    ours, theirs = joined(has_tls_records=has_tls_records)
    for index, size in enumerate(sizes):
        ours.send(bytes((index,)) * size, NOW)
        theirs.send(bytes((100 + index,)) * size, NOW)
    here, there = exchange(ours, theirs, max(piece, 200))
    assert there == b"".join(bytes((index,)) * size for index, size in enumerate(sizes))
    assert here == b"".join(bytes((100 + index,)) * size for index, size in enumerate(sizes))


def test_no_more_than_the_window_is_under_way() -> None:
    ours, theirs = joined()
    ours.send(bytes(WINDOW), NOW)
    assert ours.credit == 0
    with pytest.raises(LocalProtocolError):
        ours.send(b"x", NOW)
    exchange(ours, theirs)
    theirs.taken(WINDOW // 2 - 1, NOW)
    assert theirs.data_to_send() == []
    theirs.taken(1, NOW)
    exchange(ours, theirs)
    assert ours.credit == WINDOW // 2


def sealed(pipe: Pipe, kind: FrameType, body: bytes) -> bytes:
    assert pipe._sealer is not None
    return b"".join(pipe._sealer.seal(kind, body, NOW))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FrameType.PIPE_DATA, b"\0\0"),
        (FrameType.PIPE_DATA, b"\0\3ab"),
        (FrameType.PIPE_DATA, b""),
        (FrameType.PIPE_CREDIT, b"\0\0\1"),
        (FrameType.PIPE_CREDIT, b"\xff\xff\xff\xff"),
        (FrameType.PING, bytes(8)),
        (FrameType.RUNS, b"\0\0\0\1\3\1" + bytes(2042)),
        (FrameType.GOSSIP, b"x"),
    ],
)
def test_frames_that_are_none_of_a_pipes_end_it(kind: FrameType, body: bytes) -> None:
    ours, theirs = joined()
    with pytest.raises(RemoteProtocolError):
        theirs.receive(sealed(ours, kind, body), NOW)
    assert theirs.state is PipeState.CLOSED
    assert theirs.receive(b"more", NOW) == []


def test_who_sends_beyond_the_window_is_cut_off() -> None:
    ours, theirs = joined()
    ours.credit += 1
    ours.send(bytes(WINDOW + 1), NOW)
    with pytest.raises(RemoteProtocolError, match="window"):
        exchange(ours, theirs)


def test_padding_is_ignored() -> None:
    ours, theirs = joined()
    wire = sealed(ours, FrameType.PADDING, bytes(50)) + sealed(ours, FrameType.PIPE_DATA, b"\0\1x" + bytes(9))
    assert theirs.receive(wire, NOW) == [b"x"]


def test_a_links_handshake_fails_at_a_pipe() -> None:
    ours, theirs = pipes(network="")
    with pytest.raises(RemoteProtocolError):
        exchange(ours, theirs)
    assert theirs.state is PipeState.CLOSED


def test_a_puzzle_is_solved() -> None:
    ours, theirs = pipes(options=Options(cookie_above_unfinished=0))
    exchange(ours, theirs)
    assert ours.state is theirs.state is PipeState.OPEN


def test_nothing_is_sent_before_it_is_open() -> None:
    ours, _ = pipes()
    with pytest.raises(LocalProtocolError):
        ours.send(b"x", NOW)


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(PART_COST + 1, 16_401), max_size=12),
    data=st.binary(max_size=3000),
    plan=st.binary(max_size=40),
)
def test_records_are_of_the_length_that_is_asked_for(lengths: list[int], data: bytes, plan: bytes) -> None:
    ours, theirs = joined(has_tls_records=True)
    ours.is_shaped = True
    ours.send(data, NOW)
    assert ours.data_to_send() == []
    got, kept = b"", plan
    for index, length in enumerate(lengths):
        said = b""
        if len(kept) and length >= PART_COST + PLAN_COST + len(kept):
            said, kept = kept, b""
        (record,) = ours.cut(length, said, NOW, is_extra=bool(index % 2))
        assert len(record) == 5 + length
        got += b"".join(theirs.receive(record, NOW))
        assert theirs.arrived.more == bool(ours.waiting)
        assert not index % 2 or theirs.arrived.extra == length
    assert data == got + bytes(ours._waiting)
    assert theirs.arrived.planned == (len(lengths) + 1) // 2
    assert theirs.arrived.plan + kept == plan


def test_credit_travels_in_records_too() -> None:
    ours, theirs = joined()
    ours.send(bytes(WINDOW), NOW)
    exchange(ours, theirs)
    theirs.is_shaped = True
    theirs.taken(WINDOW // 2, NOW)
    assert theirs.data_to_send() == []
    assert theirs.waiting == 4
    (record,) = theirs.cut(30, b"", NOW, is_extra=False)
    ours.receive(record, NOW)
    assert ours.credit == WINDOW // 2
    assert theirs.waiting == 0


def test_credit_beyond_the_window_fills_no_memory_here() -> None:
    ours, theirs = joined()
    ours.is_shaped = True
    ours.receive(sealed(theirs, FrameType.PIPE_CREDIT, (1 << 30).to_bytes(4)), NOW)
    assert ours.credit > 1 << 30
    assert ours.room == WINDOW
    ours.send(bytes(ours.room), NOW)
    assert ours.room == 0
    ours.cut(16_401, b"", NOW, is_extra=False)
    assert 0 < ours.room < 16_401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x04\0\0\1",
        b"\x02\0\0",
        b"\x02\0\2x",
        b"\x10",
        b"\x10\0\0",
        b"\x10\0\2x",
        b"\x04\xff\xff\xff\xff",
    ],
)
def test_parts_that_are_none_end_it(body: bytes) -> None:
    ours, theirs = joined()
    with pytest.raises(RemoteProtocolError):
        theirs.receive(sealed(ours, FrameType.PIPE_PART, body), NOW)


def test_a_record_that_nothing_fits_is_our_own_bug() -> None:
    ours, _ = joined()
    with pytest.raises(LocalProtocolError):
        ours.cut(PART_COST - 1, b"", NOW, is_extra=False)
    with pytest.raises(LocalProtocolError):
        ours.cut(40, bytes(30), NOW, is_extra=False)


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_blamed(data: bytes) -> None:
    for pipe in (pipes()[1], joined()[1]):
        try:
            assert pipe.receive(data, NOW) == []
        except RemoteProtocolError:
            assert pipe.state is PipeState.CLOSED
