"""Where the time of a stream open goes, after a pause and back to back; writes docs/benchmarks/opens.md.

    python -m tests.bench.bench_opens [--rounds N] [--trace]

The same client opens streams, in rounds: straight to the target, by one bare SOCKS server, by a bare chain
as long as VigilNet's (processes that only receive and send records of a cell's size), and by VigilNet over
1 and 3 hops. With --trace (root, perf) the kernel's own record of system calls tells how long each step of
an open over 3 hops took; it costs some tenths of a millisecond an open.
"""

import argparse
import itertools
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import suite

peerlib = suite.peerlib
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "opens.md"
PAUSE_S = 0.03
OPENS = 25  # of one kind before the next has its turn
RECORD = 2067  # octets of one cell on a link
DIRECT, BARE_SOCKS = "the target itself, no proxy", "one bare SOCKS server"
WAYS = (DIRECT, BARE_SOCKS, "bare chain of four processes", "VigilNet, 1 hop", "VigilNet, 3 hops")

# One bare process: `socks` serves applications, `pass` hands records on, `dial` connects; blocking sockets.
BARE = r"""
import socket, sys
role, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def listening():
    s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(64); print(s.getsockname()[1], flush=True)
    return s
def onwards():
    s = socket.create_connection(("127.0.0.1", port)); s.setsockopt(6, 1, 1)
    return s
def take(s):
    got = s.recv(size)
    while got and len(got) < size: got += s.recv(size - len(got))
    if not got: sys.exit()
    return got
def dial(record):
    return socket.create_connection((socket.inet_ntoa(record[:4]), int.from_bytes(record[4:6], "big")))
if role == "socks":
    following = onwards() if port else None
    listener = listening()
    while True:
        app = listener.accept()[0]
        app.setsockopt(6, 1, 1)
        if not app.recv(16): continue
        app.send(b"\5\0")
        record = app.recv(16)[4:10].ljust(size, b"\0")
        if following: following.send(record); take(following); far = None
        else: far = dial(record)
        app.send(b"\5\0\0\1" + bytes(6))
        app.recv(16)
        app.close()
        if far: far.close()
else:
    following = onwards() if role == "pass" else None
    before = listening().accept()[0]
    before.setsockopt(6, 1, 1)
    while True:
        record = take(before)
        if following: following.send(record); record = take(following)
        else: far = dial(record)
        before.send(record)
        if not following: far.close()
"""


def bare(processes: ExitStack, role: str, port: int) -> int:
    """Start one bare process that goes on to `port` (0: it dials); return its own port."""
    process = peerlib.spawn(
        [sys.executable, "-c", BARE, role, port, RECORD], name=f"bare {role}", stdout=subprocess.PIPE
    )
    processes.callback(peerlib.kill, process)
    return int(process.stdout.readline())


def bare_chain(processes: ExitStack, passing: int) -> int:
    """A SOCKS server, so many processes that pass records on, and one that dials."""
    port = bare(processes, "dial", 0)
    for _ in range(passing):
        port = bare(processes, "pass", port)
    return bare(processes, "socks", port)


def opens(socks: tuple[str, int] | None, target: tuple[str, int], pause_s: float) -> Iterator[float]:
    """Milliseconds of each open."""
    for _ in range(OPENS):
        time.sleep(pause_s)
        began = time.perf_counter()
        peerlib.dial(socks, target).close()
        yield (time.perf_counter() - began) * 1000


@contextmanager
def way(name: str, folder: Path) -> Iterator[tuple[str, int] | None]:
    """The SOCKS port of one kind, up alone; None: none is asked."""
    if name.startswith("VigilNet"):
        with suite.Testnet(int(name.split()[1]), 3, folder) as net:
            yield net.socks
    elif name == DIRECT:
        yield None
    else:
        with ExitStack() as processes:
            yield "127.0.0.1", bare(processes, "socks", 0) if name == BARE_SOCKS else bare_chain(processes, 2)


def compare(rounds: int, folder: Path) -> dict[str, tuple[float, float]]:
    """The median of each kind, after a pause and back to back; each is up alone, and all in every round."""
    taken: dict[tuple[str, float], list[float]] = {}
    sink = peerlib.sink()
    target = ("127.0.0.1", sink.port)
    for _ in range(rounds):
        for name in WAYS:
            with way(name, folder) as socks, peerlib.lock():
                peerlib.dial(socks, target).close()
                time.sleep(1)
                for pause_s in (PAUSE_S, 0.0) * 2:
                    taken.setdefault((name, pause_s), []).extend(opens(socks, target, pause_s))
    peerlib.kill(sink)
    return {
        name: (statistics.median(taken[name, PAUSE_S]), statistics.median(taken[name, 0.0])) for name in WAYS
    }


# --- steps, as the kernel saw them ------------------------------------------------------------------

