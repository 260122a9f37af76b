"""Frames against the bare AEAD call, and a link over TCP on loopback: `python -m tests.bench.bench_link`.

Prints one JSON object; with `--write` it writes docs/benchmarks/frames.md too. Ratios are taken within
one run, so that they mean something on a noisy machine: 1.0 is the AEAD call alone. Octets per second
are of cells, not of frames.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.links import TCP, FakeAddress, FakeLocal, FakeRecord, make_frame
from vigilnet.base.clock import SystemClock
from vigilnet.crypto.aead import Suite, new_aead
from vigilnet.traffic.cell import BULK_CELLS, CELL_SIZE, new_frame
from vigilnet.traffic.link.framing import FrameOpener, FrameSealer, KeyLimits
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import LinkPort
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.tcp_io import TcpTransport

FRAMES = 16  # in one batch: about 256 KiB of runs, as on a busy link
ROUNDS = 400
UNLIMITED = KeyLimits(1 << 62, 1 << 62, 1e12)
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "frames.md"
HEAD = """# Frames beside the bare AEAD call

    python -m tests.bench.bench_link --write         # writes this page; five seconds

Runs of cells sealed into frames of a link and opened again, 16 at a time, the quickest of 400 rounds on
one core. "Of the AEAD alone" compares with bare calls of `cryptography` on the same runs in the same
process: 1 means that framing costs nothing. Single cells go eight to a frame, which takes fewer calls;
hence more than 1. Asked for: 2.5 GB/s of frames made (1.2 in another place) and 2.3 read, as a ratio to
the AEAD.

| suite and cells a run | sealed, GB/s | of the AEAD alone | opened, GB/s | of the AEAD alone |
|---|---|---|---|---|
"""
LINKS = """
A link over TCP on loopback, both ends in one process, 300 MB; the best of three:

