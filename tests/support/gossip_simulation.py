"""Networks of up to 10,000 gossiping relays on a virtual clock, with churn, liars and Sybils.

The machines and peer tables are those of the product. Only two things are shared that real nodes do each for
themselves, or the run would take hours: a record is parsed once, and its signature is checked once
(`shared_checks`). Relays start with empty tables, and few of them publish records: what is counted is the
cost of a record, not that of 10,000 records in 10,000 tables.
"""

import contextlib
import functools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from unittest.mock import patch

from tests.support.gossip_network import GossipNetwork, Node
from tests.support.records import RecordMaker
from vigilnet.peer import descriptor
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord, sign_record
from vigilnet.peer.sources import Source
from vigilnet.routing.discovery import wire
from vigilnet.routing.discovery.find_io import MAX_ASKED

LINKS = 6  # that each relay dials: `discovery.neighbours`
SETTLE_S = 15.0  # from when a record is published to when a client may expect to find it
SYBIL_HOST = "198.51.100.7"


@contextlib.contextmanager
def shared_checks() -> Iterator[None]:
    """Parse a record once and check its signature once, for all nodes of a simulation."""
    parse = functools.lru_cache(65_536)(descriptor.parse_record)
    verdicts: dict[bytes, bool] = {}

    def is_valid(record: PeerRecord, network: str = "") -> bool:
        if record.encoded not in verdicts:
            verdicts[record.encoded] = descriptor.is_signature_valid(record, network)
        return verdicts[record.encoded]

    with contextlib.ExitStack() as stack:
        for module in ("vigilnet.peer.view", "vigilnet.routing.discovery.stock"):
            stack.enter_context(patch(f"{module}.parse_record", parse))
            stack.enter_context(patch(f"{module}.is_signature_valid", is_valid))
        yield


@dataclass
class Spread:
    """How one new record went through a network."""

    nodes: int
    rounds_99: int  # passings-on from its relay to the 99th of a hundred nodes
    seconds_99: float
    reached: float  # share of the nodes in the end
    frames: float  # per node, above what the same time costs anyhow
    octets: float
    idle_frames_per_min: float
    idle_octets_per_min: float


@dataclass
class Lookups:
    """How often clients found what they looked for."""

    asked: int = 0
    right: int = 0  # two relays of different places named the newest record
    one_right: int = 0  # the first relay asked named it
    frames: float = 0.0  # of gossip, for each relay and minute, with all that was published and killed
    octets: float = 0.0

    @property
    def share(self) -> float:
        return self.right / max(1, self.asked)

    @property
    def one_share(self) -> float:
        return self.one_right / max(1, self.asked)


