"""`vigilnet circuits`, `streams`, `paths`, `peers`, `exits`, `new-path`: ways, and who is on them."""

import argparse

from vigilnet.surface.cli.node import Commands, add_command, client_of, short_peer_id, tell_changed
from vigilnet.surface.cli.output import duration, octets, paint, write, write_json, write_table
from vigilnet.surface.cli.status import path_text
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Exits, Path, WhoSees
from vigilnet.surface.control.schema import ControlError, ErrorCode
from vigilnet.surface.exits import ExitCode

_MARKS = {"full": "yes", "half": "partly", "none": "-"}


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    circuits = add_command(
        commands, "circuits", "the paths in use, one app each, and the ready ones", show_circuits
    )
    circuits.add_argument("--why", action="store_true", help="say why each path is as it is")
    circuits.add_argument("--id", action="store_true", help="show the whole peer ids")
    add_command(commands, "streams", "the connections of this device's apps", show_streams)
    paths = add_command(commands, "paths", "one path: its stations, and who can see what", show_paths)
    paths.add_argument("circuit", nargs="?", type=int, help="its id (see circuits); default: the one in use")
    peers = add_command(
        commands, "peers", "the relays that the node knows, direct or relayed, and why", show_peers
    )
    peers.add_argument("--find", metavar="PEER-ID", help="look for this one, in the DHT if need be")
    exits = add_command(commands, "exits", "where one can leave; `exits use` chooses", show_exits)
    exits.add_argument("--country", default="", metavar="CC", help="two letters, like SE")
    exits.add_argument("--port", type=int, default=0, help="that the exit must accept")
    exits.add_argument("use", nargs="?", choices=("use",), help="leave through these exits from now on")
    exits.add_argument("--peer", default="", metavar="PEER-ID", help="with use: this exit and no other")
    exits.add_argument("--anywhere", action="store_true", help="with use: any exit again")
    exits.add_argument("--once", action="store_true", help="with use: until the node's next start")
    change = add_command(commands, "new-path", "another path for the app that uses this one", new_path)
    change.add_argument("circuit", nargs="?", type=int, help="its id (see circuits); default: the one in use")
    keep = add_command(commands, "keep-path", "have the app that uses this path stay on it", keep_path)
    keep.add_argument("circuit", nargs="?", type=int, help="its id (see circuits); default: the one in use")
    keep.add_argument("--off", action="store_true", help="no longer")


def show_circuits(arguments: argparse.Namespace) -> ExitCode:
    """Print the node's circuits: for people by app, for programs one by one."""
    with client_of(arguments) as control:
        if arguments.json:
            write_json(control.circuits(), "circuits")
            return ExitCode.OK
        paths: tuple[Path, ...] = control.ask("paths")
    if not paths:
        write("no path is in use")
        return ExitCode.OK
    write_table(("APP", "PATH", "MS", "AGE", "CONNECTIONS", "ID"), [_circuit_row(path) for path in paths])
    if arguments.why:
        write(*(f"{path.id}: {' '.join(path.why)}" for path in paths))
    if arguments.id:
        write(*(f"{path.id}: {' > '.join(hop.peer_id for hop in path.hops)}" for path in paths))
    return ExitCode.OK


def _circuit_row(path: Path) -> tuple[object, ...]:
    app = "(ready)" if path.is_ready else path.label or "(no login)"
    ms = "-" if path.ms is None else f"{path.ms:.0f}"
    return app, path_text(path).removeprefix("you > "), ms, duration(path.age_s), path.streams, path.id


def show_streams(arguments: argparse.Namespace) -> ExitCode:
    """Print the node's streams."""
    with client_of(arguments) as control:
        streams = control.streams()
    if arguments.json:
        write_json(streams, "streams")
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


