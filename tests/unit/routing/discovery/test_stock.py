"""What is passed on: what the table accepted, few strangers of a prefix, never what it refused."""

from dataclasses import replace

import pytest

from tests.support.records import RecordMaker
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord, sign_record
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome, PeerView
from vigilnet.routing.discovery.limits import PREFIX_BURST
from vigilnet.routing.discovery.stock import REFUSED_S, Judged, Stock
from vigilnet.routing.discovery.wire import PROVEN, REVOKED, Item, ItemType, encode_proof, pack_entry

WALL = 1_800_000_000
SOURCE = Source("link")
OWN = RecordMaker("own")


def stock(*, has_prefix_limits: bool = False, own: PeerRecord | None = None) -> tuple[Stock, PeerView]:
    view = PeerView(work_bits=0, own=OWN.identity.public)
    encoded = own.encoded if own is not None else b""
    return Stock(view, lambda: encoded, has_prefix_limits=has_prefix_limits), view


def item(record: PeerRecord) -> Item:
    return Item(ItemType.RECORD, record.encoded)


def judged(room: Stock, record: PeerRecord, now: float = 0.0) -> Judged:
    found = room.judge(item(record), SOURCE, now, WALL)
    assert found is not None
    return found


def at(name: str, host: str, published: int = WALL) -> PeerRecord:
    maker = RecordMaker(name)
    draft = replace(maker.record(published), addresses=(PeerAddress.tcp(host, 4001),))
    return sign_record(maker.identity, draft, nonce=bytes(8))


def test_what_the_table_accepts_is_passed_on_once() -> None:
    room, _ = stock()
    record = RecordMaker("a").record(WALL)
    first, again = judged(room, record), judged(room, record)
    assert (first.verdict.outcome, first.is_new) == (Outcome.ACCEPTED, True)
    assert (again.verdict.outcome, again.is_new) == (Outcome.KNOWN, False)
    assert room.inventory.item(first.key) == item(record)
    assert room.look(1.0) == []


def test_what_the_table_refuses_is_not_asked_for_again_for_a_while() -> None:
    room, _ = stock()
    old = RecordMaker("a").record(WALL - 200_000)
    entry = pack_entry(old.identity[:8], old.sequence)
    assert room.is_wanted(entry)
    assert judged(room, old).verdict.outcome is Outcome.NOT_CURRENT
    assert not room.is_wanted(entry)
    assert room.is_wanted(pack_entry(old.identity[:8], old.sequence + 1))
    room.look(REFUSED_S + 1)
    assert room.is_wanted(entry)


@pytest.mark.parametrize("lifetime", [86_400, 600])
def test_a_forgery_of_a_good_record_is_blamed_and_does_not_keep_it_out(lifetime: int) -> None:
    room, _ = stock()
    maker = RecordMaker("a")
    good = maker.record(WALL - 1000)
    forged = RecordMaker("forger").record(WALL - 1000)
    draft = replace(good, lifetime=lifetime)
    octets = sign_record(maker.identity, draft, nonce=bytes(8)).encoded[:-64] + forged.encoded[-64:]
    found = room.judge(Item(ItemType.RECORD, octets), SOURCE, 0.0, WALL)
    assert found is not None
    assert found.is_fault
    assert room.is_wanted(pack_entry(good.identity[:8], good.sequence))
    assert judged(room, good).is_new


def test_octets_that_are_no_record_are_malformed() -> None:
    room, _ = stock()
    assert room.judge(Item(ItemType.RECORD, b"junk"), SOURCE, 0.0, WALL) is None
    assert room.judge(Item(ItemType.PROOF, b"junk"), SOURCE, 0.0, WALL) is None
    assert room.judge(Item(ItemType.PROOF, encode_proof(b"junk", b"junk")), SOURCE, 0.0, WALL) is None


def test_own_record_is_passed_on_and_never_taken_from_others() -> None:
    own = OWN.record(WALL)
    room, _ = stock(own=own)
    assert room.look(0.0) == [pack_entry(own.identity[:8], own.sequence)]
    assert not room.is_wanted(pack_entry(own.identity[:8], own.sequence + 1))
    assert room.look(1.0) == []


