"""`vigilnet wipe`: destroys a node's state, keys and all, for good.

A program of its own that `vigilnet wipe` becomes, since it needs the store. A node that runs there is
asked to stop first, and is waited for.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.base.store_io import Store
from vigilnet.surface.cli.output import write, write_json
from vigilnet.surface.control.client import ControlClient, NotRunningError
from vigilnet.surface.control.socket_path import state_folder
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded

STOP_S: Final = 10.0


def new_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = OneLineParser(
        prog="vigilnet wipe",
        description="Destroys the state of a node: its keys, its identity, the peers it knows. "
        "There is no way back. A node that runs there is stopped first.",
    )
    parser.add_argument("--state-folder", type=Path, metavar="DIR", help="the node's state folder")
    parser.add_argument("--config", type=Path, metavar="FILE", help="read the state folder from this file")
    parser.add_argument("--yes", action="store_true", help="do it, do not ask")
    parser.add_argument("--json", action="store_true", help="JSON for programs")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Wipe; return the exit code."""
    arguments = new_parser().parse_args(argv)
    return run_guarded("vigilnet", lambda: wipe(arguments))


def wipe(arguments: argparse.Namespace) -> ExitCode:
    """Stop the node, then destroy its state."""
    folder = state_folder(arguments.state_folder, arguments.config)
    if not folder.is_dir():
        raise ConfigurationError(f"state folder {folder}: does not exist, nothing to wipe")
    if not arguments.yes and not _is_confirmed(folder):
        raise ConfigurationError("not wiped: say --yes, or answer yes on a terminal")
    store = Store(folder)  # refuses a folder that is not a node's
    _stop(folder)
    _lock(store)
    try:
        count = store.wipe()
    finally:
        store.close()
    if arguments.json:
        write_json({"wiped": count})
    else:
        write(f"wiped {count} files in {folder}")
    return ExitCode.OK


def _is_confirmed(folder: Path) -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"destroy all state in {folder} for good? [yes/no] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() == "yes"


def _stop(folder: Path) -> None:
    try:
        with ControlClient(folder) as control:
            control.stop()
    except NotRunningError:
        return


def _lock(store: Store) -> None:
    """Wait until the node has let go."""
    give_up = time.monotonic() + STOP_S  # noqa: TID251 a command, not a machine
    while True:
        try:
            store.lock()
        except EnvironmentRefusedError:
            if time.monotonic() > give_up:  # noqa: TID251
                raise
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
