"""`vigilnetd`: runs one node until a signal, the control socket or a closed pipe ends it.

Errors of the start are one line on standard error and an exit code; see docs/cli.md. No stack trace.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from vigilnet.base import safelog
from vigilnet.base.clock import SystemClock
from vigilnet.base.log_file_io import DailyLog
from vigilnet.base.tasks import TaskGroup
from vigilnet.base.version import program_version
from vigilnet.base.windows_loop_io import new_loop
from vigilnet.node.assembly import Node
from vigilnet.node.legacy import MESH_SOURCES
from vigilnet.node.modes import InvalidModeError, Mode, parse_mode
from vigilnet.node.options import Loaded, Options, default_file, load_options
from vigilnet.surface import keys
from vigilnet.surface.control.dashboard_files import PATH as DASHBOARD_PATH
from vigilnet.surface.control.dashboard_files import dashboard_routes
from vigilnet.surface.control.events import EventFeed
from vigilnet.surface.control.http_api import api_routes
from vigilnet.surface.control.log_ring import LogRing
from vigilnet.surface.control.server import ControlServer
from vigilnet.surface.control.socket_path import default_state_folder, socket_of
from vigilnet.surface.control.steering import Steering
from vigilnet.surface.endings import HANGING_UP, on_closed_input, on_signals
from vigilnet.surface.exits import ExitCode, OneLineParser, fail, run_guarded
from vigilnet.surface.host import NodeHost
from vigilnet.surface.passphrase import is_sealed, passphrase_from
from vigilnet.surface.process_guard import end_with_parent, forbid_core_dumps, keep_freed_memory, lock_memory
from vigilnet.surface.status.host import StatusHost

STOP_S: Final = 8.0
"""How long an orderly end may take before the process ends anyhow."""

BACKGROUND_LOG: Final = "node.log"

_log = safelog.get_logger("vigilnet.surface.daemon")  # not __main__, which it is when run


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of vigilnetd's arguments."""
    parser = OneLineParser(
        prog="vigilnetd",
        description="Runs one VigilNet node until Ctrl-C. Settings: defaults < file < environment < --set.",
        epilog="Exit codes: 0 ended in good order, 1 failed, 2 wrong arguments or settings.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (docs/vigilnet.example.toml)")
    parser.add_argument(
        "--dir", "--state-folder", dest="state_folder", metavar="DIR",
        help="short for --set node.state_folder=DIR",
    )  # fmt: skip
    _add_mode_arguments(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="one setting; may be repeated"
    )
    parser.add_argument(
        "--invite", action="append", default=[], metavar="URI", help="a relay to begin with; may be repeated"
    )
    parser.add_argument(
        "--phase",
        choices=("discover", "mesh", "full"),
        help="only hear of relays; and relay and gossip; and serve applications (default)",
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON on standard output once it is up"
    )
    parser.add_argument("--log-level", metavar="LEVEL", help="short for --set log.level=LEVEL")
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="passphrase of a sealed state folder (else asked for)",
    )
    parser.add_argument("--guarded", action="store_true", help=argparse.SUPPRESS)  # end when stdin closes
    parser.add_argument(
        "--background", action="store_true", help=argparse.SUPPRESS
    )  # log to the state folder
    parser.add_argument("--version", action="version", version=f"vigilnetd {program_version()}")
    return parser


