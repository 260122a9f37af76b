"""Pipes in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipes import NOW, exchange, pipes
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.link.framing import FrameType
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.pipe import WINDOW, Pipe, PipeState


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


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_blamed(data: bytes) -> None:
    for pipe in (pipes()[1], joined()[1]):
        try:
            assert pipe.receive(data, NOW) == []
        except RemoteProtocolError:
            assert pipe.state is PipeState.CLOSED
