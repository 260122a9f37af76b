import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.deterministic import counted_bytes
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.circuit import puzzle
from vigilnet.traffic.circuit.messages import DestroyReason, PuzzleDemand
from vigilnet.traffic.circuit.puzzle import (
    CreateRefusedError,
    EffortControl,
    PuzzleGate,
    PuzzleSolver,
    Solution,
    meets_effort,
    puzzle_output,
    puzzle_target,
)

VECTORS = Path(__file__).parents[3] / "vectors" / "protocol" / "puzzle.json"
IDENTITY = bytes(range(32))
MESSAGE = b"message 1"


def gate(effort: int = 8, now: float = 0.0) -> PuzzleGate:
    made = PuzzleGate(IDENTITY, counted_bytes(), now)
    made.set_effort(effort)
    made.set_effort(effort)  # what was asked before counts no more
    return made


def solve(made: PuzzleGate, now: float, message: bytes = MESSAGE) -> bytes:
    return PuzzleSolver(puzzle_target(IDENTITY, message), made.demand(now)).solve().encode()


def test_vector_is_met_octet_by_octet() -> None:
    vector = next(v for v in json.loads(VECTORS.read_text())["vectors"] if v["kind"] == 2)
    target = puzzle_target(bytes.fromhex(vector["identity"]), bytes.fromhex(vector["message1"]))
    seed, nonce = bytes.fromhex(vector["seed"]), int(vector["nonce"], 16)
    output = puzzle_output(target, seed, nonce)
    assert output.hex() == vector["hash"]
    assert meets_effort(output, vector["effort"])
    solver = PuzzleSolver(target, PuzzleDemand(seed, vector["effort"]))
    assert solver.solve() == Solution(seed[:4], nonce)
    assert solver.tries == nonce + 1
    assert Solution(seed[:4], nonce).encode().hex() == "02" + seed[:4].hex() + vector["nonce"]


def test_solving_in_slices_finds_the_same_solution() -> None:
    demand = PuzzleDemand(bytes(16), 32)
    whole = PuzzleSolver(IDENTITY, demand).solve()
    sliced = PuzzleSolver(IDENTITY, demand)
    steps = 0
    while (found := sliced.step(4)) is None:
        steps += 1
    assert found == whole
    assert steps > 0


def test_a_private_network_has_puzzles_of_its_own() -> None:
    assert puzzle_target(IDENTITY, MESSAGE, "lab") != puzzle_target(IDENTITY, MESSAGE)


def test_effort_of_4096_is_solved_and_one_more_is_not() -> None:
    PuzzleSolver(IDENTITY, PuzzleDemand(bytes(16), 4096))
    with pytest.raises(CreateRefusedError, match="effort 4097"):
        PuzzleSolver(IDENTITY, PuzzleDemand(bytes(16), 4097))


def test_effort_bound_is_exact() -> None:
    assert meets_effort((2**26 - 1).to_bytes(4, "big"), 64)
    assert not meets_effort((2**26).to_bytes(4, "big"), 64)
    assert meets_effort(b"\xff" * 32, 0)
    assert meets_effort(b"\xff" * 32, 1)


def test_without_effort_nothing_is_asked_and_nothing_is_computed() -> None:
    assert gate(0).check(b"", MESSAGE, 0.0) == 0
    assert gate(0).check(b"junk", MESSAGE, 0.0) == 0


def test_a_solution_counts_once() -> None:
    made = gate()
    solution = solve(made, 0.0)
    assert made.check(solution, MESSAGE, 0.0) == 8
    with pytest.raises(CreateRefusedError, match="used before") as caught:
        made.check(solution, MESSAGE, 0.0)
    assert caught.value.reason is DestroyReason.PUZZLE
    assert caught.value.puzzle == made.demand(0.0)


def test_a_solution_counts_for_one_message_and_one_relay() -> None:
    made = gate(4096)
    made._effort = made._effort_before = 8  # solve cheaply, check strictly
    solution = solve(made, 0.0)
    made.set_effort(4096)
    made.set_effort(4096)
    with pytest.raises(CreateRefusedError, match="wrong solution"):
        made.check(solution, b"another message", 0.0)


@pytest.mark.parametrize("junk", [b"", bytes(12), bytes(13), b"\x02" + bytes(12)])
def test_missing_malformed_and_stale_solutions_are_refused(junk: bytes) -> None:
    with pytest.raises(CreateRefusedError) as caught:
        gate().check(junk, MESSAGE, 0.0)
    assert caught.value.reason is DestroyReason.PUZZLE
    assert caught.value.puzzle is not None


