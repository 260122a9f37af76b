"""`vigilnet status`, `circuits`, `streams`, `new-identity`, `stop`, `version`: one node."""

import argparse
import platform
from pathlib import Path

from vigilnet.base.version import program_version
from vigilnet.surface.cli.output import (
    duration,
    octets,
    paint_state,
    when,
    write,
    write_fields,
    write_json,
    write_table,
)
from vigilnet.surface.control.client import TIMEOUT_S, ControlClient
from vigilnet.surface.control.models import Circuit, Status
from vigilnet.surface.control.socket_path import state_folder
from vigilnet.surface.exits import ExitCode


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    for name, action, text in (
        ("status", show_status, "how the node is"),
        ("circuits", show_circuits, "the node's own circuits, guard first"),
        ("streams", show_streams, "the node's own streams"),
        ("peers", show_peers, "the relays that the node knows, and which source told it"),
        ("new-identity", new_identity, "have new streams take new circuits"),
        ("stop", stop_node, "ask the node to stop"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        add_node_arguments(command)
        command.set_defaults(command=action)
        if name == "peers":
            command.add_argument("--find", metavar="PEER-ID", help="look for this one, in the DHT if need be")
    version = commands.add_parser("version", help="the version of this program")
    version.add_argument("--json", action="store_true", help="JSON for programs")
    version.set_defaults(command=show_version)


def add_node_arguments(command: argparse.ArgumentParser) -> None:
    """Say which node is meant, and how to answer."""
    command.add_argument("--state-folder", type=Path, metavar="DIR", help="the node's state folder")
    command.add_argument("--config", type=Path, metavar="FILE", help="read the state folder from this file")
    command.add_argument("--json", action="store_true", help="JSON for programs")


def client_of(arguments: argparse.Namespace, timeout: float = TIMEOUT_S) -> ControlClient:
    """Return a session with the node that the arguments name."""
    return ControlClient(state_folder(arguments.state_folder, arguments.config), timeout)


def show_status(arguments: argparse.Namespace) -> ExitCode:
    """Print how the node is."""
    with client_of(arguments) as control:
        status = control.status()
    if arguments.json:
        write_json(status)
    else:
        write_fields(_status_fields(status))
    return ExitCode.OK


def _status_fields(status: Status) -> list[tuple[str, object]]:
    first = status.first_circuit_ms
    return [
        ("state", paint_state(status.state)),
        ("running", f"{duration(status.uptime_s)}, process {status.pid}, version {status.version}"),
        ("roles", ", ".join(status.roles)),
        ("network", status.network),
        ("phase", "" if status.phase == "full" else status.phase),
        ("peer id", status.peer_id),
        ("SOCKS5 proxy", status.socks),
        ("HTTP proxy", status.http_proxy),
        ("listening", ", ".join(status.listen)),
        ("peers known", status.peers),
        ("links", status.links),
        ("circuits", status.circuits),
        ("relayed circuits", status.relayed_circuits or ""),
        ("streams", status.streams),
        ("first circuit", "" if first is None else f"after {first:.0f} ms"),
    ]


def show_circuits(arguments: argparse.Namespace) -> ExitCode:
    """Print the node's circuits."""
    with client_of(arguments) as control:
        circuits = control.circuits()
    if arguments.json:
        write_json(circuits)
    elif circuits:
        write_table(
            ("ID", "STATE", "AGE", "STREAMS", "PATH"), [_circuit_row(circuit) for circuit in circuits]
        )
    else:
        write("no circuits")
    return ExitCode.OK


def _circuit_row(circuit: Circuit) -> tuple[object, ...]:
    path = " > ".join(short_peer_id(hop.peer_id) for hop in circuit.hops) or "-"
    return circuit.id, circuit.state, duration(circuit.age_s), circuit.streams, path


def short_peer_id(peer_id: str) -> str:
    """Return the part of a peer id that tells it apart.

    >>> short_peer_id("12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5")
    'GC6TvWhf'
    """
    return peer_id.removeprefix("12D3KooW")[:8]


def show_streams(arguments: argparse.Namespace) -> ExitCode:
    """Print the node's streams."""
    with client_of(arguments) as control:
        streams = control.streams()
    if arguments.json:
        write_json(streams)
    elif streams:
        rows = [
            (stream.id, stream.circuit, stream.state, duration(stream.age_s), octets(stream.sent),
             octets(stream.received), stream.target)
            for stream in streams
        ]  # fmt: skip
        write_table(("ID", "CIRCUIT", "STATE", "AGE", "SENT", "RECEIVED", "TARGET"), rows)
    else:
        write("no streams")
    return ExitCode.OK


def show_peers(arguments: argparse.Namespace) -> ExitCode:
    """Print the relays that the node knows."""
    with client_of(arguments) as control:
        peers = control.find_peer(arguments.find) if arguments.find else control.peers()
    if arguments.json:
        write_json(peers)
    elif peers:
        rows = [
            (short_peer_id(peer.peer_id), ", ".join(peer.roles), ", ".join(peer.found_by) or "-",
             "linked" if peer.is_linked else "reached" if peer.is_reached else "-", when(peer.until))
            for peer in peers
        ]  # fmt: skip
        write_table(("PEER", "ROLES", "FOUND BY", "DIALLED", "GOOD UNTIL"), rows)
    else:
        none = "no relays known: give the node an invite (vigilnet invite add)"
        write("not found" if arguments.find else none)
    return ExitCode.OK


def new_identity(arguments: argparse.Namespace) -> ExitCode:
    """Retire the circuits that are in use."""
    with client_of(arguments) as control:
        result = control.new_identity()
    if arguments.json:
        write_json(result)
    else:
        write(f"new streams take new circuits; {result.retired} retired")
    return ExitCode.OK


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
