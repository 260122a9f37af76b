"""Which node a command means; `vigilnet new-identity`, `connect`, `disconnect`, `restart`, `stop`."""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

from vigilnet.base.version import program_version
from vigilnet.surface.cli.output import write, write_json
from vigilnet.surface.control.client import TIMEOUT_S, ControlClient
from vigilnet.surface.control.models import Changed
from vigilnet.surface.control.socket_path import state_folder
from vigilnet.surface.exits import ExitCode

SLOW_S = 60.0  # a node that starts again may take so long to answer
Commands = argparse._SubParsersAction  # noqa: SLF001 argparse gives its type no public name
Action = Callable[[argparse.Namespace], ExitCode]


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    add_command(commands, "new-identity", "have all apps take new paths; open connections stay", new_identity)
    add_command(commands, "connect", "serve the apps of this device (after disconnect)", connect)
    add_command(commands, "disconnect", "stop serving apps; a relay goes on", disconnect)
    add_command(commands, "restart", "start the node again with the settings of now", restart)
    add_command(commands, "stop", "ask the node to end", stop_node)
    version = commands.add_parser("version", help="the version of this program")
    version.add_argument("--json", action="store_true", help="JSON for programs")
    version.set_defaults(command=show_version)


def add_command(
    commands: "Commands[argparse.ArgumentParser]", name: str, text: str, action: Action
) -> argparse.ArgumentParser:
    """Declare one command that asks a node."""
    command = commands.add_parser(name, help=text)
    add_node_arguments(command)
    command.set_defaults(command=action)
    return command


def add_node_arguments(command: argparse.ArgumentParser) -> None:
    """Say which node is meant, and how to answer."""
    command.add_argument("--state-folder", type=Path, metavar="DIR", help="the node's state folder")
    command.add_argument("--config", type=Path, metavar="FILE", help="read the state folder from this file")
    command.add_argument("--json", action="store_true", help="JSON for programs")


def client_of(arguments: argparse.Namespace, timeout: float = TIMEOUT_S) -> ControlClient:
    """Return a session with the node that the arguments name."""
    return ControlClient(state_folder(arguments.state_folder, arguments.config), timeout)


def tell_changed(arguments: argparse.Namespace, changed: Changed) -> ExitCode:
    """Print what an action did; one that changed nothing says so."""
    if arguments.json:
        write_json(changed)
    else:
        write(changed.message if changed.changed else f"nothing changed: {changed.message}")
    return ExitCode.OK


def short_peer_id(peer_id: str) -> str:
    """Return the part of a peer id that tells it apart.

    >>> short_peer_id("12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5")
    'GC6TvWhf'
    """
    return peer_id.removeprefix("12D3KooW")[:8]


def new_identity(arguments: argparse.Namespace) -> ExitCode:
    """Retire the circuits that are in use."""
    with client_of(arguments) as control:
        result = control.new_identity()
    if arguments.json:
        write_json(result)
    else:
        write(f"all apps take new paths; {result.retired} retired")
    return ExitCode.OK


def connect(arguments: argparse.Namespace) -> ExitCode:
    """Serve apps."""
    with client_of(arguments, SLOW_S) as control:
        return tell_changed(arguments, control.ask("connect"))


def disconnect(arguments: argparse.Namespace) -> ExitCode:
    """Serve apps no more."""
    with client_of(arguments, SLOW_S) as control:
        return tell_changed(arguments, control.ask("disconnect"))


def restart(arguments: argparse.Namespace) -> ExitCode:
    """Start the node again inside its process."""
    with client_of(arguments, SLOW_S) as control:
        return tell_changed(arguments, control.ask("restart"))


def stop_node(arguments: argparse.Namespace) -> ExitCode:
    """Ask the node to stop."""
    with client_of(arguments) as control:
        control.stop()
    if arguments.json:
        write_json({"stopping": True})
    else:
        write("stopping")
    return ExitCode.OK


def show_version(arguments: argparse.Namespace) -> ExitCode:
    """Print versions."""
    versions = {
        "version": program_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if arguments.json:
        write_json(versions)
    else:
        write(f"vigilnet {versions['version']} (Python {versions['python']}, {versions['system']})")
    return ExitCode.OK
