"""Gossip over real links: relays find each other from one, keep few links, and bear silence."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.gossip_relays import GossipRelays, Relay
from tests.support.links import Nodes
from tests.support.virtual_loop import VirtualLoop, run
from vigilnet.routing.discovery.service import MAX_WAIT_S, UNUSED_S
from vigilnet.routing.discovery.wire import Items, Kind, decode_frame
from vigilnet.traffic.link.link_io import Link


def scenario(
    test: Callable[[GossipRelays], Awaitable[None]], *, neighbours: int = 3, is_private: bool = True
) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        net = GossipRelays(loop, neighbours=neighbours, is_private=is_private)
        try:
            await test(net)
        finally:
            await net.close()
        for relay in net.all:
            assert relay.gossip._tasks.failures == []

    run(main(), loop)


async def star(net: GossipRelays, count: int) -> list[Relay]:
    """Relays that all know only the first."""
    relays: list[Relay] = []
    for number in range(count):
        relays.append(await net.relay(f"r{number}", f"10.{number}.0.1", *relays[:1]))
    return relays


@pytest.mark.slow
def test_relays_that_know_one_know_all_within_seconds() -> None:
    async def test(net: GossipRelays) -> None:
        relays = await star(net, 12)
        await asyncio.sleep(8)
        for relay in relays:
            assert all(relay is other or relay.knows(other) for other in relays)

    scenario(test)


@pytest.mark.slow
def test_each_keeps_the_links_of_its_choice_and_closes_those_that_nobody_needs() -> None:
    async def test(net: GossipRelays) -> None:
        relays = await star(net, 12)
        await asyncio.sleep(UNUSED_S + 700)  # replaced links are closed after 600 s of silence
        for relay in relays:
            assert len(relay.gossip.neighbourhood.chosen) == 3
            assert set(relay.gossip.neighbourhood.chosen) <= relay.linked()
            assert all(relay is other or relay.view.is_reached(other.identity) for other in relays)
        assert sum(len(relay.linked()) for relay in relays) / len(relays) <= 2 * 3 + 1

    scenario(test)


def test_a_link_that_circuits_use_is_not_closed() -> None:
    async def test(net: GossipRelays) -> None:
        relays = await star(net, 8)
        busy = relays[3]
        busy.needed.update(relay.identity for relay in relays)
        for relay in relays:
            relay.needed.add(busy.identity)
        await asyncio.sleep(5)
        dialled = {identity for identity, one in busy.gossip.gossip.neighbours.items() if one.is_ours}
        await asyncio.sleep(UNUSED_S + 20)
        assert dialled <= busy.linked()
        assert len(dialled) > 1
        for relay in relays:
            relay.needed.clear()
        await asyncio.sleep(UNUSED_S + 5)
        assert not dialled <= busy.linked()

    scenario(test, neighbours=1)


@pytest.mark.slow
def test_a_new_record_reaches_those_without_a_link() -> None:
    async def test(net: GossipRelays) -> None:
        relays = await star(net, 12)
        await asyncio.sleep(100)
        changed = relays[5]
        changed.own = changed.issue()
        changed.gossip.peers_changed()
        await asyncio.sleep(5)
        for relay in relays:
            record = relay.known.get(changed.identity)
            assert relay is changed or (record is not None and record.digest == changed.own.digest)

    scenario(test)


def test_a_neighbour_that_goes_away_is_replaced() -> None:
    async def test(net: GossipRelays) -> None:
        relays = await star(net, 8)
        await asyncio.sleep(60)
        gone = relays[0]
        await gone.stop()
        await asyncio.sleep(60)
        for relay in relays[1:]:
            assert gone.identity not in relay.linked()
            assert len(relay.gossip.neighbourhood.chosen) == 3

    scenario(test)


def test_the_only_relay_that_is_known_is_found_again_when_it_comes_back() -> None:
    async def test(net: GossipRelays) -> None:
        first = await net.relay("first", "10.1.0.1")
        second = await net.relay("second", "10.2.0.1", first)
        await asyncio.sleep(5)
        assert second.linked() == {first.identity}
        await first.stop()
        await asyncio.sleep(100)
        assert second.linked() == set()
        again = await net.relay("first", "10.1.0.1")
        await asyncio.sleep(2 * MAX_WAIT_S + 60)
        assert second.linked() == {again.identity}

    scenario(test)


def test_on_a_dead_network_dials_become_rare() -> None:
    async def test(net: GossipRelays) -> None:
        ghosts = [Relay(net, f"ghost{number}", f"10.9.{number}.1") for number in range(50)]
        lonely = await net.relay("lonely", "10.1.0.1", *ghosts)
        dialled: list[float] = []
        verify = lonely.links.verify

        async def counted(identity: bytes) -> None:
            dialled.append(net.loop.time())
            await verify(identity)

        lonely.links.verify = counted  # type: ignore[method-assign]
        await asyncio.sleep(600)
        assert 5 < len(dialled) < 40
        assert len([at for at in dialled if at > net.loop.time() - 300]) <= 300 / MAX_WAIT_S + 1
        for ghost in ghosts:
            await ghost.stop()

    scenario(test)


def test_one_who_never_answers_is_not_kept_as_a_neighbour() -> None:
    async def test(net: GossipRelays) -> None:
        dumb = await net.relay("dumb", "10.1.0.1")
        dumb.links.on_gossip = lambda *_: None
        dumb.gossip._flush = lambda: None  # type: ignore[method-assign]
        relays = [await net.relay(f"r{number}", f"10.{number}.0.1", dumb) for number in range(2, 6)]
        for relay in relays:
            for other in relays:
                relay.known.offer_record(other.record, "test")
        relays[0].gossip.neighbourhood.chosen[dumb.identity] = frozenset()
        await relays[0].links.connect(dumb.identity)
        await asyncio.sleep(600)
        assert dumb.identity not in relays[0].gossip.neighbourhood.chosen

    scenario(test)


def test_in_a_public_network_no_two_neighbours_are_of_one_network() -> None:
    async def test(net: GossipRelays) -> None:
        relays: list[Relay] = []
        for number in range(9):
            host = f"{20 + number // 3}.1.{number}.1"
            relays.append(await net.relay(f"r{number}", host, *relays[:1]))
        await asyncio.sleep(120)
        for relay in relays:
            hosts = [other.host for other in relays if other.identity in relay.gossip.neighbourhood.chosen]
            assert len({host.partition(".")[0] for host in hosts}) == len(hosts) >= 2

    scenario(test, is_private=False)


def test_a_relay_says_nothing_to_a_client_and_hears_nothing_from_it() -> None:
    async def test(net: GossipRelays) -> None:
        relay = await net.relay("relay", "10.1.0.1")
        other = await net.relay("other", "10.2.0.1", relay)
        nodes = Nodes(net.loop)
        nodes.hub = net.hub
        client = nodes.client("10.99.0.1")
        client.service.dialler._records = relay.known
        relay.known.offer_record(other.record, "test")
        link = await client.service.connect(other.identity)
        heard: list[bytes] = []
        client.service.on_gossip = lambda _, body: heard.append(body)
        await asyncio.sleep(5)
        link.machine.send_gossip(b"\x03\x00\x08" + relay.identity[:8])
        link._flush_soon()
        await asyncio.sleep(5)
        assert heard == []
        assert link.is_open
        assert set(other.gossip.gossip.neighbours) == {relay.identity}
        await nodes.close()

    scenario(test)


def test_status_counts_what_was_said() -> None:
    async def test(net: GossipRelays) -> None:
        relays = await star(net, 3)
        await asyncio.sleep(10)
        before = relays[0].gossip.status()
        assert (before.neighbours, before.items) == (2, 3)
        assert before.octets_sent > len(relays[0].record)
        await relays[1].stop()
        await asyncio.sleep(5)
        after = relays[0].gossip.status()
        assert after.neighbours == 1
        assert after.octets_received >= before.octets_received

    scenario(test)


def test_both_sides_show_their_records_when_a_link_opens() -> None:
    async def test(net: GossipRelays) -> None:
        first = await net.relay("first", "10.1.0.1")
        frames: list[bytes] = []
        taken = first.gossip.frame_received

        def noted(link: Link, body: bytes) -> None:
            frames.append(body)
            taken(link, body)

        first.links.on_gossip = noted
        second = await net.relay("second", "10.2.0.1", first)
        await asyncio.sleep(3)
        said = [decode_frame(frame) for frame in frames]
        assert any(isinstance(frame, Items) and frame.items[0].octets == second.record for frame in said)
        assert frames[0][0] in set(Kind)

    scenario(test)
