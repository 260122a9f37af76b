"""Relays that gossip: news reach everybody, and nobody can make another one pay for it."""

import random

import pytest

from tests.support.gossip_network import GossipNetwork, Node
from tests.support.records import RecordMaker
from vigilnet.peer.sources import CHECKS_PER_SOURCE_S, Source
from vigilnet.routing.discovery.gossip import MAX_LEFT, MAX_PARTNERS, MAX_PARTNERS_PER_PREFIX, Gossip, Pace
from vigilnet.routing.discovery.inventory import begin
from vigilnet.routing.discovery.neighbour import (
    HEARD_BURST,
    MAX_FAULTS,
    OCTETS_BURST,
    STEPS_BURST,
    UNASKED_BURST,
)
from vigilnet.routing.discovery.wire import (
    MAX_FRAME,
    Have,
    Item,
    Items,
    ItemType,
    Ranges,
    Want,
    decode_frame,
    encode_frame,
    encode_proof,
    pack_entry,
)

pytestmark = pytest.mark.slow  # networks of many relays


def mesh(net: GossipNetwork, count: int, dials: int = 3) -> list[Node]:
    """A connected network: each dials the one before and a few others."""
    dice = random.Random(net.seed)
    nodes: list[Node] = []
    for number in range(count):
        node = net.add(f"n{number}")
        for other in [*nodes[-1:], *dice.sample(nodes, min(dials - 1, len(nodes)))]:
            net.link(node, other)
        nodes.append(node)
    return nodes


def holders(nodes: list[Node], digest: bytes) -> int:
    return sum(any(record.digest == digest for record in node.view.records()) for node in nodes)


def test_two_relays_know_each_other_and_each_others_friends() -> None:
    net = GossipNetwork()
    a, b = net.add("a"), net.add("b")
    net.give(a, RecordMaker("friend of a").record(int(net.wall)))
    net.give(b, RecordMaker("friend of b").record(int(net.wall)))
    net.run(2.0)
    net.link(a, b)
    net.run(2.0)
    assert a.knows("b")
    assert b.knows("a")
    assert a.knows("friend of b")
    assert b.knows("friend of a")


@pytest.mark.slow
def test_a_new_record_reaches_50_relays_within_5_seconds_and_few_octets_more_than_once() -> None:
    net = GossipNetwork(3)
    nodes = mesh(net, 50)
    net.run(30.0)
    assert all(len(node.view) == 49 for node in nodes)
    before = net.octets
    record = net.publish(nodes[17])
    took = net.run_until(lambda: holders(nodes, record.digest) == 49, 20.0)
    assert took < 5.0
    assert (net.octets - before) / 49 < len(record.encoded) + 200


def test_an_idle_minute_costs_little() -> None:
    net = GossipNetwork(4)
    nodes = mesh(net, 40)
    net.run(120.0)
    before = net.octets
    net.run(60.0)
    assert (net.octets - before) / len(nodes) < 400


def test_a_revocation_reaches_all_and_silences_the_identity() -> None:
    net = GossipNetwork(5)
    nodes = mesh(net, 20)
    net.run(30.0)
    gone = nodes[4]
    revocation = gone.maker.record(int(net.wall), revoked=True)
    net.give(nodes[11], revocation)
    net.run(10.0)
    others = [node for node in nodes if node is not gone]
    assert not any(node.knows("n4") for node in others)
    net.publish(gone)
    net.run(40.0)
    assert not any(node.knows("n4") for node in others)


def test_a_proof_of_equivocation_reaches_all_who_know_the_identity() -> None:
    net = GossipNetwork(6)
    nodes = mesh(net, 20)
    liar = RecordMaker("liar")
    net.give(nodes[0], liar.record(int(net.wall)))
    net.run(30.0)
    assert all(node.knows("liar") for node in nodes)
    net.give(nodes[9], liar.record(int(net.wall), variant="for one client"))
    net.run(10.0)
    assert not any(node.knows("liar") for node in nodes)


def test_a_relay_that_was_away_learns_what_it_missed_and_costs_nobody_its_old_records() -> None:
    net = GossipNetwork(7)
    nodes = mesh(net, 10)
    net.run(30.0)
    away = nodes[-1]
    for node in nodes[:-1]:
        net.cut(away, node)
    net.run(4000.0)
    for node in nodes[:-1]:
        net.publish(node)
    net.run(30.0)
    net.link(away, nodes[0])
    before = nodes[0].gossip.neighbours[away.identity].octets_received
    net.run(5.0)
    for node in nodes[:-1]:
        assert node.own is not None
        held = away.view.get(node.identity)
        assert held is not None
        assert held.digest == node.own.digest
    assert (
        nodes[0].gossip.neighbours[away.identity].octets_received - before < 600
    )  # its own record, and asking


