"""The dashboard in real browsers, against a real network on this machine.

`vigilnet testnet` runs five relays that say where they stand, and a client; Debian's Chromium and Firefox
open the client's dashboard as `vigilnet gui` gives it. The scripts are web/e2e and say what they check.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.figures import note
from tests.support.needs import needs_programs
from tests.support.waiting import wait_until
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Session

ROOT = Path(__file__).parents[1]
WEB = ROOT / "web"
pytestmark = [
    pytest.mark.slow,
    needs_programs("node"),
    pytest.mark.skipif(
        not (WEB / "node_modules" / "playwright-core").is_dir(), reason="needs `npm ci` in web/"
    ),
]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("net")
    command = [sys.executable, "-m", "vigilnet.surface.cli.main", "testnet", "--json", "--relays", "5",
               "--countries", "DE,NL,SE,CH,FR", "--allow-private-targets", "--dir", str(folder)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as process:
        try:
            wait_until(
                lambda: (folder / "testnet.json").exists() or process.poll() is not None, "a network", 90
            )
            assert process.poll() is None
            yield folder
        finally:
            process.terminate()
            process.wait(60)


def address_of(net: Path) -> str:
    with ControlClient(net / "client") as control:
        session: Session = control.ask("open-session", role="full")
    return session.url


def run(script: str, net: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        ["node", f"e2e/{script}", address_of(net), *arguments],
        cwd=WEB, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


@needs_programs("chromium")
def test_every_view_is_accessible_in_both_themes_three_widths_and_three_languages(
    net: Path, tmp_path: Path
) -> None:
    pictures = Path(os.environ.get("VIGILNET_PICTURES") or tmp_path)  # `make pictures` puts them into docs
    facts = run("looks.mjs", net, str(pictures))
    assert facts["pages"] == 48
    grave = sum(facts["impacts"].get(impact, 0) for impact in ("critical", "serious"))
    assert grave == 0
    note("axe-core, critical or serious", grave, "")
    note("pages looked at", facts["pages"], "")
    made = {picture.name for picture in pictures.glob("dashboard-*.png")}
    assert made == {picture.name for picture in (ROOT / "docs" / "images").glob("dashboard-*.png")}


@needs_programs("firefox-esr")
def test_firefox_shows_every_view_and_the_live_path(net: Path) -> None:
    assert "irefox" in run("firefox.mjs", net)["version"]


@needs_programs("chromium")
def test_a_person_steers_the_node_and_the_node_does_it(net: Path) -> None:
    facts = run("steers.mjs", net)
    for name, value in facts.items():
        note(f"dashboard, {name}", value, "ms")
