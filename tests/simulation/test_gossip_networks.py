"""Large networks of real gossip machines: how far and how fast news go, at what cost, on bad days."""

import pytest

from tests.support.figures import note
from tests.support.gossip_simulation import Simulation, shared_checks

pytestmark = pytest.mark.slow

MOST_ROUNDS = 12


def test_news_reach_everybody_within_few_rounds_at_a_cost_that_does_not_grow() -> None:
    costs = {}
    for size in (60, 240):
        with shared_checks():
            spread = Simulation(size).spread()
        note(f"gossip, {size} relays, rounds to 99 %", spread.rounds_99, "rounds")
        assert spread.reached == 1.0
        assert spread.rounds_99 <= MOST_ROUNDS
        costs[size] = spread
    assert costs[240].octets < 1.5 * costs[60].octets
    assert costs[240].idle_octets_per_min < 1.5 * costs[60].idle_octets_per_min


def test_a_thousand_relays_with_liars() -> None:
    with shared_checks():
        spread = Simulation(1000, liars=0.3).spread()
    note("gossip, 1000 relays, 30 % liars, to 99 % after", spread.seconds_99, "s")
    assert spread.reached >= 0.99
    assert spread.rounds_99 <= MOST_ROUNDS


def test_look_ups_on_a_day_of_churn() -> None:
    with shared_checks():
        lookups = Simulation(200).bad_day(2.0, publishers=20, churn_per_min=0.2)
    note("look-ups under churn of 20 % a minute", 100 * lookups.share, "%")
    assert lookups.asked > 500
    assert lookups.share >= 0.98


def test_look_ups_among_liars() -> None:
    with shared_checks():
        lookups = Simulation(200, liars=0.3).bad_day(2.0, publishers=20, churn_per_min=0.2)
    note("look-ups under churn and 30 % liars", 100 * lookups.share, "%")
    assert lookups.share >= 0.95


def test_five_hundred_sybils_in_one_prefix_fill_nobodys_links() -> None:
    with shared_checks():
        simulation = Simulation(100, liars=0.1)
        lookups = simulation.bad_day(1.0, publishers=20, churn_per_min=0.0, sybils=500)
    note("Sybil records that a relay passes on, of 500", simulation.sybils_passed_on(500), "records")
    assert simulation.sybils_passed_on(500) <= 10
    assert lookups.share >= 0.98
