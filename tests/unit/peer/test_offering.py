"""How one source's many records are gone through: in slices, and not to the end if they are of no use."""

from collections.abc import Iterable

import pytest

from vigilnet.peer.offering import KNOWN_COST, MAX_FAULTS, MAX_USELESS, SLICE, Course, Offering
from vigilnet.peer.view import Outcome, Verdict


def courses(outcomes: Iterable[Outcome]) -> list[Course]:
    offering = Offering()
    return [offering.judged(Verdict(outcome, "")) for outcome in outcomes]


def test_new_records_go_on_in_slices() -> None:
    said = courses([Outcome.ACCEPTED] * 8192)
    assert set(said) == {Course.ON, Course.PAUSE}
    assert said.index(Course.PAUSE) == SLICE - 1
    assert said.count(Course.PAUSE) == 8192 / SLICE


def test_known_records_cost_little() -> None:
    assert courses([Outcome.KNOWN] * 8192).count(Course.PAUSE) == 8192 * KNOWN_COST / SLICE


def test_waiting_for_work_to_be_checked_is_no_fault() -> None:
    assert set(courses([Outcome.LATER] * 10_000)) == {Course.LATER}


@pytest.mark.parametrize("outcome", [Outcome.BAD_SIGNATURE, Outcome.BAD_WORK, Outcome.MALFORMED])
def test_the_third_fault_ends_it(outcome: Outcome) -> None:
    assert courses([outcome] * MAX_FAULTS)[-2:] == [Course.ON, Course.LEAVE]


@pytest.mark.parametrize(
    "outcome", [Outcome.STALE, Outcome.NOT_CURRENT, Outcome.REVOKED, Outcome.EQUIVOCATING]
)
def test_what_nobody_needs_ends_it(outcome: Outcome) -> None:
    said = courses([outcome] * (MAX_USELESS + 1))
    assert Course.LEAVE not in said[:-1]
    assert said[-1] is Course.LEAVE


def test_who_is_muted_is_left_at_once() -> None:
    assert courses([Outcome.MUTED]) == [Course.LEAVE]
