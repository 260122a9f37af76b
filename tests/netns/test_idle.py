"""What a network says when nobody uses it (PRF-10).

client, relay1, relay2, exit, target ── switch
"""

import json
import time
from pathlib import Path

import pytest

from tests.support.figures import note
from tests.support.netns import Lab, Namespace, ip
from tests.support.nodes import start_network
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.netns, pytest.mark.slow]

WATCHED_S = 65.0  # two rounds of PING
MOST_PER_HOUR = 1_200_000  # 20 KB a minute; a quiet machine shows 80 to 230 KB an hour


def octets_of(host: Namespace) -> int:
    """All that crossed the host's wires so far, both ways, headers included."""
    (shown,) = json.loads(ip("-n", host.name, "-s", "-j", "link", "show", "dev", host.interfaces[0]))
    statistics = shown["stats64"]
    return int(statistics["rx"]["bytes"]) + int(statistics["tx"]["bytes"])


def test_an_idle_network_is_nearly_silent(tmp_path: Path) -> None:
    with Lab() as lab:
        network = start_network(lab, tmp_path, v6=False)
        circuits_before: list[int] = []

        def is_settled() -> bool:
            circuits_before[:] = [circuit.id for circuit in network.user.circuits()]
            return len(circuits_before) >= 3

        wait_until(is_settled, "the client has all circuits that it keeps")
        hosts = {name: node.host for name, node in network.nodes.items()}
        start = time.monotonic()
        before = {name: octets_of(host) for name, host in hosts.items()}
        wait_until(lambda: time.monotonic() - start > WATCHED_S, "time passes", timeout=2 * WATCHED_S)
        per_hour = {name: (octets_of(host) - before[name]) * 3600 / WATCHED_S for name, host in hosts.items()}
        for name, octets in per_hour.items():
            note(f"idle, the wire of {name}", octets / 1000, "KB an hour")
        assert max(per_hour.values()) < MOST_PER_HOUR
