"""Many nodes in memory on a virtual clock: what a node's links do all together."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from tests.support.links import (
    OPTIONS,
    TCP,
    FakeAddress,
    LinkPair,
    ListSource,
    Nodes,
    half_open,
    make_frame,
    name,
    play,
)
from tests.support.virtual_loop import VirtualLoop, run
from vigilnet.base.errors import LocalProtocolError
from vigilnet.traffic.cell import RUN_AT, TAG_ROOM
from vigilnet.traffic.link.dial_io import LinkUnavailableError
from vigilnet.traffic.link.framing import KeyLimits
from vigilnet.traffic.link.link_io import Link, LinkClosedError, ReceiveBuffer
from vigilnet.traffic.link.machine import CloseReason
from vigilnet.traffic.link.service import _Sink
from vigilnet.traffic.link.table import AT_ONCE_S


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


def test_a_client_cannot_listen() -> None:
    async def scenario(nodes: Nodes) -> None:
        with pytest.raises(LocalProtocolError):
            await nodes.client("198.51.100.1").service.listen("198.51.100.1", 4001)

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
        (to_client,) = (link for link in two.service._table.others if link.peer is None)
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


def test_closing_tells_the_neighbour_why_and_ends_everything() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        link = await client.service.connect(name(relay))
        half = half_open(nodes, "10.0.0.1")
        nodes.hub.on_pair = lambda ours, theirs: setattr(ours.outgoing, "delay_s", 5.0)
        pending = nodes.client("203.0.113.1").service
        dial = pending.dialler.dial(name(relay))
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
        relay.service.accept(half)
        with pytest.raises(LinkUnavailableError):
            await client.service.connect(name(relay))

    play(scenario)


def test_a_link_that_never_started_can_be_closed() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        service = relay.service
        carrier = nodes.hub.connect("10.0.0.1", "192.0.2.2", 4001)
        link = Link(carrier, service, nodes.clock, OPTIONS, ReceiveBuffer(), is_initiator=False)
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