def test_what_a_lost_frame_left_out_a_comparison_finds() -> None:
    net = GossipNetwork(8)
    nodes = mesh(net, 8)
    net.run(30.0)
    for node in nodes:
        node.meddle = lambda frame: None if isinstance(decode_frame(frame), Have) else frame
    record = net.publish(nodes[0])
    net.run(20.0)
    assert holders(nodes[1:], record.digest) < 7
    for node in nodes:
        node.meddle = lambda frame: frame
    net.run(10 * Pace().round_s)
    assert holders(nodes[1:], record.digest) == 7


def test_one_who_promises_and_never_delivers_delays_and_does_not_stop() -> None:
    net = GossipNetwork(9)
    liar, honest, victim = net.add("liar"), net.add("honest"), net.add("victim")
    liar.meddle = lambda frame: None if isinstance(decode_frame(frame), Items) else frame
    net.link(victim, liar)
    net.link(victim, honest)
    net.link(liar, honest)
    net.run(10.0)
    record = RecordMaker("x").record(int(net.wall))
    net.give(honest, record)
    took = net.run_until(lambda: victim.knows("x"), 60.0)
    assert took < Pace().ask_s + 5


def forge(frame: bytes) -> bytes:
    """Damage the signature of every record."""
    decoded = decode_frame(frame)
    if not isinstance(decoded, Items):
        return frame
    return encode_frame(Items(tuple(Item(one.type, one.octets[:-1] + b"\0") for one in decoded.items)))


def test_a_forger_is_not_heard_after_three_forgeries_and_others_are() -> None:
    net = GossipNetwork(10)
    forger, honest, victim = net.add("forger"), net.add("honest"), net.add("victim")
    for number in range(10):
        net.give(forger, RecordMaker(f"friend{number}").record(int(net.wall)))
        net.give(honest, RecordMaker(f"friend{number}").record(int(net.wall)))
    net.run(2.0)
    forger.meddle = forge
    net.link(victim, forger)
    net.run(5.0)
    assert victim.gossip.neighbours[forger.identity].is_muted(net.now)
    assert not victim.knows("friend1")
    net.link(victim, honest)
    net.run(5.0)
    assert all(victim.knows(f"friend{number}") for number in range(10))


def test_frames_that_are_none_and_strangers_are_ignored() -> None:
    net = GossipNetwork(11)
    a, b = net.add("a"), net.add("b")
    net.link(a, b)
    net.run(1.0)
    a.gossip.receive(b"s" * 32, encode_frame(Want((b"k" * 8,))), net.now, net.wall)
    assert a.gossip.frames_to_send() == []
    for _ in range(3):
        assert not a.gossip.neighbours[b.identity].is_muted(net.now)
        a.gossip.receive(b.identity, b"\x09\x00\x00", net.now, net.wall)
    assert a.gossip.neighbours[b.identity].is_muted(net.now)


def lone(*, own: bytes = b"", has_prefix_limits: bool = False) -> Gossip:
    view = GossipNetwork().add("x").view
    return Gossip(view, bytes, lambda: own, 0.0, has_prefix_limits=has_prefix_limits)


def test_comparisons_that_a_neighbour_makes_us_answer_are_limited() -> None:
    gossip = lone()
    gossip.join(b"n" * 32, Source("n"), 0.0, is_ours=False)
    stock = GossipNetwork().add("y").gossip.stock
    stock.look(0.0)
    step = encode_frame(Ranges(b"saltsalt", begin(stock.inventory, b"saltsalt").ranges))
    for _ in range(1000):
        gossip.receive(b"n" * 32, step, 1.0, 0.0)
    assert len(gossip.frames_to_send()) == STEPS_BURST


