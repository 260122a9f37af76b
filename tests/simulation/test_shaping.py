"""Shaped connections that carry TLS, on a virtual clock, before the rule that finds TLS in TLS."""

import pytest

from tests.bench.shaping.controls import naive_tunnel
from tests.bench.shaping.rule import is_tls_in_tls
from tests.support.shaper_pair import ShaperPair
from vigilnet.traffic.cell import CELL_SIZE
from vigilnet.traffic.transport.htx.shaping import Profile

pytestmark = pytest.mark.slow

FLOWS = 60
INNER = ((1, 1), (-1, 2), (1, 1), (-1, 5), (1, 1), (-1, 9), (1, 1), (-1, 30))  # who says how many cells


def carried(profile: Profile, seed: int) -> list[tuple[float, int, int]]:
    """The records of a link that is dialled, builds a circuit and opens a page over TLS."""
    pair = ShaperPair(profile, f"flow {seed}")
    pair.waiting = [1255, 0]
    pair.begin()
    pair.waiting[1] += 1163
    for way, cells in ((1, 1), (-1, 1)) * 3 + INNER:
        pair.waiting[way < 0] += cells * CELL_SIZE
        pair.run(0.08)
    pair.run(1.0)
    records = [(at, 1, size) for at, size in pair.sent[0]] + [(at, -1, size) for at, size in pair.sent[1]]
    return sorted(records, key=lambda record: record[0])


def share_found(flows: list[list[tuple[float, int, int]]]) -> float:
    return sum(map(is_tls_in_tls, flows)) / len(flows)


def test_the_rule_finds_a_naive_tunnel() -> None:
    assert share_found([naive_tunnel(seed) for seed in range(FLOWS)]) > 0.4


@pytest.mark.parametrize("profile", [Profile.LIGHT, Profile.REPLAY, Profile.CONSTANT])
def test_the_rule_finds_next_to_no_shaped_link(profile: Profile) -> None:
    assert share_found([carried(profile, seed) for seed in range(FLOWS)]) < 0.15
