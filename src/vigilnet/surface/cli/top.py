"""`vigilnet top`: the node live on a terminal: state, the last minute, paths, peers, log.

All that is drawn is a list of lines (`screen`), so that it can be tested without a terminal; curses only puts
it up, with changed cells alone, and gives the terminal back on any exit.
"""

import argparse
import contextlib
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from vigilnet.base.errors import EnvironmentRefusedError, VigilnetError
from vigilnet.surface.cli.node import SLOW_S, Commands, add_command, client_of, short_peer_id
from vigilnet.surface.cli.output import duration, is_fancy, octets, rate
from vigilnet.surface.cli.status import path_text
from vigilnet.surface.control import models
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.operations import TOPICS
from vigilnet.surface.control.schema import read
from vigilnet.surface.exits import ExitCode

TABS: Final = ("Apps", "Peers", "Paths", "Log")
HISTORY: Final = 60
MAX_LINES: Final = 500
KEYS: Final = "c connect  d disconnect  n new path  1-4 or Tab views  / filter  ? keys  q quit"
_GRAPH_ROWS: Final = 4
_BRAILLE: Final = 0x2800
_LEFT: Final = (0x40, 0x04, 0x02, 0x01)  # dots of the left column of a Braille cell, from below
_RIGHT: Final = (0x80, 0x20, 0x10, 0x08)


@dataclass
class View:
    """What is known and what is shown."""

    status: models.Status | None = None
    samples: list[models.TrafficSample] = field(default_factory=list)
    paths: tuple[models.Path, ...] = ()
    peers: tuple[models.Peer, ...] = ()
    streams: tuple[models.Stream, ...] = ()
    log: list[models.LogLine] = field(default_factory=list)
    tab: int = 0
    wanted: str = ""  # filter
    typing: bool = False
    said: str = ""  # answer to the last key
    is_lost: bool = False

    def take(self, topic: str, data: Any) -> None:  # noqa: ANN401 JSON
        """Take an event in."""
        if topic not in TOPICS:
            return
        value: Any = read(TOPICS[topic], data, topic)  # type: ignore[arg-type]  # a model, or a tuple of it
        if topic == "traffic":
            self.samples = [*self.samples, value][-HISTORY:]
        elif topic == "log":
            self.log = [*self.log, value][-MAX_LINES:]
        else:
            setattr(self, topic, value)


def screen(view: View, width: int, height: int, *, fancy: bool) -> list[str]:
    """Return exactly `height` lines of at most `width` characters."""
    lines = [*_head(view, fancy=fancy), "", *_graph(view, width, fancy=fancy), "", _tabs(view)]
    body = [line for line in _TAB_LINES[view.tab](view) if view.wanted.lower() in line.lower()]
    room = max(0, height - len(lines) - 1)
    if view.tab == TABS.index("Log"):
        body = body[-room:] if room else []
    lines += body[:room]
    lines += [""] * (height - len(lines) - 1)
    foot = f"/{view.wanted}_" if view.typing else view.said or KEYS
    return [line[:width] for line in [*lines[: height - 1], foot]]


def _head(view: View, *, fancy: bool) -> list[str]:
    sign = "●" if fancy else "*"
    if view.is_lost:
        return [f"{sign} VigilNet does not answer", "  What you see may be old. To start it: vigilnet up"]
    if view.status is None:
        return [f"{sign} ...", ""]
    shown = view.status.protection
    if shown is None:
        return [f"{sign} Serving others", f"  {view.status.relayed_circuits} circuits of others"]
    return [f"{sign} {shown.title}   {duration(shown.since_s)}", f"  {shown.sentence}"]


