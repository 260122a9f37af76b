"""`vigilnet-helper`: the privileged process of a protected device; see docs/spec/device.md section 3.

vigilnet-helper --owner UID      serve that user's daemon until SIGTERM, then put everything back
vigilnet-helper --repair         put back what a killed helper has left, and end
vigilnet-helper --boot           close the firewall if lockdown is on, and end
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vigilnet.base import safelog
from vigilnet.base.system_io import has_rights
from vigilnet.surface.control.schema import ControlError, ErrorCode
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded
from vigilnet.surface.process_guard import forbid_core_dumps
from vigilnet.traffic.backends.choice_io import choose_backend
from vigilnet.traffic.device.backend import Backend, Capture
from vigilnet.traffic.device.helper_io import Changes, Helper, listen
from vigilnet.traffic.device.options import RUN_FOLDER

STATE_FOLDER: Final = Path("/var/lib/vigilnet")
SOCKET_NAME: Final = "helper.sock"


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of the helper's arguments."""
    parser = OneLineParser(prog="vigilnet-helper", description="The privileged part of a protected device.")
    parser.add_argument("--owner", type=int, default=0, metavar="UID", help="whose daemon may ask")
    parser.add_argument(
        "--run-folder", type=Path, default=RUN_FOLDER, metavar="DIR", help="where its socket is"
    )
    parser.add_argument(
        "--keep-folder",
        type=Path,
        default=STATE_FOLDER,
        metavar="DIR",
        help="where it notes what to put back",
    )
    parser.add_argument("--group", default="vigilnet", metavar="NAME", help="folder of the control groups")
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument(
        "--capture", choices=[*Capture], help="how TCP comes; left out: redirect where there is nftables"
    )
    todo = parser.add_mutually_exclusive_group()
    todo.add_argument("--repair", action="store_true", help="put everything back and end")
    todo.add_argument("--boot", action="store_true", help="close the firewall if lockdown is on, and end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    arguments = new_parser().parse_args(argv)
    forbid_core_dumps()
    safelog.set_up("info", stream=sys.stderr)
    return run_guarded("vigilnet-helper", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if not has_rights():
        raise ControlError(
            ErrorCode.FORBIDDEN, "needs root: it changes routes and the firewall", "", "sudo vigilnet up"
        )
    os.umask(0o077)
    capture = Capture(arguments.capture) if arguments.capture else None
    backend = choose_backend(arguments.run_folder, arguments.keep_folder, arguments.group, capture)
    if arguments.repair:
        backend.restore(everybody=True)
    elif arguments.boot:
        if backend.is_locked:
            backend.set_lockdown(is_on=True)
    else:
        _serve(arguments, backend)
    return ExitCode.OK


def _serve(arguments: argparse.Namespace, backend: Backend) -> None:
    path = arguments.run_folder / SOCKET_NAME
    listener = listen(path, arguments.owner)
    helper = Helper(backend, listener, arguments.owner, _network_changes())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: helper.stop())
    if arguments.ready_fd >= 0:
        os.write(arguments.ready_fd, b"ready\n")
        os.close(arguments.ready_fd)
    try:
        helper.serve()
    finally:
        helper.close()
        path.unlink(missing_ok=True)
    backend.restore()  # not after a fault of our own: then everything stays closed, as after a kill


def _network_changes() -> Changes | None:
    if sys.platform != "linux":
        return None
    from vigilnet.traffic.backends.changes_io import NetworkChanges, listen_for_changes
    from vigilnet.traffic.backends.linux_io import leading_out

    return NetworkChanges(listen_for_changes(), leading_out)


if __name__ == "__main__":
    sys.exit(main())
