"""Shares of the calls to a relay, and the places that are dialled because an introducer names them."""

import pytest

from tests.support.records import RecordMaker
from vigilnet.peer.address import PeerAddress
from vigilnet.routing.discovery import calls
from vigilnet.routing.discovery.calls import (
    CALLED_BURST,
    KEPT,
    LATELY_S,
    MAX_PREFIXES,
    MAX_SHARES,
    SHARE_BURST,
    CallShares,
    PunchLimits,
    is_place_of,
)
from vigilnet.routing.discovery.introduction import Endpoint

RELAY, OTHER, ASKER = b"R" * 32, b"O" * 32, b"A" * 32


def shares(*relays: bytes, has_prefix_limits: bool = True) -> CallShares:
    made = CallShares(has_prefix_limits=has_prefix_limits)
    for relay in relays or (RELAY,):
        made.add(relay, 0.0)
    return made


def test_a_network_has_one_share_whatever_its_identities() -> None:
    one = shares()
    took = [one.take(RELAY, bytes((number,)) * 32, f"5.1.2.{number}", 0.0) for number in range(10)]
    assert took == [True] * int(SHARE_BURST) + [False] * (10 - int(SHARE_BURST))
    assert one.take(RELAY, ASKER, "5.1.3.1", 0.0)
    assert one.take(RELAY, ASKER, "5.1.2.1", 6.0)


def test_where_all_share_a_prefix_each_asker_has_a_share() -> None:
    one = shares(has_prefix_limits=False)
    for asker in (ASKER, OTHER):
        took = [one.take(RELAY, asker, "10.0.0.1", 0.0) for _ in range(5)]
        assert took == [True] * int(SHARE_BURST) + [False]


def test_who_is_seen_at_no_address_of_his_own_has_a_share_too() -> None:
    one = shares()
    for asker in (ASKER, OTHER):
        took = [one.take(RELAY, asker, "127.0.0.1", 0.0) for _ in range(5)]
        assert took == [True] * int(SHARE_BURST) + [False]


def test_half_of_all_calls_are_kept_for_who_did_not_ask_lately() -> None:
    one = shares()
    for number in range(int(CALLED_BURST - KEPT) + 1):
        assert one.take(RELAY, ASKER, f"5.{number}.0.1", 0.0)
    assert not one.take(RELAY, ASKER, "5.0.0.1", 0.0), "it has asked"
    assert one.take(RELAY, ASKER, "6.0.0.1", 0.0)
    assert one.take(RELAY, ASKER, "5.0.0.1", LATELY_S)


def test_one_relay_has_its_calls_to_itself() -> None:
    one = shares(RELAY, OTHER)
    took = [one.take(RELAY, ASKER, f"5.{number}.0.1", 0.0) for number in range(40)]
    assert sum(took) == CALLED_BURST
    assert one.take(OTHER, ASKER, "5.0.0.1", 0.0)
    one.drop(RELAY)


def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_SHARES", 4)
    monkeypatch.setattr(calls, "MAX_PREFIXES", 4)
    one, limits = shares(), PunchLimits()
    for number in range(20):
        one.take(RELAY, ASKER, f"5.{number}.0.1", 0.0)
        limits.take(f"5.{number}.0.1", 0.0)
    assert len(one._shares) == len(limits._buckets) == 4
    assert MAX_SHARES > MAX_PREFIXES


def test_a_relay_is_dialled_where_it_says_that_it_is_seen() -> None:
    record = RecordMaker("far").record(
        1_790_000_000,
        addresses=[
            PeerAddress.via(b"I" * 32, "5.7.0.2"),
            PeerAddress.via(b"J" * 32, "2001:db8:1:2::3"),
            PeerAddress.via(b"K" * 32),
        ],
    )
    good = [Endpoint("5.7.0.2", 1024), Endpoint("5.7.0.2", 65535), Endpoint("2001:db8:1:2:9::9", 4001)]
    bad = [
        Endpoint("5.7.0.2", 1023),
        Endpoint("5.7.0.3", 4001),
        Endpoint("2001:db8:1:3::3", 4001),
        Endpoint("", 4001),
        Endpoint(),
    ]
    assert [is_place_of(record, endpoint) for endpoint in good + bad] == [True] * 3 + [False] * 5
    named = RecordMaker("far").record(1_790_000_000, addresses=[PeerAddress.tcp("a.example", 4001)])
    assert not is_place_of(named, Endpoint("5.7.0.2", 4001))
