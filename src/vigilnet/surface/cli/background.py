"""Starting a node that goes on when the command has ended: `vigilnet up` where none runs.

Under sudo it runs as the person who asked, not as root: only the device's helper needs rights.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.system_io import module_command
from vigilnet.surface.cli.node import client_of
from vigilnet.surface.cli.output import progress
from vigilnet.surface.cli.processes import DAEMON_MODULE, without_console
from vigilnet.surface.control.client import NotRunningError
from vigilnet.surface.control.models import Status
from vigilnet.surface.control.socket_path import state_folder, sudo_user

LOG: Final = "node.log"
LOOK_S: Final = 0.2


def ensure_node(arguments: argparse.Namespace) -> bool:
    """Start a node if none runs with this state folder; returns whether it was started now.

    Raises:
        EnvironmentRefusedError: it did not start; it has said why on standard error.
    """
    with contextlib.suppress(NotRunningError), client_of(arguments):
        return False
    folder = state_folder(arguments.state_folder, arguments.config).absolute()
    words = [*module_command(DAEMON_MODULE), "--background", "--json", "--state-folder", str(folder)]
    words += ["--config", str(arguments.config.absolute())] if arguments.config is not None else []
    words += [word for uri in getattr(arguments, "invite", ()) for word in ("--invite", uri)]
    reader, writer = os.pipe()
    with os.fdopen(reader) as told:
        node = subprocess.Popen(  # noqa: S603 our own module
            words, stdin=subprocess.DEVNULL, stdout=writer, start_new_session=True, **_as_person(),
            **without_console(),
        )  # fmt: skip
        os.close(writer)
        if not told.readline().startswith("{"):
            node.wait()
            raise EnvironmentRefusedError("up: the node did not start; the line above says why")
    node.returncode = 0  # it goes on without us
    return True


def _as_person() -> dict[str, Any]:
    """Return how a process becomes that of the person behind sudo."""
    person = sudo_user()
    if sys.platform == "win32" or person is None:
        return {}
    environment = {**os.environ, "HOME": person.pw_dir, "USER": person.pw_name, "LOGNAME": person.pw_name}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    return {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": [], "env": environment,
            "cwd": person.pw_dir}  # fmt: skip


def wait_connected(arguments: argparse.Namespace, seconds: float) -> Status:
    """Return the status once there is a tested path, or after so long; shows the steps on a terminal.

    Raises:
        NotRunningError: after that time no node answers.
    """
    give_up = time.monotonic() + seconds  # noqa: TID251 a command, not a machine
    while True:
        is_last = time.monotonic() > give_up  # noqa: TID251
        try:
            with client_of(arguments) as control:
                status = control.status()
        except NotRunningError:
            if is_last:
                raise
        else:
            shown = status.protection
            if shown is None or shown.api == "connected" or is_last:
                progress("")
                return status
            progress(f"{shown.title}: {shown.steps[-1].text if shown.steps else ''}")
        time.sleep(LOOK_S)


def log_of(arguments: argparse.Namespace) -> Path:
    """Return where a node that was started here writes its log."""
    return state_folder(arguments.state_folder, arguments.config) / LOG
