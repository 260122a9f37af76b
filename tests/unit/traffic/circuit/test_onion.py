"""Onion layers against the protocol's vectors, its rules, and relays that lie."""

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, new_frame
from vigilnet.traffic.circuit.onion import MAX_HOPS, BadRecordError, ClientOnion, Lane, RelayOnion
from vigilnet.traffic.stream.wire import AREA_AT, AREA_SIZES

VECTORS = json.loads((Path(__file__).parents[3] / "vectors/protocol/onion.json").read_text())


def labelled(label: str, size: int) -> bytes:
    return hashlib.shake_256(b"vigilnet v1 test vector " + label.encode()).digest(size)


def sha256_hex(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def as_bytes(opened: tuple[int, memoryview, bytes]) -> tuple[int, bytes, bytes]:
    return opened[0], bytes(opened[1]), opened[2]


class Hops:
    """A client and its relays, joined by hand."""

    def __init__(self, suites: list[int], counter: int = 0, seed: int = 1) -> None:
        rng = Random(seed)
        self.client = ClientOnion(rng.randbytes)
        self.relays = []
        for suite in suites:
            forward, backward = rng.randbytes(32), rng.randbytes(32)
            self.client.add_hop(Suite(suite), forward, backward, counter=counter)
            self.relays.append(RelayOnion(Suite(suite), forward, backward, counter=counter))

    def forward_run(self, hop: int, message: bytes, cells: int = 1) -> tuple[memoryview, bytes]:
        """Seal a record; return (run as the guard receives it, tag)."""
        record = self.client.new_record(cells, hop)
        record[AREA_AT : AREA_AT + len(message)] = message
        frame, tag = self.client.seal(record, hop)
        return frame[RUN_AT : RUN_AT + CELL_SIZE * cells], tag

    def carry_forward(self, run: memoryview, first: int = 0) -> tuple[int, bytes]:
        """Let the relays open until one keeps the record; return (hop, area)."""
        for index in range(first, len(self.relays)):
            frame = new_frame(len(run) // CELL_SIZE)
            if self.relays[index].open_forward(run, frame, is_last=index == len(self.relays) - 1):
                return index + 1, bytes(frame[AREA_AT + 16 : RUN_AT + len(run)])
            run = frame[RUN_AT : RUN_AT + len(run)]
        raise AssertionError("the record fell out of the path")

    def backward_run(self, hop: int, message: bytes, cells: int = 1) -> tuple[memoryview, bytes]:
        """Let hop `hop` send; return (run as the client receives it, tag)."""
        frame = new_frame(cells)
        size = CELL_SIZE * cells
        frame[AREA_AT : AREA_AT + len(message)] = message
        tag = bytes(self.relays[hop - 1].originate_backward(frame, size))
        run = frame[RUN_AT : RUN_AT + size]
        for index in range(hop - 2, -1, -1):
            frame = new_frame(cells)
            self.relays[index].seal_backward(run, frame)
            run = frame[RUN_AT : RUN_AT + size]
        return run, tag


@pytest.mark.parametrize(
    "vector", VECTORS["vectors"], ids=lambda v: f"{v['hops']}-{v['suites']}-{v['cells']}-{v['first_counter']}"
)
def test_vector(vector: dict[str, Any]) -> None:
    suites = [Suite(suite) for suite in vector["suites"]]
    fills = b"".join(bytes.fromhex(record["fill"]) for record in vector["records"])
    size = CELL_SIZE * vector["cells"]
    counter = vector["first_counter"]
    keys = [
        (bytes.fromhex(forward), bytes.fromhex(backward))
        for forward, backward in zip(vector["keys_forward"], vector["keys_backward"], strict=True)
    ]
    relays = [
        RelayOnion(suite, forward, backward, counter=counter)
        for suite, (forward, backward) in zip(suites, keys, strict=True)
    ]
    fill_of = {"now": b""}
    client = ClientOnion(lambda count: fill_of["now"] + bytes(count - len(fill_of["now"])))
    for suite, (forward, backward) in zip(suites, keys, strict=True):
        client.add_hop(suite, forward, backward, counter=counter)
    assert fills
    for record in vector["records"]:
        hop = record["ends_at_hop"] + 1
        # The generator always draws 160 octets and uses as many as the ladder leaves free.
        fill_of["now"] = bytes.fromhex(record["fill"])[: 160 - 16 * hop]
        client._fill = b""
        message = labelled(record["message_label"], AREA_SIZES[vector["cells"]])
        assert sha256_hex(message) == record["message_sha256"]
        built = client.new_record(vector["cells"], hop)
        built[AREA_AT : AREA_AT + len(message)] = message
        frame, tag = client.seal(built, hop)
        assert tag.hex() == record["tag_seen_by_end"]
        run = frame[RUN_AT : RUN_AT + size]
        seen = [sha256_hex(run[16:])]
        if "forward_v_to_guard" in record:
            assert bytes(run[16:]).hex() == record["forward_v_to_guard"]
        for index in range(hop):
            opened = new_frame(vector["cells"])
            here = relays[index].open_forward(run, opened, is_last=index == len(relays) - 1)
            run = opened[RUN_AT : RUN_AT + size]
            seen.append(sha256_hex(run[16:]))
            assert here == (index == hop - 1)
        assert seen == record["forward_v_sha256_per_hop"]
        assert bytes(run[192:]) == message

        back = labelled(record["backward_message_label"], AREA_SIZES[vector["cells"]])
        frame = new_frame(vector["cells"])
        frame[AREA_AT : AREA_AT + len(back)] = back
        sent_tag = bytes(relays[hop - 1].originate_backward(frame, size))
        seen = []
        for index in range(hop - 1, -1, -1):
            run = frame[RUN_AT : RUN_AT + size]
            seen.append(sha256_hex(run[16:]))
            if index:
                frame = new_frame(vector["cells"])
                relays[index - 1].seal_backward(run, frame)
        assert seen == record["backward_v_sha256_from_end_to_client"]
        assert as_bytes(client.open(run)) == (hop, back, sent_tag)


@pytest.mark.parametrize("vector", VECTORS["must_refuse"])
def test_stop_block_refuses_a_search_for_one_more_hop(vector: dict[str, Any]) -> None:
    run = memoryview(bytearray(16) + bytes.fromhex(vector["forward_v_to_guard"]))
    for index, (suite, key) in enumerate(zip(vector["suites"], vector["keys_forward"], strict=True)):
        relay = RelayOnion(Suite(suite), bytes.fromhex(key), bytes(32), counter=vector["first_counter"])
        frame = new_frame(1)
        if index + 1 == vector["refused_at_hop"]:
            with pytest.raises(BadRecordError, match="stop block"):
                relay.open_forward(run, frame, is_last=index == len(vector["suites"]) - 1)
            assert not any(frame)
            return
        assert not relay.open_forward(run, frame, is_last=False)
        run = frame[RUN_AT : RUN_AT + CELL_SIZE]


@settings(max_examples=40, deadline=None)
@given(
    suites=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=MAX_HOPS),
    records=st.lists(
        st.tuples(st.booleans(), st.integers(1, MAX_HOPS), st.sampled_from([1, 7])), max_size=12
    ),
    counter=st.sampled_from([0, 16_380]),
)
def test_records_reach_the_hop_they_are_for_and_come_back(
    suites: list[int], records: list[tuple[bool, int, int]], counter: int
) -> None:
    path = Hops(suites, counter)
    for is_forward, wanted, cells in records:
        hop = min(wanted, len(suites))
        message = f"to {hop}".encode()
        area = message.ljust(AREA_SIZES[cells], b"\0")
        if is_forward:
            run, _ = path.forward_run(hop, message, cells)
            assert path.carry_forward(run) == (hop, area)
        else:
            run, tag = path.backward_run(hop, message, cells)
            assert as_bytes(path.client.open(run)) == (hop, area, tag)


@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize("liar", [1, 2, 3])
@pytest.mark.parametrize("bit", [0, 7, 15 * 8, 1000, 2031 * 8 + 7])
def test_flipped_bit_is_found_by_the_next_honest_hop(suite: int, liar: int, bit: int) -> None:
    path = Hops([suite] * 4)
    run, _ = path.forward_run(4, b"hello")
    for index in range(liar):
        frame = new_frame(1)
        path.relays[index].open_forward(run, frame, is_last=False)
        run = frame[RUN_AT : RUN_AT + CELL_SIZE]
    run[16 + bit // 8] ^= 1 << bit % 8
    frame = new_frame(1)
    with pytest.raises(BadRecordError):
        path.relays[liar].open_forward(run, frame, is_last=liar == 3)
    assert not any(frame), "unverified plaintext must not stay"


@pytest.mark.parametrize("bit", [0, 7, 15 * 8, 1000, 2031 * 8 + 7])
@pytest.mark.parametrize("liar", [1, 2, 3])
def test_flip_on_the_way_back_is_found_by_the_client(liar: int, bit: int) -> None:
    path = Hops([2] * 3)
    frame = new_frame(1)
    path.relays[2].originate_backward(frame, CELL_SIZE)
    run = frame[RUN_AT : RUN_AT + CELL_SIZE]
    for index in (2, 1, 0):
        if index + 1 == liar:
            run[16 + bit // 8] ^= 1 << bit % 8
        if index:
            frame = new_frame(1)
            path.relays[index - 1].seal_backward(run, frame)
            run = frame[RUN_AT : RUN_AT + CELL_SIZE]
    with pytest.raises(BadRecordError):
        path.client.open(run)


def test_replay_drop_and_reorder_are_found_at_the_next_hop() -> None:
    for mischief in ("replay", "drop", "reorder"):
        path = Hops([2, 2, 2])
        runs = [bytes(path.forward_run(3, b"%d" % n)[0]) for n in range(3)]
        order = {"replay": [0, 0], "drop": [0, 2], "reorder": [1]}[mischief]
        *honest, lie = [memoryview(bytearray(runs[n])) for n in order]
        for run in honest:
            path.relays[0].open_forward(run, new_frame(1), is_last=False)
        with pytest.raises(BadRecordError):
            path.relays[0].open_forward(lie, new_frame(1), is_last=False)


def test_split_and_merged_runs_are_found() -> None:
    path = Hops([2, 2])
    run, _ = path.forward_run(2, b"bulk", 7)
    with pytest.raises(BadRecordError):
        path.relays[0].open_forward(run[:CELL_SIZE], new_frame(1), is_last=False)


def test_middle_cannot_pose_as_the_end_towards_the_client() -> None:
    path = Hops([2, 2, 2])
    run, _ = path.backward_run(2, b"from the middle")
    hop, _, _ = path.client.open(run)
    assert hop == 2, "a record of a middle hop is known as such, never as the exit's"


def test_here_record_for_the_end_cannot_be_kept_by_a_middle() -> None:
    path = Hops([2, 2, 2])
    run, _ = path.forward_run(3, b"x")
    assert not path.relays[0].open_forward(run, new_frame(1), is_last=True), "PASS stays PASS"


def test_eleventh_hop_is_refused_by_the_client() -> None:
    path = Hops([2] * MAX_HOPS)
    with pytest.raises(LocalProtocolError):
        path.client.add_hop(Suite.AES_256_GCM, bytes(32), bytes(32))


def test_stale_ladder_stops_the_record() -> None:
    path = Hops([2, 2])
    path.forward_run(2, b"")
    path.client._forward[0].step()
    with pytest.raises(LocalProtocolError, match="stale ladder"):
        path.forward_run(2, b"")


def test_no_nonce_repeats_under_a_key_over_rekeys() -> None:
    lane = Lane(Suite.AES_256_GCM, bytes(32), counter=(1 << 14) - 2)
    seen = set()
    for _ in range(5):
        seen.add((lane.key, lane.counter))
        lane.step()
    assert len(seen) == 5
    assert len({key for key, _ in seen}) == 2


def test_lane_ends_at_two_to_the_forty() -> None:
    lane = Lane(Suite.AES_256_GCM, bytes(32), counter=(1 << 40) - 1)
    with pytest.raises(LocalProtocolError):
        lane.step()


@pytest.mark.parametrize("depth", [1, 2, 5, 10])
def test_v_has_one_size_and_looks_random_at_every_depth(depth: int) -> None:
    path = Hops([2] * depth, seed=depth)
    ones = 0
    for _ in range(20):
        run, _ = path.forward_run(depth, b"")
        assert len(run) == CELL_SIZE
        ones += int.from_bytes(run[16:], "big").bit_count()
    bits = 20 * (CELL_SIZE - 16) * 8
    assert abs(ones - bits / 2) < 5 * (bits**0.5) / 2


def test_end_cannot_tell_the_ladder_from_the_random_fill() -> None:
    """The first 160 octets that the end sees are equally distributed at depth 1 and 10."""
    for depth in (1, 10):
        path = Hops([2] * depth, seed=depth)
        ones = 0
        for _ in range(60):
            run, _ = path.forward_run(depth, b"")
            for index in range(depth):
                frame = new_frame(1)
                path.relays[index].open_forward(run, frame, is_last=index == depth - 1)
                run = frame[RUN_AT : RUN_AT + CELL_SIZE]
            ones += int.from_bytes(run[16:176], "big").bit_count()
        bits = 60 * 1280
        assert abs(ones - bits / 2) < 5 * (bits**0.5) / 2
