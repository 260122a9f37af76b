"""Which addresses a relay tells that was told to listen everywhere."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.node import reach as module
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options, RelayOptions
from vigilnet.node.reach import FIRST_ANSWER_S, Reach
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.options import Options as DiscoveryOptions
from vigilnet.routing.discovery.options import Profile
from vigilnet.routing.discovery.port_mapping_io import Mapped
from vigilnet.routing.discovery.reachability import Mapping
from vigilnet.traffic.link.dialler_io import Dials
from vigilnet.traffic.link.options import Options as LinkOptions

EVERYWHERE = [("0.0.0.0", 4001), ("::", 4001)]  # noqa: S104  # as settings have it
QUIET = DiscoveryOptions(profile=Profile.QUIET)
ASKING = Options(relay=RelayOptions(map_port=True), discovery=QUIET)


class Router:
    """In the place of the port mapper."""

    answer: Mapped | None = None
    made: list["Router"] = []  # noqa: RUF012  # emptied by the fixture

    def __init__(self, port: int, changed: Callable[[Mapped], None]) -> None:
        self.port, self.changed = port, changed
        self.now = Mapped()
        self.is_closed = False
        self.made.append(self)

    def start(self) -> None:
        if self.answer is not None:
            self.tell(self.answer)

    def tell(self, mapped: Mapped) -> None:
        self.now = mapped
        self.changed(mapped)

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what this machine's addresses are, and what the router answers."""
    Router.made, Router.answer = [], None
    monkeypatch.setattr(module, "PortMapper", Router)

    def is_at(four: str, six: str = "", answer: Mapped | None = None) -> None:
        monkeypatch.setattr(module, "preferred_addresses", lambda: (four, six))
        Router.answer = answer

    return is_at


def play(test: Callable[[Reach], Awaitable[None]], options: Options = ASKING) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        reach = Reach(options, VirtualClock(loop))
        await test(reach)
        await reach.close()
        assert all(router.is_closed for router in Router.made)

    run(main(), loop)


def test_public_addresses_are_told_and_nobody_is_asked(machine: Callable[..., None]) -> None:
    machine("8.8.8.8", "2a00::8")

    async def test(reach: Reach) -> None:
        assert await reach.endpoints(EVERYWHERE) == [("8.8.8.8", 4001), ("2a00::8", 4001)]
        assert await reach.endpoints([("192.0.2.1", 5)]) == [("192.0.2.1", 5)]
        assert Router.made == []

    play(test)


def test_private_ones_are_told_only_where_they_are_allowed(machine: Callable[..., None]) -> None:
    machine("192.168.1.5", "")

    async def test(reach: Reach) -> None:
        assert await reach.endpoints(EVERYWHERE) == [("192.168.1.5", 4001)]

    async def nothing(reach: Reach) -> None:
        assert await reach.endpoints(EVERYWHERE) == []
        assert Router.made == []

    play(test, Options(link=LinkOptions(allow_private_addresses=True), discovery=QUIET))
    play(test, Options())  # it shows itself on its LAN
    play(nothing, Options(discovery=QUIET))


def test_the_router_is_asked_where_the_settings_say_so(machine: Callable[..., None]) -> None:
    machine("192.168.1.5", "", Mapped(Mapping.MAPPED, "8.8.4.4"))

    async def test(reach: Reach) -> None:
        changes: list[int] = []
        reach.on_changed = lambda: changes.append(1)
        assert await reach.endpoints(EVERYWHERE) == [("8.8.4.4", 4001)]
        assert changes == []
        Router.made[0].tell(Mapped(Mapping.MAPPED, "8.8.4.5"))
        assert changes == [1]
        assert reach.mapped_endpoints(4001) == [("8.8.4.5", 4001)]
        Router.made[0].tell(Mapped(Mapping.REFUSED, "8.8.4.5"))
        assert reach.mapped_endpoints(4001) == []

    play(test)


@pytest.mark.parametrize(
    "answer", [None, Mapped(Mapping.NO_ROUTER), Mapped(Mapping.MAPPED, "10.0.0.1"), Mapped(Mapping.MAPPED)]
)
def test_a_router_that_does_not_help_keeps_the_start_from_waiting_long(
    machine: Callable[..., None], answer: Mapped | None
) -> None:
    machine("192.168.1.5", "", answer)

    async def test(reach: Reach) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await reach.endpoints(EVERYWHERE) == []
        assert loop.time() - started <= FIRST_ANSWER_S

    play(test)


def test_facts_are_those_of_the_rooms(machine: Callable[..., None]) -> None:
    machine("192.168.1.5", "", Mapped(Mapping.MAPPED, "8.8.4.4"))

    class Links:
        dials = Dials(worked=2, failed=3, was_dialled=True)
        count = 0

    async def test(reach: Reach) -> None:
        await reach.endpoints(EVERYWHERE)
        await asyncio.sleep(5)
        known = KnownRelays(PeerView(), VirtualClock(asyncio.get_running_loop()), None, ())  # type: ignore[arg-type]  # a VirtualLoop
        facts = reach.facts(known, Links(), None)  # type: ignore[arg-type]  # has what is asked
        assert (facts.dialled, facts.failed, facts.was_dialled, facts.linked) == (2, 3, True, 0)
        assert (facts.mapping, facts.external, facts.uptime_s) == (Mapping.MAPPED, "8.8.4.4", 5.0)
        assert (facts.known, facts.expired_only, facts.has_sources, facts.is_relay) == (
            0,
            False,
            False,
            False,
        )
        looking = Reach(Options(), VirtualClock(asyncio.get_running_loop()))  # type: ignore[arg-type]
        assert looking.facts(known, Links(), None).has_sources  # type: ignore[arg-type]

    play(test)
