"""Gossip among up to 10,000 simulated relays: `python -m tests.bench.bench_discovery [--quick]`.

The machines are the product's, the clock is virtual (tests/support/gossip_simulation.py). Writes
docs/benchmarks/discovery.json, discovery.md and discovery.svg.
"""

import argparse
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.discovery_page import FOLDER, update
from tests.support.gossip_simulation import Simulation, shared_checks

SIZES = (30, 100, 300, 1_000, 3_000, 10_000)
LIARS = 0.3


def measure(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Let one record spread in networks of each size."""
    result: dict[str, Any] = {"spread": [], "spread_liars": []}
    for size in sizes:
        for name, liars in (("spread", 0.0), ("spread_liars", LIARS)):
            started = time.process_time()
            with shared_checks():
                row = asdict(Simulation(size, liars=liars).spread())
            row["cpu_s"] = round(time.process_time() - started, 1)
            result[name].append(row)
            print(name, row, flush=True)
    return result


def bad_days(largest: int) -> list[dict[str, Any]]:
    """Look relays up while others are killed, lie and flood."""
    result = []
    for size, liars, churn, sybils in (
        (1_000, 0.0, 0.2, 0),
        (1_000, LIARS, 0.2, 0),
        (300, 0.1, 0.0, 500),
        (1_000, LIARS, 0.2, 500),
        (10_000, LIARS, 0.2, 0),
    ):
        if size > largest:
            continue
        started = time.process_time()
        with shared_checks():
            simulation = Simulation(size, liars=liars)
            found = simulation.bad_day(1.0, publishers=20, churn_per_min=churn, sybils=sybils)
            row = {
                "nodes": size,
                "liars": liars,
                "churn_per_min": churn,
                "sybils": sybils,
                "asked": found.asked,
                "right": round(found.share, 4),
                "first_answer_right": round(found.one_share, 4),
                "sybils_passed_on": round(simulation.sybils_passed_on(sybils), 1) if sybils else None,
                "frames_per_min": round(found.frames, 1),
                "octets_per_min": round(found.octets),
                "cpu_s": round(time.process_time() - started, 1),
            }
        result.append(row)
        print(row, flush=True)
    return result


def plot(result: dict[str, Any], file: Path) -> None:
    """Cost per relay against size."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "vigilnet"
    import matplotlib.pyplot as plt

    sizes = [row["nodes"] for row in result["spread"]]
    figure, (cost, rounds) = plt.subplots(1, 2, figsize=(9, 3.5))
    for name, label in (("spread", "all honest"), ("spread_liars", "30 % liars")):
        cost.plot(sizes, [row["octets"] for row in result[name]], marker="o", label=label)
        rounds.plot(sizes, [row["rounds_99"] for row in result[name]], marker="o", label=label)
    first = result["spread"][0]["octets"]
    growth = [first * math.log(size) / math.log(sizes[0]) for size in sizes]
    cost.plot(sizes, growth, linestyle=":", color="grey", label="growth by log n")
    rounds.axhline(12, linestyle=":", color="grey", label="bar")
    for axes, title in ((cost, "octets per relay for one record"), (rounds, "rounds until 99 % know it")):
        axes.set(xscale="log", ylim=(0, None), xlabel="relays", title=title)
        axes.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="up to 1,000 relays, nothing written")
    parser.add_argument("--days", action="store_true", help="only the look-ups under churn, liars and Sybils")
    arguments = parser.parse_args()
    largest = 1_000 if arguments.quick else SIZES[-1]
    result = {} if arguments.days else measure(tuple(size for size in SIZES if size <= largest))
    days = bad_days(largest)
    if arguments.quick:
        return
    for part, figures in {**result, "bad_days": days}.items():
        update(part, figures)
    if result:
        plot(result, FOLDER / "discovery.svg")


if __name__ == "__main__":
    main()
