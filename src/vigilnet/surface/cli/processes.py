"""Daemons that a command starts and that never outlive it.

Each gets a pipe as standard input and `--guarded`: it ends when the pipe closes, which also happens
when we are killed. Its output goes to a file.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from vigilnet.base.system_io import module_command

DAEMON_MODULE: Final = "vigilnet.surface.daemon"
BECOMES: Final = {
    "run": DAEMON_MODULE,
    "keys": "vigilnet.surface.keys",
    "wipe": "vigilnet.surface.wipe",
    "helper": "vigilnet.surface.device_helper",
    "htx": "vigilnet.surface.htx_capture",
    "doctor": "vigilnet.surface.doctor.main",
    "pt": "vigilnet.surface.pt",
}
"""Commands that need more of the program than a control client may: each is a program of its own."""
GRACE_S: Final = 5.0
_OUR_SETTINGS: Final = "VIGILNET_"
_KEPT_SETTINGS: Final = ("VIGILNET_TEST_", "VIGILNET_BENCH_")


def without_console() -> dict[str, Any]:
    """Return what has a process of ours outlive the window that started it, on Windows."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {}


def helps_of_programs() -> dict[str, str]:
    """Return what the programs behind some commands say of themselves; asks them all at once."""
    asked = {
        name: subprocess.Popen(  # noqa: S603 our own modules
            [*module_command(module), "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, "COLUMNS": "80"}, **without_console(),
        )
        for name, module in BECOMES.items()
    }  # fmt: skip
    return {name: program.communicate()[0] for name, program in asked.items()}


def become(words: Sequence[str]) -> NoReturn:
    """Be this program from now on; on Windows, wait for it and end as it does."""
    if sys.platform == "win32":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both, and it decides
        sys.exit(subprocess.call(words))  # noqa: S603 our own module, or what the user asked for
    os.execvp(words[0], list(words))  # noqa: S606 see above


class Daemon:
    """One vigilnetd of ours."""

    def __init__(self, name: str, config: Path, log: Path) -> None:
        self.name = name
        self.log = log
        # The user's own settings are for the user's own node.
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(_OUR_SETTINGS) or key.startswith(_KEPT_SETTINGS)
        }
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 our own module
                [*module_command(DAEMON_MODULE), "--guarded", "--config", str(config)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches us alone; we end them in order
                **without_console(),
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def last_line(self) -> str:
        """The last thing it said."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with exit code {self.exit_code} without a word"

    def ask_to_end(self) -> None:
        """Close its pipe and tell it to end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self.exit_code is None and sys.platform != "win32":  # there it would end at once
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, and take its exit code."""
        if self.exit_code is None:
            self._process.kill()
        self._process.wait()


def end_all(daemons: Iterable[Daemon]) -> None:
    """End all of them: politely, then not."""
    running = list(daemons)
    for daemon in running:
        daemon.ask_to_end()
    give_up = time.monotonic() + GRACE_S  # noqa: TID251 a command, not a machine
    while any(daemon.exit_code is None for daemon in running) and time.monotonic() < give_up:  # noqa: TID251
        time.sleep(0.02)
    for daemon in running:
        daemon.kill()
