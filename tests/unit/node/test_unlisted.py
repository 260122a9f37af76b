from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deterministic import counted_bytes
from tests.support.records import RecordMaker
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import Store
from vigilnet.node.unlisted import GIVEN, HELD, MAX_HELD, GivenInvites, HeldInvites, NoMoreInvitesError
from vigilnet.peer.view import PeerView
from vigilnet.traffic.transport.htx.authenticator import MAX_INVITES

SECRET = b"s" * 32
NOW = 1_800_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    opened.lock()
    opened.unlock(None)
    yield opened
    opened.close()


def test_there_is_always_one_and_all_survive_a_restart(store: Store) -> None:
    given = GivenInvites(store, counted_bytes())
    (first,) = given.secrets()
    second = given.new()
    assert GivenInvites(store, counted_bytes()).secrets() == [first, second]


@pytest.mark.slow
def test_so_many_invites_are_made_and_no_more(store: Store) -> None:
    given = GivenInvites(store, counted_bytes())
    for _ in range(MAX_INVITES - 1):
        given.new()
    with pytest.raises(NoMoreInvitesError):
        given.new()
    assert len(GivenInvites(store, counted_bytes()).secrets()) == MAX_INVITES


def test_held_secrets_survive_and_are_found_by_the_record_s_key(store: Store) -> None:
    view = PeerView(work_bits=0)
    held = HeldInvites(store, view)
    record = RecordMaker("one").record(NOW)
    held.hold(record.identity, SECRET)
    held.hold(record.identity, SECRET)
    again = HeldInvites(store, view)
    assert again.identities() == {record.identity}
    assert again.secret_for(b"k" * 32) is None


@pytest.mark.slow
def test_so_many_are_held_and_no_more(store: Store) -> None:
    held = HeldInvites(store, PeerView())
    for number in range(MAX_HELD):
        held.hold(number.to_bytes(32, "big"), SECRET)
    held.hold(bytes(32), b"t" * 32)
    with pytest.raises(NoMoreInvitesError):
        held.hold(b"x" * 32, SECRET)
    assert len(HeldInvites(store, PeerView()).identities()) == MAX_HELD


@pytest.mark.parametrize("content", [b"nonsense", b"\x82\x01\x81\x41x", b"\x82\x02\x80"])
def test_a_damaged_file_is_named(store: Store, content: bytes) -> None:
    store.write_atomic(GIVEN, content)
    store.write_atomic(HELD, content)
    with pytest.raises(ConfigurationError, match=GIVEN):
        GivenInvites(store, counted_bytes())
    with pytest.raises(ConfigurationError, match=HELD):
        HeldInvites(store, PeerView())
