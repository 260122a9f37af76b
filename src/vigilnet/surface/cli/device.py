"""`vigilnet up`, `down`, `dns`, `split`, `lan`, `lockdown`, `exec`: the whole device."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.system_io import NOT_BY_LINK, has_rights, is_closed_to_others, module_command
from vigilnet.surface.cli.background import ensure_node, log_of, wait_connected
from vigilnet.surface.cli.name_service import asks_instead
from vigilnet.surface.cli.node import add_command, client_of
from vigilnet.surface.cli.output import progress, write, write_fields, write_json
from vigilnet.surface.cli.processes import become
from vigilnet.surface.cli.status import code_of, headline
from vigilnet.surface.control.device import Device
from vigilnet.surface.control.schema import ControlError, ErrorCode, read
from vigilnet.surface.control.socket_path import socket_of, state_folder
from vigilnet.surface.exits import ExitCode

HELPER_MODULE: Final = "vigilnet.surface.device_helper"
HAS_HELPER: Final = sys.platform != "win32"
_NO_HELPER: Final = "VigilNet cannot take all traffic of this system yet"
SLOW_S: Final = 60.0

_LISTS: Final = {
    ("outside", "network"): "outside_networks",
    ("outside", "domain"): "outside_domains",
    ("outside", "user"): "outside_users",
    ("inside", "network"): "inside_networks",
    ("inside", "user"): "inside_users",
}


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    up = add_command(
        commands, "up", "take all of this device's traffic into the network (needs rights)", go_up
    )
    up.add_argument("--invite", action="append", default=[], metavar="URI",
                    help="a relay to begin with, if no node runs yet; may be repeated")  # fmt: skip
    up.add_argument("--wait", nargs="?", type=float, const=60.0, metavar="SECONDS",
                    help="until there is a path (60 s at most); the exit code says how it is")  # fmt: skip
    up.add_argument("--helper-argument", action="append", default=[], help=argparse.SUPPRESS)
    add_command(commands, "down", "put the device back as it was", go_down)
    add_command(commands, "device", "how the whole device is protected", show_device)
    dns = add_command(commands, "dns", "who resolves names: local, overlay or custom", set_dns)
    dns.add_argument("mode", choices=("local", "overlay", "custom"), help="yours, the exit's, or named")
    dns.add_argument("server", nargs="?", default="", help="of custom: address or address:port")
    _add_once(dns)
    for name, text in (("lan", "reach the local network directly"), ("lockdown", "nothing out while down")):
        action = set_lan if name == "lan" else set_lockdown
        command = add_command(commands, name, f"{text}: on or off", action)
        command.add_argument("switch", choices=("on", "off"), help="on or off")
        if name == "lan":
            _add_once(command)
        else:
            command.add_argument("--yes", action="store_true", help="on, although this shell is over SSH")
    portal = add_command(
        commands, "portal", "reach a network's sign-in page, and nothing else, for a time", open_portal
    )
    portal.add_argument("url", nargs="?", default="", help="the page; left out: look for it")
    portal.add_argument("--seconds", type=int, default=300, help="for how long (300)")
    firewall = add_command(commands, "firewall", "rules of your own: list, add, remove", change_firewall)
    firewall.add_argument("verb", choices=("list", "add", "remove"), help="what to do")
    firewall.add_argument(
        "rule", nargs="*", help="out|in tcp|udp|any NETWORK [PORT]; out refuses, in lets in"
    )
    _add_once(firewall)
    _add_split(commands)
    execute = add_command(commands, "exec", "run a program outside or inside the tunnel", run_program)
    where = execute.add_mutually_exclusive_group(required=True)
    where.add_argument("--outside", dest="group", action="store_const", const="outside", help="around it")
    where.add_argument("--inside", dest="group", action="store_const", const="inside", help="through it")
    where.add_argument("--exit", metavar="SE", help="inside, and out by an exit of this country or peer id")
    execute.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="-- CMD", help="the program and its words"
    )


def _add_split(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    split = add_command(commands, "split", "what goes around the tunnel, or alone through it", set_split)
    split.add_argument(
        "verb",
        choices=("scope", "set", "add", "remove", "list"),
        help="scope: all or included; set: one list; add, remove, list: remembered programs",
    )
    split.add_argument("words", nargs="*", help="`all`, or: outside network 192.0.2.0/24 ...")
    _add_once(split)
    split.add_argument("--app", metavar="FILE", help="of add and remove: a program, whenever it starts")
    where = split.add_mutually_exclusive_group()
    where.add_argument("--inside", action="store_true", help="of add: through the tunnel (scope included)")
    where.add_argument("--exit", metavar="SE", help="of add: out by an exit of this country or peer id")


def _add_once(command: argparse.ArgumentParser) -> None:
    command.add_argument("--once", action="store_true", help="until the node's next start; not written down")


def _ask(arguments: argparse.Namespace, **params: Any) -> Device:  # noqa: ANN401 JSON
    with client_of(arguments, timeout=SLOW_S) as control:
        return read(Device, control.call("device", params))


def _change(arguments: argparse.Namespace, fields: dict[str, Any]) -> Device:
    return _ask(arguments, action="change", fields=fields, keep=not arguments.once)


def _show(arguments: argparse.Namespace, device: Device, *names: str) -> ExitCode:
    """Print a device; for people only the lines of these names, if any are given."""
    if arguments.json:
        write_json(device)
    else:
        write_fields((name, said) for name, said in _fields(device) if not names or name in names)
    return ExitCode.OK


def _device_state(device: Device) -> str:
    taken = "only what you included goes" if device.scope == "included" else "all traffic goes"
    state = f"up: {taken} through the network" if device.is_up else "down"
    if device.is_locked:
        state += "; lockdown is on" + ("" if device.is_up else ": nothing leaves this device")
    return state


def _fields(device: Device) -> list[tuple[str, object]]:
    capture = {"redirect": "by nftables", "interface": "without nftables: some settings are refused"}
    visible = "your resolver sees the names you ask for; hide them: vigilnet dns overlay"
    return [
        ("device", _device_state(device)),
        ("helper", device.helper if device.has_helper else "not running; sudo vigilnet up starts it"),
        ("capture", capture.get(device.capture, "not yet")),
        ("names", f"{device.dns}{f' ({visible})' if device.names_visible else ''}"),
        ("scope", device.scope),
        ("local network", "reached directly" if device.allow_lan else "not reached"),
        ("connections", f"{device.connections} open, {device.taken} taken"),
        ("datagram flows", device.flows),
        ("names asked", device.questions),
        ("packets", f"{device.own} ours, {device.outside} excluded, {device.refused} refused"),
    ]


def go_up(arguments: argparse.Namespace) -> ExitCode:
    """Protect the device; starts a node where none runs, and with rights the helper."""
    progress("starting VigilNet")
    was_started = ensure_node(arguments)
    progress("")
    device = _ask(arguments, action="status")
    if not device.has_helper and not (HAS_HELPER and has_rights()):
        if was_started and not arguments.json:
            _say_state(arguments, was_started=True)
        raise _only_proxy(arguments)
    if not device.has_helper:
        _start_helper(arguments, Path(device.helper))
    device = _ask(arguments, action="up")
    if arguments.wait is not None:
        wait_connected(arguments, arguments.wait)
    if device.names_visible and not arguments.json:
        write("note: names are asked of your own resolver, which sees them; hide them: vigilnet dns overlay")
    if arguments.json:
        write_json(device)
    else:
        _say_state(arguments, was_started=was_started)
        write(f"  Device     {_device_state(device)}")
    if arguments.wait is None:
        return ExitCode.OK
    with client_of(arguments) as control:
        return code_of(control.status())


def _only_proxy(arguments: argparse.Namespace) -> ControlError:
    """Return what says that apps must be set to use the proxy, and why."""
    message = "up: the whole device is not protected, only apps that are set to use the proxy"
    if HAS_HELPER:
        why = "taking all traffic needs rights once after each start of the machine, or its service"
        return ControlError(ErrorCode.FORBIDDEN, message, why, "sudo vigilnet up")
    with client_of(arguments) as control:
        status = control.status()
    if not status.socks:
        return ControlError(ErrorCode.FORBIDDEN, message, _NO_HELPER, "vigilnet connect")
    steps = f"set the browser's SOCKS5 proxy to {status.socks}, and have it ask the proxy for names"
    if status.http_proxy:
        steps += f"; for all apps that follow the system: Settings, Network, Proxy, {status.http_proxy}"
    return ControlError(ErrorCode.FORBIDDEN, message, _NO_HELPER, steps)


def _say_state(arguments: argparse.Namespace, *, was_started: bool) -> None:
    """Say how a node is, and where it is looked at."""
    with client_of(arguments) as control:
        status = control.status()
    write(*headline(status))
    folder = f" --state-folder {arguments.state_folder}" if arguments.state_folder is not None else ""
    write(f"  Dashboard  vigilnet gui{folder}")
    if was_started:
        write(f"  Log        {log_of(arguments)}")


def _start_helper(arguments: argparse.Namespace, path: Path) -> None:
    """Start the privileged helper for the user whose node runs, and wait until it listens.

    Raises:
        EnvironmentRefusedError: it ended.
    """
    owner = socket_of(state_folder(arguments.state_folder, arguments.config)).stat().st_uid
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not is_closed_to_others(path.parent):  # the node named it, and the node has no rights
        raise EnvironmentRefusedError(f"up: others than root can write to {path.parent} or above it")
    log = path.with_name("helper.log")
    reader, writer = os.pipe()
    words = ["--owner", str(owner), "--run-folder", str(path.parent), "--ready-fd", str(writer)]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NOT_BY_LINK, 0o600), "w") as said:
        helper = subprocess.Popen(  # noqa: S603  # our own module
            [*module_command(HELPER_MODULE), *words, *arguments.helper_argument],
            pass_fds=(writer,),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    os.close(writer)
    with os.fdopen(reader) as ready:
        if ready.readline() != "ready\n":
            helper.wait(SLOW_S)
            raise EnvironmentRefusedError(f"up: the helper did not start; {log} says why")


def go_down(arguments: argparse.Namespace) -> ExitCode:
    """Put the device back."""
    return _show(arguments, _ask(arguments, action="down"), "device")


def show_device(arguments: argparse.Namespace) -> ExitCode:
    """Print how the device is."""
    return _show(arguments, _ask(arguments, action="status"))


def set_dns(arguments: argparse.Namespace) -> ExitCode:
    """Choose who resolves names."""
    fields = {"dns": arguments.mode}
    if arguments.server:
        fields["dns_server"] = arguments.server
    return _show(arguments, _change(arguments, fields), "device", "names")


def set_lan(arguments: argparse.Namespace) -> ExitCode:
    """Reach the local network, or not."""
    fields = {"allow_lan": arguments.switch == "on"}
    return _show(arguments, _change(arguments, fields), "device", "local network")


def set_lockdown(arguments: argparse.Namespace) -> ExitCode:
    """Keep the firewall closed while the device is down, or no longer; over SSH asks first."""
    if arguments.switch == "on" and os.environ.get("SSH_CONNECTION") and not arguments.yes:
        _agree_to_be_cut_off()
    return _show(arguments, _ask(arguments, action="lockdown", is_on=arguments.switch == "on"), "device")


def _agree_to_be_cut_off() -> None:
    """Ask on a terminal; elsewhere only --yes agrees.

    Raises:
        ControlError: not agreed.
    """
    warning = "while VigilNet is off, lockdown cuts this SSH session off, and no other can begin"
    if sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"{warning[0].upper()}{warning[1:]}. Turn it on? Type yes: ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() == "yes":
            return
    raise ControlError(
        ErrorCode.REFUSED, "lockdown: not agreed, nothing was changed", warning, "vigilnet lockdown on --yes"
    )


def open_portal(arguments: argparse.Namespace) -> ExitCode:
    """Let the sign-in page be reached."""
    device = _ask(arguments, action="portal", url=arguments.url, seconds=arguments.seconds)
    if arguments.json:
        write_json(device)
    elif device.portal:
        write(f"sign in at {device.portal} within {arguments.seconds} s; nothing else is reached directly")
    else:
        write("this network wants no sign-in")
    return ExitCode.OK


def change_firewall(arguments: argparse.Namespace) -> ExitCode:
    """Show or change the user's own rules."""
    device, rule = _ask(arguments, action="status"), " ".join(arguments.rule)
    if arguments.verb != "list":
        rules = [known for known in device.firewall if known != rule]
        if arguments.verb == "remove" and len(rules) == len(device.firewall):
            raise EnvironmentRefusedError("firewall: no such rule; vigilnet firewall list shows them")
        rules += [rule] if arguments.verb == "add" else []
        device = _change(arguments, {"firewall": rules})
    if arguments.json:
        write_json(device)
    else:
        write("\n".join(device.firewall) or "no rules of your own")
    return ExitCode.OK


