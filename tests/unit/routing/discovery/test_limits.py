"""Shares of neighbours and of address prefixes."""

from dataclasses import replace

import pytest

from tests.support.records import RecordMaker
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.limits import (
    MAX_PREFIXES,
    PREFIX_BURST,
    PREFIX_RATE,
    REVOCATION_BURST,
    Bucket,
    PrefixLimits,
    prefixes,
    within_prefixes,
)


def record(name: str, *hosts: str) -> PeerRecord:
    return replace(
        RecordMaker(name).record(1_800_000_000),
        addresses=tuple(PeerAddress.tcp(host, 4001) for host in hosts),
    )


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    bucket = Bucket(3, 0.5, 100.0)
    assert [bucket.take(1, 100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(1, 101.0)
    assert bucket.take(1, 102.0)
    assert not bucket.take(4, 1000.0)
    assert bucket.take(3, 1000.0)
    assert not bucket.take(1, 999.0)  # a clock that goes back gives nothing


def test_few_unreached_identities_of_one_prefix_pass() -> None:
    limits = PrefixLimits()
    passed = [limits.may_pass(record(f"sybil{n}", f"192.0.2.{n}"), 0.0) for n in range(100)]
    assert sum(passed) == PREFIX_BURST
    assert limits.may_pass(record("elsewhere", "198.51.100.1"), 0.0)
    assert limits.may_pass(record("v6", "2001:db8::1"), 0.0)
    assert limits.may_pass(record("later", "192.0.2.200"), 1.001 / PREFIX_RATE)


def test_every_prefix_of_a_record_counts() -> None:
    limits = PrefixLimits()
    for number in range(int(PREFIX_BURST)):
        assert limits.may_pass(record(f"a{number}", "192.0.2.1"), 0.0)
    assert not limits.may_pass(record("both", "192.0.2.9", "198.51.100.1"), 0.0)
    assert prefixes(record("both", "192.0.2.9", "2001:db8:0:5::1")) == {"192.0.2.0/24", "2001:db8::/48"}
    assert prefixes(record("none")) == {""}


def test_revocations_have_a_share_of_their_own() -> None:
    limits = PrefixLimits()
    revoked = replace(record("gone"), revoked=True)
    assert sum(limits.may_pass(revoked, 0.0) for _ in range(200)) == REVOCATION_BURST


@pytest.mark.slow
def test_memory_for_prefixes_is_bounded() -> None:
    limits = PrefixLimits()
    for number in range(MAX_PREFIXES + 50):
        limits.may_pass(record("x", f"10.{number // 256}.{number % 256}.1"), 0.0)
    assert len(limits._buckets) == MAX_PREFIXES


def test_a_list_keeps_few_of_each_prefix_in_its_order() -> None:
    records = [record(f"a{n}", f"192.0.2.{n}") for n in range(5)] + [record("b", "198.51.100.1")]
    assert within_prefixes(records, 2) == [*records[:2], records[5]]
