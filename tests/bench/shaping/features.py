"""What a classifier sees of a connection, from the first record behind the client's Finished."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.shaping.rule import Record, bursts

SIZES = 40  # records whose size and direction are features of their own
SEGMENTS = 20
APPLICATION = 23


@dataclass(frozen=True)
class Flow:
    """One connection, as it is judged."""

    site: int
    port: int
    client_port: int
    rtt: float
    finished_at: float
    records: list[Record]  # behind the handshake
    segments: list[Record]


def load(path: Path) -> Flow | None:
    """Read one; None if it is too short, or a resumed session without a certificate."""
    facts = json.loads(path.read_text())
    records = [(float(at), int(way), int(size), int(kind)) for at, way, size, kind in facts["records"]]
    start = next(
        (at + 1 for at, (_, way, _, kind) in enumerate(records) if way > 0 and kind == APPLICATION), 0
    )
    certificate = [size for _, way, size, kind in records[:start] if way < 0 and kind == APPLICATION]
    behind = [(at, way, size) for at, way, size, _ in records[start:]]
    if not start or len(behind) < 12 or max(certificate, default=0) < 300 or not facts["rtt"]:
        return None
    finished_at = records[start - 1][0]
    segments = [(float(at), int(way), int(size)) for at, way, size in facts["segments"] if at > finished_at]
    return Flow(
        facts["site"], facts["port"], facts["client_port"], facts["rtt"], finished_at, behind, segments
    )


def load_all(folder: Path) -> list[Flow]:
    """Read all connections in a folder."""
    found = [load(path) for path in sorted(folder.glob("*.json"))]
    return [flow for flow in found if flow is not None]


def _spread(values: list[float] | Any, count: int) -> list[float]:  # noqa: ANN401  # numpy's arrays
    if len(values) == 0:
        return [-1.0] * count
    return [float(value) for value in np.quantile(values, np.linspace(0, 1, count))]


def _logs(gaps: list[float]) -> list[float]:
    return [float(value) for value in np.log10(np.maximum(gaps, 1e-5))]


def features(flow: Flow, count: int = 40, *, has_times: bool = True) -> list[float]:
    """Return about 200 numbers of the first `count` records: sizes, directions, bursts, times, segments."""
    records = flow.records[:count]
    values: list[float] = [float(way * size) for _, way, size in records[:SIZES]]
    values += [0.0] * (SIZES - len(values))
    values += _shape(records)
    if has_times:
        values += _times(flow, records)
    end = records[-1][0] + 0.001
    segments = [(way, size) for at, way, size in flow.segments if at <= end][:60]
    first = [float(way * size) for way, size in segments[:SEGMENTS]]
    values += first + [0.0] * (SEGMENTS - len(first))
    for direction in (1, -1):
        values += _spread([size for way, size in segments if way == direction], 5)
    return values


def _shape(records: list[Record]) -> list[float]:
    up = [size for _, way, size in records if way > 0]
    down = [size for _, way, size in records if way < 0]
    found = bursts(records)
    values: list[float] = []
    for way, size, pieces in found[:12]:
        values += [float(way * size), float(pieces)]
    values += [0.0] * (24 - len(values))
    values += [len(found), len(found) / len(records), len(up), len(down), sum(up), sum(down)]
    values += [sum(up) / (sum(down) + 1), len(up) / len(records)]
    for sizes in (up, down):
        total = len(sizes) + 1
        values += [len(set(sizes)) / total, sum(size == 16_401 for size in sizes) / total]
        values += [sum(size < 60 for size in sizes) / total, sum(60 <= size < 200 for size in sizes) / total]
        values += [sum(500 < size < 16_401 for size in sizes) / total, *_spread(sizes, 7)]
    return values


def _times(flow: Flow, records: list[Record]) -> list[float]:
    gaps = [later[0] - earlier[0] for earlier, later in pairwise(records)]
    values = _logs(gaps[: SIZES - 1])
    values += [-9.0] * (SIZES - 1 - len(values))
    values += _logs([(records[0][0] - flow.finished_at) / flow.rtt])
    values += _spread(_logs(gaps), 9)
    for direction in (1, -1):
        own = [at for at, way, _ in records if way == direction]
        values += _spread(_logs([b - a for a, b in pairwise(own)]), 5)
    answers = []
    asked: float | None = None
    for at, way, _ in records:
        if way > 0:
            asked = at
        elif asked is not None:
            answers.append((at - asked) / flow.rtt)
            asked = None
    values += [*_spread(answers, 5), records[-1][0] - records[0][0]]
    for low, high in ((0, 0.5), (0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16)):
        within = [(way, size) for at, way, size in records if low <= at - flow.finished_at < high]
        values += [float(sum(size for way, size in within if way == side)) for side in (1, -1)]
    return values
