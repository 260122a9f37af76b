"""docs/benchmarks/discovery.md, written from discovery.json: simulated networks, then real processes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
FIGURES = FOLDER / "discovery.json"

HEAD = """# Gossip among many relays, simulated

    python -m tests.bench.bench_discovery            # writes this part; some minutes

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


def update(part: str, figures: object) -> None:
    """Put one part's figures into the file, and write the page anew."""
    everything: dict[str, Any] = json.loads(FIGURES.read_text())
    everything[part] = figures
    FIGURES.write_text(json.dumps(everything, indent=1) + "\n")
    (FOLDER / "discovery.md").write_text(markdown(everything))


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
    return HEAD + _rows(spreads) + MIDDLE + _rows(days) + _real(result)


REAL_HEAD = """
# Real processes

    sudo python -m tests.bench.bench_fleet known|churn|idle|crawl|nat     # each writes its part

`vigilnetd` processes in network namespaces of one machine with 2 cores, all behind one router, so that each
host has one neighbour (tests/support/fleet.py). Bars are those of the issue.
"""


def _real(result: dict[str, Any]) -> str:
    parts = [_known(result), _churn(result), _idle(result), _crawl(result), _nat(result)]
    found = [part for part in parts if part]
    return REAL_HEAD + "".join(found) if found else ""


def _known(result: dict[str, Any]) -> str:
    if "known" not in result:
        return ""
    head = """
**All know all.** One relay is known to the others by its invite; identities and their work were made before.
Bar: 30 s from the last one's start, and no packet to anyone else.

| relays | work bits | s from the last one's start | packets at the router | addresses of others in them |
|---|---|---|---|---|
"""
    rows = [[one["relays"], one["work_bits"], one["seconds"], one["packets"], one["strangers"]]
            for one in result["known"]]  # fmt: skip
    return head + _rows(rows)


def _churn(result: dict[str, Any]) -> str:
    if "churn" not in result:
        return ""
    head = """
**Churn.** Relays are killed (SIGKILL) and start again at once with an empty table and one invite. Meanwhile
relays drawn by chance are asked for others. Newcomers are those started less than 10 s before. Bar: 98 %.

| relays | killed a min | s | killed | look-ups | found | by newcomers |
|---|---|---|---|---|---|---|
"""
    rows = [
        [one["relays"], f"{one['killed_per_min']:.0%}", one["seconds"], one["killed"], one["asked"],
         f"{one['found'] / one['asked']:.1%}", f"{one['found_by_newcomers']} of {one['asked_newcomers']}"]
        for one in result["churn"]
    ]  # fmt: skip
    return head + _rows(rows)


def _idle(result: dict[str, Any]) -> str:
    if "idle" not in result:
        return ""
    head = """
**An idle relay**, profile `default`: those with most links of all, watched. Memory is what the relay's
processes, the DHT's among them, have together (PSS). Bars: 2 % of a core and 20 KB a minute with 40 known
and 8 links, 88 MB with all sources.

| relays | minutes | known | links | of a core | KB/min | MB | MB more than at the beginning |
|---|---|---|---|---|---|---|---|
"""
    rows = [
        [one["relays"], one["minutes"], one["known"], one["links"], f"{one['cpu_percent']} %",
         one["kb_per_min"], one["memory_mb"], one["grown_mb"]]
        for run in result["idle"] for one in run
    ]  # fmt: skip
    return head + _rows(rows)


def _crawl(result: dict[str, Any]) -> str:
    if "crawl" not in result:
        return ""
    head = """
**A crawler** runs a relay, walks the DHT, listens to mDNS and the beacon, reads gossip and operators'
directories, while clients fetch pages through three hops. Bar: 10 minutes, 10 clients, none found.

| minutes | relays | seen of them | clients | pages they fetched | clients found |
|---|---|---|---|---|---|
"""
    rows = [[one["minutes"], one["relays"], one["relays_seen"], one["clients"], one["pages"], one["found"]]
            for one in result["crawl"]]  # fmt: skip
    return head + _rows(rows)


def _nat(result: dict[str, Any]) -> str:
    if "nat" not in result:
        return ""
    head = """
**Behind routers.** Two relays behind routers of a kind each, and a third that both can dial introduces them.
*How* is what became of the link between the two within 40 s: dialled back, punched, or none. The time counts
from when both knew each other. Two routers that both answer RST to what they do not expect end each try
before the other side's SYN is there; ports that are drawn for each connection cannot be guessed.

| router of the one | of the other | tries | links | how | median s |
|---|---|---|---|---|---|
"""
    rows = [[one["first"], one["second"], one["tries"], one["linked"], one["how"],
             "-" if one["median_s"] is None else one["median_s"]]
            for one in result["nat"]]  # fmt: skip
    return head + _rows(rows)


def _rows(table: Iterable[Iterable[object]]) -> str:
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in table)