def test_octets_that_a_neighbour_makes_us_send_are_limited() -> None:
    net = GossipNetwork()
    rich = net.add("rich")
    records = [RecordMaker(f"r{number}").record(int(net.wall)) for number in range(300)]
    for record in records:
        net.give(rich, record)
    net.run(2.0)
    gossip = rich.gossip
    gossip.join(b"n" * 32, Source("n"), net.now, is_ours=False)
    gossip.frames_to_send()
    wanted = [
        encode_frame(Want(tuple(one.identity[:8] for one in records[at : at + 100]))) for at in (0, 100, 200)
    ]
    sent = 0
    for number in range(600):
        gossip.receive(b"n" * 32, wanted[number % 3], net.now, net.wall)
        sent += sum(len(frame) for _, frame in gossip.frames_to_send())
    assert OCTETS_BURST - 2000 < sent < OCTETS_BURST + 2000
    gossip.on_deadline(net.now + 1.0)
    more = sum(len(frame) for _, frame in gossip.frames_to_send())
    assert 55_000 < more < 70_000


def test_octets_of_a_neighbour_that_are_looked_at_are_limited() -> None:
    gossip = lone()
    gossip.join(b"n" * 32, Source("n"), 0.0, is_ours=False)
    bad = b"\x09" + bytes(MAX_FRAME - 1)  # of no known kind: blamed whenever it is looked at
    good = encode_frame(Have((bytes(15) + b"\1",) * 1000))
    for _ in range(int(HEARD_BURST / len(good))):
        gossip.receive(b"n" * 32, good, 0.0, 0.0)
    for _ in range(10):
        gossip.receive(b"n" * 32, bad, 0.0, 0.0)
    assert gossip.neighbours[b"n" * 32].faults == 0
    gossip.receive(b"n" * 32, bad, 1.0, 0.0)
    assert gossip.neighbours[b"n" * 32].faults == 1


def test_another_link_washes_nothing_off() -> None:
    gossip = lone()
    for number in range(MAX_FAULTS):
        gossip.join(b"n" * 32, Source("n"), 0.0, is_ours=True)
        assert gossip.neighbours[b"n" * 32].faults == number
        gossip.receive(b"n" * 32, b"\x09\0\0", 0.0, 0.0)
        gossip.leave(b"n" * 32, 0.0)
    gossip.join(b"n" * 32, Source("n"), 0.0, is_ours=True)
    assert gossip.neighbours[b"n" * 32].is_muted(1.0)
    for number in range(MAX_LEFT + 1):
        identity = number.to_bytes(32, "big")
        gossip.join(identity, Source("m"), 0.0, is_ours=True)
        gossip.leave(identity, 0.0)
    assert len(gossip._left) == MAX_LEFT


def test_items_nobody_asked_for_are_limited() -> None:
    net = GossipNetwork()
    victim = net.add("victim")
    victim.gossip.join(b"n" * 32, Source("n"), net.now, is_ours=True)
    for number in range(200):
        record = RecordMaker(f"pushed{number}").record(int(net.wall))
        frame = encode_frame(Items((Item(ItemType.RECORD, record.encoded),)))
        victim.gossip.receive(b"n" * 32, frame, net.now, net.wall)
    assert len(victim.view) == UNASKED_BURST


def test_work_of_strangers_is_checked_at_its_pace_and_all_are_known_in_the_end() -> None:
    net = GossipNetwork(12, work_bits=1)
    rich, newcomer = net.add("rich"), net.add("newcomer")
    for number in range(60):
        net.give(rich, RecordMaker(f"r{number}", work_bits=1).record(int(net.wall)))
    net.run(2.0)
    net.link(newcomer, rich)
    net.run(2.0)
    assert len(newcomer.view) < 4 * CHECKS_PER_SOURCE_S
    net.run(60 / CHECKS_PER_SOURCE_S + 10)
    assert len(newcomer.view) == 61


def test_those_who_dialled_us_are_partners_up_to_a_number_and_few_of_one_prefix() -> None:
    gossip = lone()
    for number in range(MAX_PARTNERS + 10):
        gossip.join(number.to_bytes(32, "big"), Source(f"p{number}"), 0.0, is_ours=False)
    assert sum(one.is_partner for one in gossip.neighbours.values()) == MAX_PARTNERS
    gossip.join(b"o" * 32, Source("ours"), 0.0, is_ours=True)
    assert gossip.neighbours[b"o" * 32].is_partner
    crowded = lone(has_prefix_limits=True)
    for number in range(10):
        crowded.join(number.to_bytes(32, "big"), Source("one prefix"), 0.0, is_ours=False)
    assert sum(one.is_partner for one in crowded.neighbours.values()) == MAX_PARTNERS_PER_PREFIX


