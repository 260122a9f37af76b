"""`vigilnet invite show`, `add`, `list`: how one node brings another into the network."""

import argparse

from vigilnet.surface.cli.node import add_command, client_of
from vigilnet.surface.cli.output import when, write, write_json
from vigilnet.surface.exits import ExitCode


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    text = "a text or a list of them that brings another node into the network"
    group = commands.add_parser("invite", help=text)
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = add_command(
        actions, "show", "print the invite of this relay, or of one that it knows", show_invite
    )
    show.add_argument("peer_id", nargs="?", default="", metavar="PEER-ID", help="12D3KooW...")
    show.add_argument(
        "--new", action="store_true", help="at an unlisted relay: an invite with a secret of its own"
    )
    add = add_command(actions, "add", "have the node take in an invite", add_invite)
    add.add_argument("uri", metavar="URI", help="vigilnet:...")
    add_command(actions, "list", "print a welcome list of the relays that the node knows", show_list)


def show_invite(arguments: argparse.Namespace) -> ExitCode:
    """Print one invite."""
    with client_of(arguments) as control:
        invite = control.invite("new" if arguments.new else arguments.peer_id)
    if arguments.json:
        write_json(invite)
    else:
        write(invite.uri)
    return ExitCode.OK


def add_invite(arguments: argparse.Namespace) -> ExitCode:
    """Hand an invite to the node."""
    with client_of(arguments) as control:
        invite = control.add_invite(arguments.uri)
    if arguments.json:
        write_json(invite)
    else:
        how = "taken" if invite.is_new else "known already"
        write(f"{how}: {invite.peer_id}, good until {when(invite.until)}")
    return ExitCode.OK


def show_list(arguments: argparse.Namespace) -> ExitCode:
    """Print a welcome list, to be kept as a file."""
    with client_of(arguments) as control:
        welcome = control.welcome_list()
    if arguments.json:
        write_json(welcome)
    else:
        write(welcome.text.rstrip("\n"))
    return ExitCode.OK
