"""Neighbours are of different networks and families; who fails is left alone, longer each time."""

from dataclasses import replace

from tests.support.gossip_network import chance
from tests.support.records import RecordMaker
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.neighbourhood import (
    FIRST_SHUNNED_S,
    MAX_SHUNNED,
    MAX_SHUNNED_S,
    Neighbourhood,
    place_of,
    places,
)


def record(name: str, host: str, family: bytes = b"") -> PeerRecord:
    families = (family,) if family else ()
    draft = RecordMaker(name).record(1_800_000_000)
    return replace(draft, addresses=(PeerAddress.tcp(host, 4001),), family=families)


def neighbourhood(size: int = 4, *, is_private_network: bool = False) -> Neighbourhood:
    return Neighbourhood(chance("test"), size, is_private_network)


def test_no_two_share_a_network_or_a_family() -> None:
    records = [record(f"a{n}", f"192.0.{n}.1") for n in range(9)]
    records += [record(f"f{n}", f"20{n}.1.0.1", b"familyXX") for n in range(9)]
    records += [record("six", "2001:db8:1::1"), record("six too", "2001:db8:2::1")]
    room = neighbourhood(size=10)
    chosen = [room.choose(records, 0.0) for _ in range(10)]
    found = [one for one in chosen if one is not None]
    assert len(found) == 3
    assert len(frozenset[str]().union(*map(places, found))) == sum(len(places(one)) for one in found)


def test_in_a_private_network_they_may() -> None:
    room = neighbourhood(is_private_network=True)
    records = [record(f"a{n}", "127.0.0.1") for n in range(9)]
    assert all(room.choose(records, 0.0) for _ in range(4))
    assert room.is_full


def test_none_is_chosen_twice_and_who_is_dropped_waits() -> None:
    room, only = neighbourhood(), record("only", "192.0.2.1")
    assert room.choose([only], 0.0) == only
    assert room.choose([only], 0.0) is None
    room.drop(only.identity, 0.0)
    assert room.choose([only], FIRST_SHUNNED_S - 0.1) is None
    assert room.choose([only], FIRST_SHUNNED_S) == only


def test_each_failure_doubles_the_wait_until_it_works() -> None:
    room, now, waits = neighbourhood(), 0.0, []
    for _ in range(12):
        room.shun(b"x" * 32, now)
        until = room._shunned[b"x" * 32][0]
        waits.append(until - now)
        now = until
    assert waits[:3] == [FIRST_SHUNNED_S, 2 * FIRST_SHUNNED_S, 4 * FIRST_SHUNNED_S]
    assert waits[-1] == MAX_SHUNNED_S
    room.worked(b"x" * 32)
    assert not room.is_shunned(b"x" * 32, now)
    room.shun(b"x" * 32, now)
    assert room.is_shunned(b"x" * 32, now)
    assert not room.is_shunned(b"x" * 32, now + FIRST_SHUNNED_S)


def test_memory_of_failures_is_bounded() -> None:
    room = neighbourhood()
    for number in range(MAX_SHUNNED + 10):
        room.shun(number.to_bytes(32, "big"), 0.0)
    assert len(room._shunned) == MAX_SHUNNED


def test_only_strangers_are_tried_out() -> None:
    room = neighbourhood()
    records = [record(name, f"{number}.1.1.1") for number, name in enumerate("abcd", 20)]
    a, b, c, d = (one.identity for one in records)
    room.shun(c, 0.0)
    tried = room.unreached(records, {a, b}.__contains__, 0.0)
    assert tried is not None
    assert tried.identity == d
    assert room.unreached(records, {a, b, d}.__contains__, 0.0) is None


def test_a_place_is_a_network() -> None:
    assert place_of("198.51.100.7") == "198.51.0.0/16"
    assert place_of("fe80::1%eth0") == "fe80::/32"
