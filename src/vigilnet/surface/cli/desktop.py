"""How `vigilnet gui` opens the dashboard: in a window of its own where a browser gives one, else in a tab.

The dashboard's address carries a token, and a command line can be read by every user of the machine. So the
browser is given a page that only its owner can read, which leads there.
"""

import html
import os
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vigilnet.base.system_io import OPEN_PRIVATELY, module_command

PAGE: Final = "dashboard.html"
BROWSERS: Final = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser",
    "microsoft-edge", "vivaldi",
)  # fmt: skip
"""Those with an app mode: a window without tabs and address."""
TRAY_MODULE: Final = "vigilnet.surface.tray.main"
_STARTED_S: Final = 2.0
_OUTLIVING: Final[list["subprocess.Popen[bytes]"]] = []  # they go on when we end; kept so that nobody waits


def write_page(folder: Path, address: str) -> Path:
    """Write the page that leads to the dashboard, for its owner's eyes alone.

    Raises:
        OSError: it cannot be written.
    """
    page = folder / PAGE
    page.unlink(missing_ok=True)  # one of before may be another user's, or a link to somewhere
    handle = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_PRIVATELY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(
            '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="refresh" content="0; url={html.escape(address)}"><title>VigilNet</title>'
            f'<p><a href="{html.escape(address)}">VigilNet</a></p>'
        )
    return page


def has_screen(platform: str, environment: Mapping[str, str]) -> bool:
    """Whether a window can be shown here.

    >>> has_screen("linux", {}), has_screen("linux", {"DISPLAY": ":0"}), has_screen("darwin", {})
    (False, True, True)
    """
    named = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    return bool(named) or not platform.startswith("linux")


def open_page(page: Path, *, in_tab: bool) -> bool:
    """Show a page to the person; returns whether something shows it."""
    if not has_screen(sys.platform, os.environ):
        return False
    if not in_tab and _open_window(page.as_uri()):
        return True
    return webbrowser.open(page.as_uri())


def _open_window(address: str) -> bool:
    for name in BROWSERS:
        program = shutil.which(name)
        if program is None:
            continue
        process = subprocess.Popen(  # noqa: S603 a browser, found on the person's own path
            [program, f"--app={address}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if process.wait(_STARTED_S) == 0:  # handed over to one that runs
                return True
        except subprocess.TimeoutExpired:
            _OUTLIVING.append(process)
            return True
    return False


def start_tray(folder: Path) -> str:
    """Show the tray item, in a process of its own; returns why there is none, or nothing."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as told:
        tray = subprocess.Popen(  # noqa: S603 our own module
            [*module_command(TRAY_MODULE), "--state-folder", str(folder), "--ready-fd", str(writer)],
            pass_fds=(writer,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _OUTLIVING.append(tray)
        os.close(writer)
        line = told.readline().strip()
    return "" if line == "ready" else line or "it ended without a word"
