"""Whom a client asks for records: its guard while it knows no other, then another relay each time."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from tests.support.gossip_network import chance
from tests.support.records import RecordMaker
from vigilnet.node.directory_dialler import AVOIDED_S, MAX_AVOIDED, DirectoryDialler
from vigilnet.node.known_relays import KnownRelays
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import Capability, PeerRecord, sign_record
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView
from vigilnet.routing.paths.selection import Guards, NoPathError
from vigilnet.traffic.circuit.client import CircuitClosedError, Hop
from vigilnet.traffic.circuit.messages import DestroyReason

NOW = 1_800_000_000
ALL = Capability.RELAY | Capability.GUARD | Capability.DIRECTORY


@dataclass
class FixedClock:
    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return NOW + self.at


class FakeMux:
    def open_directory(self) -> str:
        return "stream"


class FakeCircuits:
    """Builds whatever is asked; the circuits are only noted."""

    def __init__(self) -> None:
        self.built: list[list[bytes]] = []
        self.error: CircuitClosedError | None = None
        self.mux = FakeMux()
        self.closed = 0

    async def build(self, hops: list[Hop]) -> "FakeCircuits":
        self.built.append([hop.identity for hop in hops])
        if self.error is not None:
            raise self.error
        return self

    def close(self) -> None:
        self.closed += 1


class Setting:
    def __init__(self, capabilities: list[Capability], hops: int = 3) -> None:
        self.clock = FixedClock()
        self.circuits = FakeCircuits()
        self.guards = Guards()
        known = KnownRelays(PeerView(work_bits=0), self.clock, None, ())
        self.records = [record(f"r{n}", n, capability) for n, capability in enumerate(capabilities)]
        for one in self.records:
            assert known.take(one.encoded, Source("file", is_limited=False)).is_accepted
        self.dialler = DirectoryDialler(
            cast(Any, self.circuits), known, self.guards, self.clock, chance("dialler"),
            hops=hops, is_private_network=False,
        )  # fmt: skip

    def open(self) -> list[bytes]:
        """Ask once; return the path."""
        asyncio.run(self.dialler.open())
        return self.circuits.built[-1]


def record(name: str, number: int, capabilities: Capability) -> PeerRecord:
    maker = RecordMaker(name)
    address = PeerAddress.tcp(f"{20 + number}.1.1.1", 4001)
    draft = replace(maker.record(NOW), capabilities=capabilities, addresses=(address,))
    return sign_record(maker.identity, draft, nonce=bytes(8))


def test_the_only_relay_that_is_known_is_asked_and_becomes_the_guard() -> None:
    net = Setting([ALL])
    (only,) = net.open()
    assert only == net.records[0].identity
    assert net.guards.kept == [only]


def test_circuits_are_as_long_as_ours_or_as_the_known_relays_allow() -> None:
    assert len(Setting([ALL] * 6).open()) == 3
    assert len(Setting([ALL] * 2).open()) == 2
    assert len(Setting([ALL] * 6, hops=1).open()) == 1


def test_short_ones_lead_to_the_guard_and_to_nobody_else() -> None:
    net = Setting([ALL] * 6, hops=1)
    first = net.open()
    assert all(net.open() == first for _ in range(5))


def test_another_relay_is_asked_each_time() -> None:
    net = Setting([ALL] * 12)
    asked = [net.open()[-1] for _ in range(6)]
    assert len(set(asked)) == 6
    net.clock.at += AVOIDED_S
    assert len(net.open()) == 3


def test_only_relays_that_give_records_are_asked() -> None:
    plain = Capability.RELAY | Capability.GUARD
    net = Setting([plain] * 5 + [ALL])
    assert net.open()[-1] == net.records[5].identity
    with pytest.raises(NoPathError, match="none of them can be asked"):
        Setting([plain] * 5).open()


def test_a_guard_that_does_not_answer_is_noted() -> None:
    net = Setting([ALL] * 6)
    net.circuits.error = CircuitClosedError("circuit: no link", DestroyReason.CONNECT_FAILED, 1)
    with pytest.raises(CircuitClosedError):
        net.open()
    assert net.guards.failed_until
    net.circuits.error = CircuitClosedError("circuit: cut", DestroyReason.TIMEOUT, 2)
    net.guards.failed_until.clear()
    with pytest.raises(CircuitClosedError):
        net.open()
    assert not net.guards.failed_until


def test_memory_of_who_was_asked_is_bounded() -> None:
    net = Setting([ALL])
    for number in range(MAX_AVOIDED + 10):
        net.dialler._avoid(number.to_bytes(32, "big"))
    assert len(net.dialler._avoided) == MAX_AVOIDED


def test_the_source_says_whom_it_came_from() -> None:
    net = Setting([ALL] * 6)
    directory = asyncio.run(net.dialler.open())
    last = net.circuits.built[-1][-1]
    assert directory.source.key == f"directory {last.hex()}"
    assert directory.source.place.endswith(".1.0.0/16")
    directory.close()
    assert net.circuits.closed == 1


def test_a_guard_is_never_asked_what_we_look_for() -> None:
    alone = Setting([ALL | Capability.DHT])
    assert len(alone.open()) == 1, "it may be asked for what all get"
    with pytest.raises(NoPathError, match="too few"):
        asyncio.run(alone.dialler.open(Capability.DHT))
    net = Setting([ALL, ALL, ALL | Capability.DHT])
    asyncio.run(net.dialler.open(Capability.DHT))
    path = net.circuits.built[-1]
    assert len(path) > 1
    assert path[-1] == net.records[2].identity