def set_split(arguments: argparse.Namespace) -> ExitCode:
    """Set the scope or one of the lists."""
    words = arguments.words
    if arguments.verb in ("add", "remove", "list"):
        return change_programs(arguments)
    if arguments.verb == "scope" and len(words) == 1:
        return _show(arguments, _change(arguments, {"scope": words[0]}), "device", "scope")
    name = _LISTS.get((words[0], words[1])) if len(words) >= 2 else None
    if arguments.verb != "set" or name is None:
        known = ", ".join(" ".join(pair) for pair in _LISTS)
        raise EnvironmentRefusedError(f"split: expected `scope all|included` or `set` and one of {known}")
    take = _user if words[1] == "user" else str
    values = [take(word) for word in words[2:]]
    return _show(arguments, _change(arguments, {name: values}))


def _user(word: str) -> int:
    """Return the number of a user of this system."""
    if word.isdecimal():
        return int(word)
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):
            return pwd.getpwnam(word).pw_uid
    raise EnvironmentRefusedError(f"split: {word}: no such user here")


def change_programs(arguments: argparse.Namespace) -> ExitCode:
    """Show or change which programs are remembered."""
    device = _ask(arguments, action="status")
    if arguments.verb != "list":
        if not arguments.app:
            raise EnvironmentRefusedError(f"split {arguments.verb}: no program named; --app /usr/bin/foo")
        path = shutil.which(arguments.app) or arguments.app
        path = str(Path(path).absolute())
        lists: dict[str, list[str]] = {"outside_programs": [], "inside_programs": [], "bound_programs": []}
        known = [_parted(text) for text in device.programs]
        if arguments.verb == "remove" and path not in [program for _, _, program in known]:
            raise EnvironmentRefusedError("split: no such program; vigilnet split list shows them")
        if arguments.verb == "add":
            if not Path(path).is_file():
                raise EnvironmentRefusedError(f"split: {path}: no such program")
            where = "bound_programs" if arguments.exit else "outside_programs"
            added = ("inside_programs" if arguments.inside else where, arguments.exit or "", path)
            known = [*(one for one in known if one[2] != path), added]
        for name, exit_, program in known:
            if arguments.verb != "remove" or program != path:
                lists[name].append(f"{exit_} {program}".strip())
        device = _change(arguments, dict(lists))
    if arguments.json:
        write_json(device)
    else:
        write("\n".join(device.programs) or "no programs are remembered")
        if device.programs and not device.can_split and device.has_helper:
            write("note: no cgroup v2 is mounted here, so programs cannot be told apart: up will refuse")
    return ExitCode.OK


def _parted(text: str) -> tuple[str, str, str]:
    """Return (list, exit, path) of a program as the device shows it."""
    where, _, path = text.partition(" ")
    if where != "exit":
        return f"{where}_programs", "", path
    exit_, _, path = path.partition(" ")
    return "bound_programs", exit_, path


def run_program(arguments: argparse.Namespace) -> ExitCode:
    """Become a program in a split-tunnel group."""
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not words:
        raise EnvironmentRefusedError("exec: no program named; vigilnet exec --outside -- CMD")
    group = arguments.group or f"exit {arguments.exit}"
    device = _ask(arguments, action="join", pid=os.getpid(), group=group)
    asks = "" if arguments.group else asks_instead(has_redirect=device.capture != "interface")
    if asks:
        exit_ = arguments.exit
        sys.stderr.write(f"vigilnet: names are asked by {asks}: resolved as everybody's, not at {exit_}\n")
    become(words)
