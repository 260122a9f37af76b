"""The dashboard in real browsers, against a real network on this machine.

`vigilnet testnet` runs five relays that say where they stand, and a client; Debian's Chromium and Firefox
open the client's dashboard as `vigilnet gui` gives it. The scripts are web/e2e and say what they check.
"""

import contextlib
import http.server
import itertools
import json
import os
import subprocess
import sys
import threading
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


class Site(http.server.BaseHTTPRequestHandler):
    """Answers by fits and starts, without end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for size in itertools.cycle((900, 1400, 2600, 1800, 300, 0, 700, 2100, 3200, 1500, 400, 100)):
                self.wfile.write(bytes(size * 1000))
                threading.Event().wait(1.0)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def apps_at_work(net: Path) -> Iterator[None]:
    """Have two apps use the network, so that pictures show something."""
    facts = json.loads((net / "testnet.json").read_text())
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    site.daemon_threads = True
    threading.Thread(target=site.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{site.server_address[1]}/"
    apps = [
        subprocess.Popen(["curl", "-sNo", os.devnull, "--proxy", f"socks5h://{name}:x@{facts['socks']}", url])
        for name in ("mail", "browser")
    ]
    try:
        yield
    finally:
        for app in apps:
            app.kill()
            app.wait()
        site.shutdown()
        site.server_close()


@needs_programs("chromium")
def test_every_view_is_accessible_in_both_themes_three_widths_and_three_languages(
    net: Path, tmp_path: Path
) -> None:
    pictures = Path(os.environ.get("VIGILNET_PICTURES") or tmp_path)  # `make pictures` puts them into docs
    with apps_at_work(net) if "VIGILNET_PICTURES" in os.environ else contextlib.nullcontext():
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