_LINE = re.compile(
    r"\s*.*?\s+(\d+)/\d+\s+([\d.]+):\s+raw_syscalls:sys_(enter|exit): NR (\d+) (?:= (-?\d+)|\((.*)\))"
)
_SENDTO, _RECVFROM, _CONNECT, _ACCEPT4, _CLOSE = 44, 45, 42, 288, 3  # on x86-64
_REQUEST = 10  # octets of a SOCKS request for an IPv4 address, and of its answer
# (what ends the step, process, system call, octets or None, whether on entry)
STEPS = (
    ("application: connect", "application", _CONNECT, None, False),
    ("client: woken, accept", "client", _ACCEPT4, None, False),
    ("client: method answered", "client", _SENDTO, 2, True),
    ("application: request sent", "application", _SENDTO, _REQUEST, True),
    ("client: request read", "client", _RECVFROM, _REQUEST, False),
    ("client: BEGIN sealed for 3 hops and sent", "client", _SENDTO, RECORD, True),
    ("guard: woken, read", "guard", _RECVFROM, RECORD, False),
    ("guard: passed on", "guard", _SENDTO, RECORD, True),
    ("middle: woken, read", "middle", _RECVFROM, RECORD, False),
    ("middle: passed on", "middle", _SENDTO, RECORD, True),
    ("exit: woken, read", "exit", _RECVFROM, RECORD, False),
    ("exit: opened, judged, connecting", "exit", _CONNECT, None, True),
    ("exit: connected", "exit", _CONNECT, None, False),
    ("exit: CONNECTED sealed and sent", "exit", _SENDTO, RECORD, True),
    ("middle: woken, read", "middle", _RECVFROM, RECORD, False),
    ("middle: passed on", "middle", _SENDTO, RECORD, True),
    ("guard: woken, read", "guard", _RECVFROM, RECORD, False),
    ("guard: passed on", "guard", _SENDTO, RECORD, True),
    ("client: woken, read", "client", _RECVFROM, RECORD, False),
    ("client: opened, answered", "client", _SENDTO, _REQUEST, True),
    ("application: woken, read, close", "application", _CLOSE, None, True),
)  # fmt: skip


class Call:
    """One entry to or exit from a system call."""

    def __init__(self, found: re.Match[str]) -> None:
        self.pid, self.at = int(found[1]), float(found[2]) * 1e6
        self.is_entry, self.number = found[3] == "enter", int(found[4])
        arguments = (found[6] or "").split(", ")
        self.octets = int(arguments[2], 16) if self.is_entry and len(arguments) > 2 else int(found[5] or 0)


def steps_of(calls: list[Call], roles: dict[str, int]) -> list[float] | None:
    """The time of each step of one open, in us; None if it does not look like one."""
    at = calls[0].at
    rest: Iterator[Call] = iter(calls)
    taken = []
    for _, role, number, octets, is_entry in STEPS:
        for call in rest:
            same = call.pid == roles[role] and call.number == number and call.is_entry == is_entry
            if same and (octets is None or call.octets == octets):
                break
        else:
            return None
        taken.append(call.at - at)
        at = call.at
    return taken


def traced(folder: Path) -> list[tuple[str, float]]:
    """Median microseconds of each step of opens over three hops, after a pause."""
    record = folder / "perf.data"
    with suite.Testnet(3, 3, folder) as net:
        sink = peerlib.sink()
        target = ("127.0.0.1", sink.port)
        list(opens(net.socks, target, PAUSE_S))
        pids = ",".join(map(str, [*net.pids.values(), os.getpid()]))
        with peerlib.lock():
            events = "raw_syscalls:sys_enter,raw_syscalls:sys_exit"
            perf = peerlib.spawn(
                ["perf", "record", "-q", "-m", 4096, "-k", "mono", "-o", record, "-p", pids, "-e", events]
            )
            time.sleep(1)
            for _ in range(4):
                list(opens(net.socks, target, PAUSE_S))
            perf.send_signal(signal.SIGINT)
            perf.wait()
        peerlib.kill(sink)
        roles = net.pids
    calls = [Call(found) for found in map(_LINE.match, script_of(record)) if found]
    rows = list(rows_of(calls, roles))
    return [(step[0], statistics.median(row[at] for row in rows)) for at, step in enumerate(STEPS)]


def rows_of(calls: list[Call], pids: dict[str, int]) -> Iterator[list[float]]:
    """The steps of every open; which relay stood where is told by what it did."""
    application = os.getpid()
    client, *relays = pids.values()
    connects = [(call.pid, at) for at, call in enumerate(calls) if call.number == _CONNECT and call.is_entry]
    exits = {pid for pid, _ in connects if pid in relays}
    starts = [at for pid, at in connects if pid == application]
    for start, end in zip(starts, [*starts[1:], len(calls)], strict=True):
        for guard, middle, last in itertools.permutations(relays):
            places = {"guard": guard, "middle": middle, "exit": last}
            roles = {"application": application, "client": client, **places}
            if last in exits and (row := steps_of(calls[start:end], roles)) is not None:
                yield row


def script_of(record: Path) -> list[str]:
    """What perf recorded, a line an event."""
    command = ["perf", "script", "--ns", "-F", "comm,pid,tid,time,event,trace", "-i", str(record)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def page(compared: dict[str, tuple[float, float]], steps: list[tuple[str, float]]) -> str:
    """The page in Markdown."""
    lines = [
        "# Where the time of a stream open goes",
        "",
        "Written by `python -m tests.bench.bench_opens --trace`. Connect until the success reply, medians,",
        "each kind up alone, in rounds. A bare process is Python that only receives and sends, on blocking",
        "sockets, and seals nothing: what it takes is the machine's price of waking so many in turn.",
        "",
        "| way | after a pause of 30 ms, ms | back to back, ms |",
        "|---|---|---|",
        *(f"| {name} | {cold:.2f} | {warm:.2f} |" for name, (cold, warm) in compared.items()),
    ]
    if steps:
        whole = sum(us for _, us in steps)
        lines += [
            "",
            f"Three hops after a pause, step by step, {whole:.0f} us in all (the trace costs some of them):",
            "",
            "| step | us |",
            "|---|---|",
            *(f"| {name} | {us:.0f} |" for name, us in steps),
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="measure opens of streams, step by step")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--trace", action="store_true", help="each step, by perf (root)")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    peerlib.bounded(600)
    folder = Path(peerlib.workdir("opens"))
    text = page(compare(options.rounds, folder), traced(folder) if options.trace else [])
    options.out.write_text(text)
    print(text)
    peerlib.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(main())
