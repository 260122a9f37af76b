"""Nodes that know 200 relays hold few sockets and no growing memory (DIS-17).

`python -m tests.bench.bench_known_peers` is the long run; its figures are in docs/benchmarks/known-peers.md.
"""

from pathlib import Path

import pytest

from tests.support.figures import note
from tests.support.known_peers import KnownPeers

pytestmark = pytest.mark.slow
RELAYS, SAMPLES, EVERY_S = 200, 8, 2.0
MOST_SOCKETS = 64
MOST_GROWTH_MB = 10.0  # in so short a time some of it is what a process needs once


def test_two_hundred_known_relays_cost_few_sockets_and_no_growth(tmp_path: Path) -> None:
    found = KnownPeers.measure(tmp_path, RELAYS, SAMPLES, EVERY_S)
    note("a super peer with 200 relays", found.samples[-1].super_mb, "MB")
    note("its sockets at most", found.most("super_sockets"), "")
    assert found.samples[-1].known == RELAYS
    assert found.most("super_sockets") <= MOST_SOCKETS
    assert found.most("client_sockets") <= MOST_SOCKETS
    assert found.growth_mb("super_mb") < MOST_GROWTH_MB
    assert found.growth_mb("client_mb") < MOST_GROWTH_MB
    assert (found.failed, found.refused, found.complaints) == (0, 0, 0)
