"""Nodes find each other from one invite, and speak to nobody else.

r0 ── switch ── r1 ... r5, client        all know r0 by its invite, nothing else
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.capture import TCP, Capture
from tests.support.netns import Lab
from tests.support.nodes import EXIT_CONSENT
from tests.support.relays import IGMP, Tables, invite_of, relay_tables, start, wait_until
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Peer

pytestmark = pytest.mark.netns


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def test_relays_that_know_one_know_all_and_speak_to_nobody_else(lab: Lab, tmp_path: Path) -> None:
    hosts = [lab.namespace(f"r{number}") for number in range(6)]
    lab.switch(*hosts, v6=False)
    with Capture(hosts[5]) as seen:
        first = start(hosts[0], tmp_path, "r0", relay_tables(hosts[0]))
        invite = invite_of(first)
        others = [
            start(host, tmp_path, f"r{number}", relay_tables(host), "--invite", invite)
            for number, host in enumerate(hosts[1:], 1)
        ]
        for state in (first, *others):
            wait_until(state, lambda status: status.peers == 5)
    packets = [packet for packet in seen.packets if packet.protocol != IGMP]  # the bridge's own talk
    assert {end for packet in packets for end in (packet.source, packet.target)} <= {
        host.v4 for host in hosts
    }
    assert {packet.protocol for packet in packets} == {TCP}
    assert {packet.target_port for packet in packets if packet.is_syn} == {4001}
    assert len(packets) > 20


def test_a_client_with_one_invite_gets_three_hops_and_speaks_to_its_guard_alone(
    lab: Lab, tmp_path: Path
) -> None:
    *hosts, client = (lab.namespace(name) for name in ("r0", "r1", "r2", "r3", "client"))
    lab.switch(*hosts, client, v6=False)
    first = start(hosts[0], tmp_path, "r0", relay_tables(hosts[0]))
    invite = invite_of(first)
    for number, host in enumerate(hosts[1:], 1):
        tables = relay_tables(host) | {"exit": {"enabled": True, "policy": "open", **EXIT_CONSENT}}
        state = start(host, tmp_path, f"r{number}", tables, "--invite", invite)
        wait_until(state, lambda status: status.peers > 0)
    wait_until(first, lambda status: status.peers == 3)
    with Capture(client) as seen:
        proxies: Tables = {"ingress": {"socks_port": 1080, "http_enabled": False}}
        state = start(client, tmp_path, "client", proxies, "--invite", invite)
        wait_until(state, lambda status: status.first_circuit_ms is not None)
        wait_until(state, lambda status: status.circuits >= 3)
        with ControlClient(state) as control:
            assert all(len(circuit.hops) == 3 for circuit in control.circuits() if circuit.state == "open")
            assert (control.status().first_circuit_ms or 0) < 5000
    packets = [packet for packet in seen.packets if packet.protocol != IGMP]
    assert {end for packet in packets for end in (packet.source, packet.target)} == {client.v4, hosts[0].v4}
    assert {packet.protocol for packet in packets} == {TCP}
    for number in range(4):
        with ControlClient(tmp_path / f"r{number}") as control:
            assert control.status().peers == 3, "nobody counts the client"


def test_a_client_finds_a_relay_in_the_dht_and_is_not_in_it(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("opendht", reason="needs the extra `dht`")
    *hosts, client = (lab.namespace(name) for name in ("r0", "r1", "r2", "r3", "client"))
    lab.switch(*hosts, client, v6=False)
    invites: list[str] = []
    for number, host in enumerate(hosts):
        tables = relay_tables(host, profile="default", without=["mdns", "beacon"])
        tables["exit"] = {"enabled": True, "policy": "open", **EXIT_CONSENT}
        first = [part for uri in invites[:1] for part in ("--invite", uri)]
        invites.append(invite_of(start(host, tmp_path, f"r{number}", tables, *first)))
    for number in range(4):
        wait_until(tmp_path / f"r{number}", lambda status: status.peers == 3)
    with ControlClient(tmp_path / "r3") as control:
        wanted = control.status().peer_id
    with Capture(client) as seen:
        proxies: Tables = {
            "ingress": {"http_enabled": False},
            "discovery": {"sources": ["invites", "dht"]},
        }
        given = [part for uri in invites[:3] for part in ("--invite", uri)]
        state = start(client, tmp_path, "client", proxies, *given)
        wait_until(state, lambda status: status.first_circuit_ms is not None)
        assert wait_until(state, lambda status: status.peers == 3) < 30
        deadline = time.monotonic() + 30
        found: tuple[Peer, ...] = ()
        while not found and time.monotonic() < deadline:
            with contextlib.suppress(VigilnetError), ControlClient(state) as control:
                found = control.find_peer(wanted)
    assert [peer.peer_id for peer in found] == [wanted]
    assert found[0].found_by == ("dht",)
    packets = [packet for packet in seen.packets if packet.protocol != IGMP]
    assert {packet.protocol for packet in packets} == {TCP}
    for number in range(4):
        with ControlClient(tmp_path / f"r{number}") as control:
            assert control.status().peers == 3, "nobody counts the client"
            assert all("dht" in peer.roles for peer in control.peers())
