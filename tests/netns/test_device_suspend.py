"""A protected device after a night's sleep: its clocks stood still, and the network forgot its connections.

    client ─┬─ switch ─┬─ relay1, relay2, exit
   (sniffer)┘          └─ target, which is the client's default router, too

Asleep, all processes of ours are stopped. When they go on, their monotonic clocks are where they were, the
wall clock is later, CLOCK_BOOTTIME by eight hours. What belongs to a connection from before is lost
both ways, as behind a router that forgot it: nobody tells the node that its links are dead.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import RELAY_PORT, ProtectedDevice, run_probes, start_device
from tests.support.figures import note
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Namespace, ip
from tests.support.nodes import Network
from tests.support.standing_clock import StandingClock
from tests.support.waiting import pause, wait_until
from vigilnet.traffic.device.backend import Capture

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "tc", "curl", "cc", "ss")]

ASLEEP_S, NIGHT_S = 2.0, 8 * 3600.0
WALL_S = 40.0  # relays, whose clocks went on, forgive so much
RESUMED_S = 10.0  # the bar, on a machine that does nothing else
PATIENCE_S = 60.0  # what fails here on any machine


Sleeper = tuple[ProtectedDevice, StandingClock]


@pytest.fixture(scope="module", params=list(Capture))
def sleeper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sleeper]:
    folder = tmp_path_factory.mktemp("device")
    clock = StandingClock(folder)

    def set_clock(network: Network) -> None:
        network.user.environment.update(clock.environment)

    with Lab() as lab:
        made = start_device(lab, folder, before_nodes=set_clock)
        made.capture = request.param
        client, target = made.host, made.network.target
        ip("-n", client.name, "route", "add", "default", "via", target.v4)
        ip("-n", client.name, "-6", "route", "add", "default", "via", target.v6)
        made.start_helper()
        yield made, clock


def forget_connections(device: ProtectedDevice) -> int:
    """Lose whatever belongs to the links of now, without telling anybody; return how many there are."""
    said = device.host.run("ss", "-Htn", "state", "established", f"dport = :{RELAY_PORT}").stdout
    ports = {line.split()[2].rpartition(":")[2] for line in said.splitlines()}
    for name, node in device.network.nodes.items():
        if name != "client":
            _lose(node.host, ports)
    return len(ports)


def _lose(host: Namespace, ports: set[str]) -> None:
    listed = "{ " + ", ".join(sorted(ports)) + " }"
    lines = ["add table inet forgot"]
    for hook, side in (("input", "sport"), ("output", "dport")):
        lines.append(f"add chain inet forgot {hook} {{ type filter hook {hook} priority 0; }}")
        lines.append(f"add rule inet forgot {hook} tcp {side} {listed} drop")
    host.run("nft", "; ".join(lines))


def test_it_resumes_when_clocks_stood_still_and_nobody_says_that_its_links_are_dead(sleeper: Sleeper) -> None:
    device, clock = sleeper
    host, network = device.host, device.network
    url = f"http://{network.target.v4}/page.txt"
    device.ask("up")
    assert network.curl(url) == "found\n"
    ours = [pid for pid in host.pids() if b"vigilnet" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    with device.sniff() as sniffer:
        stopped_at = time.monotonic()
        for pid in ours:
            os.kill(pid, signal.SIGSTOP)
        assert forget_connections(device)
        run_probes(device)
        pause(max(0.0, ASLEEP_S - (time.monotonic() - stopped_at)))
        clock.wake(time.monotonic() - stopped_at, NIGHT_S, wall_s=WALL_S)
        for pid in ours:
            os.kill(pid, signal.SIGCONT)
        awake_at = time.monotonic()
        run_probes(device, ["IPv4 UDP to an odd port", "IPv4 TCP bound to the interface"])
        wait_until(
            lambda: host.run("curl", "-sS", "-m", "1", url, check=False).stdout == "found\n",
            "the page again",
            timeout=PATIENCE_S,
        )
        resumed_s = time.monotonic() - awake_at
        run_probes(device)
        pause(0.3)
    assert not sniffer.leaks
    note(f"resumed after a night, clocks stood still ({device.capture})", resumed_s, "s")
    device.ask("down")
