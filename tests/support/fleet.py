"""Many real relays, each a process in a host of its own behind one router, and what is measured of them.

    r0 ── router ── r1 ... rn        every host has one neighbour: no bridge, no crowded neighbour tables

Used by tests/netns/test_many_nodes.py with few relays, and by tests/bench/bench_fleet.py with 40.
"""

import contextlib
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Self

from tests.support.capture import TCP, UDP, Capture, Packet
from tests.support.crawler import Crawler
from tests.support.netns import Lab, Namespace, Wan
from tests.support.nodes import EXIT_CONSENT
from tests.support.relays import IGMP, Tables, invite_of, launch, relay_tables, wait_until
from tests.support.waiting import pause
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.store_io import Store
from vigilnet.peer.issuing import RecordIssuer
from vigilnet.peer.state_io import load_key_ring, save_issuer
from vigilnet.surface.control.client import ControlClient

NETWORK = "netns"
MDNS, BEACON = 5353, 4747
DIRECTORY_PORT = 8090
PAGE_EACH_S = 3.0  # of each client
STARTED_AT_ONCE = 4  # two cores start no more in good time
LOOKUP_EACH_S = 0.5
TICKS_PER_S = 100  # of the kernel's books of processor time
_HEADS = {TCP: 20, UDP: 8}


@dataclass
class Relay:
    """One relay: it can be killed and started again."""

    number: int
    host: Namespace
    folder: Path
    tables: Tables
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0

    @property
    def name(self) -> str:
        """Its name."""
        return f"r{self.number}"

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.folder / self.name

    def start(self, *invites: str) -> None:
        """Start it."""
        given = [part for uri in invites for part in ("--invite", uri)]
        self.process = launch(self.host, self.folder, self.name, self.tables, *given)
        self.started_at = time.monotonic()

    def kill(self) -> None:
        """End it without giving it a chance to say anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pids(self) -> list[int]:
        """Its processes: the relay's own, and those that it started."""
        return self.host.pids()

    def cpu_s(self) -> float:
        """Seconds of processor time that its processes used so far."""
        return sum(map(_cpu_of, self.pids()))

    def rss(self) -> int:
        """Octets of memory that its processes have to themselves or share, together (PSS)."""
        return sum(map(_pss_of, self.pids()))


def _cpu_of(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return 0.0


def _pss_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@dataclass
class Fleet:
    """Relays that know the first one by its invite, and nothing else."""

    lab: Lab
    folder: Path
    relays: list[Relay]
    router: Namespace
    invites: list[str] = field(default_factory=list)  # of the first two
    peer_ids: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, lab: Lab, folder: Path, count: int, *, work_bits: int = 0, **discovery: object) -> "Fleet":
        """Make hosts, identities and identity work; nothing is started."""
        hosts = [lab.namespace(f"r{number}") for number in range(count)]
        router = lab.star(*hosts, wan=Wan(), v6=False)
        relays = []
        for number, host in enumerate(hosts):
            tables = relay_tables(host, **discovery)
            tables["node"] = {"work_bits": work_bits}
            relay = Relay(number, host, folder, tables)
            _prepare(relay.state, work_bits)
            relays.append(relay)
        return cls(lab, folder, relays, router)

    def start(self) -> float:
        """Start all; return when the last one was started."""
        self.relays[0].start()
        self.invites = [invite_of(self.relays[0].state)]
        for relay in self.relays[1:]:
            relay.start(*self.invites)
            if relay.number % STARTED_AT_ONCE == 0:
                wait_until(relay.state, lambda status: bool(status.listen), 120.0)
        return self.relays[-1].started_at

    def wait_known(self, timeout: float) -> None:
        """Wait until each knows all others."""
        for relay in self.relays:
            wait_until(relay.state, lambda status: status.peers >= len(self.relays) - 1, timeout)

    def start_again(self, relay: Relay) -> None:
        """Start one that was killed."""
        relay.start(self.invites[0 if relay.number else 1])

    def note_ids(self) -> None:
        """Ask each who it is, and the second one for its invite, for when the first comes back."""
        self.invites[1:] = [invite_of(self.relays[1].state)]
        self.peer_ids = []
        for relay in self.relays:
            with ControlClient(relay.state) as control:
                self.peer_ids.append(control.status().peer_id)


