"""Circuits of 1 to 10 hops over twelve relays, each in a host of its own (CIR-01).

client, relay1 ... relay10, exit, exit2, target ── switch
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.nodes import VIGILNETD, Network, start_network

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("curl")]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Lab() as lab:
        yield start_network(lab, tmp_path_factory.mktemp("lengths"), relays=10, exits=2)


def shown_circuits(state: Path) -> list[dict[str, object]]:
    """What `vigilnet circuits --json` shows."""
    vigilnet = VIGILNETD.with_name("vigilnet")
    said = subprocess.run(
        [vigilnet, "circuits", "--json", "--state-folder", state], capture_output=True, text=True, check=True
    ).stdout
    shown: list[dict[str, object]] = json.loads(said)["circuits"]
    return shown


@pytest.mark.parametrize("hops", range(1, 11))
def test_a_page_comes_through_as_many_hops_as_asked_for(network: Network, hops: int) -> None:
    network.restart_user(circuits={"hops": hops})
    connection = network.dial("ECHO")
    with connection:
        connection.sendall(b"through all of them")
        assert connection.recv(100) == b"through all of them"
        carrying = [circuit for circuit in network.user.circuits() if circuit.streams]
        path = network.nodes_of(carrying[0])
        for node in path:
            status = node.status()
            assert status is not None
            assert status.relayed_circuits >= 1, node.name
    assert len(carrying) == 1
    assert len({node.name for node in path}) == hops
    assert path[-1].name.startswith("exit")
    assert network.fetch() == "found\n"
    circuits = shown_circuits(network.user.state)
    assert circuits
    for circuit in circuits:
        if circuit["state"] == "open":
            shown = circuit["hops"]
            assert isinstance(shown, list)
            assert len(shown) == len({hop["peer_id"] for hop in shown}) == hops
