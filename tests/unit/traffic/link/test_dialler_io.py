"""Many nodes in memory on a virtual clock: who is dialled, how, and when again."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.support.links import (
    OPTIONS,
    TCP,
    FakeAddress,
    Nodes,
    name,
    play,
)
from vigilnet.traffic.link.dial_io import LinkUnavailableError
from vigilnet.traffic.transport.memory import MemoryCarrier


def test_concurrent_connects_share_one_dial_and_later_ones_the_link() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        links = await asyncio.gather(*(client.service.connect(name(relay)) for _ in range(10)))
        assert len(set(links)) == 1
        assert len(nodes.hub.dials) == 1
        assert await client.service.connect(name(relay)) is links[0]
        assert client.service.get(name(relay)) is links[0]

    play(scenario)


def test_one_who_stops_waiting_does_not_end_the_dial_of_others() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        nodes.hub.on_pair = lambda ours, theirs: setattr(ours.outgoing, "delay_s", 0.5)
        client = nodes.client("198.51.100.1")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.service.connect(name(relay))
        assert (await client.service.connect(name(relay))).is_open
        assert len(nodes.hub.dials) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (None, "no record of this peer"),
        ({"addresses": ()}, "no address that we can"),
        ({"addresses": (FakeAddress(2, "192.0.2.2", 443),)}, "no address that we can"),
        ({"addresses": (FakeAddress(TCP, "192.0.2.9", 1),)}, "refuses connections"),
    ],
)
def test_why_a_peer_cannot_be_reached_is_said_in_plain_words(
    change: dict[str, Any] | None, text: str
) -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        if change is None:
            del nodes.records[name(relay)]
        else:
            nodes.records[name(relay)] = replace(nodes.records[name(relay)], **change)
        with pytest.raises(LinkUnavailableError, match=text):
            await client.service.connect(name(relay))
        with pytest.raises(LinkUnavailableError, match="1 failed dials, next one in 0"):
            await client.service.connect(name(relay))

    play(scenario)


def test_a_renewed_record_is_dialled_at_once() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        right = nodes.records[name(relay)]
        nodes.records[name(relay)] = replace(right, addresses=(FakeAddress(TCP, "192.0.2.2", 9),))
        for _ in range(6):
            with pytest.raises(LinkUnavailableError):
                await client.service.connect(name(relay))
            await asyncio.sleep(8)
        nodes.records[name(relay)] = right
        with pytest.raises(LinkUnavailableError, match="next one in"):
            await client.service.connect(name(relay))
        client.service.dialler.record_renewed(name(relay))
        assert (await client.service.connect(name(relay))).is_open

    play(scenario)


def test_private_addresses_are_not_dialled_by_default() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1", options=replace(OPTIONS, allow_private_addresses=False))
        with pytest.raises(LinkUnavailableError, match="may dial"):
            await client.service.connect(name(relay))
        record = nodes.records[name(relay)]
        nodes.records[name(relay)] = replace(record, addresses=(FakeAddress(TCP, "relay.example", 4001),))
        carrier, _ = nodes.hub.connect("198.51.100.1", "192.0.2.2", 4001), None

        async def resolved(
            host: str, port: int, params: Mapping[int, object]
        ) -> MemoryCarrier:  # the name leads to a private address
            return carrier

        client.service._transports[TCP].dial = resolved  # type: ignore[method-assign]
        await asyncio.sleep(5)
        with pytest.raises(LinkUnavailableError, match="leads to a private address"):
            await client.service.connect(name(relay))
        assert carrier.is_closed

    play(scenario)


def test_dialling_ourselves_is_refused() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        with pytest.raises(LinkUnavailableError, match="ourselves"):
            await relay.service.connect(name(relay))

    play(scenario)


def test_the_wrong_relay_at_an_address_is_refused_and_the_next_address_tried() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        other = await nodes.relay("other", "192.0.2.3")
        client = nodes.client("198.51.100.1")
        record = nodes.records[name(relay)]
        wrong = FakeAddress(TCP, "192.0.2.3", 4001)
        nodes.records[name(relay)] = replace(record, addresses=(wrong, *record.addresses))
        link = await client.service.connect(name(relay))
        assert link.peer == name(relay)
        assert other.receivers == []
        nodes.records[name(other)] = replace(nodes.records[name(other)], link_key=record.link_key)
        with pytest.raises(LinkUnavailableError, match="closed"):
            await client.service.connect(name(other))

    play(scenario)


def test_the_suite_is_the_relays_choice() -> None:
    async def scenario(nodes: Nodes) -> None:
        for suite in (1, 2):
            relay = await nodes.relay(f"relay{suite}", f"192.0.2.{suite}")
            record = nodes.records[name(relay)]
            nodes.records[name(relay)] = replace(record, preferred_suite=type(record.preferred_suite)(suite))
            first: list[bytes] = []

            def note(octets: bytes, first: list[bytes] = first) -> bytes:
                first.append(octets)
                return octets

            nodes.hub.on_pair = lambda ours, theirs, note=note: setattr(ours.outgoing, "tamper", note)
            await nodes.client(f"198.51.100.{suite}").service.connect(name(relay))
            assert first[0][3:5] == bytes((1, suite))

    play(scenario)


def test_classical_links_need_the_consent_of_both() -> None:
    async def scenario(nodes: Nodes) -> None:
        strict = await nodes.relay("strict", "192.0.2.2")
        lenient = await nodes.relay("lenient", "192.0.2.3", options=replace(OPTIONS, allow_classical=True))
        client = nodes.client("198.51.100.1", options=replace(OPTIONS, dial_classical=True))
        assert (await client.service.connect(name(lenient))).is_open
        with pytest.raises(LinkUnavailableError):
            await client.service.connect(name(strict))

    play(scenario)


def test_a_client_has_one_link_key_per_guard_and_session() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("one", "192.0.2.2"), await nodes.relay("two", "192.0.2.3")
        service = nodes.client("198.51.100.1").service
        (await service.connect(name(one))).close()
        first = service.dialler._link_key_for(name(one))
        await asyncio.sleep(5)
        await service.connect(name(one))
        await service.connect(name(two))
        assert service.dialler._link_key_for(name(one)) is first
        assert service.dialler._link_key_for(name(two)) is not first
        service.dialler.new_session()
        assert service.dialler._link_key_for(name(one)) is not first

    play(scenario)


def test_back_off_grows_and_a_link_that_lives_ends_it() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        nodes.hub.unreachable.add("192.0.2.2")
        for _ in range(600):  # someone asks every tenth of a second for a minute
            with pytest.raises(LinkUnavailableError):
                await client.service.connect(name(relay))
            await asyncio.sleep(0.1)
        assert 5 <= len(nodes.hub.dials) <= 10
        nodes.hub.unreachable.clear()
        await asyncio.sleep(60)
        link = await client.service.connect(name(relay))
        await asyncio.sleep(20)
        link.close()
        assert await client.service.connect(name(relay)) is not link

    play(scenario)


def test_a_link_that_is_closed_at_once_counts_as_failed() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        (await client.service.connect(name(relay))).close()
        with pytest.raises(LinkUnavailableError, match="1 failed"):
            await client.service.connect(name(relay))

    play(scenario)


def test_a_kept_neighbour_is_dialled_again_until_released() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        one.service.keep(name(two))
        await asyncio.sleep(30)
        first = one.service.get(name(two))
        assert first is not None
        nodes.hub.pairs[0][0].cut()
        await asyncio.sleep(10)
        second = one.service.get(name(two))
        assert second is not None
        assert second is not first
        nodes.hub.unreachable.add("192.0.2.3")
        nodes.hub.pairs[-1][0].cut()
        dials = len(nodes.hub.dials)
        await asyncio.sleep(300)
        assert 5 <= len(nodes.hub.dials) - dials <= 15
        one.service.release(name(two))
        dials = len(nodes.hub.dials)
        nodes.hub.unreachable.clear()
        await asyncio.sleep(300)
        assert len(nodes.hub.dials) == dials

    play(scenario)


def test_a_record_with_our_own_link_key_is_refused() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        record = nodes.records[name(two)]
        nodes.records[name(two)] = replace(record, link_key=nodes.records[name(one)].link_key)
        with pytest.raises(LinkUnavailableError, match="our own"):
            await one.service.connect(name(two))

    play(scenario)
