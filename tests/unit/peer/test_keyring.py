"""Rotation of the link key and of the daily onion keys."""

import json
import secrets
from pathlib import Path

import pytest

from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import DAY_S
from vigilnet.peer.identity import Identity
from vigilnet.peer.keyring import LINK_KEY_LIFE_S, MAX_ONION_DAYS, KeyRing, onion_key_id

CIRCUIT = json.loads((Path(__file__).parents[2] / "vectors" / "protocol" / "circuit.json").read_text())[
    "vectors"
]
MORNING = 20_000 * DAY_S


def ring_at(wall: float) -> KeyRing:
    return KeyRing(Identity.generate(), wall, secrets.token_bytes)


def test_key_ids_of_the_vectors() -> None:
    for vector in CIRCUIT:
        assert onion_key_id(bytes.fromhex(vector["resp_static_public"])).hex() == vector["onion_key_id"]


def test_key_id_depends_on_the_network() -> None:
    assert onion_key_id(bytes(32), "lab") != onion_key_id(bytes(32))


def test_onion_key_lasts_its_day_and_is_accepted_48_hours_more() -> None:
    ring = ring_at(MORNING)
    first = ring.current_onion
    assert first.not_after == MORNING + 3 * DAY_S
    key_id = onion_key_id(first.public)
    assert not ring.rotate(MORNING + DAY_S - 1)
    assert ring.current_onion == first
    assert ring.rotate(MORNING + DAY_S)
    assert ring.current_onion != first
    ring.rotate(MORNING + 3 * DAY_S - 1)
    assert ring.onion_secret(key_id) is not None
    assert ring.rotate(MORNING + 3 * DAY_S)
    assert ring.onion_secret(key_id) is None
    assert first.public not in encode(ring.to_values())


def test_a_day_never_gets_a_second_key() -> None:
    ring = ring_at(MORNING + DAY_S)
    today = ring.current_onion
    ring.rotate(MORNING)  # the clock went back over midnight
    assert ring.current_onion.day == 20_000
    ring.rotate(MORNING + DAY_S)
    assert ring.current_onion == today
    assert ring.onion_of(20_000).day == 20_000


def test_a_jumping_clock_does_not_pile_up_keys() -> None:
    ring = ring_at(MORNING + 100 * DAY_S)
    for day in range(100):
        ring.rotate(MORNING + (100 - day) * DAY_S)
    assert len(ring._keys.onion) <= MAX_ONION_DAYS


def test_link_key_is_renewed_and_the_old_one_answered_to_for_48_hours() -> None:
    ring = ring_at(MORNING)
    first = ring.link_key
    ring.rotate(MORNING + LINK_KEY_LIFE_S)
    assert ring.link_keys() == (first,)
    assert ring.rotate(MORNING + LINK_KEY_LIFE_S + 1)
    assert ring.link_keys() == (ring.link_key, first)
    assert ring.link_key is not first
    ring.rotate(MORNING + LINK_KEY_LIFE_S + 1 + 172_799)
    assert len(ring.link_keys()) == 2
    assert ring.rotate(MORNING + LINK_KEY_LIFE_S + 1 + 172_800)
    assert ring.link_keys() == (ring.link_key,)


def test_a_link_key_from_the_future_is_renewed() -> None:
    ring = ring_at(MORNING + 10 * DAY_S)
    first = ring.link_key
    ring.rotate(MORNING + 9 * DAY_S)
    assert ring.link_key is first
    ring.rotate(MORNING)
    assert ring.link_key is not first


def test_ring_survives_the_disk() -> None:
    ring = ring_at(MORNING)
    ring.rotate(MORNING + DAY_S)
    ring.rotate(MORNING + LINK_KEY_LIFE_S + DAY_S)
    values = decode(encode(ring.to_values()), "key ring")
    again = KeyRing.from_values(values, MORNING + LINK_KEY_LIFE_S + DAY_S, secrets.token_bytes)
    assert again.to_values() == ring.to_values()
    assert again.current_onion == ring.current_onion
    assert again.identity.peer_id == ring.identity.peer_id
    assert len(again.link_keys()) == 2
    assert repr(again) == "KeyRing([hidden])"


@pytest.mark.parametrize(
    "damage",
    [{0: 2}, {1: b"short"}, {2: b""}, {3: -1}, {4: b"x"}, {5: [[1]]}, {5: [[1, b"x"]]}, {6: 1}],
)
def test_damaged_ring_is_refused(damage: dict[int, Value]) -> None:
    values = ring_at(MORNING).to_values()
    assert isinstance(values, dict)
    with pytest.raises(RemoteProtocolError):
        KeyRing.from_values(values | damage, MORNING, secrets.token_bytes)
