"""Links of ours through the same WAN: `tunnels serve ... ` and `tunnels visit ...`, two processes.

Sixteen guards stand before the sites' own nginx, with a middle and an exit behind them. For each connection a
fresh client opens a link to one guard, builds three circuits of three hops and does one of these for some
seconds: pages over TLS in TLS, a download, an upload, a shell, or all of it. Handshakes, circuits and streams
are the real ones. What an exit reaches answers as asked: `u32 octets | u16 ms | u32 size of the request`.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.bench.shaping.sites import Site, from_json
from tests.support.links import FakeAddress, FakeLocal, FakeRecord
from vigilnet.base.clock import SystemClock
from vigilnet.crypto.aead import Suite
from vigilnet.peer.address import prefix_of
from vigilnet.peer.keyring import onion_key_id
from vigilnet.traffic.circuit.client import ClientCircuit, Hop
from vigilnet.traffic.circuit.messages import DestroyReason
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.messages import Resolve, Resolved, Target
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.htx.authenticator import Authenticator
from vigilnet.traffic.transport.htx.carrier_io import HtxCarrier
from vigilnet.traffic.transport.htx.certificates import TrustAnchors
from vigilnet.traffic.transport.htx.dial_io import Browser
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.options import Options as HtxOptions
from vigilnet.traffic.transport.htx.recordings import Recordings, parse_recordings
from vigilnet.traffic.transport.htx.server_io import Relay
from vigilnet.traffic.transport.htx.shaping import PROFILES
from vigilnet.traffic.transport.htx.templates_io import bundled_templates
from vigilnet.traffic.transport.tcp_io import TcpTransport

TCP, HTX = 1, 2
PORT = 8443
WORK_S = tuple(map(float, os.environ.get("VIGILNET_BENCH_WORK_S", "5,11").split(",")))
WORKLOADS = ("web", "web", "shell", "bulk", "upload", "mix")
REQUEST = struct.Struct(">IHI")


def secret(name: str, use: str) -> X25519PrivateKey:
    """Both processes know all keys."""
    return X25519PrivateKey.from_private_bytes(hashlib.sha256(f"{name}/{use}".encode()).digest())


@dataclass
class Keys:
    """A relay's onion keys; serves `OnionSecrets`."""

    key: X25519PrivateKey

    def onion_secret(self, key_id: bytes) -> X25519PrivateKey | None:
        return self.key if key_id == onion_key_id(self.key.public_key().public_bytes_raw()) else None


class Keeper:
    """Knows all records; serves `RecordKeeper`."""

    def may_extend(self, identity: bytes, least_sequence: int) -> DestroyReason | None:
        return None

    def offer_record(self, encoded: bytes, origin: str) -> None:
        pass


def local_of(name: str) -> FakeLocal:
    return FakeLocal(name.encode().ljust(32, b"."), secret(name, "link"))


def hop_of(name: str) -> Hop:
    local = local_of(name)
    onion = secret(name, "onion").public_key().public_bytes_raw()
    return Hop(local.identity, onion, Suite.AES_256_GCM, local.record, 7)


def recordings_of(folder: Path, site: Site) -> Recordings | None:
    """What was recorded before this site's origin, for its guard."""
    path = folder / "visits" / f"{site.number}.jsonl"
    return Recordings(parse_recordings(path.read_text(), path.name)) if path.exists() else None


def records_of(sites: list[Site], folder: Path) -> dict[bytes, FakeRecord]:
    """Everybody's record."""
    key = secret("htx", "htx").public_key().public_bytes_raw()
    found = {}
    for site in sites:
        params = {0: key, 1: site.name, 2: 2}
        if recordings := recordings_of(folder, site):
            params[5] = recordings.request
        address = FakeAddress(HTX, site.address, PORT, params)
        local = local_of(f"guard{site.number}")
        found[local.identity] = replace(local.public, addresses=(address,))
    for name, port in (("middle", 4001), ("exit", 4002)):
        local = local_of(name)
        found[local.identity] = replace(local.public, addresses=(FakeAddress(TCP, "127.0.0.1", port),))
    return found


def links_of(
    transport: HtxTransport, records: dict[bytes, FakeRecord], local: FakeLocal | None
) -> LinkService:
    return LinkService(
        Options(allow_private_addresses=True),
        SystemClock(),
        {HTX: transport, TCP: TcpTransport()},
        records,
        local=local,
        admit=lambda encoded, host: FakeRecord.admit(encoded),
        network="",
        random_bytes=os.urandom,
    )


# --- the exit's far side ------------------------------------------------------------------------