def _graph(view: View, width: int, *, fancy: bool) -> list[str]:
    """Draw the last minute at the left, the path in use at the right."""
    last = view.samples[-1] if view.samples else models.TrafficSample(0.0)
    peak = max([1e6, *(sample.in_bps for sample in view.samples)])
    values = [sample.in_bps / peak for sample in view.samples]
    values = [0.0] * (HISTORY - len(values)) + values
    drawn = braille(values, _GRAPH_ROWS) if fancy else bars(values[::2], _GRAPH_ROWS)
    used = next((path for path in view.paths if not path.is_ready and not path.is_retired), None)
    used = used or next(iter(view.paths), None)
    right = ["Path", *(path_text(used).split(" > ") if used is not None else ["no path is in use"])]
    head = f"{rate(last.in_bps)} in, {rate(last.out_bps)} out; up to {rate(peak)}"
    left = [head, *drawn]
    rows = max(len(left), min(len(right), 6))
    return [
        f"{left[row] if row < len(left) else '':<50}{right[row] if row < len(right) else ''}"[:width]
        for row in range(rows)
    ]


def braille(values: list[float], rows: int) -> list[str]:
    """Draw an area of values 0 to 1, two to a character, four steps to a row.

    >>> braille([0, 1, 0.5, 0.5], 1)
    ['⢸⣤']
    """
    heights = [round(max(0.0, min(1.0, value)) * rows * 4) for value in values]
    lines = []
    for row in range(rows - 1, -1, -1):
        cells = []
        for at in range(0, len(heights), 2):
            pair = heights[at : at + 2]
            bits = sum(bit for step, bit in enumerate(_LEFT) if pair[0] > row * 4 + step)
            if len(pair) > 1:
                bits |= sum(bit for step, bit in enumerate(_RIGHT) if pair[1] > row * 4 + step)
            cells.append(chr(_BRAILLE + bits))
        lines.append("".join(cells))
    return lines


def bars(values: list[float], rows: int) -> list[str]:
    """Draw the same in ASCII, one character a value.

    >>> bars([0, 1, 0.5], 2)
    [' # ', ' ##']
    """
    heights = [round(max(0.0, min(1.0, value)) * rows) for value in values]
    return ["".join("#" if height > row else " " for height in heights) for row in range(rows - 1, -1, -1)]


def _tabs(view: View) -> str:
    return "  ".join(
        f"[{number} {name}]" if number - 1 == view.tab else f" {number} {name} "
        for number, name in enumerate(TABS, 1)
    )


def _apps(view: View) -> list[str]:
    """One line for each path with its connections."""
    lines = []
    for path in view.paths:
        ours = [stream for stream in view.streams if stream.circuit == path.id]
        name = "(ready)" if path.is_ready else path.label or "(no login)"
        carried = octets(sum(stream.sent + stream.received for stream in ours))
        lines.append(f"{name:<20} {path.streams:>4} connections  {carried:>10}  {path_text(path)[6:]}")
        lines += [f"    {stream.target:<40} {octets(stream.received):>10} in" for stream in ours]
    return lines or ["no app is online"]


def _peers(view: View) -> list[str]:
    return [
        f"{peer.name or short_peer_id(peer.peer_id):<10} {peer.country or '-':<3} {peer.link:<8} "
        f"{'-' if peer.ms is None else f'{peer.ms:.0f} ms':>8}  {peer.why}"
        for peer in view.peers
    ] or ["no relays known"]


def _paths(view: View) -> list[str]:
    lines: list[str] = []
    for path in view.paths:
        ms = "" if path.ms is None else f"{path.ms:.0f} ms, "
        lines.append(f"{path_text(path)}   {ms}{duration(path.age_s)}")
        lines += [
            f"    {hop.role:<7} {hop.name:<10} sees {hop.sees}; not {hop.sees_not}" for hop in path.hops
        ]
    return lines or ["no path is in use"]


def _log_lines(view: View) -> list[str]:
    return [f"{line.level:<7} {line.source.removeprefix('vigilnet.')}: {line.text}" for line in view.log]


_TAB_LINES: Final = (_apps, _peers, _paths, _log_lines)


# --- the terminal ------------------------------------------------------------------------------------


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare this group's commands."""
    top = add_command(commands, "top", "a live view on the terminal: paths, peers, throughput, log", show_top)
    top.add_argument("--once", action="store_true", help="print one screen and end; needs no terminal")


