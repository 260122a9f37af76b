"""A node that only has a status, behind a real control socket on a loop of its own thread."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vigilnet.base.errors import VigilnetError
from vigilnet.node.option_list import values_of
from vigilnet.node.options import Loaded, Options, load_options
from vigilnet.node.status import (
    CircuitStatus,
    ClientFacts,
    ExitStatus,
    HopStatus,
    InviteStatus,
    NodeState,
    NodeStatus,
    PathHopStatus,
    PathStatus,
    PeerStatus,
    StreamStatus,
    WelcomeStatus,
)
from vigilnet.routing.discovery.reachability import ReachFinding
from vigilnet.surface.control.device import ControlledDevice, Device
from vigilnet.surface.control.events import EventFeed
from vigilnet.surface.control.host import DeviceFacts, is_live
from vigilnet.surface.control.log_ring import LogRing
from vigilnet.surface.control.models import Diagnosis, Exits, Finding, Peer, Status
from vigilnet.surface.control.server import ControlServer
from vigilnet.surface.control.sessions import Sessions
from vigilnet.surface.control.socket_path import socket_of
from vigilnet.surface.control.steering import Steering


class FakeDevice:
    """A whole-device side that only remembers what it was told."""

    def __init__(self) -> None:
        self.is_up = self.is_locked = False
        self.has_helper = True
        self.programs: tuple[str, ...] = ()

    async def refreshed(self) -> Device:
        return Device(
            self.is_up, self.is_locked, has_helper=self.has_helper, can_split=True, programs=self.programs
        )

    async def up(self) -> Device:
        self.is_up = True
        return await self.refreshed()

    async def down(self) -> Device:
        self.is_up = False
        return await self.refreshed()

    async def change(self, **fields: object) -> Device:
        lists = {"outside": "outside_programs", "inside": "inside_programs", "exit": "bound_programs"}
        for where, name in lists.items():
            paths = fields.get(name)
            if isinstance(paths, tuple):
                others = tuple(text for text in self.programs if not text.startswith(where))
                self.programs = (*others, *(f"{where} {path}" for path in paths))
        return await self.refreshed()

    async def lockdown(self, *, is_on: bool) -> Device:
        self.is_locked = is_on
        return await self.refreshed()

    async def portal(self, url: str, seconds: int) -> tuple[str, Device]:
        del seconds
        return url, await self.refreshed()

    async def join(self, pid: int, group: str) -> None:
        del pid, group


class FakeNode:
    """Fixed snapshots; `refusal` makes new_identity fail."""

    def __init__(self) -> None:
        self.refusal = ""
        self.asked = 0
        self.device: FakeDevice | None = FakeDevice()
        self.facts: ClientFacts | None = ClientFacts(
            3, has_path=True, had_path=True, relays=3, enough_relays=True, country="SE"
        )
        self.octets = (2_000, 1_000)
        self.retired: list[int] = []

    def status(self) -> NodeStatus:
        return NodeStatus(
            "0.1.0", 4711, NodeState.CONNECTED, 12.5, "lab", ("client",), socks="127.0.0.1:1080",
            listen=("127.0.0.1:4001",), peers=3, links=1, circuits=2, streams=1, first_circuit_ms=18.5,
        )  # fmt: skip

    def circuits(self) -> Sequence[CircuitStatus]:
        hops = tuple(HopStatus(f"12D3KooW{name}", "aes-256-gcm") for name in ("guard", "middle", "exit"))
        return (CircuitStatus(1, "open", hops, 3.0, 1, 17.0, ""), CircuitStatus(2, "building", (), 0.1))

    def streams(self) -> Sequence[StreamStatus]:
        return [StreamStatus(5, 1, "example.org:443", "open", 2.0, 100, 20_000)]

    def paths(self) -> Sequence[PathStatus]:
        hops = tuple(
            PathHopStatus(role, f"12D3KooW{name}", name, country, ms, transport, address)
            for role, name, country, ms, transport, address in (
                ("entry", "guard", "DE", 18.0, "HTX", "192.0.2.1:443"),
                ("middle", "middle", "NL", None, "", ""),
                ("exit", "exit", "SE", None, "", ""),
            )
        )
        return [
            PathStatus(1, "firefox", False, False, 720.0, 19, 84.0, hops),
            PathStatus(3, "", True, False, 40.0, 0, 97.0, hops),
        ]

    def peers(self) -> Sequence[PeerStatus]:
        return [
            PeerStatus(
                "12D3KooWguardian", ("invites", "gossip"), ("relay", "guard"), True, True, 1_790_000_000,
                "guard", "DE", "direct", "dialled", 0.0, True, "HTX", ("HTX 192.0.2.1:443",), 18.0, 2000,
                1000, 720.0, 8192, "", "vigilnet 0.1",
            ),
            PeerStatus(
                "12D3KooWstranger", ("mdns",), ("relay", "exit"), False, False, 1_790_000_000, "stranger",
                "SE", "failed", "no-answer", 8.0, ports="80,443",
            ),
        ]  # fmt: skip

    def reachability(self) -> Sequence[ReachFinding]:
        return [ReachFinding("network.inward", "pass", "Others reach this relay")]

    async def find_peer(self, peer_id: str) -> Sequence[PeerStatus]:
        return [peer for peer in self.peers() if peer.peer_id == peer_id]

    def exits(self, country: str = "", port: int = 0) -> Sequence[ExitStatus]:
        known = (("exit", "SE", "80,443"), ("stranger", "SE", "all"), ("kyoto", "JP", "80,443"))
        return [
            ExitStatus(f"12D3KooW{name}", name, where, ports, None, name == "exit")
            for name, where, ports in known
            if country in ("", where) and (port in (0, 80, 443) or ports == "all")
        ]

    def client_facts(self) -> ClientFacts | None:
        return self.facts

    def carried(self) -> tuple[int, int]:
        return self.octets

    def new_path(self, circuit_id: int) -> bool:
        self.retired.append(circuit_id)
        return circuit_id == 1

    def keep_path(self, circuit_id: int, *, is_kept: bool) -> bool:
        del is_kept
        return circuit_id == 1

    def close_circuit(self, circuit_id: int) -> bool:
        return circuit_id == 1

    def invite(self, peer_id: str) -> InviteStatus:
        return InviteStatus("vigilnet:AAAA", peer_id or "12D3KooWown", 1_790_000_000)

    def add_invite(self, uri: str) -> InviteStatus:
        if not uri.startswith("vigilnet:"):
            raise VigilnetError("invite: does not begin with vigilnet:")
        return InviteStatus(uri, "12D3KooWguest", 1_790_000_000, is_new=True)

    def welcome_list(self) -> WelcomeStatus:
        return WelcomeStatus("vigilnet welcome 1\nvigilnet:AAAA\n", 1, is_signed=False)

    async def new_identity(self) -> int:
        self.asked += 1
        if self.refusal:
            raise VigilnetError(self.refusal)
        return 2


class FakeClock:
    """Time that stands still."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1_790_000_000.0 + self.at


