"""`make bench-shaping`: records, judges, and writes docs/benchmarks/shaping.md (root; chromium, nginx)."""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.shaping.adversary import MODELS, Verdict, judge, null_halves, telling
from tests.bench.shaping.controls import naive_tunnel
from tests.bench.shaping.features import Flow, features, load_all
from tests.bench.shaping.record import record
from tests.bench.shaping.rule import Record, is_tls_in_tls

PAGE = Path(__file__).parents[3] / "docs" / "benchmarks" / "shaping.md"
BROWSER_PORT = 443
LEAST_FLOWS = 30
HORIZONS = (40, 64, 100, 300)  # records that a watcher looks at
HEAD = (
    "| what | flows | records | AUC forest | AUC boosting | without times | caught at 1 % | at 0.1 % "
    "| 10 flows: AUC | at 1 % | at 0.1 % |"
)


def row(name: str, browser: Sequence[Flow], ours: Sequence[Flow], count: int) -> str:
    """One line of the table."""
    verdicts = [judge(browser, ours, name=model, count=count) for model in MODELS]
    blind = judge(browser, ours, name="forest", has_times=False, repeats=1, count=count)
    best: Verdict = max(verdicts, key=lambda verdict: verdict.auc)
    ten = best.several(10)
    texts = [f"{verdict.auc:.2f} ± {verdict.spread:.2f}" for verdict in verdicts]
    caught = [f"{best.caught(share):.2f}" for share in (0.01, 0.001)]
    cells = [
        name,
        str(len(ours)),
        str(count),
        *texts,
        f"{blind.auc:.2f}",
        *caught,
        f"{ten.auc:.2f}",
        *[f"{ten.caught(share):.2f}" for share in (0.01, 0.001)],
    ]
    line = "| " + " | ".join(cells) + " |"
    print(line, flush=True)
    return line


def rule_row(name: str, flows: Sequence[Sequence[Record]]) -> str:
    """How often the rule for TLS in TLS hits."""
    hits = sum(is_tls_in_tls(list(records)) for records in flows)
    return f"| {name} | {hits} of {len(flows)} | {hits / max(1, len(flows)):.2f} |"


def cost_row(profile: str, facts: Sequence[dict[str, Any]]) -> str:
    """What a profile costs, as the applications see it."""
    own = [fact for fact in facts if fact["profile"] == profile and "wire" in fact]
    sums = [sum(fact[what][way] for fact in own) for what in ("wire", "payload") for way in (0, 1)]
    echoes = sorted(echo for fact in own if fact["workload"] == "shell" for echo in fact["echoes"])
    first = [fact["first_circuit_s"] for fact in own]
    cells = [profile, str(len(own)), f"{sum(fact['profile'] == profile for fact in facts) - len(own)}"]
    cells += [f"{sums[way] / 1e6:.1f} / {sums[2 + way] / 1e6:.1f}" for way in (0, 1)]
    quantiles = statistics.quantiles(echoes, n=20) if len(echoes) > 20 else [0.0] * 19
    cells += [f"{quantiles[9] * 1000:.0f} / {quantiles[18] * 1000:.0f}"]
    cells += [f"{statistics.median(first) * 1000:.0f}" if first else "-"]
    return "| " + " | ".join(cells) + " |"


def report(folder: Path, facts: Sequence[dict[str, Any]], profiles: Sequence[str]) -> str:
    """Judge what was recorded; return the tables as text."""
    flows = load_all(folder / "flows")
    browser = [flow for flow in flows if flow.port == BROWSER_PORT]
    ours = {
        name: [flow for flow in flows if (flow.site, flow.client_port) in _ports(facts, name)]
        for name in profiles
    }
    first, second = null_halves(browser)
    visits = sum(len(path.read_text().splitlines()) for path in (folder / "visits").glob("*.jsonl"))
    lines = [
        f"{len(browser)} connections of a browser, {len(features(browser[0]))} features.",
        f"The relays had recorded {visits} visits.",
        "",
        HEAD,
        "|---" * 11 + "|",
    ]
    judged = {"browser against browser": (first, second)}
    judged |= {name: (browser, own) for name, own in ours.items() if len(own) >= LEAST_FLOWS}
    lines += [
        row(name, *flows, count)
        for count in HORIZONS
        for name, flows in judged.items()
        if name != "off" or count == HORIZONS[0]  # it is told at once
    ]
    lines += ["", "The rule for TLS in TLS:", "", "| what | hits | share |", "|---|---|---|"]
    lines.append(rule_row("browser", [flow.records for flow in browser]))
    lines.append(rule_row("naive tunnel (made up)", [naive_tunnel(seed) for seed in range(200)]))
    lines += [rule_row(name, [flow.records for flow in own]) for name, own in ours.items()]
    lines += ["", "What it costs:", ""]
    lines.append(
        "| profile | flows | failed | up MB wire / payload | down MB | echo ms p50 / p95 | first circuit ms |"
    )
    lines.append("|---|---|---|---|---|---|---|")
    lines += [cost_row(name, facts) for name in profiles]
    lines += ["", "What gives it away (single features, AUC):", ""]
    for name, own in ours.items():
        for count in HORIZONS[:3] if len(own) >= LEAST_FLOWS else ():
            told = ", ".join(f"{what} {auc:.2f}" for what, auc in telling(browser, own, records=count))
            lines.append(f"- {name}, {count} records: {told}")
    return "\n".join(lines) + "\n"


def _ports(facts: Sequence[dict[str, Any]], profile: str) -> set[tuple[int, int]]:
    return {(fact["site"], fact.get("client_port", 0)) for fact in facts if fact["profile"] == profile}


def main() -> None:
    """Record and judge, or judge what was recorded."""
    parser = argparse.ArgumentParser(description="how well classifiers tell HTX from a browser")
    parser.add_argument("--seconds", type=float, default=420, help="of browsing, twice: see the page")
    parser.add_argument("--rounds", type=int, default=5, help="flows of ours per site and profile")
    parser.add_argument("--visitors", type=int, default=5, help="browsers' tabs at once")
    parser.add_argument("--clients", type=int, default=6, help="links of ours at once")
    parser.add_argument("--keep", type=Path, help="where to leave what was recorded")
    parser.add_argument("--profiles", default="off,light,replay")
    parser.add_argument("--recorded", type=Path, help="a folder that was filled before")
    parser.add_argument("--print", action="store_true", help="write no page")
    options = parser.parse_args()
    profiles = options.profiles.split(",")
    if options.recorded is None and os.geteuid() != 0:
        sys.exit("bench-shaping: needs root, for namespaces and tun interfaces")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.recorded or options.keep or Path(temporary)
        if options.recorded is None:
            record(
                folder,
                seconds=options.seconds,
                visitors=options.visitors,
                profiles=profiles,
                rounds=options.rounds,
                clients=options.clients,
            )
        text = report(folder, json.loads((folder / "facts.json").read_text()), profiles)
    print(text)
    if not options.print:
        head, _, _ = PAGE.read_text().partition("<!-- figures -->")
        PAGE.write_text(f"{head}<!-- figures -->\n\n{text}")


if __name__ == "__main__":
    main()
