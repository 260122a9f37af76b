"""Which relays may share a path, and which of them is the guard."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.deterministic import counted_bytes
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import Capability, ExitSummary, OnionKey, PeerRecord
from vigilnet.routing.paths.selection import Dice, Guards, NoPathError, PathRequest, choose_path

ALL = Capability.RELAY | Capability.GUARD | Capability.EXIT


def relay(
    number: int,
    *,
    host: str | None = None,
    capabilities: Capability = ALL,
    family: tuple[bytes, ...] = (),
    ports: ExitSummary | None = None,
) -> PeerRecord:
    """A relay with an address of its own /16."""
    address = PeerAddress.tcp(host or f"10.{number}.0.1", 4001)
    return PeerRecord(
        identity=number.to_bytes(32, "big"),
        sequence=1,
        published=0,
        lifetime=600,
        onion_keys=(OnionKey(bytes(32), 1),),
        addresses=(address,),
        capabilities=capabilities,
        family=family,
        exit_summary=ports,
    )


class Choice:
    """Relays to choose from, with guards that are kept."""

    def __init__(self, *relays: PeerRecord, seed: str = "") -> None:
        self.relays = relays
        self.guards = Guards()
        self.dice = Dice(counted_bytes(seed))
        self.now = 0.0

    def path(self, hops: int = 3, *, is_private_network: bool = False, **request: object) -> list[int]:
        """Numbers of the relays of one path."""
        wanted = PathRequest(hops, **request)  # type: ignore[arg-type]  # what a test names
        chosen = choose_path(
            self.relays, wanted, self.guards, self.dice, self.now, is_private_network=is_private_network
        )
        return [int.from_bytes(record.identity, "big") for record in chosen]


@pytest.mark.parametrize("hops", range(1, 11))
def test_paths_of_every_length(hops: int) -> None:
    choice = Choice(*map(relay, range(1, 13)))
    for _ in range(50):
        path = choice.path(hops)
        assert len(path) == len(set(path)) == hops


@pytest.mark.parametrize("hops", [0, 11, -1])
def test_impossible_lengths_are_refused(hops: int) -> None:
    with pytest.raises(NoPathError):
        Choice(*map(relay, range(1, 20))).path(hops)


@pytest.mark.slow
def test_ten_thousand_paths_keep_the_rules_and_spread_evenly() -> None:
    family = (b"family--",)
    relays = [
        *map(relay, range(1, 20)),
        *(relay(number, host=f"172.16.{number}.1") for number in range(20, 25)),  # one /16
        *(relay(number, family=family) for number in range(25, 30)),
        *(relay(number, host=f"2001:db8:{number}::1") for number in range(30, 35)),  # one /32
    ]
    exits: Counter[int] = Counter()
    middles: Counter[int] = Counter()
    choice = Choice(*relays)
    groups = (range(20, 25), range(25, 30), range(30, 35))
    for _ in range(10_000):
        guard, middle, last = choice.path()
        assert len({guard, middle, last}) == 3
        for group in groups:
            assert sum(number in group for number in (guard, middle, last)) <= 1
        exits[last] += 1
        middles[middle] += 1
    # What shares a prefix or family with our guard is never our exit.
    mean = 10_000 / len(exits)
    assert len(exits) >= 28
    assert sum((count - mean) ** 2 / mean for count in exits.values()) < 70, "chi-square, p < 0.001"
    assert len(middles) >= 28


def test_few_guards_are_kept() -> None:
    choice = Choice(*map(relay, range(1, 60)))
    first = Counter(choice.path()[0] for _ in range(1000))
    assert len(first) == 1
    assert len(choice.guards.kept) == 2


def test_guards_do_not_multiply_with_unlucky_exits() -> None:
    """Exits that are our guards, or their neighbours, must not make us pick ever more guards."""
    choice = Choice(*(relay(number, host=f"10.{number % 5}.{number}.1") for number in range(1, 26)))
    for _ in range(3000):
        choice.path()
    assert len(choice.guards.kept) == 2


def test_failed_guard_is_left_for_a_minute_and_taken_again() -> None:
    choice = Choice(*map(relay, range(1, 60)))
    first = choice.path()[0]
    choice.guards.failed(first.to_bytes(32, "big"), choice.now)
    choice.now = 1.0
    second = choice.path()[0]
    assert second != first
    choice.guards.failed(second.to_bytes(32, "big"), choice.now)
    assert {choice.path()[0] for _ in range(50)} <= {first, second}, "no third guard for two that fail"
    choice.now = 62.0
    assert choice.path()[0] == first
    choice.guards.failed(first.to_bytes(32, "big"), choice.now)
    choice.guards.worked(first.to_bytes(32, "big"))
    assert choice.path()[0] == first


def test_third_guard_only_when_both_have_failed_for_ten_minutes() -> None:
    choice = Choice(*map(relay, range(1, 60)))
    both = set()
    for minute in range(11):
        choice.now = 60.0 * minute
        for _ in range(2):
            guard = choice.path()[0]
            both.add(guard)
            choice.guards.failed(guard.to_bytes(32, "big"), choice.now)
    assert len(both) == 2
    choice.now = 659.0
    third = choice.path()[0]
    assert third not in both
    choice.guards.worked(third.to_bytes(32, "big"))
    choice.now = 661.0
    assert choice.path()[0] in both, "their minute is over: the first one is tried again"
    assert len(choice.guards.kept) == 3


def test_memory_of_guards_is_bounded_and_drops_those_that_left() -> None:
    choice = Choice(*map(relay, range(1, 250)))
    for _ in range(70):
        choice.path()
        gone = set(choice.guards.kept[:-1])
        choice.relays = tuple(record for record in choice.relays if record.identity not in gone)
    assert len(choice.guards.kept) == 64
    present = {record.identity for record in choice.relays}
    assert sum(guard in present for guard in choice.guards.kept) >= 1


def test_relay_to_avoid_as_middle_stays_our_guard() -> None:
    choice = Choice(*map(relay, range(1, 60)))
    guard = choice.path()[0]
    kept = list(choice.guards.kept)
    avoid = frozenset({guard.to_bytes(32, "big")})
    for _ in range(20):
        path = choice.path(avoid=avoid)
        assert guard not in path[1:]
    assert choice.guards.kept == kept


def test_guards_that_left_the_network_are_replaced() -> None:
    choice = Choice(*map(relay, range(1, 60)))
    choice.path()
    gone = set(choice.guards.kept)
    choice.relays = tuple(record for record in choice.relays if record.identity not in gone)
    assert choice.path()[0].to_bytes(32, "big") not in gone


def test_only_guards_come_first_and_only_exits_last() -> None:
    guards = [relay(number, capabilities=Capability.RELAY | Capability.GUARD) for number in range(1, 5)]
    middles = [relay(number, capabilities=Capability.RELAY) for number in range(5, 10)]
    exits = [relay(number, capabilities=Capability.RELAY | Capability.EXIT) for number in range(10, 13)]
    strangers = [relay(number, capabilities=Capability.DIRECTORY) for number in range(13, 16)]
    choice = Choice(*guards, *middles, *exits, *strangers)
    for _ in range(200):
        path = choice.path(4)
        assert path[0] in range(1, 5)
        assert path[-1] in range(10, 13)
        assert not set(path) & set(range(13, 16))


def test_exit_accepts_the_port() -> None:
    web = ExitSummary(is_accept_list=True, ranges=((80, 80), (443, 443)))
    no_mail = ExitSummary(is_accept_list=False, ranges=((25, 25),))
    choice = Choice(
        relay(1, ports=web), relay(2, ports=no_mail), relay(3), *map(relay_without_exit, range(4, 9))
    )
    assert {choice.path(port=443)[-1] for _ in range(100)} == {1, 2, 3}
    assert {choice.path(port=22)[-1] for _ in range(100)} == {2, 3}
    assert {choice.path(port=25)[-1] for _ in range(100)} == {3}
    assert {choice.path(port=25, exit=(3).to_bytes(32, "big"))[-1] for _ in range(9)} == {3}
    with pytest.raises(NoPathError, match="none of them accepts port 25"):
        choice.path(port=25, exit=(1).to_bytes(32, "big"))
    with pytest.raises(NoPathError, match="none of them accepts port 25"):
        choice.path(port=25, avoid_exits=frozenset({(3).to_bytes(32, "big")}))
    assert 3 in {
        number for _ in range(50) for number in choice.path(avoid_exits=frozenset({(3).to_bytes(32, "big")}))
    }


def relay_without_exit(number: int) -> PeerRecord:
    return relay(number, capabilities=Capability.RELAY | Capability.GUARD)


@pytest.mark.parametrize(
    ("relays", "hops", "text"),
    [
        ([], 3, "no relays known"),
        ([relay_without_exit(1)], 3, "no usable exit"),
        ([relay(1)], 3, "none of them can be the first hop"),
        ([relay(1), relay(2)], 3, "too few different ones for 3 hops"),
        (
            [relay(1), relay(2, host="10.1.9.9"), relay(3, host="10.1.8.8")],
            2,
            "none of them can be the first",
        ),
    ],
)
def test_what_is_missing_is_said(relays: list[PeerRecord], hops: int, text: str) -> None:
    with pytest.raises(NoPathError, match=text):
        Choice(*relays).path(hops)


def test_private_network_may_share_prefixes_but_not_families() -> None:
    relays = [relay(number, host=f"192.168.0.{number}") for number in range(1, 5)]
    assert len(set(Choice(*relays).path(is_private_network=True))) == 3
    with pytest.raises(NoPathError):
        Choice(*relays).path()
    family = [relay(number, host=f"192.168.0.{number}", family=(b"one-home",)) for number in range(1, 5)]
    with pytest.raises(NoPathError):
        Choice(*family).path(is_private_network=True)


def test_names_as_addresses_share_no_prefix() -> None:
    relays = [
        PeerRecord(
            identity=number.to_bytes(32, "big"),
            sequence=1,
            published=0,
            lifetime=600,
            addresses=(PeerAddress.tcp(f"relay{number}.example", 443),),
            capabilities=ALL,
        )
        for number in range(1, 4)
    ]
    assert len(set(Choice(*relays).path())) == 3


@given(st.integers(1, 10), st.integers(3, 14), st.text(max_size=4))
def test_any_choice_is_a_path_or_says_why(hops: int, count: int, seed: str) -> None:
    choice = Choice(
        *(relay(number, host=f"10.{number % 7}.1.{number}") for number in range(1, count)), seed=seed
    )
    try:
        path = choice.path(hops)
    except NoPathError:
        return
    assert len(set(path)) == hops
    assert all(left % 7 != right % 7 for left, right in pairwise(path))


def test_a_record_that_may_have_been_made_for_us_alone_is_at_most_a_guard() -> None:
    relays = [relay(number) for number in range(1, 8)]
    lone = relays[0].identity

    def path(*, is_private_network: bool = False, hops: int = 3) -> list[int]:
        chosen = choose_path(
            relays, PathRequest(hops), Guards(), dice, 0.0, is_private_network=is_private_network,
            is_vouched=lambda record: record.identity != lone,
        )  # fmt: skip
        return [int.from_bytes(record.identity, "big") for record in chosen]

    dice = Dice(counted_bytes("lone"))
    paths = [path() for _ in range(200)]
    assert any(one[0] == 1 for one in paths)
    assert not any(1 in one[1:] for one in paths)
    assert any(1 in path(is_private_network=True)[1:] for _ in range(100))
    assert any(path(hops=1) == [1] for _ in range(100))


def test_who_was_invited_to_unlisted_relays_goes_through_them_first_and_never_later() -> None:
    choice = Choice(*map(relay, range(1, 13)))
    entries = {number.to_bytes(32, "big") for number in (3, 4)}
    choice.guards.entries = lambda: frozenset(entries)
    for hops in (2, 3, 5):
        for _ in range(50):
            path = choice.path(hops)
            assert path[0] in (3, 4)
            assert not {3, 4} & set(path[1:])
    assert choice.path(1)[0] in (3, 4)


def test_an_unlisted_relay_that_is_unknown_now_is_not_replaced_by_a_listed_one() -> None:
    choice = Choice(*map(relay, range(1, 13)))
    choice.guards.entries = lambda: frozenset({bytes(32)})
    for hops in (1, 3):
        with pytest.raises(NoPathError):
            choice.path(hops)


def behind(number: int, **more: object) -> PeerRecord:
    """A relay that nobody can dial."""
    via = PeerAddress.via(bytes(32), f"10.{number}.0.1")
    return replace(relay(number, **more), addresses=(via,))  # type: ignore[arg-type]


def test_who_cannot_be_dialled_is_no_first_hop() -> None:
    choice = Choice(*(behind(number) for number in range(1, 8)), relay(8), relay(9))
    for _ in range(50):
        assert choice.path(3)[0] in (8, 9)
        assert choice.path(1)[0] in (8, 9)
    with pytest.raises(NoPathError, match="first hop"):
        Choice(*(behind(number) for number in range(1, 8))).path(3)
    with pytest.raises(NoPathError, match="behind routers"):
        Choice(behind(1), behind(2)).path(1)


def test_two_that_cannot_be_dialled_do_not_follow_each_other_where_others_are_known() -> None:
    relays = [*(behind(number) for number in range(1, 30)), *(relay(number) for number in range(30, 60))]
    choice = Choice(*relays)
    for hops in (3, 4, 10):
        for _ in range(200):
            path = choice.path(hops)
            assert not any(first < 30 and second < 30 for first, second in pairwise(path))
    assert len(Choice(*(behind(number) for number in range(1, 9)), relay(9)).path(3)) == 3
