"""How much of our time each source of records gets."""

from vigilnet.peer import sources
from vigilnet.peer.sources import LAN_PLACE, Source, WorkBudget, is_vouched

ONE, TWO = Source("one"), Source("two")


def test_five_checks_a_second_for_a_source() -> None:
    budget = WorkBudget()
    assert [budget.take(ONE, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert budget.take(TWO, 0.0)
    assert budget.take(ONE, 0.2)
    assert not budget.take(ONE, 0.2)
    assert [budget.take(ONE, 100.0) for _ in range(6)] == [True] * 5 + [False]


def test_fifty_checks_a_second_in_all() -> None:
    budget = WorkBudget()
    taken = [budget.take(Source(str(number)), 0.0) for number in range(60)]
    assert sum(taken) == 50
    assert budget.take(Source("late"), 1.0)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    budget = WorkBudget()
    for _ in range(5):
        budget.take(ONE, 10.0)
    assert not budget.take(ONE, 9.0)
    assert not budget.take(ONE, 9.1)


def test_three_bad_works_mute_for_an_hour() -> None:
    budget = WorkBudget()
    for _ in range(2):
        budget.note_bad_work(ONE, 5.0)
    assert not budget.is_muted(ONE, 5.0)
    budget.note_bad_work(ONE, 5.0)
    assert budget.is_muted(ONE, 5.0)
    assert not budget.is_muted(TWO, 5.0)
    assert budget.is_muted(ONE, 3604.9)
    assert not budget.is_muted(ONE, 3605.0)


def test_the_users_own_files_are_neither_limited_nor_muted() -> None:
    budget = WorkBudget()
    own = Source("records folder", is_limited=False)
    assert all(budget.take(own, 0.0) for _ in range(1000))
    for _ in range(5):
        budget.note_bad_work(own, 0.0)
    assert not budget.is_muted(own, 0.0)


def test_table_is_bounded_and_keeps_the_muted() -> None:
    budget = WorkBudget()
    for _ in range(3):
        budget.note_bad_work(ONE, 0.0)
    for number in range(sources.MAX_SOURCES + 100):
        budget.take(Source(str(number)), 0.0)
    assert len(budget._accounts) == sources.MAX_SOURCES
    assert budget.is_muted(ONE, 1.0)


def test_table_full_of_muted_sources_drops_the_oldest() -> None:
    budget = WorkBudget()
    for number in range(sources.MAX_SOURCES + 1):
        for _ in range(3):
            budget.note_bad_work(Source(str(number)), 0.0)
    assert len(budget._accounts) == sources.MAX_SOURCES
    assert not budget.is_muted(Source("0"), 1.0)
    assert budget.is_muted(Source("1"), 1.0)


def test_one_place_that_may_have_made_a_record_for_us_does_not_vouch_for_it() -> None:
    def found(*where: tuple[str, str]) -> bool:
        return is_vouched([Source(f"{name} {place}", place, name=name) for name, place in where])

    assert not found()
    assert not found(("dht", "10.1.0.0/16"))
    assert not found(("dht", "10.1.0.0/16"), ("directories", "10.1.0.0/16"))
    assert not found(("mdns", LAN_PLACE), ("beacon", LAN_PLACE))
    assert not found(("dht", ""), ("dht", ""))
    assert found(("dht", "10.1.0.0/16"), ("dht", "10.2.0.0/16"))
    assert found(("mdns", LAN_PLACE), ("circuits", "10.1.0.0/16"))
    assert found(("invites", ""))
