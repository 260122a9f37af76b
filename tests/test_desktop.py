"""`vigilnet gui` on a real desktop: a window, and a tray item that a person can steer with.

XFCE's panel shows the item on an X server without a screen; clicks are real ones. The node is a real one of a
network on loopback. `make pictures` keeps the screenshot.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.desktop import FIRST_LINE, GAP, ICON, LINE, PROGRAMS, Desktop, desktop
from tests.support.needs import needs_programs
from tests.support.waiting import pause, wait_until
from vigilnet.surface.control.client import ControlClient

pytest.importorskip("dbus_fast", reason="the extra `desktop` is not installed")
pytestmark = [pytest.mark.slow, needs_programs(*PROGRAMS)]
PATIENCE = 60.0
DRAWN_S = 0.7  # a menu takes no click before it is drawn
MENU_FOLLOWS_S = 3.0  # what the node does
EFFECT_S = 15.0  # of a choice, until it is made once more
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


def open_menu(here: Desktop) -> None:
    """Open the item's menu; on a loaded machine the panel may have missed the click."""
    for _ in range(5):
        before = set(here.windows(""))
        here.click(*ICON, button=3)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda before=before: set(here.windows("")) - before, "a menu", EFFECT_S)  # type: ignore[misc]  # bound at once
            pause(DRAWN_S)
            return
    raise TimeoutError("no menu")


def choose(here: Desktop, line: int, gaps: int, done: Callable[[], bool]) -> None:
    """Choose a line of the item's menu (the first is 0, after so many gaps) until it is done.

    The menu follows what the node does within two seconds, and a click may have met the one before.
    """
    for _ in range(5):
        open_menu(here)
        here.click(80, FIRST_LINE + line * LINE + gaps * GAP)
        with contextlib.suppress(TimeoutError):
            wait_until(done, "what was chosen", EFFECT_S)
            return
        here.run("xdotool", "key", "Escape")
    raise TimeoutError(f"line {line} of the menu does nothing")


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

    open_menu(here)
    keep_picture(here, "desktop-tray")
    here.run("xdotool", "key", "Escape")
    choose(here, 2, 1, lambda: state(client) == "offline")  # Disconnect
    pause(MENU_FOLLOWS_S)
    choose(here, 2, 1, lambda: state(client) == "apps-only")  # Connect
    pause(MENU_FOLLOWS_S)
    with ControlClient(client, PATIENCE) as control:
        before = {path.id for path in control.ask("paths")}
    choose(here, 3, 1, lambda: new_paths(client, before))  # New identity
    open_menu(here)
    here.click(80, FIRST_LINE + 4 * LINE + GAP)  # Lockdown, which nobody here has the rights for: it says so
    pause(MENU_FOLLOWS_S)
    assert state(client) == "apps-only"
    # Stop VigilNet and quit, one line lower below the refusal
    choose(here, 7, 2, lambda: not (client / "control.sock").exists())


def new_paths(client: Path, before: set[int]) -> bool:
    with ControlClient(client, PATIENCE) as control:
        return any(path.id not in before for path in control.ask("paths"))
