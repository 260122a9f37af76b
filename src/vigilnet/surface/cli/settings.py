"""`vigilnet hops`, `mode`, `config`: how the node is set, of a node that runs."""

import argparse
import sys

from vigilnet.surface.cli.node import (
    SLOW_S,
    Commands,
    add_command,
    client_of,
    tell_changed,
)
from vigilnet.surface.cli.output import paint, write, write_json, write_table
from vigilnet.surface.control.models import Setting, Settings
from vigilnet.surface.control.schema import ControlError, ErrorCode
from vigilnet.surface.exits import ExitCode

MODES = ("client", "relay", "bootstrap", "exit", "super")


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    hops = add_command(commands, "hops", "how many hops new paths have; without a number: say it", set_hops)
    hops.add_argument("hops", nargs="?", type=int, metavar="N", help="1 to 10; 1 is fast and not anonymous")
    hops.add_argument("--once", action="store_true", help="until the node's next start")
    mode = add_command(commands, "mode", "be a client, a relay, an exit...; without one: say it", set_mode)
    mode.add_argument("mode", nargs="?", choices=MODES, help="what to be for others")
    mode.add_argument("--advertise", default="", metavar="HOST:PORT", help="as others reach this node")
    mode.add_argument("--abuse-contact", default="", metavar="MAIL", help="of an exit, for complaints")
    mode.add_argument("--yes", action="store_true", help="I have read what being an exit means, and agree")
    config = commands.add_parser("config", help="every option: list, get, set, reset",
                                 description="Every option of the running node.")  # fmt: skip
    actions = config.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = add_command(actions, "list", "every option and its value", list_options)
    listing.add_argument("table", nargs="?", default="", help="only this table, like circuits")
    listing.add_argument("--changed", action="store_true", help="only what is not at its default")
    add_command(actions, "get", "one option, with what it means", get_option).add_argument(
        "key", metavar="KEY", help="like circuits.hops"
    )
    change = add_command(actions, "set", "change one option", set_option)
    change.add_argument("key", metavar="KEY", help="like circuits.hops")
    change.add_argument("value", metavar="VALUE", help="lists with commas")
    change.add_argument("--once", action="store_true", help="until the node's next start; not written down")
    add_command(actions, "reset", "put one option back to its default", reset_option).add_argument(
        "key", metavar="KEY", help="like circuits.hops"
    )


def set_hops(arguments: argparse.Namespace) -> ExitCode:
    """Say or set the number of hops."""
    with client_of(arguments) as control:
        if arguments.hops is not None:
            return tell_changed(
                arguments, control.ask("set-hops", hops=arguments.hops, keep=not arguments.once)
            )
        status = control.status()
    if arguments.json:
        write_json({"hops": status.hops})
    else:
        write(f"new paths have {status.hops} {'hop' if status.hops == 1 else 'hops'}")
    return ExitCode.OK


def set_mode(arguments: argparse.Namespace) -> ExitCode:
    """Say or set what this node is for others; an exit asks first."""
    with client_of(arguments, SLOW_S) as control:
        if arguments.mode is None:
            status = control.status()
            if arguments.json:
                write_json({"mode": status.mode})
            else:
                write(status.mode)
            return ExitCode.OK
        asked = {
            "mode": arguments.mode,
            "advertise": arguments.advertise,
            "abuse_contact": arguments.abuse_contact,
        }
        try:
            changed = control.ask("set-mode", **asked, accept_exit=arguments.yes)
        except ControlError as error:
            if error.code != ErrorCode.EXIT_WARNING:
                raise
            if not _agrees(error.why):
                raise ControlError(
                    error.code,
                    "mode exit: not agreed, nothing was changed",
                    error.why,
                    "vigilnet mode exit --yes",
                ) from error
            changed = control.ask("set-mode", **asked, accept_exit=True)
    return tell_changed(arguments, changed)


def _agrees(warning: str) -> bool:
    """Ask on a terminal; elsewhere only --yes agrees."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{warning[:1].upper()}{warning[1:]}.\nBecome an exit? Type yes: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() == "yes"


def list_options(arguments: argparse.Namespace) -> ExitCode:
    """Print options."""
    with client_of(arguments) as control:
        settings: Settings = control.ask("settings")
    shown = [
        setting
        for setting in settings.settings
        if (not arguments.table or setting.key.startswith(f"{arguments.table}."))
        and (setting.is_changed or not arguments.changed)
    ]
    if arguments.json:
        write_json({"settings": shown, "file": settings.file})
    elif shown:
        write_table(
            ("OPTION", "VALUE", "FROM"), [(one.key, one.value or "(empty)", _from(one)) for one in shown]
        )
    else:
        write("every option is at its default" if arguments.changed else f"no table {arguments.table!r}")
    return ExitCode.OK


def _from(setting: Setting) -> str:
    return setting.origin + (" (after a restart)" if setting.restart_needed else "")


def get_option(arguments: argparse.Namespace) -> ExitCode:
    """Print one option."""
    with client_of(arguments) as control:
        settings: Settings = control.ask("settings")
    found = next((one for one in settings.settings if one.key == arguments.key), None)
    if found is None:
        raise ControlError(
            ErrorCode.UNKNOWN_OPTION, f"option {arguments.key!r}: there is none of this name", "",
            "vigilnet config list",
        )  # fmt: skip
    if arguments.json:
        write_json(found)
        return ExitCode.OK
    write(f"{paint(found.key, 'bold')} = {found.value or '(empty)'}")
    if found.meaning:
        write(f"  {found.meaning}")
    choices = f", one of {', '.join(found.choices)}" if found.choices else ""
    write(f"  kind {found.kind}{choices}; default {found.default or '(empty)'}; from {_from(found)}")
    write(f"  {'in effect at once' if found.is_live else 'in effect after `vigilnet restart`'}")
    return ExitCode.OK


def set_option(arguments: argparse.Namespace) -> ExitCode:
    """Change one option."""
    with client_of(arguments) as control:
        changed = control.ask("set-option", key=arguments.key, value=arguments.value, keep=not arguments.once)
    return tell_changed(arguments, changed)


def reset_option(arguments: argparse.Namespace) -> ExitCode:
    """Put one option back."""
    with client_of(arguments) as control:
        return tell_changed(arguments, control.ask("reset-option", key=arguments.key))
