"""Many real processes: relays that know one know all; nobody who looks everywhere finds a client.

r0 ... r11 ── switch          and: r0 ... r3, crawler, c0 ... c9 ── switch
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.test_discovery import IGMP, Tables, invite_of, relay_tables, start, wait_until
from tests.support.capture import TCP, Capture
from tests.support.figures import note
from tests.support.netns import Lab, Namespace
from tests.support.nodes import EXIT_CONSENT
from tests.support.waiting import pause
from vigilnet.surface.control.client import ControlClient

pytestmark = [pytest.mark.netns, pytest.mark.slow]

RELAYS = int(os.environ.get("VIGILNET_TEST_RELAYS", "12"))  # 40 by hand: two cores start no 40 in good time
KNOWN_S = 30.0  # after the last one's start
CLIENTS = 10
CRAWL_S = 60.0
MDNS = 5353


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def seconds_of(pid: int) -> float:
    """Seconds of processor time that a process used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_many_relays_from_one_invite(lab: Lab, tmp_path: Path) -> None:
    hosts = [lab.namespace(f"r{number}") for number in range(RELAYS)]
    lab.switch(*hosts, v6=False)
    with Capture(hosts[0]) as first_seen, Capture(hosts[-1]) as last_seen:
        states = [start(hosts[0], tmp_path, "r0", relay_tables(hosts[0]))]
        invite = invite_of(states[0])
        for number, host in enumerate(hosts[1:], 1):  # four at a time: two cores start no forty processes
            states.append(start(host, tmp_path, f"r{number}", relay_tables(host), "--invite", invite))
            if number % 4 == 0:
                wait_until(states[-1], lambda status: bool(status.listen), 120.0)
        started = time.monotonic()
        for state in states:
            wait_until(state, lambda status: status.peers == RELAYS - 1, 2 * KNOWN_S)
        took = time.monotonic() - started
    note(f"{RELAYS} relays know each other after", took, "s")
    assert took < 2 * KNOWN_S  # the bar is 30 s; the figure above tells
    ours = {host.v4 for host in hosts}
    for seen in (first_seen, last_seen):
        packets = [packet for packet in seen.packets if packet.protocol != IGMP]
        assert {end for packet in packets for end in (packet.source, packet.target)} <= ours
        assert {packet.protocol for packet in packets} == {TCP}
    _note_idle(hosts[7])


def _note_idle(host: Namespace) -> None:
    """What one of them costs when nothing happens."""
    (pid,) = [pid for pid in host.pids() if b"vigilnetd" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    pause(30.0)  # links opened to try others out are closed after 20 s
    before, began = seconds_of(pid), time.monotonic()
    with Capture(host) as seen:
        pause(60.0)
    minutes = (time.monotonic() - began) / 60
    payload = sum(len(packet.octets) - 40 for packet in seen.packets if packet.protocol == TCP)
    note(f"idle relay among {RELAYS}, payload both ways", payload / minutes / 1000, "KB/min")
    note(f"idle relay among {RELAYS}, of a core", (seconds_of(pid) - before) / minutes / 60 * 100, "%")


class Crawler:
    """Looks into everything that a stranger with an ordinary relay can look into."""

    def __init__(self, host: Namespace, friend: Namespace) -> None:
        self.host, self.friend = host, friend
        self.services: set[str] = set()
        self.texts: list[str] = []

    async def browse(self, seconds: float) -> None:
        """Listen to mDNS and walk the DHT."""
        from vigilnet.routing.discovery.dht import RELAY_TAG, SHARDS, network_number, tag_key
        from vigilnet.routing.discovery.opendht_io import OpenDhtEngine

        with self.host.entered():
            engine = OpenDhtEngine(self.host.v4, "", 4999, network_number("netns"))
        engine.bootstrap(self.friend.v4, 4001)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for shard in range(SHARDS):
                await engine.get(tag_key(RELAY_TAG, shard, "netns"), 64, 2.0)
            await asyncio.sleep(3.0)  # until its thread calls nobody back: these wait for it
            self.texts.append(engine._runner.getRoutingTablesLog(2))
            self.texts.append(engine._runner.getStorageLog())
            self.texts.append(engine._runner.getSearchesLog(2))
        await engine.close()

    def addresses(self) -> set[str]:
        """All addresses in what the DHT told."""
        return {found for text in self.texts for found in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)}


def test_a_crawler_of_all_sources_finds_no_client(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("opendht", reason="needs the extra `dht`")
    hosts = [lab.namespace(f"r{number}") for number in range(4)]
    spy = lab.namespace("spy")
    clients = [lab.namespace(f"c{number}") for number in range(CLIENTS)]
    lab.switch(*hosts, spy, *clients, v6=False)
    invites: list[str] = []
    for number, host in enumerate([*hosts, spy]):
        tables = relay_tables(host, profile="default")
        tables["exit"] = {"enabled": True, "policy": "open", **EXIT_CONSENT}
        first = [part for uri in invites[:1] for part in ("--invite", uri)]
        invites.append(invite_of(start(host, tmp_path, f"r{number}", tables, *first)))
    for number in range(len(invites)):
        wait_until(tmp_path / f"r{number}", lambda status: status.peers == len(hosts))
    with Capture(spy) as heard:
        proxies: Tables = {"ingress": {"http_enabled": False}}
        states = [
            start(host, tmp_path, f"c{number}", proxies, "--invite", invites[number % len(hosts)])
            for number, host in enumerate(clients)
        ]
        for state in states:
            wait_until(state, lambda status: status.first_circuit_ms is not None, 60.0)
        crawler = Crawler(spy, hosts[0])
        asyncio.run(crawler.browse(CRAWL_S))
        for state in states:
            with ControlClient(state) as control:
                assert control.status().circuits > 0, "it browses while it is looked for"
    theirs = {host.v4 for host in clients}
    assert {host.v4 for host in hosts} <= crawler.addresses(), "the crawler sees relays"
    assert not crawler.addresses() & theirs
    for number in range(len(invites)):
        with contextlib.closing(ControlClient(tmp_path / f"r{number}")) as control:
            peers = control.peers()
        assert len(peers) == len(hosts)
        assert not {
            address for peer in peers for address in peer.addresses if any(v4 in address for v4 in theirs)
        }
    # What reaches the crawler unasked: links of circuits, if it is somebody's guard, and no announcement.
    from_clients = [packet for packet in heard.packets if packet.source in theirs and packet.protocol != IGMP]
    assert {packet.protocol for packet in from_clients} <= {TCP}
    note("clients found by a crawler of all sources", len(crawler.addresses() & theirs), f"of {CLIENTS}")
