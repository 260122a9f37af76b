"""Many nodes in memory on a virtual clock: who gets which link, and when it is dialled again."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.links import (
    OPTIONS,
    TCP,
    FakeAddress,
    FakeLocal,
    FakeRecord,
    LinkPair,
    ListSource,
    Node,
    Nodes,
    make_frame,
)
from tests.support.virtual_loop import VirtualLoop, run
from vigilnet.base.errors import LocalProtocolError
from vigilnet.traffic.cell import RUN_AT, TAG_ROOM
from vigilnet.traffic.link.dial_io import LinkUnavailableError
from vigilnet.traffic.link.framing import KeyLimits
from vigilnet.traffic.link.link_io import Link, LinkClosedError
from vigilnet.traffic.link.machine import CloseReason
from vigilnet.traffic.link.service import AT_ONCE_S, MAX_RETIRED, UNSPOKEN_S, UNUSED_S, _Sink
from vigilnet.traffic.transport.memory import MemoryCarrier

Scenario = Callable[[Nodes], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    """Run `scenario` on a fresh network and close everything; no task may have failed unexpectedly."""
    loop = VirtualLoop()

    async def main() -> None:
        nodes = Nodes(loop)
        await scenario(nodes)
        await nodes.close()
        assert [node.service._tasks.failures for node in nodes.all] == [[] for _ in nodes.all]

    run(main(), loop)


def name(node: Node) -> bytes:
    assert node.identity is not None
    return node.identity


# --- dialling --------------------------------------------------------------------------------------


def test_runs_cross_a_link_in_order() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        pair = await LinkPair.open(loop)
        frames = [make_frame(circuit=n, cells=1 if n % 3 else 7) for n in range(1, 200)]
        sent = [bytes(frame[RUN_AT:-TAG_ROOM]) for frame in frames]
        pair.client_link.activate(ListSource(*frames))
        await asyncio.sleep(1)
        assert pair.relay_receiver.runs == sent
        await pair.close()
        assert pair.client_receiver.is_closed
        assert pair.relay_receiver.is_closed

    loop = VirtualLoop()
    run(scenario(loop), loop)


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
        client.service.record_renewed(name(relay))
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


def test_a_peer_with_an_older_record_of_ours_reaches_us_and_its_own_record_is_judged_by_its_host() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        other = await nodes.relay("other", "192.0.2.3")
        local = relay.service._local
        assert isinstance(local, FakeLocal)
        local.previous_link_key, local.link_key = local.link_key, X25519PrivateKey.generate()
        seen: list[str] = []

        def admit(encoded: bytes, host: str) -> FakeRecord:
            seen.append(host)
            return FakeRecord.admit(encoded)

        relay.service._admit = admit
        assert (await other.service.connect(name(relay))).is_open
        await asyncio.sleep(1)
        assert seen == ["192.0.2.3"]

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
        first = service._link_key_for(name(one))
        await asyncio.sleep(5)
        await service.connect(name(one))
        await service.connect(name(two))
        assert service._link_key_for(name(one)) is first
        assert service._link_key_for(name(two)) is not first
        service.new_session()
        assert service._link_key_for(name(one)) is not first

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


def test_three_relays_tell_the_clock() -> None:
    async def scenario(nodes: Nodes) -> None:
        client = nodes.client("198.51.100.1")
        for n in range(3):
            assert client.service.clock_offset_s() is None
            relay = await nodes.relay(f"relay{n}", f"192.0.2.{n + 2}")
            if n == 2:
                nodes.clock.jump_wall(0.0)
            await client.service.connect(name(relay))
        offset = client.service.clock_offset_s()
        assert offset is not None
        assert abs(offset) < 0.01

    play(scenario)


# --- accepting -------------------------------------------------------------------------------------


def test_a_client_cannot_listen() -> None:
    async def scenario(nodes: Nodes) -> None:
        with pytest.raises(LocalProtocolError):
            await nodes.client("198.51.100.1").service.listen("198.51.100.1", 4001)

    play(scenario)


def test_at_most_64_clients_of_one_prefix() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        clients = [nodes.client(f"198.51.100.{n}") for n in range(65)]
        links = [await client.service.connect(name(relay)) for client in clients]
        await asyncio.sleep(0.1)
        assert [link.is_open for link in links] == [True] * 64 + [False]
        elsewhere = await nodes.client("203.0.113.1").service.connect(name(relay))
        links[0].close()
        await asyncio.sleep(0.1)
        again = await nodes.client("198.51.100.99").service.connect(name(relay))
        await asyncio.sleep(0.1)
        assert elsewhere.is_open
        assert again.is_open
        for link in (*links, elsewhere, again):
            link.close()
        await asyncio.sleep(0.1)
        assert not relay.service._clients
        assert not relay.service._tables.accepted

    play(scenario)


def half_open(nodes: Nodes, host: str) -> MemoryCarrier:
    """Connect to the relay and say half a hello."""
    carrier = nodes.hub.connect(host, "192.0.2.2", 4001)
    carrier.write([b"\x04\xe7\x01\x01\x02\x00\x00" + bytes(100)])
    return carrier


@pytest.mark.slow
@pytest.mark.parametrize("prefixes", [1, 100, 10_000])
def test_an_honest_link_opens_beside_10000_half_open_handshakes(prefixes: int) -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        most = 0
        for n in range(10_000):  # 2000 a second
            half_open(nodes, f"10.{n % prefixes // 256}.{n % prefixes % 256}.1")
            if n % 20 == 0:
                await asyncio.sleep(0.01)
            most = max(most, len(relay.service._tables.accepted))
            if n == 9_000:
                start = nodes.clock.now()
                nodes.hub.on_pair = slow_client
                dial = client.service._start_dial(name(relay))
        await dial
        assert nodes.clock.now() - start < 2.0
        assert most <= 256 + 1  # and the honest one
        assert relay.service._admission is not None
        await asyncio.sleep(11)
        assert relay.service._admission.unfinished == 0
        assert len(relay.service._tables.accepted) == 1

    def slow_client(ours: MemoryCarrier, theirs: MemoryCarrier) -> None:
        if theirs.remote_host == "198.51.100.1":
            ours.outgoing.delay_s = theirs.outgoing.delay_s = 0.02

    play(scenario)


def test_a_flooded_relay_asks_for_a_cookie_and_still_opens() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        for n in range(70):
            half_open(nodes, f"10.0.{n}.1")
        await asyncio.sleep(0.1)
        kinds: list[int] = []

        def note(octets: bytes) -> bytes:
            kinds.append(octets[2])
            return octets

        nodes.hub.on_pair = lambda ours, theirs: setattr(theirs.outgoing, "tamper", note)
        await nodes.client("198.51.100.1").service.connect(name(relay))
        assert kinds == [2, 3]

    play(scenario)


def test_when_no_place_is_left_newcomers_are_turned_away() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2", options=replace(OPTIONS, max_unfinished=2))
        for n in range(2):
            half_open(nodes, f"10.0.{n}.1")
        await asyncio.sleep(0.1)
        assert relay.service._admission is not None
        for ticket in relay.service._admission._unfinished:
            ticket.has_proven = True
        with pytest.raises(LinkUnavailableError):
            await nodes.client("198.51.100.1").service.connect(name(relay))

    play(scenario)


def test_an_unfinished_handshake_is_dropped_after_10_s() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        carrier = half_open(nodes, "10.0.0.1")
        await asyncio.sleep(9.9)
        assert not carrier._has_ended
        await asyncio.sleep(0.2)
        assert carrier._has_ended
        assert not relay.service._tables.accepted

    play(scenario)


# --- one link per neighbour ------------------------------------------------------------------------


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
        two.service._tables.neighbours.clear()
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
            two.service._tables.neighbours.clear()
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


# --- keeping alive ---------------------------------------------------------------------------------


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


@pytest.mark.parametrize("suspend", ["stopped", "asleep"])
def test_after_a_suspend_a_dead_link_is_found_and_replaced_within_10_s(suspend: str) -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        one.service.keep(name(two))
        await asyncio.sleep(100)
        old = one.service.get(name(two))
        assert old is not None
        for end in nodes.hub.pairs[0]:  # the NAT forgot us while we slept
            end.outgoing.is_silent = True
        (nodes.clock.jump if suspend == "stopped" else nodes.clock.jump_wall)(3600.0)
        await asyncio.sleep(10)
        new = one.service.get(name(two))
        assert new is not None
        assert new is not old
        assert new.is_open
        assert not old.is_open

    play(scenario)


def test_after_a_suspend_a_living_link_stays() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        link = await one.service.connect(name(two))
        for _ in range(5):
            await asyncio.sleep(5)
            nodes.clock.jump(60)
        await asyncio.sleep(30)
        assert link.is_open
        assert one.service.get(name(two)) is link

    play(scenario)


def test_a_changed_network_probes_at_once() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        link = await one.service.connect(name(two))
        await asyncio.sleep(20)
        for end in nodes.hub.pairs[0]:
            end.outgoing.is_silent = True
        one.service.network_changed()
        await asyncio.sleep(3.1)
        assert not link.is_open
        assert (await one.service.connect(name(two))).is_open
        link.probe()

    play(scenario)


def test_coming_into_another_network_ends_all_waiting() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        one.service.keep(name(two))
        await asyncio.sleep(20)
        nodes.hub.unreachable.add("192.0.2.3")
        nodes.hub.pairs[0][0].cut()
        await asyncio.sleep(600)  # an hour in a tunnel: back-off is at its longest
        nodes.hub.unreachable.clear()
        nodes.local_addresses = ("10.0.0.1", "")
        await asyncio.sleep(3)
        assert one.service.get(name(two)) is not None

    play(scenario)


def test_an_idle_link_costs_one_ping_in_30_s() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        await nodes.client("198.51.100.1").service.connect(name(relay))
        await asyncio.sleep(60)
        ours, theirs = nodes.hub.pairs[0]
        before = ours.octets_sent + theirs.octets_sent
        await asyncio.sleep(3600)
        updates = 2 * 19  # each direction, once an hour
        assert ours.octets_sent + theirs.octets_sent - before == 120 * 2 * 27 + updates
        (status,) = relay.service.snapshot()
        assert status.round_trip_s == 0.0 or status.round_trip_s is None

    play(scenario)


def test_a_dead_link_tells_its_receiver() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        link = await client.service.connect(name(relay))
        nodes.hub.pairs[0][1].outgoing.is_silent = True
        await asyncio.sleep(41)
        assert link.is_open
        await asyncio.sleep(2)
        assert not link.is_open
        assert client.receivers[0].is_closed

    play(scenario)


# --- what a link does with a bad neighbour, and with ours ------------------------------------------


@pytest.mark.parametrize("kind", ["flip", "drop"])
def test_octets_changed_on_the_way_close_the_link_and_nothing_wrong_gets_through(kind: str) -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        link = await client.service.connect(name(relay))
        await asyncio.sleep(0.1)

        def meddle(octets: bytes) -> bytes:
            middle = len(octets) // 2
            if kind == "drop":
                return octets[:middle] + octets[middle + 1 :]
            return octets[:middle] + bytes((octets[middle] ^ 1,)) + octets[middle + 1 :]

        nodes.hub.pairs[0][0].outgoing.tamper = meddle
        frames = [make_frame(circuit=n + 1, cells=7, fill=n) for n in range(50)]
        runs = [bytes(frame[RUN_AT:-TAG_ROOM]) for frame in frames]
        link.activate(ListSource(*frames))
        await asyncio.sleep(1)
        assert not link.is_open
        assert client.receivers[0].is_closed
        received = relay.receivers[0].runs
        assert received == runs[: len(received)]
        assert len(received) < 50

    play(scenario)


def test_a_bug_while_receiving_or_sealing_ends_that_link_only() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        clients = [nodes.client(f"198.51.100.{n}") for n in range(3)]
        links = [await client.service.connect(name(relay)) for client in clients]
        await asyncio.sleep(0.1)

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        relay.receivers[0].run_received = broken  # type: ignore[method-assign,assignment]
        links[0].activate(ListSource(make_frame()))
        source = ListSource(make_frame())
        source.pull = broken  # type: ignore[method-assign,assignment]
        links[1].activate(source)
        await asyncio.sleep(1)
        assert [link.is_open for link in links] == [False, False, True]

    play(scenario)


def test_control_cells_that_nobody_takes_close_the_link() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        link = await nodes.client("198.51.100.1").service.connect(name(relay))
        nodes.hub.pairs[0][0].outgoing.delay_s = 1e6
        for _ in range(10):
            for _ in range(1000):
                link.send_control(make_frame(command=4))
            await asyncio.sleep(0.01)
        assert not link.is_open
        link.send_control(make_frame(command=4))

    play(scenario)


def test_control_cells_are_sent_first_and_arrive() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        link = await nodes.client("198.51.100.1").service.connect(name(relay))
        link.activate(ListSource(*(make_frame(fill=1) for _ in range(3))))
        link.send_control(make_frame(command=1))
        await asyncio.sleep(0.1)
        assert [run[4] for run in relay.receivers[0].runs] == [1, 3, 3, 3]

    play(scenario)


def test_a_full_carrier_stops_the_pulling() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        link = await nodes.client("198.51.100.1").service.connect(name(relay))
        ours = nodes.hub.pairs[0][0]
        ours.outgoing.delay_s = 1.0
        source = ListSource(*(make_frame(cells=7) for _ in range(200)))
        link.activate(source)
        await asyncio.sleep(0.5)
        assert source.pulled * 14_336 < 600_000
        await asyncio.sleep(20)
        assert source.pulled == 200
        assert len(relay.receivers[0].runs) == 200

    play(scenario)


def test_rekeying_across_a_transfer_is_not_noticed() -> None:
    async def scenario(nodes: Nodes) -> None:
        options = replace(OPTIONS, key_limits=KeyLimits(frames=50, octets=500_000, seconds=60.0))
        relay = await nodes.relay("relay", "192.0.2.2", options=options)
        link = await nodes.client("198.51.100.1", options=options).service.connect(name(relay))
        frames = [make_frame(circuit=n + 1, cells=7, fill=n % 255) for n in range(400)]
        digest = hashlib.sha256(b"".join(bytes(frame[RUN_AT:-TAG_ROOM]) for frame in frames)).digest()
        link.activate(ListSource(*frames))
        await asyncio.sleep(5)
        assert hashlib.sha256(b"".join(relay.receivers[0].runs)).digest() == digest
        assert link.machine.updates[0] >= 5
        (status,) = relay.service.snapshot()
        assert status.updates[1] == link.machine.updates[0]
        assert status.octets_received >= 400 * 14_336
        assert link.octets_sent >= 400 * 14_336

    play(scenario)


def test_gossip_goes_to_relays_and_comes_from_relays_only() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        client = nodes.client("198.51.100.1")
        heard: list[tuple[bytes | None, bytes]] = []
        for node in (one, two):
            node.service.on_gossip = lambda port, body: heard.append((port.peer, body))
        link = await one.service.connect(name(two))
        assert link.send_gossip(b"\1hello")
        from_client = await client.service.connect(name(two))
        assert from_client.send_gossip(b"\1psst")
        await asyncio.sleep(0.1)
        assert heard == [(name(one), b"\1hello")]
        back = two.service.get(name(one))
        assert back is not None
        assert back.send_gossip(b"\2answer")
        (to_client,) = (link for link in two.service._tables.others if link.peer is None)
        assert not to_client.send_gossip(b"\1no")
        await asyncio.sleep(0.1)
        assert heard[-1] == (name(two), b"\2answer")

    play(scenario)


def test_who_asks_is_told_of_every_change_of_a_neighbour() -> None:
    async def scenario(nodes: Nodes) -> None:
        a, b = await nodes.relay("a", "10.0.0.1"), await nodes.relay("b", "10.0.0.2")
        told: list[tuple[bytes, bool]] = []
        b.service.on_neighbour = lambda peer: told.append((peer, b.service.get(peer) is not None))
        link = await a.service.connect(name(b))
        await asyncio.sleep(1)
        link.close()
        await asyncio.sleep(1)
        assert told == [(name(a), True), (name(a), False)]

    play(scenario)


def test_a_neighbour_that_dialled_us_can_be_dialled_to_prove_its_address() -> None:
    async def scenario(nodes: Nodes) -> None:
        a, b = await nodes.relay("a", "10.0.0.1"), await nodes.relay("b", "10.0.0.2")
        await a.service.connect(name(b))
        await asyncio.sleep(AT_ONCE_S + 1)
        await b.service.verify(name(a))
        link = b.service.get(name(a))
        assert link is not None
        assert link.is_initiator
        nodes.records[name(a)] = replace(nodes.records[name(a)], addresses=(FakeAddress(TCP, "10.9.9.9", 1),))
        with pytest.raises(LinkUnavailableError):
            await b.service.verify(name(a))
        assert b.service.get(name(a)) is link

    play(scenario)


def test_without_a_circuit_room_runs_go_nowhere() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        relay.service.on_link = lambda _: _Sink()  # the default, which the test network replaced
        link = await nodes.client("198.51.100.1").service.connect(name(relay))
        link.activate(ListSource(make_frame()))
        await asyncio.sleep(1)
        assert link.is_open
        link.set_receiver(relay.receiver_for(link))

    play(scenario)


# --- closing ---------------------------------------------------------------------------------------


def test_closing_tells_the_neighbour_why_and_ends_everything() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        link = await client.service.connect(name(relay))
        half = half_open(nodes, "10.0.0.1")
        nodes.hub.on_pair = lambda ours, theirs: setattr(ours.outgoing, "delay_s", 5.0)
        pending = nodes.client("203.0.113.1").service
        dial = pending._start_dial(name(relay))
        await asyncio.sleep(0.1)
        await pending.close()
        assert dial.done()
        await relay.service.close()
        await relay.service.close()
        await asyncio.sleep(0.1)
        assert not link.is_open
        assert link.machine.close_reason == CloseReason.SHUTTING_DOWN
        assert client.receivers[0].is_closed
        assert half._has_ended
        relay.service._accept(half)
        with pytest.raises(LinkUnavailableError):
            await client.service.connect(name(relay))

    play(scenario)


def test_a_link_that_never_started_can_be_closed() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        service = relay.service
        carrier = nodes.hub.connect("10.0.0.1", "192.0.2.2", 4001)
        link = Link(carrier, service, nodes.clock, OPTIONS, service._buffer, is_initiator=False)
        with pytest.raises(LinkClosedError):
            _ = link.machine
        link.activate(ListSource(make_frame()))
        link.octets_received(0)
        link._flush()
        link._on_timer()
        link.close()
        link.close()
        link.fail(OSError())
        assert carrier.is_closed
        assert link.remote_host == "192.0.2.2"

    play(scenario)


def test_a_record_with_our_own_link_key_is_refused() -> None:
    async def scenario(nodes: Nodes) -> None:
        one, two = await nodes.relay("alpha", "192.0.2.2"), await nodes.relay("beta", "192.0.2.3")
        record = nodes.records[name(two)]
        nodes.records[name(two)] = replace(record, link_key=nodes.records[name(one)].link_key)
        with pytest.raises(LinkUnavailableError, match="our own"):
            await one.service.connect(name(two))

    play(scenario)
