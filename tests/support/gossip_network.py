"""Relays that gossip in memory: real machines and peer tables, a virtual clock, delayed frames.

    net = GossipNetwork(seed=1)
    a, b = net.add("a"), net.add("b")
    net.link(a, b)                     # a dialled b
    net.run(10.0)
    assert b.knows("a")

Frames arrive after `latency_s`, in order. Nothing sleeps.
"""

import hashlib
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.records import RecordMaker
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.gossip import Gossip, Pace

START = 1_000.0
WALL = 1_800_000_000.0


def chance(seed: str) -> Callable[[int], bytes]:
    """Return a `random_bytes` whose octets follow from `seed`."""
    counter = itertools.count()
    return lambda size: hashlib.shake_256(f"{seed}/{next(counter)}".encode()).digest(size)


@dataclass(eq=False)
class Node:
    """One relay; `place` stands for its address prefix."""

    name: str
    maker: RecordMaker
    view: PeerView
    gossip: Gossip
    place: str
    own: PeerRecord | None = None
    due: float = float("inf")  # of the timer that is set
    is_down: bool = False
    meddle: Callable[[bytes], bytes | None] = field(default=lambda frame: frame)  # what it sends instead

    @property
    def identity(self) -> bytes:
        return self.maker.identity.public

    def knows(self, name: str) -> bool:
        return self.view.get(RecordMaker(name).identity.public) is not None


class GossipNetwork:
    """All nodes, their links and what is under way."""

    def __init__(
        self, seed: int = 0, *, pace: Pace | None = None, latency_s: float = 0.02, work_bits: int = 0,
        has_prefix_limits: bool = False,
    ) -> None:  # fmt: skip
        self.now = START
        self.seed = seed
        self._pace = pace or Pace()
        self._latency_s = latency_s
        self._work_bits = work_bits
        self._has_prefix_limits = has_prefix_limits
        self.nodes: dict[bytes, Node] = {}
        self.links: set[tuple[bytes, bytes]] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.frames = 0
        self.octets = 0

    @property
    def wall(self) -> float:
        return WALL + self.now - START

    def add(self, name: str, *, place: str | None = None, has_record: bool = True) -> Node:
        """Start a relay."""
        maker = RecordMaker(name, work_bits=self._work_bits)
        view = PeerView(work_bits=self._work_bits, own=maker.identity.public)
        node = Node(name, maker, view, None, place or name)  # type: ignore[arg-type]  # set in the next line
        node.gossip = Gossip(
            view,
            chance(f"{self.seed}/{name}"),
            lambda: node.own.encoded if node.own is not None else b"",
            self.now,
            self._pace,
            has_prefix_limits=self._has_prefix_limits,
        )
        if has_record:
            node.own = maker.record(int(self.wall))
        self.nodes[node.identity] = node
        self._arm(node)
        return node

    def publish(self, node: Node) -> PeerRecord:
        """Have a relay issue a new record."""
        node.own = node.maker.record(int(self.wall), sequence=int(self.wall * 1000))
        node.gossip.learned(self.now)
        self._arm(node)
        return node.own

    def give(self, node: Node, record: PeerRecord) -> None:
        """A source other than gossip brings a record."""
        node.view.offer(record.encoded, Source("file", is_limited=False), self.wall, self.now)
        node.gossip.learned(self.now)
        self._arm(node)

    def link(self, dialler: Node, other: Node) -> None:
        """Open a link; both sides see each other's record in its handshake, as `KnownRelays.admit` does."""
        if (dialler.identity, other.identity) in self.links or (
            other.identity,
            dialler.identity,
        ) in self.links:
            return
        self.links.add((dialler.identity, other.identity))
        for one, two, is_ours in ((dialler, other, True), (other, dialler, False)):
            if not is_ours and two.own is not None:
                one.view.offer(two.own.encoded, Source(f"link {two.place}"), self.wall, self.now)
                one.gossip.learned(self.now)
            one.gossip.join(two.identity, Source(f"link {two.place}", two.place), self.now, is_ours=is_ours)
            self._after(one)

    def cut(self, one: Node, two: Node) -> None:
        """Close a link."""
        self.links -= {(one.identity, two.identity), (two.identity, one.identity)}
        one.gossip.leave(two.identity, self.now)
        two.gossip.leave(one.identity, self.now)

    def stop(self, node: Node) -> None:
        """Take a relay away, and its links."""
        node.is_down = True
        for pair in [pair for pair in self.links if node.identity in pair]:
            self.cut(*(self.nodes[identity] for identity in pair))
        del self.nodes[node.identity]

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def run_until(self, is_done: Callable[[], bool], limit_s: float, step_s: float = 0.05) -> float:
        """Let time pass until something holds; return how long it took, `limit_s` if it never did."""
        start = self.now
        while self.now - start < limit_s and not is_done():
            self.run(step_s)
        return self.now - start

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (when, next(self._order), action))

    def send(self, sender: Node, receiver: bytes, frame: bytes) -> None:
        """Put a frame on its way, as a link does that is open when it arrives."""
        self.frames += 1
        self.octets += len(frame)
        self.at(self.now + self._latency_s, lambda: self._deliver(sender.identity, receiver, frame))

    def _deliver(self, sender: bytes, receiver: bytes, frame: bytes) -> None:
        node = self.nodes.get(receiver)
        if node is None or not {(sender, receiver), (receiver, sender)} & self.links:
            return
        node.gossip.receive(sender, frame, self.now, self.wall)
        self._after(node)

    def _after(self, node: Node) -> None:
        for receiver, frame in node.gossip.frames_to_send():
            sent = node.meddle(frame)
            if sent is not None:
                self.send(node, receiver, sent)
        self._arm(node)

    def _arm(self, node: Node) -> None:
        due = max(node.gossip.deadline(), self.now)
        if due < node.due:
            node.due = due
            self.at(due, lambda: self._fire(node, due))

    def _fire(self, node: Node, due: float) -> None:
        if node.is_down or node.due != due:
            return
        node.due = float("inf")
        node.gossip.on_deadline(self.now)
        self._after(node)
