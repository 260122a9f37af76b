"""When and how a relay issues its own record."""

import pytest

from tests.support.deterministic import counted_bytes
from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import EnvironmentRefusedError, LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import sha256
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import DAY_S, Capability, decode_record
from vigilnet.peer.identity import Identity
from vigilnet.peer.issuing import GRID_S, MAX_DELAY_S, Offer, RecordIssuer, family_id
from vigilnet.peer.keyring import KeyRing
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome, PeerView
from vigilnet.peer.work import EPOCH_S, epoch_of, is_work_done

GRID = 1_800_003_600 - 1_800_003_600 % GRID_S
HERE = (PeerAddress.tcp("192.0.2.1", 4001),)
OFFER = Offer(addresses=HERE, software="vigilnet 0.1.0")


def new_issuer(wall: float, work_bits: int = 0) -> RecordIssuer:
    ring = KeyRing(Identity.from_seed(bytes(32)), wall, counted_bytes())
    return RecordIssuer(ring, counted_bytes("issuer"), work_bits)


def test_a_start_issues_at_once() -> None:
    issuer = new_issuer(GRID + 5000.5)
    assert issuer.next_issue(GRID + 5000.5, HERE) == GRID + 5000.5
    record = issuer.issue(OFFER, GRID + 5000.5)
    assert decode_record(record.encoded) == record
    assert (record.published, record.sequence) == (GRID + 5000, (GRID + 5000) * 1000 + 500)
    assert record.addresses == HERE
    assert record.capabilities is Capability.RELAY
    assert record.lifetime == DAY_S


def test_then_on_the_grid_shortly_after_it() -> None:
    issuer = new_issuer(GRID + 5000)
    issuer.issue(OFFER, GRID + 5000)
    due = GRID + 5000.0
    for turn in range(1, 5):
        due = issuer.next_issue(due + 1, HERE)
        assert GRID + turn * GRID_S <= due < GRID + turn * GRID_S + MAX_DELAY_S
        record = issuer.issue(OFFER, due)
        assert record.published == GRID + turn * GRID_S


def test_a_change_of_addresses_issues_at_once() -> None:
    issuer = new_issuer(GRID)
    issuer.issue(OFFER, GRID + 10)
    there = (PeerAddress.tcp("192.0.2.2", 4001),)
    assert issuer.next_issue(GRID + 20, HERE) > GRID + GRID_S - 1
    assert issuer.next_issue(GRID + 20, there) == GRID + 20
    record = issuer.issue(Offer(addresses=there), GRID + 20)
    assert record.published == GRID + 20, "the one of the grid is out already"
    assert issuer.next_issue(GRID + 30, there) > GRID + GRID_S - 1


def test_sequences_grow_also_when_the_clock_stands_or_goes_back_a_little() -> None:
    issuer = new_issuer(GRID + 2000)
    sequences = [issuer.issue(OFFER, wall).sequence for wall in (GRID + 2000, GRID + 2000, GRID + 1900)]
    assert sequences == [(GRID + 2000) * 1000 + n for n in range(3)]


def test_a_clock_far_behind_the_last_record_is_named() -> None:
    issuer = new_issuer(GRID + 2000)
    issuer.issue(OFFER, GRID + 2000)
    assert issuer.next_issue(GRID + 1000, HERE) == GRID + 1000
    with pytest.raises(EnvironmentRefusedError, match="set the clock right"):
        issuer.issue(OFFER, GRID + 1000)


def test_every_record_is_accepted_by_a_view_over_days() -> None:
    ring = KeyRing(Identity.from_seed(bytes(32)), GRID, counted_bytes())
    issuer = RecordIssuer(ring, counted_bytes(), 0)
    view = PeerView(work_bits=0)
    wall = float(GRID)
    for _ in range(40):
        ring.rotate(wall)
        verdict = view.offer(issuer.issue(OFFER, wall).encoded, Source("a"), wall, 0.0)
        assert verdict.outcome is Outcome.ACCEPTED
        wall = issuer.next_issue(wall, HERE)
    assert wall > GRID + 4 * DAY_S


def test_a_family_is_told_by_a_hash_of_its_name_in_its_network() -> None:
    assert family_id("example.org") == sha256(b"vigilnet v1 family", b"example.org")[:8]
    assert len({family_id("a"), family_id("b"), family_id("a", "lab")}) == 3


def test_own_mistakes_are_ours() -> None:
    issuer = new_issuer(GRID)
    with pytest.raises(LocalProtocolError, match="lifetime"):
        issuer.issue(Offer(lifetime=6 * 3600 - 1), GRID)
    with pytest.raises(LocalProtocolError, match="rotated"):
        issuer.issue(OFFER, GRID + DAY_S)


def test_work_is_done_once_per_epoch_and_before_the_next_begins() -> None:
    boundary = (epoch_of(GRID) + 1) * EPOCH_S
    issuer = new_issuer(boundary - 3 * DAY_S, work_bits=3)
    record = issuer.issue(OFFER, boundary - 3 * DAY_S)
    assert is_work_done(record.identity, record.nonce, epoch_of(GRID), 3)
    assert list(issuer._nonces) == [epoch_of(GRID)]
    issuer.prepare(boundary - 3600)
    assert list(issuer._nonces) == [epoch_of(GRID), epoch_of(GRID) + 1]
    kept = dict(issuer._nonces)
    issuer.prepare(boundary - 1800)
    assert issuer._nonces == kept
    issuer.prepare(boundary + EPOCH_S)
    assert epoch_of(GRID) not in issuer._nonces


def test_sequence_and_work_survive_the_disk() -> None:
    issuer = new_issuer(GRID + 2000, work_bits=3)
    first = issuer.issue(OFFER, GRID + 2000)
    values = decode(encode(issuer.to_values()), "issuer")
    again = new_issuer(GRID + 2000, work_bits=3)
    again.load(values)
    assert again._nonces == issuer._nonces
    assert again.issue(OFFER, GRID + 1990).sequence == first.sequence + 1
    harder = new_issuer(GRID + 2000, work_bits=30)
    harder.load(values)
    assert harder._nonces == {}
    all_damaged: list[Value] = [7, [2, 0, []], [1, -1, []], [1, 0, [[1]]], [1, 0, [[1, b""]]]]
    for damaged in all_damaged:
        with pytest.raises(RemoteProtocolError):
            again.load(damaged)


def test_revocation_is_signed_and_accepted() -> None:
    issuer = new_issuer(GRID)
    view = PeerView(work_bits=0)
    view.offer(issuer.issue(OFFER, GRID).encoded, Source("a"), GRID, 0.0)
    revocation = issuer.revoke(GRID + 5)
    assert revocation.revoked
    assert view.offer(revocation.encoded, Source("a"), GRID + 5, 0.0).is_accepted
