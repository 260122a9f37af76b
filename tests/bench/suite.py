"""What is measured of a running network, and how; tests/bench/run.py calls it.

All transfers go through the client's SOCKS port to a sink on loopback (peers/peerlib.py, the same code that
measures the peers). CPU-s/GB is user+system seconds per 10^9 octets of payload, from /proc.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))
import peerlib as peerlib  # noqa: E402  # a script's library, not a package

MB = 1_000_000
GB = 1_000_000_000
Figures = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How long to look: the quick one is for trying the bench itself."""

    octets: int = 250 * MB
    rounds: int = 5
    seconds: float = 20.0  # at most, for one transfer
    opens: int = 100
    echoes: int = 1000

    @classmethod
    def quick(cls) -> "Effort":
        """Seconds instead of minutes; the figures mean little."""
        return cls(octets=40 * MB, rounds=1, seconds=8.0, opens=20, echoes=200)


class Testnet:
    """A `vigilnet testnet` of separate processes, up while the `with` block runs."""

    def __init__(self, hops: int, relays: int, folder: Path) -> None:
        self.hops, self.relays = hops, relays
        self._ready = folder / f"ready-{hops}.json"
        self._log = folder / f"testnet-{hops}.log"
        self.facts: Figures = {}

    def __enter__(self) -> "Testnet":
        self._ready.unlink(missing_ok=True)
        self._process = peerlib.spawn(
            [Path(sys.executable).with_name("vigilnet"), "testnet", "--relays", self.relays, "--exits", 1,
             "--hops", self.hops, "--transport", "tcp", "--allow-private-targets",
             "--ready-file", self._ready, "--json"],
            logfile=str(self._log),
        )  # fmt: skip
        try:
            peerlib.wait_for(self._is_ready, 90, 0.05, "the testnet's first circuit")
        except (TimeoutError, RuntimeError) as error:
            peerlib.kill(self._process)
            raise RuntimeError(
                f"testnet did not come up: {error}\n{self._log.read_text()[-2000:]}"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        peerlib.kill(self._process, 10.0)

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"it ended with exit code {self._process.returncode}")
        try:
            self.facts = json.loads(self._ready.read_text())
        except (OSError, ValueError):
            return False
        return True

    @property
    def socks(self) -> tuple[str, int]:
        """The client's SOCKS port."""
        host, _, port = str(self.facts["socks"]).rpartition(":")
        return host, int(port)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by role name: `client`, then the relays."""
        pids = self.facts["pids"]
        return {"client": int(pids["client"]), **{name: int(pid) for name, pid in pids["relays"].items()}}


def own_cpu(pid: int) -> float:
    """User and system seconds of one process so far."""
    return float(peerlib.cpu([pid]))


def connected_to(pid: int, port: int) -> bool:
    """Whether a process holds a TCP connection to a port: how an exit is told from a relay."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows: list[str] = []
    for family in ("tcp", "tcp6"):
        rows += Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]
    return any(row.split()[2].endswith(f":{port:04X}") and row.split()[9] in inodes for row in rows)


def bulk(net: Testnet, sink: Any, direction: str, streams: int, effort: Effort) -> Figures:  # noqa: ANN401
    """One transfer, with each process's share; `relay` is the dearest one that is neither client nor exit."""
    before = {name: own_cpu(pid) for name, pid in net.pids.items()}
    exits: set[str] = set()
    watcher = threading.Timer(
        0.3, lambda: exits.update(name for name, pid in net.pids.items() if connected_to(pid, sink.port))
    )
    watcher.start()
    result: Figures = peerlib.bulk(
        net.socks, ("127.0.0.1", sink.port), direction, effort.octets, streams, effort.seconds,
        list(net.pids.values()),
    )  # fmt: skip
    watcher.join()
    spent = {name: own_cpu(pid) - before[name] for name, pid in net.pids.items()}
    octets = max(1, result["bytes"])
    result["each"] = {name: round(seconds / (octets / GB), 2) for name, seconds in spent.items()}
    middles = [value for name, value in result["each"].items() if name != "client" and name not in exits]
    result["relay_cpu_s_per_gb"] = max(middles, default=None)
    return result