class FakeHost:
    """The process around a fake node: settings in a file, nothing else real."""

    def __init__(self, node: FakeNode, file: Path, on_stop: Callable[[], None] = lambda: None) -> None:
        self.node = node
        self.clock = FakeClock()
        self.is_on = True
        self.loaded: Loaded = load_options(None, {})
        self.options: Options = self.loaded.options
        self.settings_file = file
        self.logs = LogRing()
        self.sessions = Sessions()
        self.dashboard = "http://127.0.0.1:8088/"
        self.diagnosis: Diagnosis | None = None
        self.facts = DeviceFacts()
        self.restarts = 0
        self.changes: list[tuple[dict[str, str | None], bool]] = []
        self._on_stop = on_stop

    @property
    def controlled_device(self) -> ControlledDevice | None:
        return self.node.device

    def device(self) -> DeviceFacts:
        return self.facts

    async def examine(
        self, status: Status, peers: Sequence[Peer], exits: Exits, *, repair: bool
    ) -> Diagnosis:
        del status, peers, exits
        findings = (
            Finding("udp.dropped", "fail", "network", "This network drops UDP", "TCP works.", "use TCP", "",
                    ("192.0.2.1: no answer",)),
            Finding("clock.right", "pass", "device", "The clock is right"),
        )  # fmt: skip
        repaired = ("removed a stale lock",) if repair else ()
        self.diagnosis = Diagnosis(findings, 1, 1, 0, 3.0, "1 problem", repaired)
        return self.diagnosis

    async def change(
        self, wanted: Mapping[str, str | None], *, keep: bool, restart: bool = False
    ) -> tuple[str, ...]:
        before = values_of(self.loaded.options)
        changes = [(key, value) for key, value in wanted.items() if value is not None]
        self.loaded = load_options(None, {}, changes)
        self.options = replace(self.options, circuits=self.loaded.options.circuits)
        live = {key.partition(".")[2] for key in wanted if key.startswith("device.") and is_live(key)}
        if live and self.node.device is not None:
            await self.node.device.change(
                **{name: getattr(self.loaded.options.device, name) for name in live}
            )
        self.changes.append((dict(wanted), keep))
        self.restarts += restart
        now = values_of(self.loaded.options)
        return tuple(key for key in wanted if now[key] != before[key])

    async def switch(self, *, on: bool) -> bool:
        was, self.is_on = self.is_on, on
        return was != on

    async def restart(self) -> None:
        self.restarts += 1

    def stop(self) -> None:
        self._on_stop()


def control_server(path: Path, host: FakeHost, *, is_unix: bool = True) -> tuple[ControlServer, EventFeed]:
    """Return a control server around `host`, and the events that it serves."""
    steering = Steering(host, "0.1.0")
    events = EventFeed(steering, host.logs.listeners)
    return ControlServer(path, steering, events, is_unix=is_unix), events


@contextmanager
def serving(path: Path, host: FakeHost, *, is_unix: bool = True) -> Iterator[None]:
    """Serve the control socket at `path`, or a port that the file there tells, in a thread."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        server, events = control_server(path, host, is_unix=is_unix)
        await server.start()
        events.start()
        started.set()
        await ending.wait()
        await events.close()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(60)
        yield
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(10)
        loop.close()


@contextmanager
def served(
    folder: Path, node: FakeNode | None = None, host: FakeHost | None = None
) -> Iterator[threading.Event]:
    """Serve a node's control socket in `folder`; gives the event that a request to stop sets."""
    stopped = threading.Event()
    around = host or FakeHost(node or FakeNode(), folder / "vigilnet.toml")
    around._on_stop = stopped.set
    with serving(socket_of(folder), around):
        yield stopped
