"""Relays by hearsay are looked at again; the clock and the links are the test's."""

import asyncio

from tests.support.operators import Relay
from vigilnet.node.liveness import CHECK_EACH_S, LivenessChecks
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.traffic.link.dial_io import LinkUnavailableError


class StoppedClock:
    """Stands still until it is told to jump."""

    def __init__(self) -> None:
        self._now = 1000.0

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class FakeLinks:
    def __init__(self) -> None:
        self.linked: set[bytes] = set()
        self.dead: set[bytes] = set()
        self.dialled: list[bytes] = []

    def get(self, identity: bytes) -> object | None:
        return identity if identity in self.linked else None

    async def connect(self, identity: bytes) -> object:
        self.dialled.append(identity)
        if identity in self.dead:
            raise LinkUnavailableError("dead")
        return identity


def _checks(clock: "StoppedClock", *names: str) -> tuple[LivenessChecks, FakeLinks, list[PeerRecord]]:
    relays = [Relay(name).record() for name in names]
    links = FakeLinks()
    return LivenessChecks(links, lambda: relays, clock), links, relays


def test_silent_relay_is_named_until_it_answers_again() -> None:
    clock = StoppedClock()
    checks, links, [relay] = _checks(clock, "one")

    async def look() -> None:
        await checks.check_next()

    asyncio.run(look())
    assert links.dialled == []  # reached just now
    links.dead.add(relay.identity)
    clock.jump(CHECK_EACH_S)
    asyncio.run(look())
    assert checks.silent == {relay.identity}
    links.linked.add(relay.identity)  # it dials us
    asyncio.run(look())
    assert checks.silent == set()
    assert links.dialled == [relay.identity]


def test_one_is_dialled_at_a_time_and_none_that_is_linked() -> None:
    clock = StoppedClock()
    checks, links, relays = _checks(clock, "one", "two", "three")
    asyncio.run(checks.check_next())
    links.linked.add(relays[0].identity)
    clock.jump(CHECK_EACH_S)
    for _ in range(5):
        asyncio.run(checks.check_next())
    assert sorted(links.dialled) == sorted(relay.identity for relay in relays[1:])


def test_whoever_is_forgotten_is_not_remembered_as_silent() -> None:
    clock = StoppedClock()
    checks, links, relays = _checks(clock, "one")
    links.dead.add(relays[0].identity)
    asyncio.run(checks.check_next())
    clock.jump(CHECK_EACH_S)
    asyncio.run(checks.check_next())
    relays.clear()
    asyncio.run(checks.check_next())
    assert checks.silent == set()
