"""The link's puzzle: the vector, the solver, what does not count as solved."""

import pytest

from tests.support.vectors import protocol_vectors
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.kdf import sha256
from vigilnet.traffic.link.puzzle import Solver, is_solved, puzzle_target

VECTOR = next(vector for vector in protocol_vectors("puzzle") if vector["kind"] == 1)
SEED, COOKIE = bytes.fromhex(VECTOR["seed"]), bytes.fromhex(VECTOR["cookie"])
IDENTITY, E = bytes.fromhex(VECTOR["identity"]), bytes.fromhex(VECTOR["e"])
TARGET = bytes.fromhex(VECTOR["target"])
NONCE, EFFORT = bytes.fromhex(VECTOR["nonce"]), VECTOR["effort"]


def test_target_solution_and_hash_equal_the_vector() -> None:
    assert puzzle_target(IDENTITY, COOKIE, E) == TARGET
    assert sha256(TARGET, SEED, NONCE).hex() == VECTOR["hash"]
    assert is_solved(TARGET, SEED, NONCE, EFFORT)


def test_solver_finds_the_vectors_nonce_in_slices() -> None:
    solver = Solver(TARGET, SEED, EFFORT)
    found, slices = None, 0
    while found is None:
        found = solver.search(100)
        slices += 1
    assert found == NONCE  # the vector's maker counted up from 0, too
    assert slices == int.from_bytes(NONCE, "big") // 100 + 1


def test_puzzle_is_tied_to_responder_cookie_key_and_network() -> None:
    targets = {
        puzzle_target(IDENTITY, COOKIE, E),
        puzzle_target(bytes(32), COOKIE, E),
        puzzle_target(IDENTITY, bytes(32), E),
        puzzle_target(IDENTITY, COOKIE, bytes(32)),
        puzzle_target(IDENTITY, COOKIE, E, "lab"),
    }
    assert len(targets) == 5


def test_effort_is_the_mean_number_of_tries() -> None:
    solved = sum(is_solved(TARGET, SEED, n.to_bytes(8, "big"), 16) for n in range(16_000))
    assert 850 < solved < 1150
    assert all(is_solved(TARGET, SEED, n.to_bytes(8, "big"), 1) for n in range(100))


@pytest.mark.parametrize("effort", [1, 2, 3, 255, 65_536])
def test_solver_and_check_agree_at_every_effort(effort: int) -> None:
    solver = Solver(TARGET, SEED, effort)
    nonce = None
    while nonce is None:
        nonce = solver.search(10_000)
    assert is_solved(TARGET, SEED, nonce, effort)
    assert not any(
        is_solved(TARGET, SEED, n.to_bytes(8, "big"), effort) for n in range(int.from_bytes(nonce))
    )


def test_solver_gives_up_in_the_end() -> None:
    solver = Solver(TARGET, SEED, 65_536, max_tries=20)
    assert solver.search(50) is None
    with pytest.raises(RemoteProtocolError, match="no solution in 20 tries"):
        solver.search(1)
