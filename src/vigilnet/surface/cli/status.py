"""`vigilnet status`: am I protected, in one screen; its exit code says the same to programs."""

import argparse
import sys

from vigilnet.surface.cli.background import wait_connected
from vigilnet.surface.cli.node import Commands, add_command, client_of, short_peer_id
from vigilnet.surface.cli.output import (
    duration,
    is_fancy,
    octets,
    paint,
    rate,
    write,
    write_fields,
    write_json,
)
from vigilnet.surface.control.models import Path, Peer, Protection, Status
from vigilnet.surface.exits import ExitCode

_TONES = {"ok": "green", "warn": "yellow", "busy": "orange", "hold": "slate", "bad": "red"}
_STATE_WIDTH = 62
_NEXT = {
    "names-at-exit": "vigilnet dns overlay",
    "three-hops": "vigilnet hops 3",
    "whole-device": "vigilnet up" if sys.platform == "win32" else "sudo vigilnet up",
    "connect": "vigilnet connect",
    "open-portal": "vigilnet portal",
    "lockdown-off": "vigilnet lockdown off",
}
"""The commands of a state's buttons; those that only undo or look again are not offered."""
_SLOW_S = 10.0


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    command = add_command(commands, "status", "am I protected, and how", show_status)
    command.add_argument("--wait", nargs="?", type=float, const=60.0, metavar="SECONDS",
                         help="until there is a node and a path (60 s at most)")  # fmt: skip
    command.epilog = (
        "Exit codes: 0 protected or serving, 3 off, 4 connecting, 5 connected with a reservation, "
        "6 blocked by lockdown, 7 no node is running."
    )


def show_status(arguments: argparse.Namespace) -> ExitCode:
    """Print how the node is."""
    if arguments.wait is not None:
        wait_connected(arguments, arguments.wait)
    with client_of(arguments) as control:
        status = control.status()
        if arguments.json:
            write_json(status)
            return code_of(status)
        paths: tuple[Path, ...] = control.ask("paths")
        peers = control.peers()
    write(*headline(status))
    write_fields(("  " + name, text) for name, text in _fields(status, paths, peers))
    return code_of(status)


def code_of(status: Status) -> ExitCode:
    """Return what a status is to programs."""
    shown = status.protection
    if shown is None:
        return ExitCode.OK
    if shown.api == "connected":
        return ExitCode.RESERVATION if shown.id != "connected" else ExitCode.OK
    if shown.api == "offline":
        return ExitCode.BLOCKED if shown.id == "blocked" else ExitCode.OFF
    return ExitCode.CONNECTING


def headline(status: Status) -> list[str]:
    """Return the state and its sentence."""
    shown = status.protection
    sign = "●" if is_fancy(sys.stdout) else "*"
    if shown is None:
        return [
            paint(f"{sign} Serving others", "green"),
            "  This node forwards for others; no app of this device uses it.",
        ]
    title = f"{sign} {shown.title}".ljust(_STATE_WIDTH)
    return [f"{paint(title, _TONES.get(shown.tone, ''))}  {duration(shown.since_s)}", f"  {shown.sentence}"]


def _fields(status: Status, paths: tuple[Path, ...], peers: tuple[Peer, ...]) -> list[tuple[str, object]]:
    traffic = status.traffic
    carried = octets(traffic.in_octets + traffic.out_octets)
    direct = sum(peer.link == "direct" for peer in peers)
    relayed = sum(peer.link == "relayed" for peer in peers)
    return [
        ("Path", next((path_text(path) for path in paths if not path.is_retired), "")),
        *_steps(status.protection),
        ("Next", _next(status.protection)),
        ("Covered", _covered(status)),
        ("Proxies", ", ".join(text for text in (status.socks, status.http_proxy) if text)),
        ("Mode", "" if status.mode == "client" else status.mode),
        ("Listening", ", ".join(status.listen)),
        ("Traffic", f"{rate(traffic.in_bps)} in, {rate(traffic.out_bps)} out; {carried} since start"),
        ("Peers", f"{status.peers} known: {direct} direct, {relayed} relayed"),
        ("Shaping", _shaping(peers)),
        ("Web server", status.origin),
        (
            "Left alone",
            f"{status.intercepted} relays: somebody stands before them" if status.intercepted else "",
        ),
        ("Serving", f"{status.relayed_circuits} circuits of others" if status.relayed_circuits else ""),
        ("Checks", f"{_problems(status.problems)}        vigilnet doctor" if status.problems else ""),
        ("Restart", f"wanted by {', '.join(status.restart_needed)}" if status.restart_needed else ""),
        ("Running", f"{duration(status.uptime_s)}, process {status.pid}, version {status.version}"),
    ]


def _problems(count: int) -> str:
    return f"{count} problem{'' if count == 1 else 's'}"


def _shaping(peers: tuple[Peer, ...]) -> str:
    """Say what the shape of our links costs, as far as it costs anything."""
    shaped = [peer for peer in peers if peer.padding_octets or peer.held_ms]
    texts = []
    for shape in sorted({peer.shape for peer in shaped}):
        own = [peer for peer in shaped if peer.shape == shape]
        padding, out = sum(peer.padding_octets for peer in own), sum(peer.out_octets for peer in own)
        held = max(peer.held_ms for peer in own)
        texts.append(
            f"{shape} {octets(padding)} of {octets(out)} sent; "
            f"{held:.0f} ms is the longest that something waited"
        )
    return ", ".join(texts)


def _next(shown: Protection | None) -> str:
    """Return the commands that lead out of a state, as the dashboard has buttons."""
    if shown is None:
        return ""
    if shown.api in ("calibrating", "connecting") and shown.since_s > _SLOW_S and shown.id != "portal":
        return "vigilnet doctor"
    return ", or: ".join(_NEXT[button.action] for button in shown.buttons if button.action in _NEXT)


def _steps(shown: Protection | None) -> list[tuple[str, object]]:
    if shown is None or not shown.steps:
        return []
    texts = [
        f"{step.text}{f' ({step.after_ms:.0f} ms)' if step.is_done and step.after_ms is not None else ''}"
        for step in shown.steps
    ]
    return [("Steps", "; ".join(texts))]


def _covered(status: Status) -> str:
    by_name = {cover.what: cover for cover in status.coverage}
    if not by_name:
        return ""
    if by_name["device"].how != "all":
        return by_name["device"].text
    gaps = [cover.text for cover in status.coverage if cover.how == "list"]
    names = by_name["names"].text.lower()
    return f"all apps, names {names}, IPv6" + (f"; not: {', '.join(gaps)}" if gaps else "")


def path_text(path: Path) -> str:
    """Return a path as one line: you, then each hop with country and, where measured, its round trip."""
    hops = [
        " ".join(
            part
            for part in (
                hop.country,
                hop.name or short_peer_id(hop.peer_id),
                f"{hop.ms:.0f} ms" if hop.ms is not None else "",
            )
            if part
        )
        for hop in path.hops
    ]
    return " > ".join(["you", *hops])
