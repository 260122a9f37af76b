"""Runs cut into records and put together again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.links import Gatherer, make_frame
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.cell import FRAME_HEADER_ROOM, RUN_AT, TAG_ROOM
from vigilnet.traffic.link.parts import EXTRA, MAX_PLAN, MIN_LENGTH, PartCutter, PartJoiner, fill_records

AREA = slice(RUN_AT, -TAG_ROOM)


def pass_on(cutter: PartCutter, joiner: PartJoiner, receiver: Gatherer, length: int, flags: int = 0) -> None:
    """Let one record travel, without sealing it."""
    frame = cutter.cut(length, flags, b"")
    assert len(frame) == FRAME_HEADER_ROOM + length
    joiner.part_received(frame, RUN_AT, len(frame) - TAG_ROOM, receiver)


def test_the_octets_of_a_part_are_these() -> None:
    cutter = PartCutter()
    cutter.add([make_frame(circuit=0x01020304, fill=0xAB)])
    frame = cutter.cut(50, EXTRA, b"plan")
    head = "01020304 03 01 00000000000000000000 ab ab ab ab ab ab ab ab"
    assert frame[RUN_AT:-TAG_ROOM] == bytes.fromhex("0b 0018" + head + "0004") + b"plan"
    assert cutter.waiting == 2048 - 24


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from((1, 7)), st.integers(1, 255)), max_size=6),
    st.lists(st.integers(MIN_LENGTH, 16_401), min_size=1, max_size=30),
)
def test_runs_pass_through_records_of_any_length(runs: list[tuple[int, int]], lengths: list[int]) -> None:
    cutter, joiner, receiver = PartCutter(), PartJoiner(), Gatherer()
    frames = [make_frame(fill=fill, cells=cells) for cells, fill in runs]
    expected = [bytes(frame[AREA]) for frame in frames]
    cutter.add(frames)
    for length in lengths:
        pass_on(cutter, joiner, receiver, length)
    while cutter.waiting:
        pass_on(cutter, joiner, receiver, 16_401)
    assert receiver.runs == expected
    assert not joiner.filled


def test_records_are_counted_by_whether_they_were_planned() -> None:
    cutter, joiner, receiver = PartCutter(), PartJoiner(), Gatherer()
    pass_on(cutter, joiner, receiver, 87)
    pass_on(cutter, joiner, receiver, 500, EXTRA)
    pass_on(cutter, joiner, receiver, 26)
    assert (joiner.planned, joiner.extra) == (2, 500)


def test_a_plan_comes_with_the_runs() -> None:
    cutter, joiner, receiver = PartCutter(), PartJoiner(), Gatherer()
    cutter.add([make_frame()])
    for piece in (b"one", b"two"):
        frame = cutter.cut(3000, 0, piece)
        joiner.part_received(frame, RUN_AT, len(frame) - TAG_ROOM, receiver)
    assert joiner.plan == b"onetwo"
    assert len(receiver.runs) == 1


def test_plans_that_nobody_takes_are_bounded() -> None:
    cutter, joiner, receiver = PartCutter(), PartJoiner(), Gatherer()
    frame = cutter.cut(16_401, 0, bytes(16_378))
    pieces = MAX_PLAN // 16_378
    for _ in range(pieces):
        joiner.part_received(frame, RUN_AT, len(frame) - TAG_ROOM, receiver)
    assert len(joiner.plan) == pieces * 16_378
    with pytest.raises(RemoteProtocolError, match="of plans"):
        joiner.part_received(frame, RUN_AT, len(frame) - TAG_ROOM, receiver)


def bad(body: str) -> tuple[memoryview, int]:
    octets = memoryview(bytearray(bytes.fromhex(body)))
    return octets, len(octets)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("0000", "without its head"),
        ("00 0002 00", "PART of 2 octets"),
        ("10 0000", "flags 16"),
        ("04 0000", "control cut short"),
        ("04 0000 0003 06 00", "control cut short"),
        ("04 0000 0003 06 4002", "control of type 6, 16386 octets"),
        ("04 0000 0003 00 0000", "control of type 0"),
        ("02 0000 0003 00 00", "a plan cut short"),
        ("02 0000", "a plan cut short"),
        ("00 0010 00000001 03 02 00000000000000000000", "a run of 2 cells"),
        ("00 0010 00000001 01 07 00000000000000000000", "command 1"),
        ("00 0010 00000001 03 01 00000000000000000001", "reserved"),
    ],
)
def test_bad_parts_are_the_neighbour_s_fault(body: str, what: str) -> None:
    octets, end = bad(body)
    if "cut short" in what and end == 3:
        octets, end = bad(body + "00")
    with pytest.raises(RemoteProtocolError, match=what):
        PartJoiner().part_received(octets, 0, end, Gatherer())


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=80), max_size=6))
def test_any_parts_join_or_blame_the_neighbour(bodies: list[bytes]) -> None:
    joiner = PartJoiner()
    try:
        for body in bodies:
            joiner.part_received(memoryview(bytearray(body)), 0, len(body), Gatherer())
    except RemoteProtocolError:
        pass


def test_bulk_runs_are_widened_where_they_lie_and_single_cells_fill_them() -> None:
    bulk, single, other, last = (
        make_frame(cells=7, fill=1),
        make_frame(fill=2),
        make_frame(cells=7),
        make_frame(),
    )
    full, rest = fill_records([bulk, single, other, last, last])
    assert [len(frame) - FRAME_HEADER_ROOM for frame in full] == [16_401, 16_401]
    assert full[0].obj is bulk.obj
    assert bytes(full[0][AREA]) == bytes(bulk[AREA]) + bytes(single[AREA])
    assert rest == [last]


def test_a_client_s_records_lie_in_other_buffers() -> None:
    """Their layers leave room before and behind: what lies there is no eighth cell."""
    plain = make_frame(cells=7, fill=3)
    buffer = memoryview(bytearray(b"\xff") * (len(plain) + 32))
    frame = buffer[32:]
    frame[:-TAG_ROOM] = plain[:-TAG_ROOM]
    (full,), _ = fill_records([frame])
    assert bytes(full[AREA]) == bytes(plain[AREA]) + bytes(2048)


def test_no_tag_is_left_where_the_eighth_cell_begins() -> None:
    frame = make_frame(cells=7)
    frame[-TAG_ROOM:] = b"t" * TAG_ROOM
    (full,), _ = fill_records([frame])
    assert not any(full[AREA][-2048:])


def test_what_waits_can_be_forgotten() -> None:
    cutter = PartCutter()
    cutter.add([make_frame()])
    cutter.clear()
    assert cutter.waiting == 0
    assert not any(cutter.cut(100, 0, b"")[RUN_AT:-TAG_ROOM])


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from((2, 3, 6)), st.binary(max_size=3000)), max_size=5),
    st.lists(st.integers(MIN_LENGTH, 3000), min_size=1, max_size=30),
)
def test_control_travels_inside_records_of_any_length(
    frames: list[tuple[int, bytes]], lengths: list[int]
) -> None:
    cutter, joiner, receiver = PartCutter(), PartJoiner(), Gatherer()
    for kind, body in frames:
        cutter.add_control(kind, body)
    cutter.add([make_frame(fill=7)])
    found: list[tuple[int, bytes]] = []
    for length in [*lengths, *[16_401] * 5]:
        pass_on(cutter, joiner, receiver, length)
        while joiner.has_control:
            kind, octets = joiner.take_control()
            found.append((kind, bytes(octets)))
    assert found == frames
    assert len(receiver.runs) == 1
    assert cutter.all_waiting == 0
    assert joiner.planned == len(lengths) + 5


def test_the_octets_of_control_are_these() -> None:
    cutter = PartCutter()
    cutter.add_control(2, b"12345678")
    assert cutter.all_waiting == 2 + 3 + 8
    frame = cutter.cut(40, 0, b"")
    assert frame[RUN_AT : RUN_AT + 16] == bytes.fromhex("04 0000 000b 02 0008") + b"12345678"
    cutter.add_control(3, b"12345678")
    cutter.clear()
    assert cutter.all_waiting == 0
