"""docs/benchmarks/discovery.md, written from discovery.json: simulated networks, then real processes."""

import json
from collections.abc import Iterable, Iterator
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

Frames and octets are those of gossip, for each relay and minute, with a record published every 2 s. Sybils
passed on are those that an honest relay offers to others.

| relays | liars | killed a min | Sybils in one /24 | right | first alone | passed on | frames | octets |
|---|---|---|---|---|---|---|---|---|
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
         "-" if day["sybils_passed_on"] is None else day["sybils_passed_on"],
         day.get("frames_per_min", "-"), day.get("octets_per_min", "-")]
        for day in result["bad_days"]
    ]  # fmt: skip
    return _bars(result) + HEAD + _rows(spreads) + MIDDLE + _rows(days) + _real(result)


REAL_HEAD = """
# Real processes

    sudo python -m tests.bench.bench_fleet known|churn|idle|crawl|nat|lan     # each writes its part

`vigilnetd` processes in network namespaces of one machine with 2 cores, all behind one router, so that each
host has one neighbour (tests/support/fleet.py). Bars are those of the issue.
"""


def _real(result: dict[str, Any]) -> str:
    parts = [_known(result), _churn(result), _idle(result), _lan(result), _crawl(result), _nat(result)]
    found = [part for part in parts if part]
    return (REAL_HEAD + "".join(found) if found else "") + _liars(result)


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


def _lan(result: dict[str, Any]) -> str:
    if "lan" not in result:
        return ""
    head = """
**Two relays on a bridge** that were told nothing, from the start of the last one's process to their link.
Bar: 5 s.

| by | tries | median s | longest s |
|---|---|---|---|
"""
    return head + _rows(
        [one["source"], one["tries"], one["median_s"], one["longest_s"]] for one in result["lan"]
    )


def _liars(result: dict[str, Any]) -> str:
    if "liars" not in result:
        return ""
    head = """
# Malicious directories

    python -m tests.bench.bench_liars                # writes this part; half a minute

What one answer costs a client in processor time: the longest that it reads, of each kind that could cost it
most. Before answers had limits beside their octets, these took 0.8 to 1.6 s each, the loop standing still;
now nothing else waits for more than some 10 ms.

| answer | octets | s of processor time |
|---|---|---|
"""
    return head + _rows([one["kind"], one["octets"], one["cpu_s"]] for one in result["liars"])


FLEET = "sudo python -m tests.bench.bench_fleet"
OPERATORS = "python -m tests.bench.bench_operators"
SIMULATION = "python -m tests.bench.bench_discovery"

BARS_HEAD = """# The bars of finding peers

| bar | figure | command |
|---|---|---|
"""


def _bars(result: dict[str, Any]) -> str:
    """Each bar of the issue, what was measured last, and how to measure it again."""
    rows = [
        *_bars_of_processes(result),
        *_bars_of_directories(result),
        *_bars_of_simulations(result),
        *_TESTED,
    ]
    return BARS_HEAD + _rows([bar, figure, f"`{command}`"] for bar, figure, command in rows) + "\n"


Bar = tuple[str, str, str]


def _bars_of_processes(result: dict[str, Any]) -> Iterator[Bar]:
    for one in result.get("lan", ()):
        figure = f"{one['median_s']} s, longest of {one['tries']} {one['longest_s']} s"
        yield f"two namespaces on a bridge linked within 5 s by {one['source']}", figure, f"{FLEET} lan"
    for one in result.get("known", ()):
        figure = f"{one['seconds']} s, {one['strangers']} strangers in {one['packets']} packets"
        bar = (
            f"{one['relays']} processes know each other within 30 s from one known peer, no packet to others"
        )
        yield bar, figure, f"{FLEET} known"
    for one in result.get("churn", ()):
        bar = f"{one['relays']} nodes, 20 %/min killed for 3 minutes: look-ups at least 98 % right"
        share = one["found"] / one["asked"]
        figure = f"{share:.1%} of {one['asked']}, {one['killed']} killed in {one['seconds']:.0f} s"
        yield bar, figure, f"{FLEET} churn"
    for one in result.get("crawl", ()):
        bar = "a crawler of all sources finds none of 10 clients in 10 minutes"
        figure = (
            f"{one['found']} of {one['clients']} in {one['minutes']} minutes, {one['pages']} pages fetched"
        )
        yield bar, figure, f"{FLEET} crawl"
    if "idle" in result:
        worst = result["idle"][0]
        most = max(one["cpu_percent"] for one in worst), max(one["kb_per_min"] for one in worst)
        links = min(one["links"] for one in worst)
        bar = "idle relay, 40 known, 8 links: below 2 % of a core and 20 KB/min"
        figure = f"{most[0]} %, {most[1]} KB/min: the most of {len(worst)} relays with {links} links and more"
        yield bar, figure, f"{FLEET} idle"