def test_seed_is_renewed_hourly_and_the_previous_is_accepted_one_hour_more() -> None:
    made = gate()
    first = made.demand(0.0).seed
    solution = solve(made, 0.0)
    assert made.demand(3599.0).seed == first
    assert made.seed_end(0.0) == 3600.0
    assert made.demand(3600.0).seed != first
    assert made.check(solution, MESSAGE, 7199.0) == 8
    with pytest.raises(CreateRefusedError, match="another seed"):
        made.check(solve(gate(), 0.0, b"other"), b"other", 7200.0)


def test_after_a_long_pause_the_old_seed_is_not_accepted() -> None:
    made = gate()
    solution = solve(made, 0.0)
    with pytest.raises(CreateRefusedError, match="another seed"):
        made.check(solution, MESSAGE, 7200.0)


def test_seed_is_renewed_at_once_when_its_set_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puzzle, "MAX_USED", 2)
    made = gate(1)
    seed = made.demand(0.0).seed
    used = [solve(made, 0.0, bytes([at])) for at in range(3)]
    made.check(used[0], b"\0", 0.0)
    assert made.demand(0.0).seed == seed
    made.check(used[1], b"\1", 0.0)
    assert made.demand(0.0).seed != seed
    with pytest.raises(CreateRefusedError, match="another seed"):  # full: it takes nothing more
        made.check(used[2], b"\2", 0.0)


def test_what_was_asked_in_the_last_period_is_still_good_and_ranks_lower() -> None:
    made = gate(8)
    message = next(
        bytes([at])
        for at in range(256)
        if not meets_effort(
            puzzle_output(
                puzzle_target(IDENTITY, bytes([at])),
                made.demand(0.0).seed,
                Solution.decode(solve(made, 0.0, bytes([at]))).nonce,
            ),
            64,
        )
    )
    solution = solve(made, 0.0, message)
    made.set_effort(64)
    assert made.check(solution, message, 0.0) == 8
    made.set_effort(64)
    with pytest.raises(CreateRefusedError, match="wrong"):
        made.check(solution, message, 0.0)


def test_first_period_with_effort_still_takes_clients_that_were_asked_nothing() -> None:
    made = PuzzleGate(IDENTITY, counted_bytes(), 0.0)
    made.set_effort(8)
    assert made.check(b"", MESSAGE, 0.0) == 0
    made.set_effort(8)
    with pytest.raises(CreateRefusedError, match="no solution"):
        made.check(b"", MESSAGE, 0.0)


@given(st.binary(max_size=16))
def test_any_octets_are_a_solution_or_blame_the_peer(octets: bytes) -> None:
    try:
        assert Solution.decode(octets).encode() == octets
    except RemoteProtocolError:
        return


def flood(control: EffortControl, now: float) -> int:
    control.handshake_done(6.0)
    return control.on_deadline(now, waiting=100)


def test_effort_rises_within_30_s_of_a_flood_and_falls_after_it() -> None:
    control = EffortControl(0.0)
    efforts = [flood(control, 10.0 * turn) for turn in range(1, 4)]
    assert efforts == [0, 8, 16]  # the queue was empty at the start of the first period
    quiet = [control.on_deadline(30.0 + 10.0 * turn, 0) for turn in range(1, 5)]
    assert quiet == [10, 0, 0, 0]


def test_effort_is_capped() -> None:
    control = EffortControl(0.0)
    for turn in range(1, 20):
        flood(control, 10.0 * turn)
    assert control.effort == 4096


def test_effort_does_not_rise_while_the_queue_runs_empty() -> None:
    control = EffortControl(0.0)
    flood(control, 10.0)
    control.queue_emptied()
    assert flood(control, 20.0) == 0


def test_refused_creates_count_as_load() -> None:
    control = EffortControl(0.0)
    control.on_deadline(10.0, 1)
    for _ in range(10_000):
        control.create_refused()
    control.handshake_done(3.0)
    assert control.on_deadline(20.0, 1) == 8
    assert control.deadline == 30.0


def test_middling_load_keeps_the_effort() -> None:
    control = EffortControl(0.0)
    flood(control, 10.0)
    flood(control, 20.0)
    control.handshake_done(4.0)
    assert control.on_deadline(30.0, 0) == 8
