"""What comes and goes leaves nothing behind: identities, circuits, connections (CIR-05).

client, relay1, relay2, exit, target ── switch
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.nodes import Network, start_network
from tests.support.octet_server import hash_of, take
from tests.support.waiting import wait_until
from vigilnet.surface.control.client import ControlClient

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("curl")]

MIB = 1 << 20
MOST_GROWTH = 24 * MIB


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Lab() as lab:
        yield start_network(lab, tmp_path_factory.mktemp("churn"))


def sizes(network: Network) -> dict[str, int]:
    return {node.name: node.resident_octets() for node in network.nodes.values()}


def relayed(network: Network) -> dict[str, int]:
    """How many circuits each relay carries."""
    found = {}
    for node in network.nodes.values():
        if node is not network.user:
            status = node.status()
            assert status is not None
            found[node.name] = status.relayed_circuits
    return found


def visit(network: Network, login: str) -> None:
    with network.dial(f"SEND {20_000}", login=(login, "x")) as connection:
        assert take(connection) == (20_000, hash_of(20_000))


def test_many_identities_leave_nothing_behind(network: Network) -> None:
    def be_somebody_else() -> None:
        with ControlClient(network.user.state) as control:
            control.new_identity()
        visit(network, "someone")

    for _ in range(10):  # what a process needs anyhow is there before we measure
        be_somebody_else()
    before = sizes(network)
    for _ in range(60):
        be_somebody_else()
    wait_until(lambda: max(relayed(network).values()) <= 10, "relays have let go of the circuits")
    for name, size in sizes(network).items():
        assert size - before[name] < MOST_GROWTH, name


def test_many_isolated_visits_share_nothing_and_end(network: Network) -> None:
    with ThreadPoolExecutor(8) as visitors:
        list(visitors.map(lambda number: visit(network, f"visitor {number}"), range(40)))
    circuits = network.user.circuits()
    assert len(circuits) <= 10
    assert all(circuit.streams == 0 for circuit in circuits)
    with ThreadPoolExecutor(20) as visitors:
        before = sizes(network)
        list(visitors.map(lambda number: visit(network, "one and the same"), range(1000)))
    for name, size in sizes(network).items():
        assert size - before[name] < MOST_GROWTH, name