def test_a_guest_beyond_the_number_is_served_and_not_heard() -> None:
    net = GossipNetwork()
    host = net.add("host")
    for number in range(MAX_PARTNERS):
        host.gossip.join(number.to_bytes(32, "big"), Source(f"p{number}"), net.now, is_ours=False)
    guest = net.add("guest")
    net.give(guest, RecordMaker("friend of guest").record(int(net.wall)))
    net.give(host, RecordMaker("friend of host").record(int(net.wall)))
    net.run(2.0)
    net.link(guest, host)
    net.run(5.0)
    assert guest.knows("friend of host")
    assert not host.knows("friend of guest")


def test_half_of_those_who_are_told_are_such_as_we_dialled() -> None:
    gossip = lone()
    for number in range(20):
        gossip.join(bytes([number]) * 32, Source(f"g{number}"), 0.0, is_ours=False)
    for number in range(100, 103):
        gossip.join(bytes([number]) * 32, Source(f"o{number}"), 0.0, is_ours=True)
    chosen = gossip._chosen(6, 0.0)
    assert len(chosen) == len({one.identity for one in chosen}) == 6
    assert sum(one.is_ours for one in chosen) >= 3


def test_comparisons_go_round_all_partners() -> None:
    net = GossipNetwork(13)
    hub = net.add("hub")
    others = [net.add(f"o{number}") for number in range(4)]
    for other in others:
        net.link(hub, other)
    net.run(1.0)
    before = {node.name: node.gossip.neighbours[hub.identity].frames_received for node in others}
    net.run(4 * Pace().round_s + 1)
    for node in others:
        assert node.gossip.neighbours[hub.identity].frames_received > before[node.name]


def test_who_does_not_answer_comparisons_is_counted() -> None:
    net = GossipNetwork(14)
    a, dumb = net.add("a"), net.add("dumb")
    dumb.meddle = lambda frame: None
    net.link(a, dumb)
    net.run(3 * Pace().round_s + 1)
    assert a.gossip.neighbours[dumb.identity].unanswered >= 3
    dumb.meddle = lambda frame: frame
    net.run(2 * Pace().round_s)
    assert a.gossip.neighbours[dumb.identity].unanswered == 0


def test_a_proof_about_somebody_unknown_is_not_held_against_the_neighbour() -> None:
    net = GossipNetwork()
    victim = net.add("victim")
    victim.gossip.join(b"n" * 32, Source("n"), net.now, is_ours=True)
    stranger = RecordMaker("stranger")
    pair = (stranger.record(int(net.wall)), stranger.record(int(net.wall) + 1, variant="other"))
    frame = encode_frame(Items((Item(ItemType.PROOF, encode_proof(pair[0].encoded, pair[1].encoded)),)))
    for _ in range(5):
        victim.gossip.receive(b"n" * 32, frame, net.now, net.wall)
    assert not victim.gossip.neighbours[b"n" * 32].is_muted(net.now)
    assert len(victim.gossip.stock.inventory) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_under_churn_every_relay_that_stays_knows_every_other(seed: int) -> None:
    net = GossipNetwork(seed)
    nodes = mesh(net, 24)
    dice = random.Random(seed)
    net.run(10.0)
    for number in range(12):
        leaving = dice.choice(nodes)
        nodes.remove(leaving)
        net.stop(leaving)
        newcomer = net.add(f"new{number}")
        for other in dice.sample(nodes, 3):
            net.link(newcomer, other)
        nodes.append(newcomer)
        for node in nodes:  # what the service does: it looks for others when it has too few
            if len(node.gossip.neighbours) < 3:
                net.link(node, dice.choice([one for one in nodes if one is not node]))
        net.run(5.0)
    net.run(3 * Pace().round_s)
    for node in nodes:
        for other in nodes:
            assert node is other or node.view.get(other.identity) is not None


def test_keys_that_collide_cost_nothing_but_themselves() -> None:
    gossip = lone()
    gossip.join(b"n" * 32, Source("n"), 0.0, is_ours=True)
    have = encode_frame(Have((pack_entry(b"k" * 8, 1), pack_entry(b"k" * 8, 2), pack_entry(b"k" * 8, 1))))
    gossip.frames_to_send()
    gossip.receive(b"n" * 32, have, 1.0, 0.0)
    assert [decode_frame(frame) for _, frame in gossip.frames_to_send()] == [Want((b"k" * 8,))]
