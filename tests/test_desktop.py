"""`vigilnet gui` on a real desktop: a window, and a tray item that a person can steer with.

XFCE's panel shows the item on an X server without a screen; clicks are real ones. The node is a real one of a
network on loopback. `make pictures` keeps the screenshot.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.desktop import FIRST_LINE, GAP, ICON, LINE, PROGRAMS, Desktop, desktop
from tests.support.needs import needs_programs
from tests.support.waiting import pause, wait_until
from vigilnet.surface.control.client import ControlClient

pytest.importorskip("dbus_fast", reason="the extra `desktop` is not installed")
pytestmark = [pytest.mark.slow, needs_programs(*PROGRAMS)]
PATIENCE = 30.0
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "net"
    words = ["testnet", "--relays", "3", "--exits", "1", "--dir", str(folder), "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "vigilnet.surface.cli.main", *words], stdout=subprocess.PIPE
    ) as testnet:
        assert testnet.stdout is not None
        assert testnet.stdout.readline()
        yield folder / "client"
        testnet.terminate()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Desktop]:
    with desktop(tmp_path / "desktop") as running:
        yield running


def state(client: Path) -> str:
    with ControlClient(client, PATIENCE) as control:
        shown = control.status().protection
    return shown.id if shown is not None else ""


def choose(here: Desktop, line: int, gaps: int) -> None:
    """Open the item's menu and choose its line (the first is 0) after so many gaps."""
    here.click(*ICON, button=3)
    pause(0.7)  # a menu takes no click before it is drawn
    here.click(80, FIRST_LINE + line * LINE + gaps * GAP)


def keep_picture(here: Desktop, name: str) -> None:
    picture = Path(os.environ.get("VIGILNET_PICTURES") or here.folder) / f"{name}.png"
    here.picture(picture)
    assert picture.stat().st_size > 10_000


def browser_for_root(here: Desktop) -> None:
    """Debian's Chromium as it lets itself be started by root, as in a container."""
    program = here.folder / "bin" / "chromium"
    program.parent.mkdir()
    flags = f"--test-type --no-sandbox --disable-gpu --no-first-run --user-data-dir={here.folder}/chromium"
    program.write_text(
        f'#!/bin/sh\nexec {CHROMIUM} {flags} --window-size=860,700 --window-position=390,70 "$@"\n'
    )
    program.chmod(0o755)
    here.environment["PATH"] = f"{program.parent}:{here.environment['PATH']}"


@needs_programs("chromium")
def test_window_and_tray_item_steer_the_node(here: Desktop, client: Path) -> None:
    browser_for_root(here)
    said = here.vigilnet("gui", "--state-folder", str(client))
    assert said == "the dashboard is open\nthe tray item is shown\n"
    wait_until(lambda: here.windows("VigilNet"), "the window", PATIENCE)
    wait_until(lambda: here.windows("Only some apps are protected"), "the dashboard in it", PATIENCE)
    assert here.vigilnet("gui", "--state-folder", str(client)).endswith("no tray item: it is shown already\n")

    here.click(*ICON, button=3)
    pause(0.7)
    keep_picture(here, "desktop-tray")
    here.run("xdotool", "key", "Escape")
    choose(here, line=2, gaps=1)  # Disconnect
    wait_until(lambda: state(client) == "offline", "off", PATIENCE)
    pause(2.5)  # the menu follows within two seconds
    choose(here, line=2, gaps=1)  # Connect
    wait_until(lambda: state(client) == "apps-only", "on again", PATIENCE)
    pause(2.5)
    with ControlClient(client) as control:
        before = {path.id for path in control.ask("paths")}
    choose(here, line=3, gaps=1)  # New identity
    wait_until(lambda: new_paths(client, before), "a new path", PATIENCE)
    choose(here, line=4, gaps=1)  # Lockdown, which nobody here has the rights for: it says so
    pause(3)
    assert state(client) == "apps-only"
    choose(here, line=7, gaps=2)  # Stop VigilNet and quit, one line lower below the refusal
    wait_until(lambda: not (client / "control.sock").exists(), "the node has ended", PATIENCE)


def new_paths(client: Path, before: set[int]) -> bool:
    with ControlClient(client) as control:
        return any(path.id not in before for path in control.ask("paths"))