def medians(runs: list[Figures], keys: Iterable[str]) -> Figures:
    """The median of each key over some runs, with the least and the most."""
    found: Figures = {"runs": len(runs)}
    for key in keys:
        values = [run[key] for run in runs if run.get(key) is not None]
        found[key] = round(statistics.median(values), 3) if values else None
        found[f"{key}_range"] = [min(values), max(values)] if values else None
    errors = [error for run in runs for error in run.get("errors", [])]
    return {**found, "errors": errors} if errors else found


def transfers(net: Testnet, sink: Any, effort: Effort) -> Figures:  # noqa: ANN401
    """Bulk both ways, one and ten streams, rounds interleaved so that a noisy minute hits them all."""
    kinds = [(direction, streams) for streams in (1, 10) for direction in ("down", "up")]
    runs: dict[tuple[str, int], list[Figures]] = {kind: [] for kind in kinds}
    for _ in range(effort.rounds):
        for direction, streams in kinds:
            with peerlib.lock():
                runs[direction, streams].append(bulk(net, sink, direction, streams, effort))
                time.sleep(0.2)
    keys = ("mb_s", "cpu_s_per_gb", "relay_cpu_s_per_gb", "machine_cpu_s_per_gb", "machine_cores_busy")
    return {
        f"{direction}_{streams}": {**medians(these, keys), "each": each_median(these)}
        for (direction, streams), these in runs.items()
    }


def each_median(runs: list[Figures]) -> Figures:
    """Per process, the median of its CPU-s/GB."""
    return {name: round(statistics.median(run["each"][name] for run in runs), 2) for name in runs[0]["each"]}


