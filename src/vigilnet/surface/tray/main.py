"""Runs the tray item of one node until it is hidden or the desktop's session ends; `vigilnet gui` starts it.

Asks the node for its status every two seconds, and again after each action.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.errors import VigilnetError
from vigilnet.base.system_io import module_command
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Status
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded
from vigilnet.surface.tray.menu import language_of, picture_of

POLL_S: Final = 2.0
TIMEOUT_S: Final = 30.0  # a node that starts again may take so long to answer
CLI_MODULE: Final = "vigilnet.surface.cli.main"
_OPERATIONS: Final = {
    "connect": ("connect", {}),
    "disconnect": ("disconnect", {}),
    "new-identity": ("new-identity", {}),
    "lockdown-on": ("device", {"action": "lockdown", "is_on": True}),
    "lockdown-off": ("device", {"action": "lockdown", "is_on": False}),
    "quit": ("stop", {}),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Show the item; return the exit code."""
    parser = OneLineParser(prog="vigilnet-tray", description="The tray item of `vigilnet gui`.")
    parser.add_argument("--state-folder", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, help="told `ready`, or why not, in one line")
    arguments = parser.parse_args(argv)
    return run_guarded("vigilnet-tray", lambda: asyncio.run(_run(arguments)))


async def _run(arguments: argparse.Namespace) -> int:
    try:
        from vigilnet.surface.tray.item_io import TrayItem
    except ImportError:
        _tell(arguments.ready_fd, "its library is not installed: pip install 'vigilnet[desktop]'")
        return ExitCode.FAILED
    folder = arguments.state_folder.absolute()
    actions: asyncio.Queue[str] = asyncio.Queue()
    item = TrayItem(actions.put_nowait)
    try:
        await item.connect(f"org.vigilnet.tray.n{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}")
    except VigilnetError as error:
        _tell(arguments.ready_fd, str(error))
        item.close()
        return ExitCode.FAILED
    language, trouble, action, is_told = language_of(os.environ), "", "", False
    while action not in ("hide", "quit") and item.is_connected:
        status = await asyncio.to_thread(_status, folder)
        item.show(picture_of(status, language, trouble))
        if not is_told:
            _tell(arguments.ready_fd, "ready")
            is_told = True
        action = await _next(actions)
        if action:
            trouble = await asyncio.to_thread(_do, folder, action)
        if action and trouble:
            await item.notify(trouble)
    item.close()
    return ExitCode.OK


async def _next(actions: "asyncio.Queue[str]") -> str:
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(actions.get(), POLL_S)
    return ""


def _status(folder: Path) -> Status | None:
    try:
        with ControlClient(folder) as control:
            return control.status()
    except VigilnetError:
        return None


def _do(folder: Path, action: str) -> str:
    """Do what was chosen; returns what went wrong, if it did."""
    if action == "hide":
        return ""
    if action == "open":
        words = ["gui", "--no-tray", "--state-folder", str(folder)]
        subprocess.run([*module_command(CLI_MODULE), *words], check=False, capture_output=True)  # noqa: S603 ourselves
        return ""
    operation, params = _OPERATIONS[action]
    try:
        with ControlClient(folder, TIMEOUT_S) as control:
            control.call(operation, dict(params))
    except VigilnetError as error:
        return str(error)
    return ""


def _tell(handle: int | None, text: str) -> None:
    if handle is not None:
        os.write(handle, f"{text}\n".encode())
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
