"""The pictures of the tray item, drawn here: no image library, no icon theme (sans-IO).

The shape says the state as well as the colour does: a check, an exclamation mark, an open ring, two bars, or
an empty shield that is struck through.
"""

import math
from functools import lru_cache
from typing import Final

SIZES: Final = (22, 32, 48)
_COLOURS: Final = {
    "ok": (0x16, 0x81, 0x4F),
    "warn": (0xB8, 0x59, 0x0A),
    "busy": (0xB8, 0x59, 0x0A),
    "hold": (0x53, 0x62, 0x7A),
    "bad": (0xC6, 0x2F, 0x2F),
}  # the dashboard's light tokens: at least 3:1 on light and on dark panels
_WHITE: Final = (0xFF, 0xFF, 0xFF)
_FINE: Final = 4  # points a pixel each way
Point = tuple[float, float]
_CHECK: Final[tuple[tuple[Point, Point], ...]] = (((0.32, 0.48), (0.45, 0.62)), ((0.45, 0.62), (0.69, 0.34)))
_MARK: Final[tuple[tuple[Point, Point], ...]] = (((0.5, 0.27), (0.5, 0.54)), ((0.5, 0.71), (0.5, 0.72)))
_BARS: Final[tuple[tuple[Point, Point], ...]] = (((0.40, 0.32), (0.40, 0.64)), ((0.60, 0.32), (0.60, 0.64)))
_STRIKE: Final[tuple[tuple[Point, Point], ...]] = (((0.14, 0.12), (0.86, 0.88)),)


@lru_cache(maxsize=32)
def pixmap(tone: str, size: int) -> bytes:
    """Return a square picture, four octets a pixel: alpha, red, green, blue.

    >>> len(pixmap("ok", 22)) == 22 * 22 * 4
    True
    """
    colour = _COLOURS.get(tone, _COLOURS["warn"])
    pixels = bytearray()
    for row in range(size):
        for column in range(size):
            inks = [_ink(tone, *point) for point in _points(row, column, size)]
            seen = [ink for ink in inks if ink]
            whites = sum(ink == 2 for ink in seen)
            mix = whites / len(seen) if seen else 0.0
            pixels.append(round(255 * len(seen) / len(inks)))
            pixels.extend(
                round(part + (white - part) * mix) for part, white in zip(colour, _WHITE, strict=True)
            )
    return bytes(pixels)


def _points(row: int, column: int, size: int) -> list[Point]:
    steps = [(at + 0.5) / _FINE for at in range(_FINE)]
    return [((column + x) / size, (row + y) / size) for y in steps for x in steps]


def _ink(tone: str, x: float, y: float) -> int:
    """Return what is at a point of the unit square: 0 nothing, 1 the colour, 2 white."""
    if tone == "busy":
        return int(0.30 <= math.hypot(x - 0.5, y - 0.5) <= 0.45 and not (x > 0.5 and y < 0.5))
    if tone == "bad":
        return int(_near(_STRIKE, x, y, 0.06) or (_in_shield(x, y, 0.0) and not _in_shield(x, y, 0.09)))
    if not _in_shield(x, y, 0.0):
        return 0
    glyph = {"ok": _CHECK, "hold": _BARS}.get(tone, _MARK)
    return 2 if _near(glyph, x, y, 0.055) else 1


def _in_shield(x: float, y: float, inset: float) -> bool:
    top, middle, bottom = 0.05 + inset, 0.45, 0.97 - inset * 1.2
    if not top <= y <= bottom:
        return False
    half = 0.40 - inset
    if y > middle:
        half *= math.sqrt(max(0.0, 1 - ((y - middle) / (bottom - middle)) ** 2))
    return abs(x - 0.5) <= half


def _near(lines: tuple[tuple[Point, Point], ...], x: float, y: float, within: float) -> bool:
    return any(_distance(line, x, y) <= within for line in lines)


def _distance(line: tuple[Point, Point], x: float, y: float) -> float:
    (ax, ay), (bx, by) = line
    dx, dy = bx - ax, by - ay
    along = max(0.0, min(1.0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)))
    return math.hypot(x - ax - along * dx, y - ay - along * dy)
