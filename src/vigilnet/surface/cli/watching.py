"""`vigilnet logs`, `doctor`, `gui`: what happens, what is wrong, and the dashboard."""

import argparse
import json
import sys
import time

from vigilnet.surface.cli.desktop import open_page, start_tray, write_page
from vigilnet.surface.cli.node import Commands, add_command, client_of
from vigilnet.surface.cli.output import paint, write, write_json
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Log, LogLine, Session
from vigilnet.surface.control.schema import read
from vigilnet.surface.control.socket_path import state_folder
from vigilnet.surface.exits import ExitCode

_SIGNS = {"fail": ("!", "red"), "note": ("-", "yellow"), "pass": ("+", "green")}
_LEVELS = {"error": "red", "warning": "yellow"}


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    logs = add_command(commands, "logs", "the last lines of the node's log", show_logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    logs.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="the last N lines")
    logs.add_argument("--level", choices=("error", "warning", "info", "debug"), default="debug",
                      help="these and graver ones")  # fmt: skip
    gui = add_command(commands, "gui", "open the dashboard", open_dashboard)
    gui.add_argument(
        "--print", action="store_true", dest="only_print", help="print its address, do not open it"
    )
    gui.add_argument("--tab", action="store_true", help="in a tab of the browser, not in a window of its own")
    gui.add_argument("--no-tray", action="store_true", help="without the tray item")
    gui.add_argument("--read-only", action="store_true", help="an address that may look, not change")


def show_logs(arguments: argparse.Namespace) -> ExitCode:
    """Print log lines."""
    with client_of(arguments) as control:
        log: Log = control.ask("logs", level=arguments.level, limit=arguments.lines)
        if arguments.json and not arguments.follow:
            write_json(log)
            return ExitCode.OK
        for line in log.lines:
            _write_line(line, as_json=arguments.json)
        if arguments.follow:
            _follow(control, arguments)
    return ExitCode.OK


def _follow(control: ControlClient, arguments: argparse.Namespace) -> None:
    order = ("error", "warning", "info", "debug")
    wanted = order[: order.index(arguments.level) + 1]
    for topic, data in control.watch("log"):
        if topic == "log" and data.get("level") in wanted:
            _write_line(read(LogLine, data), as_json=arguments.json)


def _write_line(line: LogLine, *, as_json: bool) -> None:
    if as_json:
        write(
            json.dumps(
                {"schema": 1, "at": line.at, "level": line.level, "source": line.source, "text": line.text}
            )
        )
        return
    at = time.strftime("%H:%M:%S", time.localtime(line.at))
    level, source = paint(line.level, _LEVELS.get(line.level, "")), line.source.removeprefix("vigilnet.")
    write(f"{at} {level} {source}: {line.text}")


def open_dashboard(arguments: argparse.Namespace) -> ExitCode:
    """Open the dashboard for the person, or print where it is."""
    with client_of(arguments) as control:
        session: Session = control.ask("open-session", role="read-only" if arguments.read_only else "full")
    if arguments.json:
        write_json(session)
    elif arguments.only_print or not _shown(arguments, session.url):
        write(session.url)
        sys.stderr.write(
            "Whoever has this address may steer the node for 12 h; it is good on this computer alone.\n"
        )
    else:
        write("the dashboard is open", *_tray(arguments))
    return ExitCode.OK


def _shown(arguments: argparse.Namespace, url: str) -> bool:
    try:
        page = write_page(state_folder(arguments.state_folder, arguments.config), url)
    except OSError:
        return False
    return open_page(page, in_tab=arguments.tab)


def _tray(arguments: argparse.Namespace) -> list[str]:
    """Show the tray item beside the window, and say how that went."""
    if arguments.no_tray or arguments.read_only or not sys.platform.startswith("linux"):
        return []
    missing = start_tray(state_folder(arguments.state_folder, arguments.config))
    return [f"no tray item: {missing}" if missing else "the tray item is shown"]
