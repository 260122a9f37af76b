"""Two networks of different names on one wire have nothing to do with each other.

client, relay1, relay2, exit, target, stranger ── switch      the stranger's node names another network
"""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.capture import Capture
from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.nodes import SOCKS, SOCKS_PORT, Network, Node, start_network
from tests.support.waiting import wait_until
from vigilnet.base.store_io import Store
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import Capability, ExitSummary
from vigilnet.peer.issuing import Offer, RecordIssuer
from vigilnet.peer.state_io import load_key_ring

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("curl")]


def records_for(network: Network, name: str) -> Path:
    """Records of the network's relays, signed with their real keys, yet for the network `name`."""
    folder = network.folder / f"records for {name}"
    folder.mkdir()
    for node in network.nodes.values():
        if node is network.user:
            continue
        copy = shutil.copytree(
            node.state, folder / "keys", ignore=shutil.ignore_patterns("*.sock", "control")
        )
        store = Store(copy)
        wall = time.time()
        issuer = RecordIssuer(load_key_ring(store, wall, os.urandom, name), os.urandom, 0)
        offer = Offer((PeerAddress.tcp(node.host.v4, 4001),), Capability.RELAY | Capability.GUARD)
        if node.name == "exit":
            every_port = ExitSummary(True, ((1, 65535),))
            offer = replace(offer, capabilities=offer.capabilities | Capability.EXIT, exit_summary=every_port)
        record = issuer.issue(offer, wall)
        (folder / f"{node.name}.record").write_bytes(record.encoded)
        shutil.rmtree(copy)
    return folder


def start_stranger(network: Network, name: str, records: Path) -> Node:
    """Start a client of the network `name` that believes `records`."""
    settings: dict[str, dict[str, object]] = {
        "node": {"network": name, "peers_folder": str(records)},
        "ingress": {"socks_port": SOCKS_PORT, "http_enabled": False},
    }
    stranger = Node(network.others["stranger"], network.folder, f"stranger in {name}", settings)
    stranger.start()
    wait_until(lambda: stranger.status() is not None, "the stranger runs")
    return stranger


def is_refused(stranger: Node, network: Network) -> bool:
    """Whether a request of the stranger's is refused by its own proxy."""
    url = f"http://{network.in_url}/page.txt"
    said = stranger.host.run(
        "curl", "-sS", "--max-time", 40, "--socks5-hostname", SOCKS, url, check=False, timeout=45
    )
    return said.returncode == 97


def test_a_network_of_another_name_is_refused_at_every_door(tmp_path: Path) -> None:
    with Lab() as lab:
        network = start_network(lab, tmp_path, v6=False, others=["stranger"])
        # The records as they are are no records in another network.
        stranger = start_stranger(network, "other", tmp_path / "peers")
        assert is_refused(stranger, network)
        status = stranger.status()
        assert status is not None
        assert (status.peers, status.links) == (0, 0)
        assert stranger.log.count("record file is not usable") == 3
        stranger.stop()
        # With records that a traitor made for it, every relay is dialled and no handshake comes off.
        with Capture(stranger.host) as capture:
            stranger = start_stranger(network, "another", records_for(network, "another"))
            assert is_refused(stranger, network)
        status = stranger.status()
        assert status is not None
        assert (status.peers, status.links, status.first_circuit_ms) == (3, 0, None)
        assert {packet.target for packet in capture.packets if packet.is_syn} <= {
            node.host.v4 for node in network.nodes.values()
        }
        assert any(packet.is_syn for packet in capture.packets)
        stranger.stop()
        # With the right name the same records do, so nothing else was wrong with them.
        stranger = start_stranger(network, "netns", records_for(network, "netns"))
        stranger.wait_ready()
        assert not is_refused(stranger, network)