def _prepare(state: Path, work_bits: int) -> None:
    """Make the identity and its work of this epoch, as a first start would."""
    clock = SystemClock()
    store = Store(state)
    store.lock()
    store.unlock(None)
    try:
        ring = load_key_ring(store, clock.wall(), secrets.token_bytes, NETWORK)
        issuer = RecordIssuer(ring, secrets.token_bytes, work_bits)
        issuer.prepare(clock.wall())
        save_issuer(store, issuer)
    finally:
        store.close()


def payload(packet: Packet) -> int:
    """Octets that a packet carries for TCP or UDP; 0 for others."""
    if packet.protocol not in _HEADS:
        return 0
    head = (packet.octets[0] & 15) * 4 if packet.octets[0] >> 4 == 4 else 40
    if packet.protocol == TCP:
        head += (packet.octets[head + 12] >> 4) * 4
    else:
        head += _HEADS[UDP]
    total = int.from_bytes(packet.octets[2:4]) if packet.octets[0] >> 4 == 4 else len(packet.octets)
    return max(0, total - head)


@dataclass
class Known:
    """How soon relays that know one know all."""

    relays: int
    work_bits: int
    seconds: float  # from when the last one was started
    strangers: int  # addresses beside the relays' that packets came from or went to
    packets: int

    @classmethod
    def measure(
        cls, lab: Lab, folder: Path, count: int, work_bits: int, timeout: float = 120.0
    ) -> "tuple[Known, Fleet]":
        """Start a fleet and wait until each relay knows all."""
        fleet = Fleet.make(lab, folder, count, work_bits=work_bits)
        with Capture(fleet.router) as seen:
            last = fleet.start()
            fleet.wait_known(timeout)
            took = time.monotonic() - last
        ours = {relay.host.v4 for relay in fleet.relays}
        packets = [packet for packet in seen.packets if packet.protocol != IGMP]
        ends = {end for packet in packets for end in (packet.source, packet.target)}
        return cls(count, work_bits, round(took, 1), len(ends - ours), len(packets)), fleet


@dataclass
class Churn:
    """Look-ups while relays are killed and come back."""

    relays: int
    seconds: float
    killed: int
    killed_per_min: float
    asked: int
    found: int
    asked_newcomers: int  # of those asked of a relay that had been up for less than 10 s
    found_by_newcomers: int

    @property
    def share(self) -> float:
        """Of look-ups that found what they looked for."""
        return self.found / self.asked if self.asked else 0.0

    @classmethod
    def measure(cls, fleet: Fleet, seconds: float, per_min: float, seed: int = 1) -> "Churn":
        """Kill and restart relays of a fleet that knows itself, and look others up meanwhile.

        A killed relay comes back at once with its identity, its invite and an empty table. Any relay that
        answers on its control socket may be asked, for any other one; its record must be in the answer.
        """
        fleet.note_ids()
        chance, done = Random(seed), cls(len(fleet.relays), seconds, 0, per_min, 0, 0, 0, 0)
        begun = time.monotonic()
        gap = 60.0 / (per_min * len(fleet.relays))
        next_kill = begun + gap
        while (now := time.monotonic()) < begun + seconds:
            if now >= next_kill:
                next_kill += gap
                victim = chance.choice(fleet.relays)
                victim.kill()
                fleet.start_again(victim)
                done.killed += 1
            done.look_up(fleet, chance)
            pause(max(0.0, min(now + LOOKUP_EACH_S, next_kill) - time.monotonic()))
        return done

    def look_up(self, fleet: Fleet, chance: Random) -> None:
        """Ask one relay for another."""
        asked, wanted = chance.sample(fleet.relays, 2)
        wanted_id = fleet.peer_ids[wanted.number]
        try:
            control = ControlClient(asked.state, timeout=15.0)
        except VigilnetError:
            return  # it is not up again: nobody was asked
        is_found = False
        with control, contextlib.suppress(VigilnetError):
            is_found = any(peer.peer_id == wanted_id for peer in control.find_peer(wanted_id))
        is_new = time.monotonic() - asked.started_at < 10.0
        self.asked += 1
        self.found += is_found
        self.asked_newcomers += is_new
        self.found_by_newcomers += is_new and is_found


