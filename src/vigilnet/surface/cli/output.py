"""What commands print: lines and tables for people, JSON for programs.

Results go to standard output, everything else to standard error. Colour only on a terminal, and never
with NO_COLOR set.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, TextIO

from vigilnet.surface.control.schema import plain

_COLOURS: Final = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}
_STATES: Final = {
    "connected": "green", "serving": "green", "open": "green",
    "starting": "yellow", "connecting": "yellow", "building": "yellow", "stopping": "yellow",
}  # fmt: skip


def write(*lines: str, stream: TextIO | None = None) -> None:
    """Write whole lines at once."""
    out = stream or sys.stdout
    out.write("".join(f"{line}\n" for line in lines))
    out.flush()


def write_json(value: object) -> None:
    """Write one JSON object or list, for programs: one line."""
    write(json.dumps(plain(value), separators=(",", ":")))


def is_coloured(stream: TextIO | None = None) -> bool:
    """Whether colour may be used."""
    out = stream or sys.stdout
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Return `text` in a colour if there may be any."""
    return f"\033[{_COLOURS[colour]}m{text}\033[0m" if colour and is_coloured(stream) else text


def paint_state(state: str) -> str:
    """Return the word of a state in its colour."""
    return paint(state, _STATES.get(state, ""))


def write_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Write `name  value` lines, without those that have nothing to say."""
    shown = [(name, str(value)) for name, value in fields if value not in ("", None)]
    width = max((len(name) for name, _ in shown), default=0)
    write(*(f"{paint(name.ljust(width), 'dim')}  {value}" for name, value in shown))


def write_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table with aligned columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [list(head), *cells]) for at in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    title = "  ".join(name.ljust(width) for name, width in zip(head, widths, strict=True))
    write(paint(title.rstrip(), "bold"), *(line.rstrip() for line in lines))


def duration(seconds: float) -> str:
    """Return a time span for people.

    >>> duration(5.25), duration(75), duration(7322), duration(200_000)
    ('5s', '1m15s', '2h02m', '2d07h')
    """
    whole = int(seconds)
    for size, name, below, unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{name}{whole % size // below:02}{unit}"
    return f"{whole}s"


def octets(count: int) -> str:
    """Return a number of octets for people.

    >>> octets(999), octets(20_000), octets(3_400_000_000)
    ('999 B', '20.0 kB', '3.4 GB')
    """
    if count < 1000:
        return f"{count} B"
    value, units = float(count), iter(("kB", "MB", "GB", "TB"))
    unit = ""
    while value >= 1000 and (following := next(units, "")):
        value, unit = value / 1000, following
    return f"{value:.1f} {unit}"


def when(seconds: float) -> str:
    """Return a time for people.

    >>> when(1_790_000_000)
    '2026-09-21 14:13 UTC'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