def test_changes_of_the_table_by_others_are_taken_over() -> None:
    room, view = stock()
    one, two = RecordMaker("a").record(WALL), RecordMaker("b").record(WALL)
    for record in (one, two):
        view.offer(record.encoded, SOURCE, WALL, 0.0)
    assert not room.is_current
    assert len(room.look(0.0)) == 2
    view.forget(one.identity)
    assert room.look(1.0) == []
    assert one.identity[:8] not in room.inventory
    newer = RecordMaker("b").record(WALL + 100)
    view.offer(newer.encoded, SOURCE, WALL + 100, 0.0)
    assert room.look(2.0) == [pack_entry(two.identity[:8], newer.sequence)]


def test_a_change_by_others_is_not_missed_when_gossip_brings_something_meanwhile() -> None:
    room, view = stock()
    view.offer(RecordMaker("a").record(WALL).encoded, SOURCE, WALL, 0.0)
    judged(room, RecordMaker("b").record(WALL))
    assert len(room.look(0.0)) == 1
    assert len(room.inventory) == 2


def test_few_strangers_of_one_prefix_are_passed_on_and_the_others_still_known() -> None:
    room, view = stock(has_prefix_limits=True)
    records = [at(f"sybil{number}", f"192.0.2.{number}") for number in range(1, 31)]
    found = [judged(room, record) for record in records]
    assert sum(one.is_new for one in found) == PREFIX_BURST
    assert len(view) == 30
    assert not any(room.is_wanted(one.entry) for one in found)
    assert room.look(0.0) == []  # the share is used up


def test_who_was_reached_is_passed_on_whatever_its_prefix() -> None:
    room, view = stock(has_prefix_limits=True)
    for number in range(1, 31):
        judged(room, at(f"sybil{number}", f"192.0.2.{number}"))
    honest = at("honest", "192.0.2.200")
    held_back = judged(room, honest)
    assert not held_back.is_new
    view.mark_reached(honest.identity)
    assert held_back.entry in room.look(1.0)


def test_a_newer_record_of_one_who_is_passed_on_costs_no_share() -> None:
    room, _ = stock(has_prefix_limits=True)
    for number in range(1, 31):
        judged(room, at(f"sybil{number}", f"192.0.2.{number}"))
    assert judged(room, at("sybil1", "192.0.2.1", WALL + 100)).is_new


def test_what_was_withheld_is_passed_on_when_the_share_has_grown() -> None:
    room, _ = stock(has_prefix_limits=True)
    for number in range(1, 31):
        judged(room, at(f"sybil{number}", f"192.0.2.{number}"))
    assert len(room.look(3000.0)) == PREFIX_BURST


def test_revocations_take_the_place_of_records() -> None:
    room, _ = stock()
    maker = RecordMaker("a")
    judged(room, maker.record(WALL))
    found = judged(room, maker.record(WALL, revoked=True, sequence=WALL * 1000 - 5))
    assert (found.version, found.is_new) == (REVOKED, True)
    assert room.look(1.0) == []
    assert room.inventory.version(found.key) == REVOKED
    assert not room.is_wanted(pack_entry(found.key, WALL * 1000 + 99))


def test_proofs_take_the_place_of_records() -> None:
    room, _ = stock()
    maker = RecordMaker("a")
    one, two = maker.record(WALL), maker.record(WALL + 1, variant="for one client")
    judged(room, one)
    proof = Item(ItemType.PROOF, encode_proof(one.encoded, two.encoded))
    found = room.judge(proof, SOURCE, 0.0, WALL)
    assert found is not None
    assert (found.version, found.is_new) == (PROVEN, True)
    assert room.inventory.item(found.key) == proof
    assert room.look(1.0) == []
    assert room.inventory.item(found.key) == proof


def test_an_equivocation_that_we_see_ourselves_becomes_a_proof_for_others() -> None:
    room, _ = stock()
    maker = RecordMaker("a")
    judged(room, maker.record(WALL))
    judged(room, maker.record(WALL + 1, variant="for one client"))
    (entry,) = room.look(1.0)
    assert entry == pack_entry(maker.identity.public[:8], PROVEN)


def test_work_makes_strangers_costly_and_known_ones_not() -> None:
    room, view = stock()
    assert not room.is_costly(b"stranger")
    view.work_bits = 1
    assert room.is_costly(b"stranger")
