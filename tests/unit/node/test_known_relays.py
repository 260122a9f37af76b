"""How the peer table judges what neighbours show and clients offer."""

from dataclasses import dataclass, replace

import pytest

from tests.support.records import RecordMaker
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.node.known_relays import KnownRelays
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord, sign_record
from vigilnet.peer.sources import BAD_WORKS, LAN_PLACE, Source
from vigilnet.peer.view import Outcome, PeerView

NOW = 1_800_000_000
ATTACKER, NEIGHBOUR = "203.0.113.66", "192.0.2.7"
FILE = Source("file", is_limited=False)


@dataclass
class FixedClock:
    """Stands still."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return NOW + self.at


def known_relays(work_bits: int = 0) -> KnownRelays:
    return KnownRelays(PeerView(work_bits=work_bits), FixedClock(), None, ())


def workless(name: str) -> bytes:
    return RecordMaker(name, work_bits=30).record(NOW, nonce=bytes(8)).encoded


def good(work_bits: int) -> PeerRecord:
    return RecordMaker("good", work_bits=work_bits).record(NOW)


def test_bad_records_of_one_neighbour_do_not_mute_the_others() -> None:
    known = known_relays(work_bits=6)
    for number in range(BAD_WORKS):
        with pytest.raises(RemoteProtocolError, match="without its identity work"):
            known.admit(workless(f"bad{number}"), ATTACKER)
    with pytest.raises(RemoteProtocolError, match="muted"):
        known.admit(workless("another"), "203.0.113.67")  # the same prefix
    record = good(6)
    assert known.admit(record.encoded, NEIGHBOUR) == record


def test_bad_records_by_one_link_do_not_mute_the_other_links() -> None:
    known = known_relays(work_bits=6)
    for number in range(BAD_WORKS):
        known.offer_record(workless(f"bad{number}"), "one link")
    record = good(6)
    known.offer_record(record.encoded, "one link")
    assert known.get(record.identity) is None
    known.offer_record(record.encoded, "another link")
    assert known.get(record.identity) == record


def test_every_way_of_taking_a_new_record_says_so() -> None:
    known, told = known_relays(), list[bytes]()
    known.on_renewed = told.append
    makers = [RecordMaker(name) for name in ("shown", "offered", "taken")]
    for _ in range(2):  # nothing is told of what is known already
        known.admit(makers[0].record(NOW).encoded, NEIGHBOUR)
        known.offer_record(makers[1].record(NOW).encoded, "a link")
        known.take(makers[2].record(NOW).encoded, FILE)
    assert told == [maker.identity.public for maker in makers]


def test_an_older_record_of_a_neighbour_is_as_good_while_its_link_key_is_the_same() -> None:
    known, maker = known_relays(), RecordMaker("neighbour")
    older, newer = maker.record(NOW), maker.record(NOW + 500)
    assert known.admit(newer.encoded, NEIGHBOUR) == newer
    assert known.admit(older.encoded, NEIGHBOUR) == newer
    assert known.admit(newer.encoded, NEIGHBOUR) == newer


def test_a_known_neighbour_is_admitted_from_a_muted_prefix() -> None:
    known = known_relays(work_bits=6)
    record = good(6)
    known.view.offer(record.encoded, FILE, NOW, 0.0)
    for number in range(BAD_WORKS):
        with pytest.raises(RemoteProtocolError):
            known.admit(workless(f"bad{number}"), ATTACKER)
    assert known.admit(record.encoded, ATTACKER) == record


def test_an_older_record_with_another_link_key_is_refused() -> None:
    known, maker = known_relays(), RecordMaker("neighbour")
    newer = maker.record(NOW + 500)
    older = sign_record(
        maker.identity, replace(maker.record(NOW), link_key=b"k" * 32), nonce=bytes(8), work_bits=0
    )
    known.admit(newer.encoded, NEIGHBOUR)
    with pytest.raises(RemoteProtocolError, match="older than one seen before"):
        known.admit(older.encoded, NEIGHBOUR)


def test_a_record_of_a_stranger_with_a_wrong_signature_is_refused() -> None:
    known, maker = known_relays(), RecordMaker("neighbour")
    known.admit(maker.record(NOW).encoded, NEIGHBOUR)
    forged = bytearray(maker.record(NOW + 500).encoded)
    forged[-1] ^= 1
    with pytest.raises(RemoteProtocolError, match="not signed"):
        known.admit(bytes(forged), NEIGHBOUR)


def test_a_relay_of_a_lan_alone_is_no_later_hop() -> None:
    known, maker = known_relays(), RecordMaker("relay")

    def at(*hosts: str) -> PeerRecord:
        addresses = tuple(PeerAddress.tcp(host, 4001) for host in hosts)
        return sign_record(maker.identity, replace(maker.record(NOW), addresses=addresses), nonce=bytes(8))

    for hosts, may in ((("192.168.1.5",), False), (("192.168.1.5", "8.8.8.8"), True), (("a.example",), True)):
        record = at(*hosts)
        fresh = known_relays()
        fresh.take(record.encoded, FILE)
        assert fresh.is_vouched(record) is may
    lone = at("8.8.8.8")
    known.take(lone.encoded, Source("mdns x", LAN_PLACE, name="mdns"))
    assert not known.is_vouched(lone)


SOURCES = (
    "mdns",
    "beacon",
    "gossip",
    "dht",
    "directories",
    "circuits",
    "clients",
    "links",
    "invites",
    "files",
)


@pytest.mark.parametrize("name", SOURCES)
def test_no_source_brings_what_was_changed_or_is_over(name: str) -> None:
    """DIS-13: whoever brings it, a record counts as signed and while it lasts, or not at all."""
    known, source = known_relays(), Source(f"{name} of the test", "192.0", name=name)
    maker = RecordMaker("relay")
    right = maker.record(NOW, addresses=[PeerAddress.tcp(NEIGHBOUR, 4001)], country="SE")
    for at in range(0, len(right.encoded), 5):
        changed = bytearray(right.encoded)
        changed[at] ^= 1 << at % 8
        assert known.take(bytes(changed), source).outcome is not Outcome.ACCEPTED, at
    assert known.take(right.encoded[:-1], source).is_fault
    over = maker.record(NOW - 90_000, lifetime=86_400)
    assert known.take(over.encoded, source).outcome is not Outcome.ACCEPTED
    assert known.relays() == []
    assert known.take(right.encoded, source).outcome is Outcome.ACCEPTED
    assert known.relays() == [right]
