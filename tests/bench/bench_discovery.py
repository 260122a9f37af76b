"""Gossip among up to 10,000 simulated relays: `python -m tests.bench.bench_discovery [--quick]`.

The machines are the product's, the clock is virtual (tests/support/gossip_simulation.py). Writes
docs/benchmarks/discovery.json, discovery.md and discovery.svg.
"""

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.support.gossip_simulation import Simulation, shared_checks

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
SIZES = (30, 100, 300, 1_000, 3_000, 10_000)
LIARS = 0.3


def measure(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Run everything."""
    result: dict[str, Any] = {"spread": [], "spread_liars": [], "bad_days": []}
    for size in sizes:
        for name, liars in (("spread", 0.0), ("spread_liars", LIARS)):
            started = time.process_time()
            with shared_checks():
                row = asdict(Simulation(size, liars=liars).spread())
            row["cpu_s"] = round(time.process_time() - started, 1)
            result[name].append(row)
            print(name, row, flush=True)
    for size, liars, churn, sybils in (
        (1_000, 0.0, 0.2, 0),
        (1_000, LIARS, 0.2, 0),
        (300, 0.1, 0.0, 500),
    ):
        if size > max(sizes):
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
                "cpu_s": round(time.process_time() - started, 1),
            }
        result["bad_days"].append(row)
        print(row, flush=True)
    return result


HEAD = """# Gossip among many relays, simulated

    python -m tests.bench.bench_discovery            # writes this page; some minutes

Real gossip machines and peer tables on a virtual clock, 20 ms a hop, 6 links dialled by each relay, empty
tables (tests/support/gossip_simulation.py). One relay learns one record. A round is one passing-on: from its
relay to its neighbours is the first. Frames and octets per relay are what the record cost above what the same
time costs anyhow; they are gossip frames, without the link's own octets.

| relays | rounds to 99 % | s to 99 % | frames | octets | idle octets a min | 30 % liars: rounds | s | reached |
|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501 a table

MIDDLE = """
![Cost per relay against the number of relays](discovery.svg)

The cost of a record to each relay does not grow with the network, and the rounds grow with its logarithm. But
each relay holds every record (at most 8192), so all records together cost each relay octets in proportion to
their number: some 0.4 KB for each record and each time it is issued (once in 6 to 24 h).

Look-ups: a client asks six relays drawn by chance for a record that was issued at least 15 s ago; right is
when two of them name the newest one. Liars: half say nothing, half announce what they never deliver; all
answer look-ups with nothing. Relays that are killed come back at once, with empty tables.

| relays | liars | killed a min | Sybils in one /24 | look-ups right | first answer alone | Sybils passed on |
|---|---|---|---|---|---|---|
"""


def markdown(result: dict[str, Any]) -> str:
    """The page."""
    spreads = [
        [one["nodes"], one["rounds_99"], one["seconds_99"], one["frames"], one["octets"],
         one["idle_octets_per_min"], lied["rounds_99"], lied["seconds_99"], f"{lied['reached']:.2%}"]
        for one, lied in zip(result["spread"], result["spread_liars"], strict=True)
    ]  # fmt: skip
    days = [
        [day["nodes"], f"{day['liars']:.0%}", f"{day['churn_per_min']:.0%}", day["sybils"],
         f"{day['right']:.1%} of {day['asked']}", f"{day['first_answer_right']:.1%}",
         "-" if day["sybils_passed_on"] is None else day["sybils_passed_on"]]
        for day in result["bad_days"]
    ]  # fmt: skip
    return HEAD + _rows(spreads) + MIDDLE + _rows(days)


def _rows(table: list[list[object]]) -> str:
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in table)


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
    if parser.parse_args().quick:
        measure(tuple(size for size in SIZES if size <= 1_000))
        return
    result = measure(SIZES)
    (FOLDER / "discovery.json").write_text(json.dumps(result, indent=1) + "\n")
    (FOLDER / "discovery.md").write_text(markdown(result))
    plot(result, FOLDER / "discovery.svg")


if __name__ == "__main__":
    main()