def _add_mode_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what says which mode it is, and the arguments of before."""
    parser.add_argument(
        "--helper-mode", metavar="MODE", help="client (default), relay, bootstrap, exit or super"
    )
    for old, mode in (("--relay-only", "relay"), ("--exit-node", "exit")):
        parser.add_argument(old, dest="old_mode", action="store_const", const=mode, help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--mode", metavar="MODE", help=argparse.SUPPRESS)  # qnet's connection mode
    parser.add_argument("--generate-keypair", metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--no-mesh", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--accept-exit-notice", action="store_true",
        help="modes exit and super: I have read docs/exit-notice.md, others' traffic may leave from here",
    )  # fmt: skip
    parser.add_argument("--socks-port", metavar="P", help="short for --set ingress.socks_port=P")
    parser.add_argument("--status-port", metavar="P", help="short for --set status.port=P")
    parser.add_argument(
        "--operators", metavar="URL,URL", help="directories of operators: --set operators.urls=URL,URL"
    )
    parser.add_argument(
        "--compat", action="store_true", help="serve clients of before: --set node.compat=true"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one node; return the exit code."""
    arguments = new_parser().parse_args(argv)
    if arguments.generate_keypair is not None:  # qnet's name of `vigilnet keys generate`
        return keys.main(["generate", arguments.generate_keypair])
    forbid_core_dumps()
    return run_guarded("vigilnetd", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    try:
        assignments = _assignments(arguments)
        load_options(arguments.config, assignments=assignments)
    except InvalidModeError as error:
        fail(str(error), "vigilnetd")
        return ExitCode.FAILED  # qnet's
    for flag in (f"--mode {arguments.mode}" if arguments.mode else "", "--bootstrap" * arguments.bootstrap):
        if flag:
            fail(f"warning: {flag}: has no effect; all traffic goes through the network", "vigilnetd")

    def load(changes: Sequence[tuple[str, str]]) -> Loaded:
        loaded = load_options(arguments.config, assignments=assignments, changes=changes)
        node = loaded.options.node
        invites = (*node.invites, *arguments.invite)
        node = replace(node, state_folder=_state_folder(loaded.options), invites=invites)
        return replace(loaded, options=replace(loaded.options, node=node))

    loaded = load(())
    for warning in loaded.warnings:
        fail(f"warning: {warning}", "vigilnetd")
    options = loaded.options
    safelog.set_up(options.log.level, stream=_log_stream(options), show_sensitive=options.log.show_sensitive)
    logs = LogRing(show_sensitive=options.log.show_sensitive)
    logging.getLogger().addHandler(logs)
    keep_freed_memory()
    if not lock_memory():
        _log.debug("memory is not locked: the system does not allow it")
    passphrase = None
    if arguments.passphrase_file is not None or is_sealed(_state_folder(options)):
        passphrase = passphrase_from(arguments.passphrase_file)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        ending = asyncio.Event()
        host = NodeHost(load, arguments.config or default_file(), passphrase, logs, ending.set)
        runner.run(_serve(host, ending, arguments))
    return ExitCode.OK


def _assignments(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    pairs = []
    for assignment in arguments.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            new_parser().error(f"--set {assignment}: expected TABLE.KEY=VALUE")
        pairs.append((key.strip(), value))
    mode = arguments.helper_mode or arguments.old_mode
    given = {
        "node.state_folder": arguments.state_folder,
        "node.mode": parse_mode(mode).value if mode is not None else None,
        "node.compat": "true" if arguments.compat else None,
        "node.phase": arguments.phase,
        "ingress.socks_port": arguments.socks_port,
        "status.port": arguments.status_port,
        "operators.urls": arguments.operators,
        "exit.accept_notice": "true" if arguments.accept_exit_notice else None,
        "discovery.without": MESH_SOURCES if arguments.no_mesh else None,
        "log.level": arguments.log_level,
    }
    pairs += [(key, text) for key, text in given.items() if text is not None]
    return pairs


def _state_folder(options: Options) -> Path:
    return (options.node.state_folder or default_state_folder()).absolute()


def _log_stream(options: Options) -> safelog.LogStream:
    """Where log lines go; open to the very end of the process, since the last net logs too."""
    log = options.log
    return sys.stderr if log.file is None else DailyLog(log.file, log.keep_days, SystemClock())


def _log_to(options: Options) -> None:
    """Have standard error, and log lines that have no file of their own, go to a file of the state folder."""
    file, log = _state_folder(options) / BACKGROUND_LOG, options.log
    stream = DailyLog(file, log.keep_days, SystemClock(), takes_stderr=True)
    if log.file is None:
        safelog.set_up(log.level, stream=stream, show_sensitive=log.show_sensitive)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":  # its usual loop cannot tell when a socket is ready
        return new_loop
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(host: NodeHost, ending: asyncio.Event, arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    told: dict[signal.Signals, Callable[[], None]] = {
        number: ending.set
        for number in HANGING_UP
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup wants us to stay
    }
    on_signals(loop, {**told, signal.SIGTERM: ending.set, signal.SIGINT: lambda: _interrupted(ending)})
    if arguments.guarded:
        end_with_parent()
        on_closed_input(loop, ending.set)
    steering = Steering(host, program_version())
    events = EventFeed(steering, host.logs.listeners)
    control = ControlServer(socket_of(_state_folder(host.options)), steering, events)
    api = api_routes(steering, events, host.sessions, host.clock)
    status = StatusHost(host.options, lambda: host.node, ending.set, (api, dashboard_routes()))
    watching = TaskGroup("watch")
    try:
        await host.start()
        events.start()
        watching.start("device", host.watch.run())
        await control.start()
        await status.start(_state_folder(host.options))
        if status.address:
            host.dashboard = f"http://{status.address}{DASHBOARD_PATH}"
        if arguments.background:
            _log_to(host.options)
        mode = host.options.node.mode or Mode.CLIENT
        _log.info(
            "node is up",
            version=program_version(),
            mode=mode.value,
            does=", ".join(mode.features),
            phase=host.options.node.phase.name.lower(),
        )
        if arguments.json:
            sys.stdout.write(json.dumps(ready_line(host.node, status)) + "\n")
            sys.stdout.flush()
        await ending.wait()
        _log.info("node is ending")
    finally:
        deadline = _end_anyhow_later()
        await watching.close()
        await status.close()
        await control.close()
        await events.close()
        await host.close()
        deadline.cancel()


def ready_line(node: Node, status: StatusHost) -> dict[str, object]:
    """Return what `--json` prints once the node listens; fields are only ever added."""
    now = node.status()
    return {
        "ready": True,
        "mode": (node.options.node.mode or Mode.CLIENT).value,
        "socks": now.socks,
        "status": status.address,
        "peer_id": now.peer_id,
        "http_proxy": now.http_proxy,
        "listen": list(now.listen),
    }


def _interrupted(ending: asyncio.Event) -> None:
    if ending.is_set():  # Ctrl-C twice: at once
        os._exit(ExitCode.INTERRUPTED)
    ending.set()


def _end_anyhow_later() -> threading.Timer:
    """End the process even if something does not let go; a thread, for the loop may be what hangs."""
    timer = threading.Timer(STOP_S, os._exit, (ExitCode.FAILED,))
    timer.daemon = True
    timer.start()
    return timer


if __name__ == "__main__":
    sys.exit(main())