def repeated(measure: Callable[[], Figures], rounds: int) -> Figures:
    """The run whose median time is itself the median, under the lock each time."""
    runs = []
    for _ in range(rounds):
        with peerlib.lock():
            runs.append(measure())
    return sorted(runs, key=lambda run: run["median"] or float("inf"))[len(runs) // 2]


def latencies(net: Testnet, sink: Any, effort: Effort) -> Figures:  # noqa: ANN401
    """Stream opens and echoes on an idle network, then many at once."""
    target, rounds = ("127.0.0.1", sink.port), min(3, effort.rounds)
    found: Figures = {
        "stream_open_ms": repeated(
            lambda: peerlib.stream_setup(net.socks, target, effort.opens, gap=0.03), rounds
        ),
        "stream_open_back_to_back_ms": repeated(
            lambda: peerlib.stream_setup(net.socks, target, effort.opens), rounds
        ),
        "echo_rtt_ms": repeated(lambda: peerlib.echo_rtt(net.socks, target, effort.echoes), effort.rounds),
    }
    for number in (100, 1000):
        runs = []
        for _ in range(rounds):
            with peerlib.lock():
                runs.append(peerlib.many(net.socks, target, number, 20, list(net.pids.values())))
                time.sleep(0.5)
        found[f"streams_{number}"] = sorted(runs, key=lambda run: run["all_echoed_s"] or 99.0)[len(runs) // 2]
        found[f"streams_{number}"]["failed_in_all_rounds"] = sum(run["failed"] for run in runs)
    return found


def echo_beside_bulk(net: Testnet, sink: Any, effort: Effort) -> Figures:  # noqa: ANN401
    """Echo round trips while ten streams download: on the same circuit, and on one of other credentials."""
    target = ("127.0.0.1", sink.port)
    found = {}
    for name, user in (("same_circuit", None), ("other_circuit", "another")):
        load = threading.Thread(
            target=peerlib.bulk, args=(net.socks, target, "down", 20 * effort.octets, 10, 6.0), daemon=True
        )
        with peerlib.lock():
            load.start()
            time.sleep(1.5)
            found[name] = peerlib.echo_rtt(net.socks, target, effort.echoes, 3.0, user)
            load.join()
    return found


def prototype_ping(python: str = sys.executable) -> float | None:
    """The prototype's median echo through three relays, ms; the measure of how noisy this machine is now."""
    said = _prototype("ping", 1 << 29, python)
    return round(float(said["client"]["p50us"]) / 1000, 3) if said else None


def prototype_bulk(direction: str, octets: int = 500 * MB, python: str = sys.executable) -> float | None:
    """The prototype's CPU-s/GB for one transfer: five bare processes, fixed keys, a window of 1 MiB.

    It shows what this machine charges now for octets that are
    only sealed, opened and moved.
    """
    said = _prototype(direction, octets, python)
    if not said:
        return None
    spent = sum(float(said[role]["u"] + said[role]["s"]) for role in ("client", "entry", "middle", "exit"))
    return round(spent / (octets / GB), 2)


def _prototype(direction: str, total: int, python: str) -> dict[str, Figures]:
    """Run it once; what each process said last, or nothing if one said nothing."""
    port = peerlib.free_ports(1)[0]
    settings = json.dumps(
        {"io": "uvraw", "cell": 2048, "mode": "ctr", "dir": direction, "total": total, "port": port}
    )
    roles = ("target", "exit", "middle", "entry", "client")
    said: dict[str, Figures] = {}
    with peerlib.lock():
        pipe = PEERS / "prototype" / "pipe.py"
        processes = {
            role: peerlib.spawn([python, pipe, role, settings], stdout=subprocess.PIPE) for role in roles
        }
        try:
            for role in ("client",) if direction == "ping" else ("client", "exit", "middle", "entry"):
                told = processes[role].communicate(timeout=45)[0].decode()
                said[role] = json.loads(told.strip().splitlines()[-1])
        except (subprocess.TimeoutExpired, IndexError, ValueError):
            said = {}
        for process in processes.values():
            peerlib.kill(process, 1.0)
    return said


def asked(net: Testnet, *words: str) -> Any:  # noqa: ANN401
    """What the client answers on its control socket."""
    command = [str(Path(sys.executable).with_name("vigilnet")), *words, "--json"]
    state = Path(net.facts["dir"]) / "client"
    done = subprocess.run(
        [*command, "--state-folder", str(state)], capture_output=True, check=True, timeout=20
    )
    return json.loads(done.stdout)


def circuit_builds(net: Testnet, sink: Any, rounds: int) -> Figures:  # noqa: ANN401
    """How long circuits took to build, as the client tells; each new identity uses one up."""
    taken: dict[int, float] = {}
    for _ in range(rounds):
        peerlib.dial(net.socks, ("127.0.0.1", sink.port)).close()
        asked(net, "new-identity")
        time.sleep(0.1)
        for circuit in asked(net, "circuits")["circuits"]:
            if circuit["build_ms"]:
                taken[circuit["id"]] = circuit["build_ms"] / 1000
    figures: Figures = peerlib.stats_ms(list(taken.values()))
    return figures


def memory(net: Testnet) -> Figures:
    """Resident MB of each process."""
    return {name: sum(m["rss_mb"] for m in peerlib.mem([pid]).values()) for name, pid in net.pids.items()}


def measure(hops: int, folder: Path, effort: Effort) -> Figures:
    """Everything about a network of so many hops, as one table."""
    relays = max(hops, 3)
    with Testnet(hops, relays, folder) as net:
        sink = peerlib.sink()
        try:
            found: Figures = {
                "hops": hops,
                "relays": relays,
                "first_circuit_ms": net.facts.get("first_circuit_ms"),
            }
            peerlib.dial(net.socks, ("127.0.0.1", sink.port)).close()
            found["rss_idle_mb"] = memory(net)
            found |= latencies(net, sink, effort)
            found["circuit_build_ms"] = circuit_builds(net, sink, effort.opens // 4)
            found |= transfers(net, sink, effort)
            found["echo_beside_bulk_ms"] = echo_beside_bulk(net, sink, effort)
            found["rss_loaded_mb"] = memory(net)
        finally:
            peerlib.kill(sink)
    return found
