"""Nodes that were given nothing find each other on their LAN: by mDNS, and by the beacon without it.

r0, r1, r2, client ── switch         nobody knows anybody, private addresses are not allowed in general
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.capture import UDP, Capture, Packet
from tests.support.figures import note
from tests.support.lan import NO_MDNS, relay_on_lan
from tests.support.netns import Lab, Namespace, ip
from tests.support.nodes import EXIT_CONSENT
from tests.support.relays import Tables, start, wait_until
from tests.support.waiting import held
from tests.support.waiting import wait_until as wait_for
from vigilnet.surface.control.client import ControlClient

pytestmark = pytest.mark.netns

MDNS, BEACON = 5353, 4747
LINKED_S = held(5.0)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def found_by(state: Path) -> set[str]:
    with ControlClient(state) as control:
        return {source for peer in control.peers() for source in peer.found_by}


def linked_after(lab: Lab, folder: Path, *hosts: Namespace) -> float:
    """Start a relay on each host; return seconds from when the last one serves to their link."""
    states = [start(host, folder, host.name, relay_on_lan(host)) for host in hosts]
    for state in states:
        wait_until(state, lambda status: bool(status.listen))
    started = time.monotonic()
    for state in states:
        wait_until(state, lambda status: status.links > 0)
    return time.monotonic() - started


def test_relays_link_by_mdns_without_any_settings(lab: Lab, tmp_path: Path) -> None:
    hosts = [lab.namespace("r0"), lab.namespace("r1")]
    lab.switch(*hosts)
    with Capture(hosts[0]) as seen:
        took = linked_after(lab, tmp_path, *hosts)  # by the beacon, if that was sooner
        wait_for(
            lambda: any(
                packet.target_port == MDNS and packet.protocol == UDP for packet in list(seen.packets)
            ),
            "they speak mDNS",
        )
    note("two relays on a LAN, linked after", took, "s")
    assert took < LINKED_S
    ways = set[str]().union(*(found_by(tmp_path / host.name) for host in hosts))
    assert ways & {"mdns", "beacon"}  # who is dialled first hears of the other by that


def test_relays_that_were_told_nothing_at_all_link(lab: Lab, tmp_path: Path) -> None:
    """Not even an address: they listen everywhere, and tell the one that leads outward."""
    hosts = [lab.namespace("r0"), lab.namespace("r1")]
    lab.switch(*hosts, v6=False)
    states = []
    for host, other in zip(hosts, reversed(hosts), strict=True):
        ip("-n", host.name, "route", "add", "default", "via", other.v4)
        tables: Tables = {"relay": {"enabled": True}, "link": {"allow_private_addresses": False}}
        states.append(start(host, tmp_path, host.name, tables))
    for state in states:
        wait_until(state, lambda status: status.links > 0)


def test_relays_link_by_mdns_alone(lab: Lab, tmp_path: Path) -> None:
    hosts = [lab.namespace("r0"), lab.namespace("r1")]
    lab.switch(*hosts)
    states = [
        start(host, tmp_path, host.name, relay_on_lan(host, sources=["mdns", "gossip"])) for host in hosts
    ]
    for state in states:
        wait_until(state, lambda status: status.links > 0)
        assert found_by(state) <= {"mdns", "links", "gossip"}
    with ControlClient(states[0]) as control:
        assert len(control.peers()) == 1


def test_relays_link_by_the_beacon_where_mdns_is_dropped(lab: Lab, tmp_path: Path) -> None:
    hosts = [lab.namespace("r0"), lab.namespace("r1")]
    lab.switch(*hosts)
    for host in hosts:
        host.run("nft", "-f", "-", stdin=NO_MDNS)
    took = linked_after(lab, tmp_path, *hosts)
    note("two relays on a LAN without mDNS, linked after", took, "s")
    assert took < LINKED_S
    for host in hosts:
        assert "mdns" not in found_by(tmp_path / host.name)


def is_answer(packet: Packet) -> bool:
    """Whether a packet is an mDNS response: its sender shows something."""
    size = 40 if packet.octets[0] >> 4 == 6 else (packet.octets[0] & 15) * 4
    return (
        packet.protocol == UDP
        and MDNS in (packet.source_port, packet.target_port)
        and bool(packet.octets[size + 10] & 0x80)
    )


def test_a_client_asks_shows_nothing_and_falls_silent(lab: Lab, tmp_path: Path) -> None:
    *hosts, client = (lab.namespace(name) for name in ("r0", "r1", "r2", "client"))
    lab.switch(*hosts, client)
    allowed: Tables = {"link": {"allow_private_addresses": True}}  # else no path crosses one /16 twice
    for host in hosts:
        tables: Tables = (
            relay_on_lan(host) | allowed | {"exit": {"enabled": True, "policy": "open", **EXIT_CONSENT}}
        )
        wait_until(start(host, tmp_path, host.name, tables), lambda status: bool(status.listen))
    with Capture(client) as seen:
        proxies: Tables = {"ingress": {"http_enabled": False}}
        state = start(client, tmp_path, "client", proxies | allowed)
        wait_until(state, lambda status: status.first_circuit_ms is not None)
    sent = [packet for packet in seen.packets if packet.is_sent and packet.protocol == UDP]
    assert {packet.target_port for packet in sent} <= {MDNS, BEACON}
    assert len(sent) > 0
    assert not [packet for packet in sent if is_answer(packet)]
    for packet in sent:
        if packet.target_port == BEACON:
            assert packet.octets.endswith(b"VNB1\x01"), "a client tells nothing"
    for host in hosts:
        with ControlClient(tmp_path / host.name) as control:
            assert len(control.peers()) == 2, "nobody counts the client"
    wait_until(state, lambda status: status.peers == 3)
    time.sleep(17)  # its grace, and what mDNS sends to say goodbye
    with Capture(client) as after:
        time.sleep(3)
    assert not [packet for packet in after.packets if packet.is_sent and packet.protocol == UDP]