| loop and suite | MB/s | CPU-s/GB, both ends | dial to ready, ms |
|---|---|---|---|
"""


class Drain:
    """A RunReceiver that only counts."""

    octets = 0

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        self.octets += cells * CELL_SIZE

    def link_closed(self) -> None:
        pass


def best(work: Callable[[], object], prepare: Callable[[], None] = lambda: None) -> float:
    """The quickest of many rounds, seconds per frame."""
    least = 1e9
    for _ in range(ROUNDS):
        prepare()
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
    return least / FRAMES


def frames(suite: Suite, cells: int) -> dict[str, float]:
    """Seal and open batches of runs of `cells` cells."""
    key, octets = os.urandom(32), CELL_SIZE * cells
    sealer = FrameSealer(suite, key, has_tls_records=False, limits=UNLIMITED, now=0.0)
    opener = FrameOpener(suite, key, has_tls_records=False, limits=UNLIMITED)
    batch: list[memoryview] = []
    buffer = memoryview(bytearray(2 * FRAMES * (octets + 64)))
    filled = 0

    def make() -> None:
        batch[:] = [make_frame(cells=cells) for _ in range(FRAMES)]

    def make_sealed() -> None:
        nonlocal filled
        make()
        data = b"".join(sealer.seal_runs(batch, 0.0))
        buffer[: len(data)] = data
        filled = len(data)

    seal = best(lambda: sealer.seal_runs(batch, 0.0), make)
    opener = FrameOpener(suite, key, has_tls_records=False, limits=UNLIMITED)
    opener._counter = sealer._counter
    drain = Drain()
    opened = best(lambda: opener.open_frames(buffer, 0, filled, drain, lambda *_: None), make_sealed)
    encrypt, decrypt = new_aead(suite, key).encrypt_into, new_aead(suite, key).decrypt_into
    make()
    views = [(os.urandom(12), view[5:-16], view[3:5], view[5:]) for view in batch]
    raw_seal = best(lambda: [encrypt(nonce, text, head, out) for nonce, text, head, out in views])

    def encrypt_all() -> None:
        for nonce, text, head, out in views:
            encrypt(nonce, text, head, out)

    raw_open = best(lambda: [decrypt(n, out, head, text) for n, text, head, out in views], encrypt_all)
    return {
        "seal_gb_s": round(octets / seal / 1e9, 2),
        "seal_of_raw_aead": round(raw_seal / seal, 2),
        "open_gb_s": round(octets / opened / 1e9, 2),
        "open_of_raw_aead": round(raw_open / opened, 2),
    }


class Bulk:
    """A RunSource that always has another run."""

    def __init__(self, runs: int) -> None:
        self.left = runs

    def pull(self, now: float) -> memoryview | None:
        if not self.left:
            return None
        self.left -= 1
        frame = new_frame(BULK_CELLS)
        frame[10:12] = b"\x03\x07"
        return frame


async def over_tcp(octets: int, suite: Suite) -> dict[str, float]:
    """Send `octets` over one link; both ends are in this process, so CPU is that of both."""
    local = FakeLocal(b"r" * 32)
    records: dict[bytes, FakeRecord] = {}
    options = Options(allow_private_addresses=True)

    def service(local: FakeLocal | None) -> LinkService:
        transports = {TCP: TcpTransport()}
        return LinkService(
            options,
            SystemClock(),
            transports,
            records,
            local=local,
            admit=lambda encoded, host: FakeRecord.admit(encoded),
            network="",
            random_bytes=os.urandom,
        )

    relay, client = service(local), service(None)
    drain = Drain()

    def take(_: LinkPort) -> Drain:
        return drain

    relay.on_link = take
    listener = await relay.listen("127.0.0.1", 0)
    address = FakeAddress(TCP, "127.0.0.1", listener.port)
    records[local.identity] = replace(local.public, addresses=(address,), preferred_suite=suite)
    start = time.perf_counter()
    link = await client.connect(local.identity)
    dial_ms = (time.perf_counter() - start) * 1000
    start, cpu = time.perf_counter(), time.process_time()
    runs = octets // (BULK_CELLS * CELL_SIZE)
    link.activate(Bulk(runs))
    while drain.octets < runs * BULK_CELLS * CELL_SIZE:  # noqa: ASYNC110  # polling costs less than telling
        await asyncio.sleep(0.002)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    await client.close()
    await relay.close()
    return {
        "cpu_s_per_gb": round(cpu / drain.octets * 1e9, 3),
        "mb_s": round(drain.octets / took / 1e6, 1),
        "dial_ms": round(dial_ms, 2),
    }


def page(result: dict[str, dict[str, dict[str, float]]]) -> str:
    """The page of figures."""
    rows = [
        f"| {name} | {' | '.join(map(str, each.values()))} |\n" for name, each in result["frames"].items()
    ]
    links = [
        f"| {name} | {f['mb_s']} | {f['cpu_s_per_gb']} | {f['dial_ms']} |\n"
        for name, f in result["tcp"].items()
    ]
    return HEAD + "".join(rows) + LINKS + "".join(links)


def main(arguments: list[str]) -> int:
    """Run everything; takes about five seconds."""
    result: dict[str, Any] = {"frames": {}, "tcp": {}}
    for suite, cells in itertools.product(Suite, (1, BULK_CELLS)):
        result["frames"][f"{suite.name.lower()} x{cells}"] = frames(suite, cells)
    loops: dict[str, Callable[..., Any]] = {"asyncio": asyncio.run}
    if sys.platform != "win32":
        import uvloop  # not everywhere

        loops["uvloop"] = uvloop.run
    for (name, runner), suite in itertools.product(loops.items(), Suite):
        rounds = [runner(over_tcp(300_000_000, suite)) for _ in range(3)]
        result["tcp"][f"{name} {suite.name.lower()}"] = min(rounds, key=lambda r: r["cpu_s_per_gb"])
    print(json.dumps(result, indent=1))
    if "--write" in arguments:
        PAGE.write_text(page(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
