"""Many real processes: relays that know one know all; nobody who looks everywhere finds a client.

r0 ... r11 ── router          and: r0 ... r3, crawler, c0 ... c9 ── switch
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.figures import note
from tests.support.fleet import Churn, Crawl, Fleet, Idle, Known
from tests.support.netns import Lab
from tests.support.waiting import held, pause

pytestmark = [pytest.mark.netns, pytest.mark.slow]

RELAYS = int(os.environ.get("VIGILNET_TEST_RELAYS", "12"))  # 40 by hand: two cores start no 40 in good time
KNOWN_S = 30.0  # after the last one's start
CLIENTS = 10
CRAWL_S = 60.0
CHURN_S = 30.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def test_many_relays_from_one_known_peer(lab: Lab, tmp_path: Path) -> None:
    known, fleet = Known.measure(lab, tmp_path, RELAYS, work_bits=0)
    note(f"{RELAYS} relays know each other after", known.seconds, "s")
    assert known.seconds < held(KNOWN_S)  # the bar is 30 s; docs/benchmarks/discovery.md has its figures
    assert known.packets > 100
    assert known.strangers == 0
    pause(30.0)  # links opened to try others out are closed after 20 s
    (idle,) = Idle.measure(fleet, 30.0, watched=1)
    note(f"idle relay among {RELAYS}, payload both ways", idle.kb_per_min, "KB/min")
    note(f"idle relay among {RELAYS}, of a core", idle.cpu_percent, "%")


def test_look_ups_find_relays_while_many_are_killed(lab: Lab, tmp_path: Path) -> None:
    fleet = Fleet.make(lab, tmp_path, RELAYS, without=["cache"])
    fleet.start()
    fleet.wait_known(2 * KNOWN_S)
    churn = Churn.measure(fleet, CHURN_S, per_min=0.8)
    note(f"look-ups right while {churn.killed} of {RELAYS} relays were killed", churn.share * 100, "%")
    assert churn.killed >= 1
    assert churn.asked > CHURN_S
    assert churn.share > 0.95  # the bar is 98 % over three minutes of forty


def test_a_crawler_of_all_sources_finds_no_client(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("opendht", reason="needs the extra `dht`")
    found = Crawl.measure(lab, tmp_path, CRAWL_S, CLIENTS)
    note("clients found by a crawler of all sources", found.found, f"of {found.clients}")
    assert found.relays_seen == found.relays, "the crawler sees relays"
    assert found.pages > found.clients, "clients browse meanwhile"
    assert found.found == 0
