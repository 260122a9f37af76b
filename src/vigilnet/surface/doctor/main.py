"""`vigilnet doctor`: what is wrong, what it means, what to do."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError, VigilnetError
from vigilnet.node.options import Loaded, default_file, load_options
from vigilnet.surface.cli.output import paint, progress, write, write_json
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Diagnosis, Finding, PeerDiagnosis
from vigilnet.surface.control.socket_path import state_folder
from vigilnet.surface.doctor.finding import NodeView, Situation
from vigilnet.surface.doctor.network import Network
from vigilnet.surface.doctor.service import examine, repair, summed_up
from vigilnet.surface.doctor.this_machine import Machine
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded

SHOWN_PEERS: Final = 8
_LINKS = {"direct": "Direct", "relayed": "Relayed", "failed": "Failed"}
_SIGNS = {"fail": ("!", "red"), "note": ("-", "yellow"), "pass": ("+", "green")}


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of the doctor's arguments."""
    parser = OneLineParser(
        prog="vigilnet doctor",
        description="Finds out what is wrong, says what it means and what to do.",
        epilog="Exit codes: 0 nothing is broken, 1 something is.",
    )
    parser.add_argument("--state-folder", type=Path, metavar="DIR", help="the node's state folder")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the node's settings file")
    parser.add_argument("--port", type=int, default=0, help="whether an exit accepts this port, too")
    parser.add_argument("--all", action="store_true", help="show what was measured, and checks that passed")
    parser.add_argument("--repair", action="store_true", help="repair what is safe to repair")
    parser.add_argument("--json", action="store_true", help="JSON for programs")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the doctor; return the exit code."""
    arguments = new_parser().parse_args(argv)
    return run_guarded("vigilnet", lambda: _run(arguments), as_json=arguments.json)


def _run(arguments: argparse.Namespace) -> ExitCode:
    progress("looking at the settings, this device, the network and the node")
    situation = situation_of(arguments.state_folder, arguments.config)
    machine, network = Machine(SystemClock().wall), Network()
    diagnosis = examine(situation, machine, network, arguments.port)
    if arguments.repair:
        done = repair(situation, diagnosis)
        if done:
            situation = situation_of(arguments.state_folder, arguments.config)
            again = examine(situation, machine, network, arguments.port)
            diagnosis = replace(summed_up(again.findings, again.took_ms, done), peers=again.peers)
    progress("")
    if arguments.json:
        write_json(diagnosis)
    else:
        _show(diagnosis, is_all=arguments.all)
    return ExitCode.FAILED if diagnosis.problems else ExitCode.OK


def situation_of(folder: Path | None, config: Path | None) -> Situation:
    """Return what there is to look at: settings, folder, and the node if one runs."""
    loaded, refusal = _load(config)
    named = loaded.options.node.state_folder if loaded is not None else None
    where = folder or named or state_folder(None, None)
    return Situation(loaded, refusal, config or default_file(), where, node_view(where))


def _load(config: Path | None) -> tuple[Loaded | None, str]:
    try:
        return load_options(config), ""
    except ConfigurationError as error:
        return None, str(error)


def node_view(folder: Path) -> NodeView | None:
    """Return what the running node says; None if it says nothing."""
    try:
        with ControlClient(folder, 3.0) as control:
            status = control.status()
            peers = control.peers()
            exits = control.ask("exits")
            reach = control.reachability()
    except VigilnetError:
        return None
    return NodeView(status, peers, exits, status.clock_offset_s, reach)


def _show(diagnosis: Diagnosis, *, is_all: bool) -> None:
    for finding in diagnosis.findings:
        if finding.level != "pass" or is_all:
            _show_finding(finding, is_all=is_all)
    _show_peers(diagnosis.peers, is_all=is_all)
    for text in diagnosis.repaired:
        write(f"repaired: {text}")
    counted = ((diagnosis.passed, "check"), (diagnosis.problems, "problem"), (diagnosis.notes, "note"))
    checks, problems, notes = (f"{number} {word}{'' if number == 1 else 's'}" for number, word in counted)
    more = "" if is_all else "          --all  --json  --repair"
    write(f"{checks} passed, {problems}, {notes}, {diagnosis.took_ms / 1000:.1f} s.{more}")


def _show_peers(peers: Sequence[PeerDiagnosis], *, is_all: bool) -> None:
    """How each relay is reached: a few, or all if asked for."""
    shown = peers if is_all else peers[:SHOWN_PEERS]
    for peer in shown:
        named = f" Named by {', '.join(peer.found_by)}." if peer.found_by else ""
        how = f"{_LINKS[peer.link]}. " if peer.link in _LINKS else ""  # of others the sentence says it
        write(f"  {peer.name or peer.peer_id}  {how}{peer.why}{named}")
        if peer.help:
            write(f"    Would help: {peer.help}")
    if len(shown) < len(peers):
        write(f"  and {len(peers) - len(shown)} more relays: --all")


def _show_finding(finding: Finding, *, is_all: bool) -> None:
    sign, colour = _SIGNS[finding.level]
    write(f"{paint(sign, colour)} {finding.title}")
    if finding.meaning:
        write(f"    {finding.meaning}")
    if finding.next:
        write(f"    Next: {finding.next}")
    if is_all:
        write(*(f"    measured: {text}" for text in finding.evidence))


if __name__ == "__main__":
    sys.exit(main())