def show_top(arguments: argparse.Namespace) -> ExitCode:
    """Show the node live until q."""
    with client_of(arguments) as control:
        view = _first_look(control)
    if arguments.json:
        raise EnvironmentRefusedError("top: draws a screen; for programs: vigilnet status --json")
    if arguments.once:
        sys.stdout.write("\n".join(screen(view, 100, 30, fancy=is_fancy())).rstrip() + "\n")
        return ExitCode.OK
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise EnvironmentRefusedError("top: needs a terminal; without one: vigilnet top --once")
    try:
        import curses
    except ImportError as error:  # Windows
        raise EnvironmentRefusedError("top: this Python has no curses; use vigilnet gui") from error
    with contextlib.suppress(KeyboardInterrupt):
        curses.wrapper(_run, arguments, view)
    return ExitCode.OK


def _first_look(control: ControlClient) -> View:
    history: models.TrafficHistory = control.ask("traffic")
    log: models.Log = control.ask("logs", limit=100)
    return View(
        control.status(), list(history.samples), control.ask("paths"), control.peers(), control.streams(),
        list(log.lines),
    )  # fmt: skip


def _watch(arguments: argparse.Namespace, view: View, ending: threading.Event) -> None:
    """Take events in until the end; come back when the node does."""
    while not ending.is_set():
        with contextlib.suppress(VigilnetError), client_of(arguments) as control:
            view.is_lost = False
            for topic, data in control.watch():
                view.take(topic, data)
                if ending.is_set():
                    return
        view.is_lost = True
        ending.wait(2.0)


def _run(window: Any, arguments: argparse.Namespace, view: View) -> None:  # noqa: ANN401 curses has no types
    import curses

    curses.curs_set(0)
    window.timeout(250)
    ending = threading.Event()
    threading.Thread(target=_watch, args=(arguments, view, ending), daemon=True).start()
    fancy = is_fancy()
    try:
        while True:
            height, width = window.getmaxyx()
            for row, line in enumerate(screen(view, width - 1, height, fancy=fancy)):
                with contextlib.suppress(curses.error):  # the last cell of the window
                    window.addstr(row, 0, line)
                    window.clrtoeol()
            window.refresh()
            try:
                key = window.getch()
            except KeyboardInterrupt:
                return
            if key != -1 and not press(view, key, arguments):
                return
    finally:
        ending.set()


def press(view: View, key: int, arguments: argparse.Namespace) -> bool:
    """Do what a key says; False ends."""
    name = chr(key) if 0 <= key < 256 else ""
    view.said = ""
    if view.typing:
        _type(view, key, name)
    elif name == "q":
        return False
    elif name and name in "1234":
        view.tab = int(name) - 1
    elif name == "\t":
        view.tab = (view.tab + 1) % len(TABS)
    elif name == "/":
        view.typing, view.wanted = True, ""
    elif name and name in "cdn":
        view.said = _act(name, view, arguments)
    elif name == "?":
        view.said = KEYS
    return True


def _type(view: View, key: int, name: str) -> None:
    if name in ("\n", "\r", "\x1b"):
        view.typing = False
    elif key in (8, 127, 263):
        view.wanted = view.wanted[:-1]
    elif name.isprintable():
        view.wanted += name


def _act(name: str, view: View, arguments: argparse.Namespace) -> str:
    used = next((path.id for path in view.paths if not path.is_ready and not path.is_retired), 0)
    asked: dict[str, tuple[str, dict[str, object]]] = {
        "c": ("connect", {}), "d": ("disconnect", {}), "n": ("new-path", {"circuit": used}),
    }  # fmt: skip
    operation, params = asked[name]
    try:
        with client_of(arguments, SLOW_S) as control:
            changed: models.Changed = control.ask(operation, **params)
            return changed.message
    except VigilnetError as error:
        return str(error)