@dataclass
class Idle:
    """What a relay costs that nobody uses."""

    relays: int
    minutes: float
    links: int
    known: int
    cpu_percent: float  # of a core
    kb_per_min: float  # payload of TCP and UDP, both ways
    memory_mb: float  # at the end, all its processes
    grown_mb: float

    @classmethod
    def measure(cls, fleet: Fleet, seconds: float, watched: int = 4) -> "list[Idle]":
        """Watch the first relays that have most links for a while."""
        found: list[tuple[int, Relay]] = []
        for relay in fleet.relays:
            with ControlClient(relay.state) as control:
                found.append((control.status().links, relay))
        found.sort(key=lambda pair: -pair[0])
        chosen = [relay for _, relay in found[:watched]]
        before = [(relay.cpu_s(), relay.rss()) for relay in chosen]
        begun = time.monotonic()
        with contextlib.ExitStack() as stack:
            seen = [stack.enter_context(Tally.of(relay.host)) for relay in chosen]
            pause(seconds)
        minutes = (time.monotonic() - begun) / 60
        return [
            cls._of(relay, len(fleet.relays), minutes, was, tally)
            for relay, was, tally in zip(chosen, before, seen, strict=True)
        ]

    @classmethod
    def _of(cls, relay: Relay, relays: int, minutes: float, was: tuple[float, int], tally: "Tally") -> "Idle":
        with ControlClient(relay.state) as control:
            status = control.status()
        now = relay.rss()
        return cls(
            relays,
            round(minutes, 1),
            status.links,
            status.peers,
            round((relay.cpu_s() - was[0]) / (minutes * 60) * 100, 2),
            round(tally.octets / minutes / 1000, 2),
            round(now / 1e6, 1),
            round((now - was[1]) / 1e6, 1),
        )


@dataclass
class Crawl:
    """Whom a crawler of all sources found."""

    minutes: float
    relays: int
    relays_seen: int
    directories: int
    clients: int
    pages: int
    found: int

    @classmethod
    def measure(cls, lab: Lab, folder: Path, seconds: float, clients: int) -> "Crawl":
        """Three relays, an operator and the crawler's own relay on one LAN; clients fetch pages meanwhile.

        Found is a client whose address or key is in a table, list or directory, in anything that the crawler
        was told, or in a packet to it that is no link of a circuit.
        """
        hosts = [lab.namespace(f"r{number}") for number in range(4)]
        spy, web = lab.namespace("spy"), lab.namespace("web")
        users = [lab.namespace(f"c{number}") for number in range(clients)]
        lab.switch(*hosts, spy, web, *users, v6=False)
        web.start("sh", "-c", f"exec python3 -m http.server 80 --directory {folder} 2>/dev/null")
        url = f"http://{hosts[0].v4}:{DIRECTORY_PORT}"
        states = _start_crawled(folder, [*hosts, spy], url)
        invites = [invite_of(state) for state in states[: len(hosts)]]
        for state in states:
            wait_until(state, lambda status: status.peers >= len(states) - 1, 60.0)
        with Capture(spy) as heard:
            names = [f"c{number}" for number in range(clients)]
            for number, (name, host) in enumerate(zip(names, users, strict=True)):
                tables: Tables = {
                    "discovery": {"profile": "default"},
                    "operators": {"urls": [url], "query_s": 5.0},
                    "ingress": {"socks_port": 1080, "http_enabled": False},
                }
                launch(host, folder, name, tables, "--invite", invites[number % len(invites)])
            for name in names:
                wait_until(folder / name, lambda status: status.first_circuit_ms is not None, 120.0)
            browsing = Browsing(users, web.v4)
            crawler = Crawler(spy, hosts[0].v4, [url])
            with browsing:
                crawler.browse(seconds)
        theirs = {host.v4 for host in users}
        seen = crawler.addresses() | _told_by(states)
        # Unasked come links of circuits, where the crawler is somebody's guard, and questions to the LAN.
        spoke = {
            packet.source for packet in heard.packets
            if packet.source in theirs and packet.protocol not in (TCP, IGMP)
            and not _is_question(packet)
        }  # fmt: skip
        relays = {host.v4 for host in (*hosts, spy)}
        return cls(
            round(seconds / 60, 1), len(relays), len(relays & seen), 1, clients, browsing.pages,
            len((seen | spoke) & theirs),
        )  # fmt: skip


