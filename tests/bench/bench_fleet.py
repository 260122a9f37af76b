"""Real relays in namespaces: `sudo python -m tests.bench.bench_fleet PART [--relays N] [--minutes M]`.

Parts: known, churn, idle, crawl, nat, lan. Each writes its figures to docs/benchmarks/discovery.json and the
page, unless `--dry`. Takes minutes; nothing else should run on the machine.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.bench.discovery_page import update
from tests.support.behind_routers import Meeting
from tests.support.fleet import Churn, Crawl, Fleet, Idle, Known
from tests.support.internet import Router
from tests.support.lan import Lan
from tests.support.netns import Lab
from tests.support.waiting import pause

RELAYS = 40
CLIENTS = 10
TRIES = 3
LAN_TRIES = 5
WORK_BITS = 12
START_S = 240.0  # for all to know all, before something else is measured
SETTLE_S = 90.0
KILLED_PER_MIN = 0.2


def known(lab: Lab, folder: Path, relays: int, minutes: float) -> object:
    """How soon all know all."""
    del minutes
    found, _ = Known.measure(lab, folder, relays, WORK_BITS)
    return [asdict(found)]


def churn(lab: Lab, folder: Path, relays: int, minutes: float) -> object:
    """Look-ups while relays are killed."""
    fleet = Fleet.make(lab, folder, relays, without=["cache"])
    fleet.start()
    fleet.wait_known(START_S)
    pause(SETTLE_S / 3)
    return [asdict(Churn.measure(fleet, minutes * 60, KILLED_PER_MIN))]


def idle(lab: Lab, folder: Path, relays: int, minutes: float) -> object:
    """What a relay costs that nobody uses, with 40 others known."""
    fleet = Fleet.make(lab, folder, relays + 1, profile="default")
    fleet.start()
    fleet.wait_known(START_S)
    pause(SETTLE_S)
    return [[asdict(one) for one in Idle.measure(fleet, minutes * 60)]]


def crawl(lab: Lab, folder: Path, relays: int, minutes: float) -> object:
    """Who looks everywhere, and finds no client."""
    del relays
    return [asdict(Crawl.measure(lab, folder, minutes * 60, CLIENTS))]


def nat(lab: Lab, folder: Path, relays: int, minutes: float) -> object:
    """What becomes of two relays behind routers of each kind."""
    del relays, minutes
    lab.close()
    pairs: list[tuple[Router | None, Router | None]] = [
        (Router.KEEPS, None),
        (Router.DRAWS, None),
        (Router.KEEPS, Router.KEEPS),
        (Router.KEEPS, Router.REFUSES),
        (Router.REFUSES, Router.REFUSES),
        (Router.KEEPS, Router.DRAWS),
        (Router.DRAWS, Router.DRAWS),
    ]
    found = []
    for number, pair in enumerate(pairs):  # eight minutes: who breaks off keeps what was printed
        found.append(asdict(Meeting.measure(folder / f"{number}", *pair, TRIES)))
        print(found[-1], flush=True)
    return found


def lan(lab: Lab, folder: Path, relays: int, minutes: float) -> object:
    """How soon two relays that were told nothing are linked."""
    del relays, minutes
    lab.close()
    return [
        asdict(Lan.measure(folder, has_mdns=True, tries=LAN_TRIES)),
        asdict(Lan.measure(folder, has_mdns=False, tries=LAN_TRIES)),
    ]


PARTS: dict[str, tuple[Callable[[Lab, Path, int, float], object], float]] = {
    "known": (known, 0.0),
    "churn": (churn, 3.0),
    "idle": (idle, 5.0),
    "crawl": (crawl, 10.0),
    "nat": (nat, 0.0),
    "lan": (lan, 0.0),
}


def main() -> None:
    """Measure one part and write it down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--relays", type=int, default=RELAYS)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--dry", action="store_true", help="write nothing down")
    arguments = parser.parse_args()
    measure, minutes = PARTS[arguments.part]
    with Lab() as lab, tempfile.TemporaryDirectory() as folder:
        figures = measure(lab, Path(folder), arguments.relays, arguments.minutes or minutes)
    print(arguments.part, figures, flush=True)
    if not arguments.dry:
        update(arguments.part, figures)


if __name__ == "__main__":
    main()
