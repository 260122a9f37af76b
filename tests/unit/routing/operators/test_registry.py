"""The table's limits and its JSON; what it refuses is judged in test_directory."""

import json

import pytest

from tests.support.operators import Relay
from vigilnet.routing.operators.registry import (
    MAX_LAPSED,
    MAX_PER_ADDRESS,
    MAX_PER_PREFIX,
    Entry,
    FullError,
    Heard,
    Registry,
)
from vigilnet.routing.operators.wire import Registration


def _said(number: int, country: str = "DE") -> Registration:
    return Registration(f"12D3KooW{number}", ("/ip4/192.0.2.1/tcp/1",), country, ("relay",), 0, 0)


def _address(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def test_full_table_first_forgets_the_silent_and_then_refuses() -> None:
    registry = Registry(120.0, max_relays=2)
    registry.register(_said(1), _address(1 << 8), 0, 0)
    registry.register(_said(2), _address(2 << 8), 0, 100)
    registry.register(_said(3), _address(3 << 8), 0, 121)  # the first is silent by now
    with pytest.raises(FullError, match="full"):
        registry.register(_said(4), _address(4 << 8), 0, 122)
    assert registry.is_lapsed("12D3KooW1")
    registry.register(_said(2), _address(2 << 8), 0, 123)  # who is in may go on


def test_address_and_prefix_have_limits_that_are_given_back() -> None:
    registry = Registry(120.0)
    for number in range(MAX_PER_ADDRESS):
        registry.register(_said(number), "192.0.2.1", 0, 0)
    with pytest.raises(FullError, match="address"):
        registry.register(_said(99), "192.0.2.1", 0, 0)
    for number in range(100, 100 + MAX_PER_PREFIX - MAX_PER_ADDRESS):
        registry.register(_said(number), f"192.0.2.{number}", 0, 0)
    with pytest.raises(FullError, match="network"):
        registry.register(_said(999), "192.0.2.250", 0, 0)
    registry.prune(121)
    registry.register(_said(99), "192.0.2.1", 0, 121)


def test_this_machine_may_bring_as_many_relays_as_there_is_room_for() -> None:
    registry = Registry(120.0, max_relays=100)
    for number in range(100):
        registry.register(_said(number), "127.0.0.1", 0, 0)
    with pytest.raises(FullError, match="full"):
        registry.register(_said(100), "127.0.0.1", 0, 0)


@pytest.mark.slow
def test_what_is_remembered_of_the_silent_is_bounded() -> None:
    registry = Registry(1.0, has_limits=False, max_relays=MAX_LAPSED + 5)
    for number in range(MAX_LAPSED + 5):
        registry.register(_said(number), "192.0.2.1", 0, 0)
    assert len(registry.prune(2)) == MAX_LAPSED + 5
    assert len(registry._lapsed) == MAX_LAPSED
    assert not registry.is_lapsed("12D3KooW0")


def test_listing_is_json_by_country_with_what_was_heard() -> None:
    registry = Registry(120.0)
    registry.register(_said(1, "FR"), _address(1), 5, 0)
    heard = [Heard("12D3KooW1", "DE", b'"hidden"'), Heard("other", "DE", b'"heard"')]
    listing = json.loads(b"".join(registry.listing("", 0, heard)))
    assert list(listing) == ["DE", "FR"]
    assert listing["DE"] == ["heard"]
    assert listing["FR"][0]["last_seen"] == 5
    assert json.loads(b"".join(registry.listing("FR", 0, heard))).keys() == {"FR"}
    assert registry.listing("XX", 0) == (b"{}",)


def test_registered_time_survives_loading() -> None:
    registry = Registry(120.0)
    said = Relay("one").registration()
    registry.load([Entry(said, "192.0.2.7", 1, 2, heard_at=-50.0)])
    assert registry.active(69) == 1
    assert registry.active(71) == 0
    assert registry.signed_at(said.peer_id) == said.signed_at
