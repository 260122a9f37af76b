"""Feeds every decoder random and mutated octets: `python -m tests.fuzz.run --iterations 1000000`.

Each tests/fuzz/fuzz_<room>.py has `TARGETS: dict[str, Callable[[bytes], None]]`, functions that take any
octets and let nothing out (they swallow RemoteProtocolError themselves), and may have
`SEEDS: dict[str, list[bytes]]`, well-formed inputs to start mutating from. A run is repeated exactly by its
seed and iteration count. An input that reached lines which no earlier one reached (looked at in a sample) is
kept for mutation, so that the search gets deeper than the first length check.
"""

import argparse
import importlib.util
import random  # seeded: a run can be repeated
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import TraceFunction

FOLDER = Path(__file__).parent
LONGEST = 20_000
CORPUS_LIMIT = 400
TRACE_EVERY = 8  # tracing costs 10-30x: look for new paths in one run of 8
INTERESTING = [
    b"\x00",
    b"\xff",
    b"\x7f\xff",
    b"\x80\x00",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x7f\xff\xff\xff",
]

Target = Callable[[bytes], None]


@dataclass
class Campaign:
    """One target and what was found out about it."""

    name: str
    target: Target
    corpus: list[bytes]
    iterations: int = 0
    seconds: float = 0.0
    failures: list[tuple[bytes, BaseException]] = field(default_factory=list)
    seen: set[tuple[CodeType, int]] = field(default_factory=set)


def load(path: Path) -> ModuleType:
    """Import a fuzz file by its path: the folder is no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def campaigns(only: str) -> Iterator[Campaign]:
    """All targets of all rooms, in a fixed order; `only` picks those whose name contains it."""
    for path in sorted(FOLDER.glob("fuzz_*.py")):
        module = load(path)
        seeds: dict[str, list[bytes]] = getattr(module, "SEEDS", {})
        for name, target in sorted(module.TARGETS.items()):
            full = f"{path.stem.removeprefix('fuzz_')}.{name}"
            if only in full:
                yield Campaign(full, target, [b"", *seeds.get(name, [])])


def mutate(rng: random.Random, corpus: list[bytes]) -> bytes:
    """One input: random octets, or a known one with a few things done to it."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.choice((1, 2, 7, 32, 64, 509, 2048, rng.randrange(LONGEST))))
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        _mutate_once(rng, data, corpus)
    return bytes(data[:LONGEST])


def _mutate_once(rng: random.Random, data: bytearray, corpus: list[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.randrange(256)
        case 2:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16, 64)))
        case 3:
            del data[at : at + rng.choice((1, 2, 4, 16, 64))]
        case 4:
            octets = rng.choice(INTERESTING)
            data[at : at + len(octets)] = octets
        case 5:
            other = rng.choice(corpus)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        case _:
            data[at:at] = data[at : at + rng.randrange(1, 65)]


def _lines_run(target: Target, data: bytes) -> set[tuple[CodeType, int]]:
    """Which lines of VigilNet one input reaches; errors go to the caller."""
    lines: set[tuple[CodeType, int]] = set()

    def local(frame: FrameType, event: str, _: object) -> "TraceFunction":
        if event == "line":
            lines.add((frame.f_code, frame.f_lineno))
        return local

    def on_call(frame: FrameType, _event: str, _argument: object) -> "TraceFunction | None":
        return local if "vigilnet" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        target(data)
    finally:
        sys.settrace(before)
    return lines


def run_one(campaign: Campaign, rng: random.Random, data: bytes) -> None:
    """Give the target one input, keep what is new, note what escapes."""
    campaign.iterations += 1
    try:
        if campaign.iterations % TRACE_EVERY == 1 or campaign.iterations < CORPUS_LIMIT:
            new = _lines_run(campaign.target, data) - campaign.seen
            campaign.seen |= new
            if new and len(campaign.corpus) < CORPUS_LIMIT:
                campaign.corpus.append(data)
        else:
            campaign.target(data)
    except Exception as error:  # noqa: BLE001  # whatever escapes a decoder is the finding
        campaign.failures.append((data, error))


def fuzz(campaign: Campaign, seed: int, iterations: int, seconds: float) -> None:
    """Run one campaign until its count, its time or ten failures."""
    rng = random.Random(f"{seed}/{campaign.name}")
    started = time.perf_counter()
    for data in list(campaign.corpus):
        run_one(campaign, rng, data)
    while campaign.iterations < iterations and len(campaign.failures) < 10:
        if campaign.iterations % 256 == 0 and time.perf_counter() - started > seconds:
            break
        run_one(campaign, rng, mutate(rng, campaign.corpus))
    campaign.seconds = time.perf_counter() - started


def main(arguments: list[str] | None = None) -> int:
    """Run all campaigns, print a table and each failure's input; 1 if anything escaped."""
    parser = argparse.ArgumentParser(description="fuzz every decoder")
    parser.add_argument(
        "--iterations", type=int, default=100_000, help="inputs in all, shared by the targets"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="time in all, shared by the targets"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    options = parser.parse_args(arguments)
    all_campaigns = list(campaigns(options.only))
    if not all_campaigns:
        print(f"fuzz: no target matches {options.only!r}", file=sys.stderr)
        return 2
    print(f"fuzz: {len(all_campaigns)} targets, seed {options.seed}", flush=True)
    for campaign in all_campaigns:
        fuzz(
            campaign,
            options.seed,
            max(1, options.iterations // len(all_campaigns)),
            options.seconds / len(all_campaigns),
        )
        rate = campaign.iterations / max(campaign.seconds, 1e-9)
        print(
            f"{'FAIL' if campaign.failures else 'ok  '} {campaign.name:40} {campaign.iterations:>9} inputs "
            f"{rate:>9.0f}/s {len(campaign.corpus):>4} kept {len(campaign.seen):>5} lines",
            flush=True,
        )
        for data, error in campaign.failures[:3]:
            print(f"     {type(error).__name__}: {error}; {len(data)} octets: {data[:200].hex()}")
    failed = sum(bool(campaign.failures) for campaign in all_campaigns)
    total = sum(campaign.iterations for campaign in all_campaigns)
    print(f"fuzz: {total} inputs, {failed} of {len(all_campaigns)} targets failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