@dataclass
class Simulation:
    """One network.

    Args:
        size: relays.
        seed: of all chance.
        liars: share of relays that take part and pass nothing on: half of them say nothing at all, the
            others announce what they never deliver, so that those who ask them lose time.
    """

    size: int
    seed: int = 1
    liars: float = 0.0
    has_prefix_limits: bool = True
    dice: Random = field(init=False)
    net: GossipNetwork = field(init=False)
    lying: set[str] = field(default_factory=set)
    newest: dict[str, tuple[float, PeerRecord]] = field(
        default_factory=dict
    )  # what each publisher told, when

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)
        self.net = GossipNetwork(self.seed, has_prefix_limits=self.has_prefix_limits)
        names = [f"n{number}" for number in range(self.size)]
        self.lying = set(self.dice.sample(names, int(self.liars * self.size)))
        for name in names:
            self._start(name)
        everybody = list(self.net.nodes.values())
        for node in everybody:
            self._dial(node, everybody)

    def _start(self, name: str) -> Node:
        node = self.net.add(name, place=f"place {name}", has_record=False)
        if name in self.lying:
            node.gossip.stock._limits = None  # it keeps to no limit of its own
            is_silent = self.dice.random() < 0.5
            node.meddle = lambda frame: None if is_silent or frame[0] == wire.Kind.ITEMS else frame
        return node

    def _dial(self, node: Node, among: list[Node]) -> None:
        for other in self.dice.sample(among, min(len(among), LINKS + 1)):
            if other is not node:
                self.net.link(node, other)

    # --- one record --------------------------------------------------------------------------------

    def spread(self, limit_s: float = 120.0) -> Spread:
        """Have one relay learn a record, and see how all learn it."""
        net = self.net
        net.run(30.0)
        before = net.frames, net.octets
        net.run(60.0)
        idle = (net.frames - before[0]) / self.size, (net.octets - before[1]) / self.size
        record = RecordMaker("news").record(int(net.wall))
        depths: dict[bytes, tuple[int, float]] = {}
        deliver = net._deliver

        def watched(sender: bytes, receiver: bytes, frame: bytes) -> None:
            node = net.nodes.get(receiver)
            deliver(sender, receiver, frame)
            if node is not None and receiver not in depths and node.view.get(record.identity) is not None:
                depths[receiver] = depths[sender][0] + 1, net.now

        honest = [node for node in net.nodes.values() if node.name not in self.lying]
        net._deliver = watched  # type: ignore[method-assign]
        before, started = (net.frames, net.octets), net.now
        depths[honest[0].identity] = 0, net.now
        net.give(honest[0], record)
        took = net.run_until(
            lambda: sum(node.identity in depths for node in honest) == len(honest), limit_s, step_s=0.5
        )
        net._deliver = deliver  # type: ignore[method-assign]
        known = sorted(depths[node.identity] for node in honest if node.identity in depths)
        place = min(len(known), -(-99 * len(honest) // 100)) - 1
        minutes = took / 60.0
        return Spread(
            self.size,
            rounds_99=known[place][0],
            seconds_99=round(sorted(at for _, at in known)[place] - started, 2),
            reached=len(known) / len(honest),
            frames=round((net.frames - before[0]) / self.size - idle[0] * minutes, 2),
            octets=round((net.octets - before[1]) / self.size - idle[1] * minutes, 1),
            idle_frames_per_min=round(idle[0], 2),
            idle_octets_per_min=round(idle[1], 1),
        )

    # --- a bad day ---------------------------------------------------------------------------------

    def publish(self, name: str) -> None:
        """Have a relay issue a record, if it runs."""
        node = self.net.nodes.get(RecordMaker(name).identity.public)
        if node is not None:
            node.own = record_at(
                name, f"10.{int(name[1:]) // 250}.{int(name[1:]) % 250}.1", int(self.net.wall * 1000)
            )
            node.gossip.learned(self.net.now)
            self.net._arm(node)
            self.newest[name] = self.net.now, node.own

    def restart(self, count: int) -> None:
        """Kill relays, and start them again at once with nothing but names of others."""
        for node in self.dice.sample(list(self.net.nodes.values()), count):
            self.net.stop(node)
            fresh = self._start(node.name)
            self._dial(fresh, list(self.net.nodes.values()))
            if node.name in self.newest:
                self.publish(node.name)

    def look_up(self, lookups: Lookups) -> None:
        """Be a client that looks for a relay as `PeerFinder` does: asks relays drawn by chance."""
        due = [
            (name, record)
            for name, (at, record) in self.newest.items()
            if self.net.now - at >= SETTLE_S and record.identity in self.net.nodes
        ]
        if not due:
            return
        _, wanted = self.dice.choice(due)
        asked = self.dice.sample(list(self.net.nodes.values()), MAX_ASKED)
        named = [
            node.name not in self.lying
            and (wanted.identity == node.identity or self._held(node, wanted) is not None)
            for node in asked
        ]
        lookups.asked += 1
        lookups.one_right += named[0]
        lookups.right += sum(named) >= 2

    @staticmethod
    def _held(node: Node, wanted: PeerRecord) -> PeerRecord | None:
        held = node.view.get(wanted.identity)
        return held if held is not None and held.digest == wanted.digest else None

    def bad_day(self, minutes: float, *, publishers: int, churn_per_min: float, sybils: int = 0) -> Lookups:
        """Let relays publish, die and come back, while clients look for them; a second at a time."""
        lookups = Lookups()
        honest = sorted({node.name for node in self.net.nodes.values()} - self.lying)
        names = self.dice.sample(honest, publishers)
        for name in names:
            self.publish(name)
        self._flood(sybils)
        before = self.net.frames, self.net.octets
        owed = 0.0
        for second in range(int(minutes * 60)):
            owed += churn_per_min / 60 * self.size
            self.restart(int(owed))
            owed -= int(owed)
            if second % 2 == 0:
                self.publish(names[second // 2 % len(names)])
            self.net.run(1.0)
            for _ in range(10):
                self.look_up(lookups)
        lookups.frames = (self.net.frames - before[0]) / self.size / minutes
        lookups.octets = (self.net.octets - before[1]) / self.size / minutes
        return lookups

    def _flood(self, count: int) -> None:
        """Have all liars hold records of many identities in one /24, which they do deliver."""
        sequence = int(self.net.wall) * 1000
        records = [record_at(f"sybil {number}", SYBIL_HOST, sequence) for number in range(count)]
        source = Source("own", is_limited=False)
        for node in self.net.nodes.values():
            if count and node.name in self.lying:
                for record in records:
                    node.view.offer(record.encoded, source, self.net.wall, self.net.now)
                node.meddle = lambda frame: frame
                node.gossip.learned(self.net.now)
                self.net._arm(node)

    def sybils_passed_on(self, count: int) -> float:
        """Mean number of Sybil records that an honest relay offers to others."""
        keys = {RecordMaker(f"sybil {number}").identity.public[: wire.KEY_SIZE] for number in range(count)}
        honest = [node for node in self.net.nodes.values() if node.name not in self.lying]
        return statistics.mean(sum(key in node.gossip.stock.inventory for key in keys) for node in honest)


@functools.lru_cache(1024)
def record_at(name: str, host: str, sequence: int) -> PeerRecord:
    """A record of a relay at an address."""
    maker = RecordMaker(name)
    draft = replace(
        maker.record(sequence // 1000, sequence=sequence), addresses=(PeerAddress.tcp(host, 4001),)
    )
    return sign_record(maker.identity, draft, nonce=bytes(8))
