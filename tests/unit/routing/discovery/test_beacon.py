"""The LAN beacon: relays tell, clients ask only while they must, and nobody can make others talk much."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE
from vigilnet.routing.discovery.beacon import (
    ALL_BURST,
    ANSWER_LEAST_S,
    ANSWER_SPREAD_S,
    ASK_S,
    HOST_BURST,
    MAX_DATAGRAM,
    MAX_HOSTS,
    TELL_S,
    Beacon,
    Datagram,
    Kind,
    decode_datagram,
)

VECTOR = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "lan.json").read_text())
ASK = Datagram(Kind.ASK).encode()
TELL = Datagram(Kind.TELL, b"a record").encode()
NEVER = 1e9


def beacon(own: bytes = b"", *, needs_peers: bool = True, chance: int = 0) -> Beacon:
    return Beacon(lambda: own, lambda: needs_peers, lambda size: bytes([chance]) * size, 0.0)


def sent(machine: Beacon, until: float) -> list[tuple[float, bytes]]:
    """What it sends up to a time, and when."""
    found = []
    while (due := machine.deadline()) <= until:
        datagram = machine.on_deadline(due)
        if datagram is not None:
            found.append((due, datagram))
    return found


def test_vectors() -> None:
    assert decode_datagram(bytes.fromhex(VECTOR["ask"])) == Datagram(Kind.ASK)
    tell = Datagram(Kind.TELL, bytes.fromhex(VECTOR["record"]))
    assert decode_datagram(bytes.fromhex(VECTOR["tell"])) == tell
    assert tell.encode().hex() == VECTOR["tell"]


@given(st.binary(min_size=1, max_size=MAX_RECORD_SIZE))
def test_round_trip(record: bytes) -> None:
    assert decode_datagram(Datagram(Kind.TELL, record).encode()).body == record


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda octets: b"VNB1" + octets))
def test_any_octets_are_a_datagram_or_blame_who_sent_them(octets: bytes) -> None:
    try:
        datagram = decode_datagram(octets)
    except RemoteProtocolError:
        return
    assert datagram.encode() == octets


@pytest.mark.parametrize(
    "octets", [b"VNB1", b"VNB2\x01", b"VNB1\x01x", b"VNB1\x02", b"VNB1\x03x", b"VNB1\x00"]
)
def test_what_is_none_of_the_two_is_refused(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_datagram(octets)


def test_longest_datagram_and_one_octet_more() -> None:
    longest = Datagram(Kind.TELL, bytes(MAX_RECORD_SIZE)).encode()
    assert len(longest) == MAX_DATAGRAM
    assert decode_datagram(longest).body == bytes(MAX_RECORD_SIZE)
    with pytest.raises(RemoteProtocolError):
        decode_datagram(longest + b"\0")


@pytest.mark.parametrize(
    "wrong", [Datagram(Kind.TELL), Datagram(Kind.ASK, b"x"), Datagram(Kind.TELL, bytes(MAX_RECORD_SIZE + 1))]
)
def test_no_datagram_is_made_of_what_is_none(wrong: Datagram) -> None:
    with pytest.raises(LocalProtocolError):
        wrong.encode()


def test_a_relay_tells_at_the_start_and_then_seldom() -> None:
    told = sent(beacon(b"own"), 100.0)
    assert [when for when, _ in told] == [0.0, 1.0, 4.0, 4.0 + TELL_S, 4.0 + 2 * TELL_S, 4.0 + 3 * TELL_S]
    assert {datagram for _, datagram in told} == {Datagram(Kind.TELL, b"own").encode()}


def test_a_client_asks_and_never_tells() -> None:
    assert sent(beacon(), 4.0 + ASK_S) == [(when, ASK) for when in (0.0, 1.0, 4.0, 4.0 + ASK_S)]


def test_a_client_that_knows_a_relay_is_silent_whatever_it_hears() -> None:
    quiet = beacon(needs_peers=False)
    quiet.receive(ASK, "10.0.0.1", 1.0)
    assert sent(quiet, 1000.0) == []


def test_a_record_is_given_to_the_table() -> None:
    assert beacon().receive(TELL, "10.0.0.1", 0.0) == b"a record"
    assert beacon().receive(b"junk", "10.0.0.1", 0.0) is None


def test_an_ask_is_answered_soon_but_not_by_all_at_once() -> None:
    for chance in (0, 255):
        machine = beacon(b"own", chance=chance)
        sent(machine, 10.0)
        machine.receive(ASK, "10.0.0.1", 20.0)
        ((when, datagram),) = sent(machine, 20.0 + ANSWER_SPREAD_S)
        assert datagram == Datagram(Kind.TELL, b"own").encode()
        assert when == pytest.approx(20.0 + ANSWER_SPREAD_S * chance / 256, abs=0.01)


def test_many_asks_do_not_make_a_relay_talk() -> None:
    machine = beacon(b"own")
    sent(machine, 10.0)
    told = []
    for number in range(1000):
        now = 20.0 + number / 100
        machine.receive(ASK, f"10.0.{number % 256}.1", now)
        if machine.on_deadline(now) is not None:
            told.append(now)
    assert all(later - one >= ANSWER_LEAST_S for one, later in itertools.pairwise(told))
    assert len(told) == 10 / ANSWER_LEAST_S


def test_a_new_record_is_told_at_once_but_not_again_and_again() -> None:
    machine = beacon(b"own")
    sent(machine, 10.0)
    machine.own_changed(20.0)
    assert machine.deadline() == 20.0
    assert machine.on_deadline(20.0) is not None
    machine.own_changed(20.1)
    assert machine.deadline() == pytest.approx(20.0 + ANSWER_LEAST_S)


def test_one_host_is_heard_only_so_often_and_takes_nothing_from_others() -> None:
    machine = beacon()
    heard = [machine.receive(TELL, "10.0.0.1", 5.0) for _ in range(int(HOST_BURST) + 1)]
    assert heard == [b"a record"] * int(HOST_BURST) + [None]
    assert machine.receive(TELL, "10.0.0.2", 5.0) == b"a record"
    assert machine.receive(TELL, "10.0.0.1", 6.0) == b"a record"


def test_all_hosts_together_are_heard_only_so_often_and_few_are_remembered() -> None:
    machine = beacon()
    heard = [machine.receive(TELL, f"host {number}", 5.0) for number in range(2 * MAX_HOSTS)]
    assert sum(record is not None for record in heard) == ALL_BURST
    assert len(machine._hosts) == MAX_HOSTS


def test_on_deadline_too_early_sends_nothing() -> None:
    assert beacon(b"own").on_deadline(-1.0) is None
    assert beacon().deadline() < NEVER
