"""`vigilnet help`, `completion`: what there is, in words, as a man page, and for the shell."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Final

from vigilnet.base.system_io import module_command
from vigilnet.base.version import program_version
from vigilnet.surface.cli.completion import SHELLS, script
from vigilnet.surface.cli.node import Commands
from vigilnet.surface.cli.output import write
from vigilnet.surface.cli.processes import BECOMES, become, helps_of_programs
from vigilnet.surface.control.schema import ControlError, ErrorCode
from vigilnet.surface.exits import ExitCode, OneLineParser

CODES: Final[dict[str, str]] = {
    ErrorCode.BAD_REQUEST: "The request was malformed. Update both programs if one of them is older.",
    ErrorCode.UNSUPPORTED_VERSION: "The node speaks another version of this protocol. Update the older one.",
    ErrorCode.UNKNOWN_METHOD: "The node does not know this operation: it is older than the command.",
    ErrorCode.FORBIDDEN: "Only the node's own user and root may do this; a read-only token may look.",
    ErrorCode.UNAUTHORIZED: "The token is missing or too old. Open the dashboard again: vigilnet gui.",
    ErrorCode.BUSY: "Too many programs steer the node at once. Close one, or try again.",
    ErrorCode.FAILED: "The node tried and could not; its message says why. vigilnet doctor looks for causes.",
    ErrorCode.NOT_FOUND: "There is no such path. vigilnet circuits lists those of now.",
    ErrorCode.REFUSED: "A rule of the node forbids it.",
    ErrorCode.NO_EXIT: "No exit that the node knows is in this country, or accepts this port. "
    "vigilnet exits lists what there is; countries are as the exits declare them.",
    ErrorCode.EXIT_WARNING: "An exit lets strangers' traffic out under your address. Nobody becomes one by "
    "accident: vigilnet mode exit shows the warning and asks.",
    ErrorCode.UNKNOWN_OPTION: "No option has this name. vigilnet config list shows all.",
    ErrorCode.BAD_OPTION: "The value is not one that this option takes; nothing was changed.",
    ErrorCode.LOCKED_OPTION: "The environment or the command line sets this option and wins over the file.",
    ErrorCode.OFF: "What you asked for is switched off in the settings.",
    "not-running": "No node runs with this state folder. Start one: vigilnet up.",
}


GROUPS: Final = (
    ("every day", ("up", "down", "status", "gui", "top", "doctor", "logs")),
    ("ways through the network", ("circuits", "paths", "streams", "peers", "exits", "hops", "new-path",
                                  "keep-path", "new-identity")),
    ("this computer", ("device", "dns", "lan", "lockdown", "portal", "firewall", "split", "exec")),
    ("the node", ("run", "connect", "disconnect", "restart", "stop", "mode", "config", "invite", "keys",
                  "wipe")),
    ("more", ("testnet", "htx", "pt", "helper", "completion", "help", "version")),
)  # fmt: skip
"""What belongs together, in the order in which a newcomer needs it; each command is in one of them."""


class AllCommands(OneLineParser):
    """The parser of `vigilnet`: its help shows the commands by what they are about."""

    def format_help(self) -> str:
        """Return the overview."""
        lister = next(action for action in self._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001 argparse has no public way
        listed = {choice.dest: choice for choice in lister._choices_actions}  # noqa: SLF001
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for title, names in GROUPS:
            formatter.start_section(title)
            formatter.add_arguments([listed[name] for name in names])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action is not lister])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    page = commands.add_parser("help", help="this, one command, or what an error code means")
    page.add_argument("topic", nargs="?", metavar="COMMAND|CODE", help="a command, or an error code")
    page.add_argument("--man", action="store_true", help="the whole manual as a man page")
    page.set_defaults(command=show_help)
    completion = commands.add_parser("completion", help="completion for your shell: bash, zsh, fish")
    completion.add_argument("shell", choices=SHELLS, help="whose script to print")
    completion.set_defaults(command=show_completion)


def show_help(arguments: argparse.Namespace) -> ExitCode:
    """Print help."""
    parser = arguments.parser
    topic = arguments.topic
    if arguments.man:
        write(man_page(parser, helps_of_programs()).rstrip("\n"))
    elif topic is None:
        write(parser.format_help().rstrip("\n"))
    elif topic in CODES:
        write(f"{topic}: {CODES[topic]}")
    elif topic in BECOMES:
        become([*module_command(BECOMES[topic]), "--help"])
    elif topic in (commands := dict(commands_of(parser))):
        write(commands[topic].format_help().rstrip("\n"))
    else:
        raise ControlError(
            ErrorCode.NOT_FOUND,
            f"help: no command and no error code is called {topic!r}",
            "",
            "vigilnet help",
        )
    return ExitCode.OK


def show_completion(arguments: argparse.Namespace) -> ExitCode:
    """Print a script for the shell."""
    write(script(arguments.parser, arguments.shell).rstrip("\n"))
    return ExitCode.OK


def commands_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Give every command with its parser, those of groups as "config get"."""
    for action in parser._actions:  # noqa: SLF001 argparse has no public way
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            continue
        for name, command in action.choices.items():
            yield name, command
            for below, inner in commands_of(command):
                yield f"{name} {below}", inner


def describe(parser: argparse.ArgumentParser) -> None:
    """Have the help of each command begin with what the overview says of it."""
    about = dict(_purposes(parser))
    for name, command in commands_of(parser):
        said = about.get(name, "")
        command.description = command.description or (said and f"{said[0].upper()}{said[1:]}.")


def man_page(parser: argparse.ArgumentParser, programs: Mapping[str, str]) -> str:
    """Return the manual in troff; `programs` is the help of those commands that are programs of their own."""
    lines = [
        f'.TH VIGILNET 1 "" "vigilnet {program_version()}" "User commands"',
        ".SH NAME",
        "vigilnet \\- a privacy network: your traffic over 1 to 10 onion hops",
        ".SH SYNOPSIS",
        ".B vigilnet",
        ".I COMMAND",
        "[options]",
        ".SH COMMANDS",
    ]
    about = dict(_purposes(parser))
    for name, command in commands_of(parser):
        lines += [".SS " + name, _escaped(about.get(name, command.description or "")), ".nf"]
        if name in programs:
            lines += [_escaped(line) or "\\&" for line in programs[name].strip().splitlines()]
            lines.append(".fi")
            continue
        lines += [_escaped(line) for line in command.format_usage().strip().splitlines()]
        lines.append(".fi")
        for action in command._actions:  # noqa: SLF001
            if action.help not in (None, argparse.SUPPRESS) and action.dest != "help":
                names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
                lines += [".TP", f"\\fB{_escaped(names)}\\fR", _escaped(str(action.help))]
    lines += [".SH EXIT CODES", _escaped(parser.epilog or "")]
    lines += [".SH FILES", "docs/vigilnet.example.toml shows every option at its default."]
    return "\n".join(line for line in lines if line) + "\n"


def _purposes(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, str]]:
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for choice in action._choices_actions:  # noqa: SLF001
                yield prefix + choice.dest, str(choice.help or "")
            for name, command in action.choices.items():
                yield from _purposes(command, f"{prefix}{name} ")


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
