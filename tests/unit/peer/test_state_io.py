"""The room's state on disk."""

import secrets
from pathlib import Path

import pytest

from tests.support.records import RecordMaker
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import Store
from vigilnet.peer.descriptor import DAY_S
from vigilnet.peer.identity import Identity
from vigilnet.peer.issuing import Offer, RecordIssuer
from vigilnet.peer.sources import Source
from vigilnet.peer.state_io import (
    load_issuer,
    load_key_ring,
    load_view,
    save_issuer,
    save_key_ring,
    save_view,
)
from vigilnet.peer.view import PeerView

NOW = 1_800_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_keys_are_on_disk_before_anyone_sees_them(store: Store) -> None:
    ring = load_key_ring(store, NOW, secrets.token_bytes)
    again = load_key_ring(store, NOW, secrets.token_bytes)
    assert again.to_values() == ring.to_values()
    assert again.rotate(NOW + DAY_S)
    save_key_ring(store, again)
    third = load_key_ring(store, NOW + DAY_S, secrets.token_bytes)
    assert third.current_onion == again.current_onion


def test_keys_rotated_while_loading_are_on_disk_too(store: Store) -> None:
    load_key_ring(store, NOW, secrets.token_bytes)
    ring = load_key_ring(store, NOW + 40 * DAY_S, secrets.token_bytes)
    again = load_key_ring(store, NOW + 40 * DAY_S, secrets.token_bytes)
    assert again.current_onion == ring.current_onion
    assert again.to_values() == ring.to_values()


def test_imported_identity_makes_the_ring_or_is_refused(store: Store) -> None:
    identity = Identity.generate()
    assert (
        load_key_ring(store, NOW, secrets.token_bytes, identity=identity).identity.public == identity.public
    )
    load_key_ring(store, NOW, secrets.token_bytes, identity=identity)
    with pytest.raises(ConfigurationError, match="another identity already"):
        load_key_ring(store, NOW, secrets.token_bytes, identity=Identity.generate())


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xa0", b"\x07"])
def test_damaged_keys_are_named_and_kept(store: Store, content: bytes) -> None:
    store.write_atomic("keys", content)
    with pytest.raises(ConfigurationError, match="state file keys: damaged"):
        load_key_ring(store, NOW, secrets.token_bytes)
    assert store.read("keys") == content


def test_issuer_goes_on_where_it_was(store: Store) -> None:
    ring = load_key_ring(store, NOW, secrets.token_bytes)
    issuer = RecordIssuer(ring, secrets.token_bytes, work_bits=2)
    load_issuer(store, issuer)
    first = issuer.issue(Offer(), NOW)
    save_issuer(store, issuer)
    again = RecordIssuer(ring, secrets.token_bytes, work_bits=2)
    load_issuer(store, again)
    second = again.issue(Offer(), NOW)
    assert second.sequence == first.sequence + 1
    assert second.nonce == first.nonce
    store.write_atomic("issuer", b"\x07")
    with pytest.raises(ConfigurationError, match="state file issuer: damaged"):
        load_issuer(store, again)


def test_known_peers_are_found_again_and_damage_is_not_fatal(store: Store) -> None:
    view, record = PeerView(work_bits=0), RecordMaker("alice").record(NOW)
    load_view(store, view, NOW)
    view.offer(record.encoded, Source("a"), NOW, 0.0)
    save_view(store, view)
    again = PeerView(work_bits=0)
    load_view(store, again, NOW)
    assert list(again.records()) == [record]
    for content in (b"\x07", b"\xff"):
        store.write_atomic("peers", content)
        load_view(store, again, NOW)
        assert list(again.records()) == [record]