def _start_crawled(folder: Path, hosts: list[Namespace], url: str) -> list[Path]:
    """Relays with all sources, the first of which serves a directory; all are exits of a lab."""
    states: list[Path] = []
    invites: list[str] = []
    for number, host in enumerate(hosts):
        tables = relay_tables(host, profile="default")
        tables["exit"] = {"enabled": True, "policy": "open", "allow_private_targets": True, **EXIT_CONSENT}
        tables["node"] = {"mode": "super" if number == 0 else "exit"}
        if number == 0:
            tables["operators"] = {"listen": [f"{host.v4}:{DIRECTORY_PORT}"], "rate_per_minute": 0}
        else:
            tables["operators"] = {"urls": [url], "heartbeat_s": 5.0}
        given = [part for uri in invites[:1] for part in ("--invite", uri)]
        launch(host, folder, f"r{number}", tables, *given)
        states.append(folder / f"r{number}")
        invites.append(invite_of(states[-1]))
    return states


def _told_by(states: list[Path]) -> set[str]:
    """The addresses in the peer tables of relays."""
    told: set[str] = set()
    for state in states:
        with ControlClient(state) as control:
            for peer in control.peers():
                told |= {address.rpartition(" ")[2].rpartition(":")[0] for address in peer.addresses}
            status = control.status()
            told |= {text.rpartition(":")[0] for text in status.listen}
    return told


def _is_question(packet: Packet) -> bool:
    """Whether a packet only asks a LAN who is a relay: mDNS without an answer, the beacon's ASK."""
    if packet.protocol != UDP:
        return False
    body = packet.octets[28:]
    if packet.target_port == MDNS:
        return len(body) > 6 and not body[2] & 0x80 and body[6:8] == b"\0\0"
    return packet.target_port == BEACON and body == b"VNB1\x01"


class Browsing:
    """Clients that fetch a page again and again, within a `with` block."""

    def __init__(self, clients: list[Namespace], web: str) -> None:
        self._clients = clients
        self._web = web
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in clients]
        self.pages = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: Namespace) -> None:
        while not self._is_over.wait(PAGE_EACH_S):
            done = client.run(
                "curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}",
                "--socks5-hostname", "127.0.0.1:1080", f"http://{self._web}/", check=False, timeout=40.0,
            )  # fmt: skip
            self.pages += done.stdout == "200"


class Tally:
    """Counts the payload that crosses a host, without keeping packets: for long looks."""

    def __init__(self) -> None:
        self.octets = 0

    @classmethod
    @contextlib.contextmanager
    def of(cls, host: Namespace) -> "Iterator[Tally]":
        """Count within a `with` block."""
        tally = cls()
        capture = Capture(host)
        capture.take = tally._take
        with capture:
            yield tally

    def _take(self, packet: Packet) -> None:
        self.octets += payload(packet)
