"""`vigilnet top`: the node live on a terminal: state, the last minute, paths, peers, log.

All that is drawn is a list of lines (`screen`), so that it can be tested without a terminal; curses only puts
it up, with changed cells alone, and gives the terminal back on any exit.
"""

import argparse
import base64
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
KEYS: Final = (
    "c connect  d disconnect  n new path  1-4 or Tab views  / filter  j k or arrows choose  Enter details  "
    "y copy id  ? keys  q quit"
)
SHORT_KEYS: Final = "c d n  1-4 Tab  / filter  Enter details  y copy id  ? keys  q quit"
_UP, _DOWN = 259, 258  # as curses has the arrows
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
    at: int = 0  # which of the tab's rows is chosen
    is_open: bool = False  # its details are shown instead
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


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a tab."""

    text: str
    id: str = ""  # of what can be chosen; empty: a line that belongs to the one before
    details: tuple[str, ...] = ()


def chosen(view: View) -> Row | None:
    """Return the row that is chosen, of those that the filter leaves."""
    rows = [row for row in _rows(view) if row.id]
    return rows[min(view.at, len(rows) - 1)] if rows else None


def _rows(view: View) -> list[Row]:
    return [row for row in _TAB_ROWS[view.tab](view) if view.wanted.lower() in row.text.lower()]


def _body(view: View, room: int) -> list[str]:
    """Return the lines of the tab that there is room for."""
    if not room:
        return []
    if view.tab == TABS.index("Log"):
        return [row.text for row in _rows(view)][-room:]
    picked = chosen(view)
    if view.is_open and picked is not None:
        return [picked.text, "", *(f"  {line}" for line in picked.details)][:room]
    rows = _rows(view)
    at = next((place for place, row in enumerate(rows) if row is picked or row == picked), 0)
    first = max(0, at - room + 1)
    return [f"{'>' if row == picked else ' '} {row.text}" for row in rows[first : first + room]]


def screen(view: View, width: int, height: int, *, fancy: bool) -> list[str]:
    """Return exactly `height` lines of at most `width` characters."""
    lines = [*_head(view, fancy=fancy), "", *_graph(view, width, fancy=fancy), "", _tabs(view)]
    lines += _body(view, max(0, height - len(lines) - 1))
    lines += [""] * (height - len(lines) - 1)
    foot = f"/{view.wanted}_" if view.typing else view.said or (KEYS if width > len(KEYS) else SHORT_KEYS)
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


def _apps(view: View) -> list[Row]:
    """One row for each path with its connections."""
    rows = []
    for path in view.paths:
        ours = [stream for stream in view.streams if stream.circuit == path.id]
        name = "(ready)" if path.is_ready else path.label or "(no login)"
        carried = octets(sum(stream.sent + stream.received for stream in ours))
        text = f"{name:<20} {path.streams:>4} connections  {carried:>10}  {path_text(path)[6:]}"
        targets = [f"  {stream.target:<40} {octets(stream.received):>10} in" for stream in ours]
        rows += [Row(text, str(path.id), (*targets, *_stations(path))), *map(Row, targets)]
    return rows or [Row("no app is online")]


def _peers(view: View) -> list[Row]:
    return [
        Row(
            f"{peer.name or short_peer_id(peer.peer_id):<10} {peer.country or '-':<3} {peer.link:<8} "
            f"{'-' if peer.ms is None else f'{peer.ms:.0f} ms':>8}  {peer.why}",
            peer.peer_id,
            (
                peer.peer_id,
                f"roles     {', '.join(peer.roles)}",
                f"found by  {', '.join(peer.found_by)}",
                *(f"address   {address}" for address in peer.addresses),
                f"carried   {octets(peer.in_octets)} in, {octets(peer.out_octets)} out",
            ),
        )
        for peer in view.peers
    ] or [Row("no relays known")]


def _stations(path: models.Path) -> tuple[str, ...]:
    return tuple(f"{hop.role:<7} {hop.name:<10} sees {hop.sees}; not {hop.sees_not}" for hop in path.hops)


def _paths(view: View) -> list[Row]:
    rows = []
    for path in view.paths:
        ms = "" if path.ms is None else f"{path.ms:.0f} ms, "
        ids = (f"path {path.id}", *(f"{hop.role:<7} {hop.peer_id}" for hop in path.hops), *path.why)
        stations = _stations(path)
        rows.append(Row(f"{path_text(path)}   {ms}{duration(path.age_s)}", str(path.id), (*stations, *ids)))
        rows += [Row(f"  {station}") for station in stations]
    return rows or [Row("no path is in use")]


def _log_lines(view: View) -> list[Row]:
    return [Row(f"{line.level:<7} {line.source.removeprefix('vigilnet.')}: {line.text}") for line in view.log]


_TAB_ROWS: Final = (_apps, _peers, _paths, _log_lines)


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
    window.keypad(True)
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
    elif name and name in "cdn":
        view.said = _act(name, view, arguments)
    elif name == "?":
        view.said = KEYS
    else:
        _look(view, key, name)
    return True


def _look(view: View, key: int, name: str) -> None:
    """Show something else."""
    if (name and name in "1234") or name == "\t":
        view.tab = int(name) - 1 if name != "\t" else (view.tab + 1) % len(TABS)
        view.at, view.is_open = 0, False
    elif name == "/":
        view.typing, view.wanted, view.at = True, "", 0
    elif name == "k" or key == _UP:
        view.at = max(0, view.at - 1)
    elif name == "j" or key == _DOWN:
        view.at = min(view.at + 1, max(0, sum(bool(row.id) for row in _rows(view)) - 1))
    elif name in ("\n", "\r", "\x1b"):
        view.is_open = not view.is_open and name != "\x1b"
    elif name == "y":
        view.said = _copy(view)


def _copy(view: View) -> str:
    """Have the terminal take the chosen id into its clipboard (OSC 52, which most of them know)."""
    picked = chosen(view)
    if picked is None:
        return "nothing to copy"
    if sys.stdout.isatty():
        sys.stdout.write(f"\033]52;c;{base64.b64encode(picked.id.encode()).decode()}\a")
        sys.stdout.flush()
    return f"copied, if the terminal allows: {picked.id}"


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
