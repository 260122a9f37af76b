"""Entry point of the `vigilnet` command: finds the command and runs it.

`run`, `keys`, `htx` and `wipe` need more of the program than a control client may: they become
programs of their own.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from vigilnet.base.system_io import module_command
from vigilnet.surface.cli import (
    device,
    help_page,
    invite,
    network,
    node,
    settings,
    status,
    testnet,
    top,
    watching,
)
from vigilnet.surface.cli.processes import BECOMES, become
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded

_FIRST_STEPS: Final = """vigilnet: no command given
  vigilnet up        protect this computer (sudo: all of it; without: apps that use its proxy)
  vigilnet status    am I protected, and how
  vigilnet gui       the same in a window
  vigilnet doctor    why does nothing connect
  vigilnet help      every command
"""


def new_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands."""
    parser: argparse.ArgumentParser = help_page.AllCommands(
        prog="vigilnet",
        description="A privacy network: your traffic over 1 to 10 onion hops.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong arguments or settings, 7 no node is running, "
        "8 no rights, 9 not found, 10 refused; status also 3 off, 4 connecting, 5 with a reservation, "
        "6 blocked.",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print no results; errors and exit codes stay"
    )
    parser.add_argument("--plain", action="store_true", help="no colour and no progress, as when piped")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=OneLineParser)
    commands.add_parser("run", help="run a node here until Ctrl-C; arguments of vigilnetd", add_help=False)
    commands.add_parser(
        "keys", help="the node's identity key: show, generate, import, export", add_help=False
    )
    commands.add_parser("htx", help="capture a browser's hello, record visits to an origin", add_help=False)
    commands.add_parser("helper", help="the privileged part of `up`, as root: --repair", add_help=False)
    commands.add_parser(
        "doctor", help="find out what is wrong, and what to do: --repair, --all, --json", add_help=False
    )
    commands.add_parser("pt", help="a pluggable transport for tor and others", add_help=False)
    commands.add_parser("wipe", help="destroy the node's state, keys and all", add_help=False)
    for group in (status, network, device, settings, watching, top, node, invite, testnet, help_page):
        group.add_commands(commands)
    help_page.describe(parser)
    parser.set_defaults(parser=parser)  # `help` and `completion` tell of all
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = _take_manners(list(sys.argv[1:] if argv is None else argv))
    return run_guarded("vigilnet", lambda: _run(given), as_json="--json" in given)


def _take_manners(given: list[str]) -> list[str]:
    """Do what --quiet and --plain say, wherever they stand among our own words; returns the others."""
    end = given.index("--") if "--" in given else len(given)
    ours, others = given[:end], given[end:]
    if "--plain" in ours:
        os.environ["NO_COLOR"] = "1"
    if {"-q", "--quiet"} & set(ours) and ours[:1] != ["exec"]:
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # of whatever we become, too
    return [word for word in ours if word not in ("-q", "--quiet", "--plain")] + others


def _run(given: list[str]) -> int:
    if given and given[0] in BECOMES:
        become([*module_command(BECOMES[given[0]]), *given[1:]])
    if not given:
        sys.stderr.write(_FIRST_STEPS)
        return ExitCode.USAGE
    parser = new_parser()
    arguments, unknown = parser.parse_known_args(given)
    if unknown:
        commands = dict(help_page.commands_of(parser))
        named = commands.get(" ".join(given[:2])) or commands.get(given[0], parser)
        named.error(f"unrecognized arguments: {' '.join(unknown)}")
    return int(arguments.command(arguments))


if __name__ == "__main__":
    sys.exit(main())