class Answering:
    """Answers every request on a stream as it asks."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._asked = bytearray()
        self._unsent = 0
        stream.set_consumer(self)
        stream.accept("203.0.113.80", 60)

    def connected(self, address: str, ttl: int) -> None:
        pass

    def data_received(self, data: memoryview) -> None:
        self._asked += data
        self._stream.consumed(len(data))
        while len(self._asked) >= REQUEST.size:
            octets, delay, size = REQUEST.unpack_from(self._asked)
            if len(self._asked) < size:
                return
            del self._asked[:size]
            asyncio.get_running_loop().call_later(delay / 1000, self._answer, octets)

    def _answer(self, octets: int) -> None:
        self._unsent += octets
        self.writable()

    def writable(self) -> None:
        while self._unsent and self._stream.closed is None and (room := self._stream.room()) > 0:
            count = min(room, self._unsent, 16_384)
            self._stream.write(os.urandom(count))
            self._unsent -= count

    def eof_received(self) -> None:
        self._stream.write_eof()

    def stream_closed(self, reason: EndReason) -> None:
        pass


class Far:
    """What the exit reaches; serves `Acceptor`."""

    def begin(self, stream: Stream, target: Target) -> None:
        Answering(stream)

    def resolve(self, request: Resolve, answer: Callable[[Resolved], None]) -> None:
        answer(Resolved(0))

    def open_datagrams(self, flow: DatagramFlow, target: Target) -> None:
        flow.accept()

    def open_echo(self, flow: EchoFlow, target: Target) -> None:
        raise NotImplementedError("nobody pings here")


async def serve(folder: Path, sites: list[Site]) -> None:
    """All relays, until killed."""
    records, clock = records_of(sites, folder), SystemClock()
    key = secret("htx", "htx")
    browser = Browser((), {}, lambda: TrustAnchors.from_pem((folder / "root.pem").read_bytes()), clock, "",
                      os.urandom)  # fmt: skip
    kept = []
    places: list[tuple[str, str, int, Relay | None]] = [
        ("middle", "127.0.0.1", 4001, None),
        ("exit", "127.0.0.1", 4002, None),
    ]
    for site in sites:
        before = Relay(
            Authenticator(lambda: (key,), ""), (site.address, 443), CarrierKind.HTX_OWN_SITE,
            HtxOptions(), clock, "", os.urandom, prefix_of, recordings_of(folder, site),
        )  # fmt: skip
        places.append((f"guard{site.number}", site.address, PORT, before))
    for name, host, port, relay in places:
        links = links_of(HtxTransport(browser, relay), records, local_of(name))
        circuits = CircuitService(links, MuxOptions(), clock, os.urandom)
        links.on_link = circuits.attach
        await links.listen(host, port, TCP if relay is None else HTX)
        keys = Keys(secret(name, "onion"))
        circuits.enable_relay(local_of(name).identity, keys, Keeper(), Far() if name == "exit" else None)
        kept.append((links, circuits))
    print("ready", flush=True)
    await asyncio.Event().wait()


# --- clients ------------------------------------------------------------------------------------


class Asking:
    """A client's end of a stream: asks, waits for the answer."""

    def __init__(self, circuit: ClientCircuit, payload: list[int]) -> None:
        self._payload = payload  # octets sent and received, of all streams of a client
        self._stream = circuit.mux.open_stream(Target("far.test", 443))
        self._left = 0
        self._unsent = 0
        self._done = asyncio.Event()
        self.is_closed = False
        self._stream.set_consumer(self)

    async def ask(self, size: int, octets: int, delay: int = 0) -> None:
        """Send a request of `size` octets for an answer of `octets`; raises ConnectionError."""
        size = max(size, REQUEST.size)
        self._left += octets
        self._unsent += size - REQUEST.size
        self._done.clear()
        self._stream.write(REQUEST.pack(octets, delay, size))
        self._payload[0] += REQUEST.size
        self.writable()
        await self._done.wait()
        if self.is_closed:
            raise ConnectionError("the stream was closed")

    def writable(self) -> None:
        while self._unsent and self._stream.closed is None and (room := self._stream.room()) > 0:
            count = min(room, self._unsent, 16_384)
            self._stream.write(os.urandom(count))
            self._unsent -= count
            self._payload[0] += count

    def connected(self, address: str, ttl: int) -> None:
        pass

    def data_received(self, data: memoryview) -> None:
        self._stream.consumed(len(data))
        self._payload[1] += len(data)
        self._left -= len(data)
        if self._left <= 0:
            self._done.set()

    def eof_received(self) -> None:
        self._done.set()

    def stream_closed(self, reason: EndReason) -> None:
        self.is_closed = True
        self._done.set()


