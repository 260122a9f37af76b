"""When a node speaks to its LAN: relays always, clients only while they know nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.records import RecordMaker
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.base.clock import Clock
from vigilnet.node import lan
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.lan import GRACE_S, Lan
from vigilnet.node.options import NodeOptions, Options
from vigilnet.peer.sources import LAN_PLACE, Source
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.beacon import Beacon
from vigilnet.routing.discovery.options import Options as DiscoveryOptions

BEACON = Options(discovery=DiscoveryOptions(sources=("beacon",)))


class Sockets:
    """In place of the beacon's sockets, which a unit test does not open."""

    opened: list["Sockets"] = []  # noqa: RUF012  # emptied by the fixture

    def __init__(self, beacon: Beacon, on_record: Callable[[bytes, Source], None], clock: Clock) -> None:
        self.on_record = on_record
        self.is_open = False
        self.opened.append(self)

    def start(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


@pytest.fixture(autouse=True)
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[Sockets]:
    Sockets.opened = []
    monkeypatch.setattr(lan, "BeaconService", Sockets)
    return Sockets.opened


def scenario(test: Callable[[Lan, KnownRelays], Awaitable[None]], options: Options = BEACON) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        clock = VirtualClock(loop)
        known = KnownRelays(PeerView(work_bits=0), clock, None, ())
        made = Lan(options, clock, known, None, bytes)
        made.start()
        await test(made, known)
        await made.close()
        assert not made.is_running

    run(main(), loop)


def relay(loop_wall: float = 1_790_000_000.0) -> bytes:
    return RecordMaker("relay").record(int(loop_wall)).encoded


def test_a_client_asks_until_it_knows_a_relay_and_a_little_longer(sockets: list[Sockets]) -> None:
    async def test(made: Lan, known: KnownRelays) -> None:
        await asyncio.sleep(100)
        (one,) = sockets
        assert one.is_open
        one.on_record(relay(), Source("beacon 10.0.0.1", LAN_PLACE, name="beacon"))
        assert len(known.relays()) == 1
        assert known.is_on_lan(known.relays()[0].identity)
        await asyncio.sleep(GRACE_S - 1)
        assert one.is_open
        await asyncio.sleep(3)
        assert not one.is_open

    scenario(test)


def test_a_client_that_knows_a_relay_opens_nothing_until_that_record_is_over(sockets: list[Sockets]) -> None:
    async def test(made: Lan, known: KnownRelays) -> None:
        known.take(relay(), Source("invite", is_limited=False, name="invites"))
        assert not known.is_on_lan(known.relays()[0].identity)
        await asyncio.sleep(86_000)
        assert sockets == []
        await asyncio.sleep(1000)
        assert made.is_running

    scenario(test)


@pytest.mark.parametrize(
    "options",
    [
        Options(discovery=DiscoveryOptions(sources=("cache",))),
        replace(BEACON, node=NodeOptions(peers_folder=Path("somewhere"))),
    ],
)
def test_nothing_is_opened_where_the_settings_say_so(sockets: list[Sockets], options: Options) -> None:
    async def test(made: Lan, known: KnownRelays) -> None:
        await asyncio.sleep(100)
        assert sockets == []

    scenario(test, options)
