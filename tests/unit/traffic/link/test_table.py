"""Many nodes in memory on a virtual clock: which of several links to a neighbour is used."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.links import (
    OPTIONS,
    ListSource,
    Nodes,
    make_frame,
    name,
    play,
)
from vigilnet.traffic.cell import RUN_AT, TAG_ROOM
from vigilnet.traffic.link.table import AT_ONCE_S, MAX_RETIRED, UNSPOKEN_S, UNUSED_S
from vigilnet.traffic.transport.memory import MemoryCarrier


def slow(ours: MemoryCarrier, theirs: MemoryCarrier) -> None:
    ours.outgoing.delay_s = theirs.outgoing.delay_s = 0.05


@pytest.mark.parametrize("names", [("alpha", "beta"), ("beta", "alpha")])
def test_of_two_dials_at_once_the_smaller_identitys_stays(names: tuple[str, str]) -> None:
    async def scenario(nodes: Nodes) -> None:
        nodes.hub.on_pair = slow
        one, two = await nodes.relay(names[0], "192.0.2.2"), await nodes.relay(names[1], "192.0.2.3")
        await asyncio.gather(one.service.connect(name(two)), two.service.connect(name(one)))
        await asyncio.sleep(1)
        here, there = one.service.get(name(two)), two.service.get(name(one))
        assert here is not None
        assert there is not None
        smaller = name(one) < name(two)
        assert (here.is_initiator, there.is_initiator) == (smaller, not smaller)
        for node in (one, two):
            assert sorted(status.is_retired for status in node.service.snapshot()) == [False, True]
        await asyncio.sleep(UNUSED_S + 5)
        for node in (one, two):
            (status,) = node.service.snapshot()
            assert not status.is_retired
            assert status.age_s > 10
        assert here.is_open

    play(scenario)


def test_a_relay_that_lost_its_links_is_let_in_again_at_once() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        old = await one.service.connect(name(two))
        await asyncio.sleep(AT_ONCE_S + 1)
        for ours, theirs in nodes.hub.pairs:  # two crashed and came back; one has not noticed
            ours.outgoing.is_silent = theirs.outgoing.is_silent = True
        two.service._table.neighbours.clear()
        new = await two.service.connect(name(one))
        await asyncio.sleep(5)
        assert new.is_open
        assert not old.is_open
        current = one.service.get(name(two))
        assert current is not None
        assert not current.is_initiator

    play(scenario)


def test_a_neighbour_that_dials_again_and_again_is_bounded() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        for _ in range(8):
            link = await two.service.connect(name(one))
            link.activate(ListSource(make_frame()))
            await asyncio.sleep(0.1)
            two.service._table.neighbours.clear()
        assert len(one.service.snapshot()) <= 1 + MAX_RETIRED

    play(scenario)


def test_a_day_old_link_is_replaced_before_it_is_broken() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        old = await client.service.connect(name(relay))
        await asyncio.sleep(86_400 * 0.9 - 10)
        assert client.service.get(name(relay)) is old
        await asyncio.sleep(old.replace_at - nodes.clock.now() - 5)
        old.activate(ListSource(make_frame()))
        await asyncio.sleep(10)
        new = client.service.get(name(relay))
        assert new is not None
        assert new is not old
        assert old.is_open  # carries its circuits to their end
        assert old.retired_at is not None
        old.activate(ListSource(make_frame(fill=9)))
        await asyncio.sleep(1)
        assert relay.receivers[0].runs[-1] == bytes(make_frame(fill=9)[RUN_AT:-TAG_ROOM])
        await asyncio.sleep(UNSPOKEN_S + 5)
        assert not old.is_open
        assert new.is_open
        assert len(relay.service.snapshot()) == 1

    play(scenario)


def test_a_replaced_link_that_is_still_used_ends_after_its_time() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        options = replace(OPTIONS, max_age_s=100.0, drain_s=300.0)
        client = nodes.client("198.51.100.1", options=options)
        old = await client.service.connect(name(relay))
        for _ in range(45):
            old.activate(ListSource(make_frame()))
            await asyncio.sleep(10)
        assert not old.is_open

    play(scenario)


def test_an_old_link_stays_while_no_new_one_can_be_had() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1", options=replace(OPTIONS, max_age_s=100.0))
        old = await client.service.connect(name(relay))
        nodes.hub.unreachable.add("192.0.2.2")
        await asyncio.sleep(1000)
        assert client.service.get(name(relay)) is old
        assert old.is_open
        assert len(nodes.hub.dials) < 40

    play(scenario)