def show_paths(arguments: argparse.Namespace) -> ExitCode:
    """Print one path with who sees what."""
    with client_of(arguments) as control:
        paths: tuple[Path, ...] = control.ask("paths")
    chosen = [path for path in paths if arguments.circuit in (None, path.id)]
    if arguments.json:
        write_json(chosen, "paths")
        return ExitCode.OK if chosen or arguments.circuit is None else ExitCode.NOT_FOUND
    if not chosen:
        write("no path is in use" if arguments.circuit is None else f"no path {arguments.circuit}")
        return ExitCode.OK if arguments.circuit is None else ExitCode.NOT_FOUND
    path = chosen[0]
    write(f"{paint(path_text(path), 'bold')} > sites")
    stations = [(f"{hop.role} {hop.name}", hop.country or "-", hop.sees, hop.sees_not) for hop in path.hops]
    write_table(("STATION", "COUNTRY", "SEES", "DOES NOT SEE"), stations)
    write("", "Who can see what")
    write_table(
        ("WHO", "YOUR ADDRESS", "WHICH SITES", "WHAT IS SAID", ""), [_seen(row) for row in path.who_sees]
    )
    write("", *path.why)
    return ExitCode.OK


def _seen(row: WhoSees) -> tuple[str, ...]:
    both = "knows both you and the sites" if row.is_both else ""
    return row.who, _MARKS[row.address], _MARKS[row.sites], _MARKS[row.content], both


def show_peers(arguments: argparse.Namespace) -> ExitCode:
    """Print the relays that the node knows."""
    with client_of(arguments) as control:
        peers = control.find_peer(arguments.find) if arguments.find else control.peers()
    if arguments.json:
        write_json(peers, "peers")
    elif peers:
        rows = [
            (peer.name or short_peer_id(peer.peer_id), peer.country or "-", peer.link,
             "-" if peer.ms is None else f"{peer.ms:.0f}", ", ".join(peer.roles),
             ", ".join(peer.found_by) or "-", peer.why)
            for peer in peers
        ]  # fmt: skip
        write_table(("PEER", "COUNTRY", "LINK", "MS", "ROLES", "FOUND BY", "WHY"), rows)
    else:
        none = "no relays known: give the node an invite (vigilnet invite add)"
        write("not found" if arguments.find else none)
    return ExitCode.OK


def show_exits(arguments: argparse.Namespace) -> ExitCode:
    """Print where one can leave, or choose."""
    if arguments.use:
        return _choose_exit(arguments)
    with client_of(arguments) as control:
        found: Exits = control.ask("exits", country=arguments.country, port=arguments.port)
    if arguments.json:
        write_json(found)
        return ExitCode.OK
    if not found.exits:
        write("no exits known yet")
        return ExitCode.OK
    chosen = found.choice.country or short_peer_id(found.choice.peer_id)
    rows = [
        (one.name, one.country or "-", one.ports or "-", "in use" if one.in_use else "")
        for one in found.exits
    ]
    write_table(("EXIT", "COUNTRY", "PORTS", ""), rows)
    count = "1 exit" if len(found.exits) == 1 else f"{len(found.exits)} exits"
    write(f"{count}; yours: {chosen or 'any'}. Countries are as declared by the exits.")
    return ExitCode.OK


def _choose_exit(arguments: argparse.Namespace) -> ExitCode:
    peer = "" if arguments.anywhere else arguments.peer
    country = "" if arguments.anywhere else arguments.country
    with client_of(arguments) as control:
        changed = control.ask("set-exit", country=country, peer_id=peer, keep=not arguments.once)
    return tell_changed(arguments, changed)


def new_path(arguments: argparse.Namespace) -> ExitCode:
    """Let the users of one circuit take another."""
    with client_of(arguments) as control:
        return tell_changed(arguments, control.ask("new-path", circuit=_circuit_of(arguments, control)))


def keep_path(arguments: argparse.Namespace) -> ExitCode:
    """Have the users of one circuit stay on it, or no longer."""
    with client_of(arguments) as control:
        circuit = _circuit_of(arguments, control)
        return tell_changed(arguments, control.ask("keep-path", circuit=circuit, is_kept=not arguments.off))


def _circuit_of(arguments: argparse.Namespace, control: ControlClient) -> int:
    """Return the circuit that is named, else the one in use."""
    if arguments.circuit is not None:
        return int(arguments.circuit)
    paths: tuple[Path, ...] = control.ask("paths")
    for path in paths:
        if not path.is_ready and not path.is_retired:
            return path.id
    raise ControlError(
        ErrorCode.NOT_FOUND, "no app uses a path now", "one is taken when an app asks for a site",
        "vigilnet circuits",
    )  # fmt: skip
