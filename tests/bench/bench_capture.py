"""TCP by redirect and by the interface: `python -m tests.bench.bench_capture [HOPS] [--quick]` (root).

Prints one JSON object: iperf3 through one network in both ways of capture, upload and download, with CPU
seconds per GB of all our processes and of the client's daemon alone; the kernel's work for the interface is
the daemon's, too, since it is done in its reads and writes.
"""

import json
import sys
import tempfile
from pathlib import Path

from tests.bench.bench_device import cpu_seconds
from tests.support.device import ProtectedDevice, start_device
from tests.support.netns import Lab

MB = 1_000_000


def iperf3(device: ProtectedDevice, megabytes: int, *words: str) -> dict[str, float]:
    """Send or receive so much; what it costs."""
    pids = {name: node.pid for name, node in device.network.nodes.items()}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    command = ("iperf3", "-J", "-c", device.network.target.v4, "-n", f"{megabytes}M", *words)
    said = json.loads(device.host.run(*command, timeout=120).stdout)
    spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    received = said["end"]["sum_received"]
    gigabytes = max(received["bytes"], said["end"]["sum_sent"]["bytes"]) / 1e9
    return {
        "mb_per_s": round(received["bits_per_second"] / 8e6, 1),
        "cpu_s_per_gb": round(sum(spent.values()) / gigabytes, 2),
        "client_cpu_s_per_gb": round(spent["client"] / gigabytes, 2),
    }


def main() -> None:
    """Measure and print."""
    arguments = [word for word in sys.argv[1:] if word != "--quick"]
    hops = int(arguments[0]) if arguments else 3
    megabytes, rounds = (50, 1) if "--quick" in sys.argv else (300, 3)
    figures: dict[str, object] = {"hops": hops}
    with tempfile.TemporaryDirectory() as folder, Lab() as lab:
        device = start_device(lab, Path(folder), tables={"client": {"circuits": {"hops": hops}}})
        for capture in ("redirect", "interface"):
            device.capture = capture
            device.start_helper()
            device.ask("up")
            iperf3(device, 10)
            for way, words in (("upload", ()), ("download", ("-R",))):
                taken = [iperf3(device, megabytes, *words) for _ in range(rounds)]
                figures[f"{capture}_{way}"] = min(taken, key=lambda one: one["cpu_s_per_gb"])
            device.ask("down")
            device.stop_helper()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
