"""A desktop for tests: an X server without a screen, a session bus, and XFCE's panel with its tray."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import wait_until

PROGRAMS = ("Xvfb", "dbus-daemon", "xfce4-panel", "xdotool", "scrot")
WIDTH, HEIGHT = 1280, 800
_PANEL = """<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array"><value type="int" value="1"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=0;y=0"/>
      <property name="position-locked" type="bool" value="true"/>
      <property name="length" type="uint" value="100"/>
      <property name="size" type="uint" value="40"/>
      <property name="plugin-ids" type="array"><value type="int" value="1"/></property>
    </property>
  </property>
  <property name="plugins" type="empty"><property name="plugin-1" type="string" value="systray">
    <property name="square-icons" type="bool" value="true"/></property></property>
</channel>
"""
ICON = (25, 20)  # where the only item of the tray is
FIRST_LINE, LINE, GAP = 57, 25, 1  # of the menu that drops from it


@dataclass(frozen=True)
class Desktop:
    """A running desktop."""

    environment: dict[str, str]
    folder: Path

    def run(self, *words: str) -> str:
        """Run a program on it; returns what it said."""
        return subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def vigilnet(self, *words: str) -> str:
        """Run the command on it."""
        return self.run(sys.executable, "-m", "vigilnet.surface.cli.main", *words)

    def click(self, x: int, y: int, button: int = 1) -> None:
        """Click as a person does."""
        self.run("xdotool", "mousemove", str(x), str(y), "click", str(button))

    def windows(self, name: str) -> list[str]:
        """Windows that are seen, by title."""
        found = subprocess.run(
            ["xdotool", "search", "--onlyvisible", "--name", name],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return found.stdout.split()

    def picture(self, file: Path) -> None:
        """Write what is on the screen to a file."""
        self.run("scrot", "-o", str(file))


@contextmanager
def desktop(folder: Path) -> Iterator[Desktop]:
    """Run one, with all its files in `folder`."""
    home, run = folder / "home", folder / "run"
    settings = home / ".config/xfce4/xfconf/xfce-perchannel-xml"
    settings.mkdir(parents=True)
    (settings / "xfce4-panel.xml").write_text(_PANEL)
    run.mkdir(mode=0o700)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("VIGILNET_", "XDG_"))},
        "HOME": str(home), "XDG_RUNTIME_DIR": str(run), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip
    with ExitStack() as stack:

        def start(*words: str, tells: bool = False) -> "subprocess.Popen[str]":
            program = subprocess.Popen(
                words, env=environment, stdout=subprocess.PIPE if tells else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            stack.enter_context(program)
            stack.callback(program.terminate)
            return program

        screen = f"{WIDTH}x{HEIGHT}x24"
        server = start("Xvfb", "-displayfd", "1", "-screen", "0", screen, "-nolisten", "tcp", tells=True)
        assert server.stdout is not None
        environment["DISPLAY"] = f":{server.stdout.readline().strip()}"
        bus = start("dbus-daemon", "--session", "--nofork", "--print-address", tells=True)
        assert bus.stdout is not None
        environment["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().strip()
        start(shutil.which("xfce4-panel") or "xfce4-panel", "--disable-wm-check")
        here = Desktop(environment, folder)
        wait_until(lambda: here.windows("xfce4-panel"), "a panel", 30)
        yield here