class Work:
    """What a client does, and what it measures."""

    def __init__(self, circuit: ClientCircuit, rng: random.Random, end: float) -> None:
        self._circuit = circuit
        self._rng = rng
        self._end = end
        self._now = asyncio.get_running_loop().time
        self.echoes: list[float] = []
        self.payload = [0, 0]

    async def _ask(self, stream: Asking, size: int, octets: int, delay: int = 0) -> None:
        await stream.ask(size, octets, delay)

    async def web(self) -> None:
        """A page and its parts, each host over TLS of its own."""
        rng = self._rng
        while self._now() < self._end:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(rng.randint(1, 4)):
                    tasks.create_task(self._host())
            await asyncio.sleep(min(5.0, rng.lognormvariate(0.3, 0.7)))

    async def _host(self) -> None:
        rng, stream = self._rng, Asking(self._circuit, self.payload)
        await self._ask(stream, rng.choice((517, 1800, 1900)), rng.randint(2600, 5200))
        await self._ask(
            stream, 80 + rng.randint(90, 700), int(rng.lognormvariate(9.3, 1.2)), rng.randint(1, 60)
        )
        for _ in range(rng.randint(0, 8)):
            await self._ask(stream, rng.randint(60, 500), int(rng.lognormvariate(9, 1.3)), rng.randint(1, 80))

    async def shell(self) -> None:
        """Keystrokes and their echoes."""
        rng, stream = self._rng, Asking(self._circuit, self.payload)
        while self._now() < self._end:
            size = rng.choice((36, 44, 52, 68, 100))
            began = self._now()
            await self._ask(stream, size, rng.choice((size, size, 300)))
            self.echoes.append(self._now() - began)
            await asyncio.sleep(rng.uniform(0.05, 0.4) if rng.random() < 0.85 else rng.uniform(0.5, 2.5))

    async def bulk(self) -> None:
        """Downloads."""
        while self._now() < self._end:
            await self._ask(Asking(self._circuit, self.payload), 700, self._rng.randint(2_000_000, 8_000_000))

    async def upload(self) -> None:
        """Uploads."""
        while self._now() < self._end:
            await self._ask(Asking(self._circuit, self.payload), self._rng.randint(200_000, 2_000_000), 200)
            await asyncio.sleep(self._rng.uniform(0.2, 2))

    async def mix(self) -> None:
        """Pages, a shell and a download."""
        async with asyncio.TaskGroup() as tasks:
            for part in (self.web(), self.shell(), self.bulk()):
                tasks.create_task(part)


def port_of(links: LinkService, identity: bytes) -> int:
    """Return our port of a link, by which the watcher knows it."""
    link = links.get(identity)
    if link is None or not isinstance(link._carrier, HtxCarrier):
        return 0
    return int(link._carrier._tcp._sock.getsockname()[1])


async def one_flow(site: Site, profile: str, workload: str, folder: Path, seed: int) -> dict[str, object]:
    """One link from its dial to its end; return what it was and what it cost."""
    rng = random.Random(seed)
    clock, sites = SystemClock(), [site]
    anchors = TrustAnchors.from_pem((folder / "root.pem").read_bytes())
    template = [template for template in bundled_templates() if template.name == "chromium"]
    browser = Browser(template, {}, lambda: anchors, clock, "", os.urandom, profile=PROFILES[profile])
    links = links_of(HtxTransport(browser), records_of(sites, folder), None)
    circuits = CircuitService(links, MuxOptions(), clock, os.urandom)
    links.on_link = circuits.attach
    facts: dict[str, object] = {"site": site.number, "profile": profile, "workload": workload}
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(40):
            began = loop.time()
            hops = [hop_of(name) for name in (f"guard{site.number}", "middle", "exit")]
            circuit = await circuits.build(hops)
            facts["first_circuit_s"] = round(loop.time() - began, 4)
            facts["client_port"] = port_of(links, hops[0].identity)
            more = [loop.create_task(circuits.build(hops)) for _ in range(2)]
            length = rng.uniform(*WORK_S)
            work = Work(circuit, rng, loop.time() + length)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(length + 3):
                    await getattr(work, workload)()
            await asyncio.gather(*more, return_exceptions=True)
            facts |= {"echoes": [round(echo, 4) for echo in work.echoes], "payload": work.payload}
            guard = links.get(hops[0].identity)
            if guard is not None:
                facts["wire"] = [guard.octets_sent, guard.octets_received_total]
    except Exception as error:  # noqa: BLE001  # a flow that failed is counted, the others go on
        facts["error"] = repr(error)[:200]
    await circuits.close()
    await links.close()
    return facts


async def visit(profiles: list[str], rounds: int, parallel: int, folder: Path, sites: list[Site]) -> None:
    """Flows of all profiles to all sites; one JSON line each."""
    rng = random.Random()
    jobs = [(site, profile) for _ in range(rounds) for site in sites for profile in profiles]
    rng.shuffle(jobs)

    async def worker() -> None:
        while jobs:
            site, profile = jobs.pop()
            began = asyncio.get_running_loop().time()
            workload = rng.choice(WORKLOADS)
            facts = await one_flow(site, profile, workload, folder, rng.randrange(1 << 30))
            facts["took"] = round(asyncio.get_running_loop().time() - began, 2)
            print(json.dumps(facts), flush=True)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(parallel):
            tasks.create_task(worker())


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(Path(sys.argv[2]), from_json(sys.argv[3])))
    else:
        uvloop.run(
            visit(sys.argv[2].split(","), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]),
                  from_json(sys.argv[6]))
        )  # fmt: skip
