"""When a relay's own record is issued, and which keys it answers to."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.base.store_io import Store
from vigilnet.crypto.aead import Suite
from vigilnet.node.own_record import OwnRecord
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import DAY_S, Capability, PeerRecord, decode_record
from vigilnet.peer.identity import Identity
from vigilnet.peer.issuing import GRID_S, MAX_DELAY_S, family_id
from vigilnet.peer.keyring import LINK_KEY_LIFE_S
from vigilnet.peer.state_io import load_key_ring

MIDNIGHT = 1_800_057_600
HERE, THERE = PeerAddress.tcp("192.0.2.1", 4001), PeerAddress.tcp("192.0.2.2", 4001)


@dataclass
class WallClock:
    """Shows what it is set to."""

    at: float

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at


class FullDisk:
    """A store that refuses to write when told to."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self._write = store.write_atomic
        monkeypatch.setattr(store, "write_atomic", self.write)

    def write(self, name: str, content: bytes) -> None:
        if self.is_full:
            raise EnvironmentRefusedError("state: disk full")
        self._write(name, content)


@pytest.fixture
def clock() -> WallClock:
    return WallClock(MIDNIGHT + 3600)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


@pytest.fixture
def own(store: Store, clock: WallClock) -> OwnRecord:
    made = OwnRecord(store, clock, secrets.token_bytes, "", 0)
    made.describe([HERE], Capability.RELAY, None, "vigilnet")
    assert made.refresh()
    return made


def record_of(own: OwnRecord) -> PeerRecord:
    return decode_record(own.record)


def public_key(own: OwnRecord) -> bytes:
    return own.link_key.public_key().public_bytes_raw()


def settle(own: OwnRecord, clock: WallClock) -> None:
    """Go just behind the next regular record."""
    clock.at += GRID_S + MAX_DELAY_S
    assert own.refresh()
    assert not own.refresh()


def test_a_record_is_issued_when_due_and_when_an_address_changes(own: OwnRecord, clock: WallClock) -> None:
    assert not own.refresh()
    own.describe([THERE], Capability.RELAY, None, "vigilnet")
    assert own.refresh()
    assert record_of(own).addresses == (THERE,)
    settle(own, clock)


def test_a_record_says_where_the_relay_stands(own: OwnRecord) -> None:
    assert record_of(own).country == ""
    own.describe([THERE], Capability.RELAY, None, "vigilnet", "SE")
    assert own.refresh()
    assert record_of(own).country == "SE"


def test_a_record_says_cipher_and_family(own: OwnRecord) -> None:
    assert record_of(own).preferred_suite is Suite.AES_256_GCM
    assert record_of(own).family == ()
    own.describe(
        [THERE], Capability.RELAY, None, "vigilnet", "", suite=Suite.CHACHA20_POLY1305, family="ours"
    )
    assert own.refresh()
    assert record_of(own).preferred_suite is Suite.CHACHA20_POLY1305
    assert record_of(own).family == (family_id("ours"),)


def test_a_new_onion_key_is_published_at_once(own: OwnRecord, clock: WallClock) -> None:
    clock.at = MIDNIGHT + DAY_S - 1
    own.refresh()
    clock.at += 1
    assert own.refresh()
    assert record_of(own).onion_keys == (own.ring.current_onion,)


def test_dropping_old_keys_is_no_reason_for_a_new_record(own: OwnRecord, clock: WallClock) -> None:
    clock.at += LINK_KEY_LIFE_S + 1
    assert own.refresh()
    assert own.previous_link_key is not None
    clock.at += 2 * DAY_S - 100  # not at midnight, and not when a record is due
    own.refresh()
    assert own.previous_link_key is not None
    clock.at += 100
    before = own.record
    assert not own.refresh()
    assert own.previous_link_key is None
    assert own.record == before


def test_both_link_keys_are_answered_to_for_two_days(own: OwnRecord, clock: WallClock) -> None:
    first = public_key(own)
    clock.at += LINK_KEY_LIFE_S + 1
    own.refresh()
    assert public_key(own) != first
    assert record_of(own).link_key == public_key(own)
    assert own.previous_link_key is not None
    assert own.previous_link_key.public_key().public_bytes_raw() == first


def test_keys_that_the_disk_did_not_take_are_not_published(
    own: OwnRecord, clock: WallClock, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(store, monkeypatch)
    before, key = own.record, public_key(own)
    disk.is_full = True
    clock.at += LINK_KEY_LIFE_S + 1
    for _ in range(2):  # also when it is tried again: nothing rotates then
        with pytest.raises(EnvironmentRefusedError):
            own.refresh()
    assert own.record == before
    assert public_key(own) == key, "the key that our record names"
    disk.is_full = False
    assert own.refresh()
    assert record_of(own).link_key == public_key(own) != key
    again = load_key_ring(store, clock.at, secrets.token_bytes)
    assert again.current_onion == own.ring.current_onion


def test_without_an_address_there_is_no_record(store: Store, clock: WallClock) -> None:
    made = OwnRecord(store, clock, secrets.token_bytes, "", 0)
    made.describe([], Capability.RELAY, None, "vigilnet")
    assert not made.refresh()
    assert made.record == b""
    made.describe([HERE], Capability.RELAY, None, "vigilnet")
    assert made.refresh()
    assert made.record


def test_identity_of_a_key_file_is_taken_and_must_stay_the_same(tmp_path: Path) -> None:
    ours, other, bad = Identity.generate(), Identity.generate(), tmp_path / "bad"
    for name, identity in (("ours", ours), ("other", other)):
        (tmp_path / name).write_bytes(identity.to_libp2p_protobuf())
    bad.write_bytes(b"junk")

    def own(file: Path) -> OwnRecord:
        store = Store(tmp_path / "state")
        try:
            store.lock()
            return OwnRecord(store, WallClock(MIDNIGHT), secrets.token_bytes, "", 0, file)
        finally:
            store.close()

    assert own(tmp_path / "ours").identity == ours.public
    assert own(tmp_path / "ours").identity == ours.public
    for file in (tmp_path / "other", bad, tmp_path / "missing"):
        with pytest.raises(ConfigurationError):
            own(file)
