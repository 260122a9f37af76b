"""The bars of steering a node, measured: `python -m tests.bench.steering_page` (root; programs of .ci/run).

Runs the tests that hold these bars and collects the figures that they note, then writes
docs/benchmarks/steering.md. The figure of the control API is `make bench-control`'s, which must be alone on
the machine and is not measured again here.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.golden_cli import GOLDEN

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "steering.md"
CONTROL = PAGE.with_name("control.json")
NEWCOMER = "tests/netns/test_newcomer.py"
BROWSERS = "tests/test_dashboard_in_browsers.py"
GOLDENS = "tests/test_golden_cli.py"
REFUSALS = (
    "tests/unit/surface/control/test_http_api.py", "tests/unit/surface/control/test_server.py",
    "tests/unit/surface/control/test_auth.py", "tests/unit/base/http/test_guards.py",
)  # fmt: skip
_NOTED = re.compile(r"^figure: (?P<what>.*): (?P<value>[\d.e+-]+) ?(?P<unit>\w*)$", re.MULTILINE)
_PASSED = re.compile(r"(\d+) passed")


@dataclass
class Run:
    """What some tests came to."""

    passed: int
    figures: dict[str, float] = field(default_factory=dict)

    def figure(self, words: str) -> float:
        """The first figure whose name has these words."""
        return next(value for what, value in self.figures.items() if words in what)


def tests(*files: str) -> Run:
    """Run tests; every one of them must pass, and none be left out."""
    words = [sys.executable, "-m", "pytest", "-q", "-rPs", *files]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    passed = _PASSED.search(done.stdout.splitlines()[-1])
    if done.returncode or passed is None or "skipped" in done.stdout.splitlines()[-1]:
        raise SystemExit(f"{' '.join(files)}\n{done.stdout[-4000:]}")
    noted = {found["what"]: float(found["value"]) for found in _NOTED.finditer(done.stdout)}
    return Run(int(passed[1]), noted)


def weight() -> int:
    """Octets of the dashboard, compressed."""
    done = subprocess.run(
        ["npm", "run", "--silent", "size"], cwd=ROOT / "web", capture_output=True, text=True, check=True
    )
    return int(re.findall(r"^all (\d+)", done.stdout, re.MULTILINE)[0])


def rows() -> Iterator[tuple[str, str, str]]:
    """Bar, figure, command."""
    command, run = f"pytest -rP {NEWCOMER}", tests(NEWCOMER)
    bar = "fresh clone to a page through three hops by the readme's one command: below 90 s"
    yield bar, f"{run.figure('fresh clone'):.1f} s", command
    bar = (
        "a newcomer with the readme alone: first page, whole device, another exit country, one app around "
        "it, why nothing connects"
    )
    yield bar, f"all {run.figure('commands of the readme'):.0f} commands followed", command
    yield from in_browsers()
    bar = (
        "another user, another origin, a rebound name, a forged request, a missing or old token, too long a "
        "message: refused, nothing changes"
    )
    yield bar, f"{tests(*REFUSALS).passed} tests", f"pytest {' '.join(REFUSALS)}"
    tests(GOLDENS)
    written = json.loads(GOLDEN.read_text())
    answers = len(written["json"]) + len(written["fields"])
    bar = "every command has its help and its JSON written down"
    yield bar, f"{len(written['help'])} helps, {answers} answers", f"pytest {GOLDENS}"
    control = json.loads(CONTROL.read_text())
    mean, middle = control["ratio_of_pairs_mean"], control["ratio_of_pairs_median"]
    bar = "100 operations of the control API a second leave 0.97 of the throughput"
    figure = (
        f"{control['cpu_ratio']:.3f} by processor time; by the clock {mean:.3f} in the mean (standard error "
        f"{control['standard_error']:.3f}), {middle:.3f} in the median"
    )
    yield bar, figure, "make bench-control"


def in_browsers() -> Iterator[tuple[str, str, str]]:
    """What real browsers say of the dashboard of a real network."""
    command, run = f"pytest -rP {BROWSERS}", tests(BROWSERS)
    bar = "Chromium: every view, mode switch, exit choice; another path on the page within 2 s"
    yield bar, f"{run.figure('path_shown_after_ms') / 1000:.2f} s", command
    yield "Firefox: every view, the live path", "passed", command
    pictures = len(list((ROOT / "docs" / "images").glob("dashboard-*.png")))
    yield "pictures of each view in light and dark, looked at", f"{pictures}", "make pictures"
    grave, pages = run.figure("axe-core"), run.figure("pages looked at")
    yield "axe-core: 0 critical or serious", f"{grave:.0f} on {pages:.0f} pages", command
    paint, busy = run.figure("first_paint_ms"), run.figure("load_cpu_ms")
    yield (
        "load below 500 ms on loopback",
        f"first paint {paint:.0f} ms, {busy:.0f} ms of the processor",
        command,
    )
    yield "bundle below 300 KB compressed", f"{weight() / 1000:.1f} KB", "cd web && npm run size"
    yield "no request to another host, strict policy", "none, none unsafe", command


def main() -> int:
    """Measure and write the page."""
    table = "\n".join(f"| {bar} | {figure} | `{command}` |" for bar, figure, command in rows())
    PAGE.write_text(
        "# Steering it, measured\n\n"
        "Written by `python -m tests.bench.steering_page` (as root) on a shared machine of two cores; a\n"
        "command shows one row alone, its figures under `figure:`.\n\n"
        f"| bar | figure | command |\n|---|---|---|\n{table}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