def _bars_of_directories(result: dict[str, Any]) -> Iterator[Bar]:
    found = result.get("operators")
    if found is None:
        return
    figure = f"{found['ask, p95 ms']} ms; a country {found['ask, a country, p95 ms']} ms"
    yield "directory query below 10 ms at p95 with 1,000 relays", figure, OPERATORS
    figure = f"{found['register, p95 ms']} ms; a new relay {found['register, new, p95 ms']} ms"
    yield "registration below 50 ms at p95 with 1,000 relays", figure, OPERATORS
    for way, bar_s in (("directory", 2), ("cache", 5), ("invite", 5)):
        name = f"first circuit by {way}"
        figure = f"{found[f'{name}, median s']} s, longest of 5 {found[f'{name}, longest s']} s"
        yield f"first usable relay within {bar_s} s of the process' start, by {way}", figure, OPERATORS
    figure = (
        f"{found['junk, refused by 400 or 403']:.0f} of {found['junk, sent']:.0f} refused by 400 or 403, "
        f"{found['junk, answered by 5xx']:.0f} times 5xx, {found['junk, relays remembered']:.0f} remembered, "
        f"{found['junk, MB grown']} MB grown"
    )
    yield "10,000 junk registrations: right status, no growth, no 5xx", figure, OPERATORS


def _bars_of_simulations(result: dict[str, Any]) -> Iterator[Bar]:
    last, first = result["spread"][-1], result["spread"][0]
    figure = f"{last['rounds_99']} rounds; {result['spread_liars'][-1]['rounds_99']} with 30 % liars"
    yield f"{last['nodes']:,} nodes: 99 % learn a new record within 12 rounds", figure, SIMULATION
    figure = f"{first['octets']} octets at {first['nodes']} relays, {last['octets']} at {last['nodes']:,}"
    yield "cost per node grows no faster than log n", figure, SIMULATION
    lied = [day for day in result["bad_days"] if day["liars"] >= 0.3 and not day["sybils"]]
    figure = ", ".join(f"{day['right']:.1%} at {day['nodes']:,}" for day in lied)
    yield "30 % liars leave at least 95 % of look-ups right (with 20 %/min killed)", figure, SIMULATION
    days = [day for day in result["bad_days"] if day["sybils"]]
    figure = "; ".join(
        f"{day['right']:.1%} right at {day['nodes']:,} with {day['liars']:.0%} liars, "
        f"{day['sybils_passed_on']} of 500 passed on"
        for day in days
    )
    yield "500 Sybils in one /24", figure, SIMULATION


_TESTED: tuple[Bar, ...] = (
    (
        "the four scenarios of a local super peer, real HTTP and processes",
        "all pass, also with the true times (120 s to live, 30 s, 60 s)",
        "VIGILNET_TEST_TRUE_TIMES=1 pytest -m slow tests/test_operators.py -k scenario",
    ),
    (
        "forged, expired, replayed, oversized, second-encoding records, 10 MB, slow senders, bad country",
        "each gets its status and a JSON error, nothing is kept",
        "pytest -m slow tests/test_bad_input.py",
    ),
)


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
