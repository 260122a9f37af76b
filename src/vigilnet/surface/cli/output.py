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

SCHEMA: Final = 1
"""Of all that --json prints; fields are added, never renamed or dropped."""
_COLOURS: Final = {
    "green": "32",
    "yellow": "33",
    "red": "31",
    "dim": "2",
    "bold": "1",
    "orange": "33",
    "slate": "34",
}
_STATES: Final = {
    "connected": "green", "serving": "green", "open": "green",
    "starting": "yellow", "connecting": "yellow", "building": "yellow", "stopping": "yellow",
}  # fmt: skip


def write(*lines: str, stream: TextIO | None = None) -> None:
    """Write whole lines at once."""
    out = stream or sys.stdout
    out.write("".join(f"{line}\n" for line in lines))
    out.flush()


def write_json(value: object, name: str = "items") -> None:
    """Write one JSON object, for programs: one line that begins with the schema's number.

    Args:
        value: a dataclass or a mapping; a list becomes a field.
        name: of that field.
    """
    said = plain(value)
    fields = said if isinstance(said, dict) else {name: said}
    write(json.dumps({"schema": SCHEMA, **fields}, separators=(",", ":")))


def is_fancy(stream: TextIO | None = None) -> bool:
    """Whether signs beyond ASCII may be used."""
    return ((stream or sys.stdout).encoding or "").lower().replace("-", "") == "utf8"


def is_coloured(stream: TextIO | None = None) -> bool:
    """Whether colour may be used."""
    out = stream or sys.stdout
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def progress(text: str) -> None:
    """Rewrite the one line of progress; only where there may be colour, too."""
    if is_coloured(sys.stderr):
        sys.stderr.write(f"\r\033[K{text[:79]}")
        sys.stderr.flush()


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
    """Write a table with aligned columns, those of numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    columns = []
    for name, *column in zip(head, *cells, strict=True):
        width = max(map(len, (name, *column)))
        is_number = any(map(str.isdecimal, column)) and all(c == "-" or c.isdecimal() for c in column)
        columns.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in (name, *column)])
    title, *lines = ("  ".join(line).rstrip() for line in zip(*columns, strict=True))
    write(paint(title, "bold"), *lines)


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


def rate(bits_per_second: float) -> str:
    """Return a rate in the unit that providers use.

    >>> rate(0), rate(9_130_000), rate(240_000_000)
    ('0.0 Mbit/s', '9.1 Mbit/s', '240 Mbit/s')
    """
    value = bits_per_second / 1e6
    return f"{value:.0f} Mbit/s" if value >= 100 else f"{value:.1f} Mbit/s"


def when(seconds: float) -> str:
    """Return a time for people.

    >>> when(1_790_000_000)
    '2026-09-21 14:13 UTC'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
