"""Who is avoided for bad tags, and that lying about them gains nothing (PROTOCOL 10: false blame)."""

import random

import pytest

from vigilnet.routing.paths.bad_tags import (
    AVOID_S,
    KEPT_CIRCUITS,
    LEAVE_EACH_S,
    MAX_RELAYS,
    RELAY_CIRCUITS,
    BadTagBook,
)
from vigilnet.routing.paths.selection import Guards

GUARD, OTHER = b"g" * 32, b"o" * 32
WALL = 1_800_000_000.0


def relay(number: int) -> bytes:
    return number.to_bytes(32, "big")


def book_of(*, dead: int, well: int, second_hops: int = 30, families: int = 0) -> BadTagBook:
    """A guard with so many circuits, and another with 50 good ones."""
    book = BadTagBook(
        lambda identity: frozenset((identity[-1] % families,)) if families else frozenset()  # type: ignore[arg-type]
    )
    for number in range(dead + well):
        hops = [GUARD, relay(number % second_hops), relay(1000 + number)]
        book.circuit_ended(hops, 0.0, by_bad_tag=number < dead)
    for number in range(50):
        book.circuit_ended([OTHER, relay(5000 + number), relay(6000 + number)], 0.0, by_bad_tag=False)
    return book


def test_a_guard_is_left_when_all_conditions_hold() -> None:
    book = book_of(dead=70, well=140)
    assert book.guard_to_leave([OTHER, GUARD], 0.0, WALL) == GUARD
    assert book.counts(GUARD) == (210, 70)


@pytest.mark.parametrize(
    ("dead", "well", "second_hops", "families"),
    [(69, 130, 30, 0), (60, 140, 30, 0), (70, 140, 9, 0), (70, 140, 30, 9)],
    ids=["199 circuits", "30 percent", "9 second hops", "9 families"],
)
def test_a_guard_is_kept_when_one_is_missing(dead: int, well: int, second_hops: int, families: int) -> None:
    book = book_of(dead=dead, well=well, second_hops=second_hops, families=families)
    assert book.guard_to_leave([GUARD, OTHER], 0.0, WALL) is None


def test_a_guard_is_kept_when_our_others_do_badly_too_or_say_nothing() -> None:
    book = book_of(dead=70, well=140)
    assert book.guard_to_leave([GUARD], 0.0, WALL) is None
    for number in range(3):
        book.circuit_ended([OTHER, relay(number), relay(7)], 0.0, by_bad_tag=True)
    assert book.guard_to_leave([GUARD, OTHER], 0.0, WALL) is None


def test_one_guard_in_thirty_days() -> None:
    book = book_of(dead=70, well=140)
    assert book.guard_to_leave([GUARD, OTHER], WALL - LEAVE_EACH_S + 1, WALL) is None
    assert book.guard_to_leave([GUARD, OTHER], WALL - LEAVE_EACH_S, WALL) == GUARD


def test_middles_and_exits_above_a_twentieth_rest_for_a_day() -> None:
    book = BadTagBook(lambda identity: frozenset())
    for number in range(RELAY_CIRCUITS - 1):
        book.circuit_ended([relay(100 + number), relay(1), relay(200 + number)], 0.0, by_bad_tag=True)
    assert not book.avoided(0.0)
    book.circuit_ended([relay(99), relay(1), relay(2)], 10.0, by_bad_tag=True)
    assert book.avoided(10.0) == {relay(1)}
    assert not book.avoided(10.0 + AVOID_S)
    fine = BadTagBook(lambda identity: frozenset())
    for number in range(100):
        fine.circuit_ended([GUARD, relay(1), relay(2)], 0.0, by_bad_tag=number % 20 == 19)
    assert not fine.avoided(0.0)


def test_a_single_hop_is_not_booked() -> None:
    book = BadTagBook(lambda identity: frozenset())
    book.circuit_ended([GUARD], 0.0, by_bad_tag=True)
    assert book.counts(GUARD) == (0, 0)


def test_books_are_bounded() -> None:
    book = BadTagBook(lambda identity: frozenset())
    for number in range(MAX_RELAYS + 100):
        book.circuit_ended([GUARD, relay(number), OTHER], 0.0, by_bad_tag=False)
    assert book.counts(relay(100)) == (0, 0)
    assert book.counts(relay(101)) == (1, 0)
    assert book.counts(GUARD) == (KEPT_CIRCUITS, 0)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.05, 0.10])
def test_lying_relays_do_not_walk_clients_to_their_guards(share: float) -> None:
    """Half a year of 60 clients: liars break each circuit they are on whose guard is not theirs."""
    rng = random.Random(f"bad tags {share}")
    relays = [relay(number) for number in range(1, 201)]
    liars = set(relays[: int(share * len(relays))])
    owned = [0, 0]  # first guards that are liars', at the start and at the end
    for _ in range(60):
        book, guards = BadTagBook(lambda identity: frozenset()), Guards(rng.sample(relays, 2))
        owned[0] += guards.kept[0] in liars
        for day in range(180):
            wall = WALL + 86_400 * day
            for _ in range(8):
                # Circuits go over the first guard, a few over the second, as when the first rests.
                guard = guards.kept[0] if rng.random() < 0.9 else guards.kept[1]
                avoided = book.avoided(wall)
                path = [guard, *rng.sample([one for one in relays if one not in avoided], 2)]
                broken = guard not in liars and any(hop in liars for hop in path[1:])
                book.circuit_ended(path, wall, by_bad_tag=broken)
                left = book.guard_to_leave(guards.kept, max(guards.left.values(), default=0.0), wall)
                if left is not None:
                    guards.leave(left, wall)
                    guards.kept.append(rng.choice([one for one in relays if one not in guards.kept]))
        owned[1] += guards.kept[0] in liars
    assert owned[1] - owned[0] <= 60 * 0.05


def test_the_guard_that_is_left_is_sampled_again_only_where_there_is_no_other() -> None:
    guards = Guards([GUARD, OTHER])
    guards.leave(GUARD, WALL)
    assert guards.kept == [OTHER]
    assert guards.left == {GUARD: WALL}
