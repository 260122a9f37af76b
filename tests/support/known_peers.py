"""A super peer that knows many relays, and a client that uses it, for as long as wanted: what do they hold?

super (directory, relay, exit) ── loopback ── client      relays: identities that register by HTTP each 30 s

Of the relays nobody answers: each dial of one is refused, as of relays that have just gone. Every tenth
leaves out four heartbeats of eight, so that it is hidden, pruned and new again.
"""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.helper_nodes import CONSENT, PAGE, HelperNode, exit_settings, web_server
from tests.support.operators import Relay
from tests.support.waiting import pause
from vigilnet.peer.address import PeerAddress
from vigilnet.routing.operators.wire import encode_registration, sign_registration
from vigilnet.surface.control.client import ControlClient

NETWORK = "operators"
HEARTBEAT_S = 30.0
FETCH_S = 0.5
FIRST_PORT = 400  # nobody listens there


@dataclass(frozen=True)
class Sample:
    """What the two processes hold at one time."""

    minute: float
    known: int
    listed: int
    links: int
    super_mb: float
    super_sockets: int
    super_files: int
    client_mb: float
    client_sockets: int


@dataclass(frozen=True)
class KnownPeers:
    """One run."""

    samples: tuple[Sample, ...]
    pages: int
    failed: int
    registrations: int
    refused: int
    slowest_status_s: float
    complaints: int

    @staticmethod
    def measure(folder: Path, relays: int, samples: int, every_s: float) -> "KnownPeers":
        """Run it until there are so many samples, one each so many seconds."""
        settings = {"relay.listen": "127.0.0.1:0"}
        with (
            web_server() as target,
            HelperNode(
                folder / "super",
                "super",
                ("--accept-exit-notice",),
                exit_settings(target) | settings,
                CONSENT,
            ) as peer,
        ):
            run = _Run(
                peer, target, [Relay(f"known {number}", "127.0.0.1", NETWORK) for number in range(relays)]
            )
            run.beat(0, all_of_them=True)
            arguments = ("--operators", peer.url)
            with HelperNode(folder / "client", "client", arguments, {"circuits.hops": "1"}) as client:
                client.wait_state("connected")
                return run.go(client, samples, every_s)

    def growth_mb(self, process: str) -> float:
        """How much larger the last quarter's median is than the second quarter's."""
        values = [float(getattr(sample, process)) for sample in self.samples]
        quarter = max(1, len(values) // 4)
        return statistics.median(values[-quarter:]) - statistics.median(values[quarter : 2 * quarter])

    def most(self, what: str) -> int:
        """The largest number of something in any sample."""
        return max(int(getattr(sample, what)) for sample in self.samples)


class _Run:
    def __init__(self, peer: HelperNode, target: int, relays: Sequence[Relay]) -> None:
        self.peer, self.target, self.relays = peer, target, relays
        self.registrations = self.refused = self.pages = self.failed = 0
        self.slowest = 0.0

    def go(self, client: HelperNode, wanted: int, every_s: float) -> KnownPeers:
        start = time.monotonic()
        samples: list[Sample] = []
        beats, fetched, sampled = 1, start, start
        while len(samples) < wanted:
            now = time.monotonic()
            if now - start >= beats * HEARTBEAT_S / len(self.relays):
                self.beat(beats)
                beats += 1
            if now - fetched >= FETCH_S:
                fetched = now
                is_right = client.fetch(self.target) == PAGE
                self.pages, self.failed = self.pages + is_right, self.failed + (not is_right)
            if now - sampled >= every_s:
                sampled = now
                samples.append(self._sample((now - start) / 60, client))
            pause(0.01)
        complaints = sum(
            " error " in line or "this is a bug" in line
            for node in (self.peer, client)
            for line in node.log.splitlines()
        )
        return KnownPeers(
            tuple(samples),
            self.pages,
            self.failed,
            self.registrations,
            self.refused,
            self.slowest,
            complaints,
        )

    def beat(self, number: int, *, all_of_them: bool = False) -> None:
        """Let the next relay register, unless it is silent now; or all at once."""
        for at in range(len(self.relays)) if all_of_them else (number % len(self.relays),):
            if at % 10 == 0 and number // len(self.relays) % 8 >= 4:
                continue
            relay, wall = self.relays[at], time.time()
            address = PeerAddress.tcp("127.0.0.1", FIRST_PORT + at)
            record = relay.maker.record(int(wall), addresses=[address], country="DE")
            said = sign_registration(relay.maker.identity, record, wall, NETWORK)
            code, _ = self.peer.ask("/api/relay/register", encode_registration(said))
            self.registrations += code == 200
            self.refused += code != 200

    def _sample(self, minute: float, client: HelperNode) -> Sample:
        asked = time.monotonic()
        with ControlClient(self.peer.folder) as control:
            status = control.status()
        self.slowest = max(self.slowest, time.monotonic() - asked)
        own, theirs = held_by(self.peer), held_by(client)
        return Sample(
            round(minute, 1), status.peers, len(self.peer.listed()), status.links,
            own[0], own[1], own[2], theirs[0], theirs[1],
        )  # fmt: skip


def held_by(node: HelperNode) -> tuple[float, int, int]:
    """Memory in MB, sockets and all descriptors of a node's process."""
    assert node.process is not None
    of_process = Path(f"/proc/{node.process.pid}")
    pages = int((of_process / "statm").read_text().split()[1])
    links = [os.readlink(path) for path in (of_process / "fd").iterdir() if path.is_symlink()]  # noqa: PTH115
    sockets = sum(link.startswith("socket:") for link in links)
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1), sockets, len(links)
