"""The rules by which a record enters the table of known peers."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.records import RecordMaker
from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import DAY_S, REVOCATION_LIFE_S, PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.peer.view import MEMORY_S, Outcome, PeerView, Verdict

NOW = 1_800_000_000  # 08:00 UTC
HOUR = 3600
ALICE, BOB = RecordMaker("alice"), RecordMaker("bob")
LINK = Source("link 1", "192.0/16")
OTHER = Source("link 2", "198.51/16")


def new_view(work_bits: int = 0, max_records: int = 100) -> PeerView:
    return PeerView(work_bits=work_bits, max_records=max_records)


def offer(
    view: PeerView, record: PeerRecord, wall: float = NOW, source: Source = LINK, now: float = 0.0
) -> Outcome:
    return view.offer(record.encoded, source, wall, now).outcome


def test_a_good_record_is_accepted_and_found() -> None:
    view, record = new_view(), ALICE.record(NOW)
    verdict = view.offer(record.encoded, LINK, NOW, 0.0)
    assert verdict == Verdict(Outcome.ACCEPTED, "accepted", record)
    assert verdict.is_accepted
    assert not verdict.is_fault
    assert view.get(ALICE.identity.public) == record
    assert list(view.records()) == [record]
    assert len(view) == 1
    assert offer(view, record) is Outcome.KNOWN
    assert view.get(BOB.identity.public) is None


@pytest.mark.parametrize(
    ("published", "lifetime", "outcome"),
    [
        (NOW + 600, 86_400, Outcome.ACCEPTED),
        (NOW + 601, 86_400, Outcome.NOT_CURRENT),
        (NOW - 600, 600, Outcome.NOT_CURRENT),
        (NOW - 599, 600, Outcome.ACCEPTED),
    ],
)
def test_times(published: int, lifetime: int, outcome: Outcome) -> None:
    assert offer(new_view(), ALICE.record(published, lifetime=lifetime)) is outcome


def test_newer_replaces_older_and_never_the_other_way() -> None:
    view = new_view()
    old, new = ALICE.record(NOW - HOUR), ALICE.record(NOW)
    assert offer(view, old) is Outcome.ACCEPTED
    assert offer(view, new) is Outcome.ACCEPTED
    assert offer(view, old) is Outcome.STALE
    assert view.get(ALICE.identity.public) == new
    assert len(view) == 1


def test_no_rollback_after_the_record_expired_or_was_forgotten() -> None:
    view = new_view()
    old, new = ALICE.record(NOW - HOUR, lifetime=172_800), ALICE.record(NOW, lifetime=600)
    offer(view, new)
    view.expire(NOW + 600)
    assert view.get(ALICE.identity.public) is None
    assert offer(view, old, NOW + 700) is Outcome.STALE
    assert offer(view, ALICE.record(NOW + 700), NOW + 700) is Outcome.ACCEPTED
    view.forget(ALICE.identity.public)
    assert view.get(ALICE.identity.public) is None
    assert offer(view, new, NOW + 500) is Outcome.STALE


def test_the_newest_comes_back_after_it_was_dropped() -> None:
    view, record = new_view(), ALICE.record(NOW)
    offer(view, record)
    view.forget(ALICE.identity.public)
    view.forget(BOB.identity.public)
    assert offer(view, record) is Outcome.ACCEPTED


def test_memory_ends_after_30_days() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW))
    view.expire(NOW + MEMORY_S - 1)
    assert len(view._memories) == 1
    view.expire(NOW + MEMORY_S)
    assert len(view._memories) == 0


def test_forged_or_malformed_blames_the_source() -> None:
    view, record = new_view(), ALICE.record(NOW)
    forged = record.encoded[:-1] + bytes([record.encoded[-1] ^ 1])
    verdict = view.offer(forged, LINK, NOW, 0.0)
    assert (verdict.outcome, verdict.is_fault) == (Outcome.BAD_SIGNATURE, True)
    verdict = view.offer(record.encoded[:-1], LINK, NOW, 0.0)
    assert (verdict.outcome, verdict.is_fault) == (Outcome.MALFORMED, True)
    assert "record" in verdict.reason
    assert view.offer(bytes(2000), LINK, NOW, 0.0).outcome is Outcome.MALFORMED
    assert offer(PeerView(network="lab", work_bits=0), record) is Outcome.BAD_SIGNATURE
    assert len(view._memories) == 0


def test_a_forged_newer_record_does_not_burn_the_sequence() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW - HOUR))
    forged = ALICE.record(NOW, sequence=NOW * 1000 + 600_000).encoded
    view.offer(forged[:-1] + bytes([forged[-1] ^ 1]), LINK, NOW, 0.0)
    assert offer(view, ALICE.record(NOW)) is Outcome.ACCEPTED


def test_our_own_record_is_not_taken_from_others() -> None:
    view = PeerView(work_bits=0, own=ALICE.identity.public)
    assert offer(view, ALICE.record(NOW)) is Outcome.OWN


# revocation


def test_revocation_is_final_for_366_days_whatever_its_lifetime() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW - HOUR))
    revocation = ALICE.record(NOW, revoked=True, lifetime=600)
    assert offer(view, revocation) is Outcome.ACCEPTED
    assert view.get(ALICE.identity.public) is None
    assert list(view.records()) == []
    assert list(view.revocations()) == [revocation]
    last = NOW + REVOCATION_LIFE_S - 1
    view.expire(last)
    assert offer(view, ALICE.record(last), last) is Outcome.REVOKED
    assert offer(view, ALICE.record(last, revoked=True), last) is Outcome.REVOKED
    view.forget(ALICE.identity.public)
    assert list(view.revocations()) == [revocation]
    view.expire(last + 1)
    assert list(view.revocations()) == []
    assert offer(view, ALICE.record(last + 1), last + 1) is Outcome.ACCEPTED


def test_revocation_first_heard_after_300_days_is_accepted() -> None:
    view = new_view()
    assert offer(view, ALICE.record(NOW, revoked=True), NOW + 300 * DAY_S) is Outcome.ACCEPTED
    late = NOW + REVOCATION_LIFE_S
    assert offer(new_view(), ALICE.record(NOW, revoked=True), late) is Outcome.NOT_CURRENT


def test_a_thief_cannot_outrun_a_revocation_by_a_higher_sequence() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW, sequence=NOW * 1000 + 600_000))
    assert offer(view, ALICE.record(NOW - HOUR, revoked=True)) is Outcome.ACCEPTED
    assert view.get(ALICE.identity.public) is None


def test_a_forged_revocation_changes_nothing() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW - HOUR))
    forged = ALICE.record(NOW, revoked=True).encoded
    assert view.offer(forged[:-1] + b"\0", LINK, NOW, 0.0).outcome is Outcome.BAD_SIGNATURE
    assert view.get(ALICE.identity.public) is not None


# one record for all


def test_same_sequence_other_record_keeps_the_first_and_marks_the_identity() -> None:
    view = new_view()
    first, second = ALICE.record(NOW), ALICE.record(NOW, country="DE")
    offer(view, first)
    assert not view.is_equivocating(ALICE.identity.public)
    assert offer(view, second) is Outcome.EQUIVOCATING
    assert view.get(ALICE.identity.public) == first
    assert view.is_equivocating(ALICE.identity.public)
    view.expire(NOW + 600)
    newer = ALICE.record(NOW + HOUR)
    assert offer(view, newer, NOW + HOUR) is Outcome.ACCEPTED
    assert view.is_equivocating(ALICE.identity.public)
    view.expire(NOW + MEMORY_S)
    assert not view.is_equivocating(ALICE.identity.public)


def test_nobody_but_the_identity_can_make_it_equivocate() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW))
    for second in (ALICE.record(NOW, country="DE"), ALICE.record(NOW + 1, variant="b")):
        forged = second.encoded[:-1] + bytes([second.encoded[-1] ^ 1])
        assert view.offer(forged, LINK, NOW, 0.0).outcome is Outcome.BAD_SIGNATURE
    assert not view.is_equivocating(ALICE.identity.public)
    assert not view.is_equivocating(BOB.identity.public)


@pytest.mark.parametrize("order", ["newer", "older"])
def test_two_onion_keys_for_one_day_prove_equivocation_and_the_identity_is_refused(order: str) -> None:
    view = new_view()
    records = [ALICE.record(NOW), ALICE.record(NOW + HOUR, variant="for one client")]
    first, second = records if order == "newer" else records[::-1]
    wall = NOW + HOUR
    offer(view, first, wall)
    assert offer(view, second, wall) is Outcome.EQUIVOCATING
    assert view.get(ALICE.identity.public) is None
    assert list(view.proofs()) == [(first.encoded, second.encoded)]
    assert offer(view, ALICE.record(wall + HOUR), wall + HOUR) is Outcome.EQUIVOCATING
    later = wall + MEMORY_S
    assert offer(view, ALICE.record(later), later) is Outcome.ACCEPTED
    view.expire(later)
    assert list(view.proofs()) == []


def test_onion_keys_are_remembered_beyond_their_record() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW, lifetime=600))
    view.expire(NOW + 600)
    assert offer(view, ALICE.record(NOW + HOUR, variant="b"), NOW + HOUR) is Outcome.EQUIVOCATING
    assert offer(view, ALICE.record(NOW + 2 * HOUR), NOW + 2 * HOUR) is Outcome.EQUIVOCATING
    assert list(view.proofs()) == [], "the first record is gone: refused here, but not provable to others"


def test_a_new_day_brings_a_new_key_without_blame() -> None:
    view = new_view()
    for day in range(10):
        wall = NOW + day * DAY_S
        assert offer(view, ALICE.record(wall), wall) is Outcome.ACCEPTED
    assert len(view._memories[ALICE.identity.public].onion_keys) == 4


def test_revocation_of_an_equivocating_identity_is_still_taken() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW))
    offer(view, ALICE.record(NOW + 1, variant="b"))
    assert offer(view, ALICE.record(NOW + 2, revoked=True)) is Outcome.ACCEPTED


def offer_proof(view: PeerView, first: PeerRecord, second: PeerRecord, wall: int = NOW) -> Outcome:
    return view.offer_proof(first.encoded, second.encoded, LINK, wall, 0.0).outcome


def test_proof_of_others_refuses_a_known_identity() -> None:
    view = new_view()
    honest, for_one = ALICE.record(NOW - HOUR), ALICE.record(NOW, variant="b")
    assert offer_proof(view, honest, for_one) is Outcome.NOT_CURRENT
    offer(view, ALICE.record(NOW))
    assert offer_proof(view, honest, ALICE.record(NOW)) is Outcome.MALFORMED
    assert offer_proof(view, honest, BOB.record(NOW)) is Outcome.MALFORMED
    assert offer_proof(view, honest, for_one, NOW + MEMORY_S) is Outcome.NOT_CURRENT
    broken = for_one.encoded[:-1] + bytes([for_one.encoded[-1] ^ 1])
    assert view.offer_proof(honest.encoded, broken, LINK, NOW, 0.0).outcome is Outcome.BAD_SIGNATURE
    assert view.offer_proof(b"", b"", LINK, NOW, 0.0).outcome is Outcome.MALFORMED
    assert view.get(ALICE.identity.public) is not None
    assert offer_proof(view, honest, for_one) is Outcome.ACCEPTED
    assert offer_proof(view, honest, for_one) is Outcome.KNOWN
    assert view.get(ALICE.identity.public) is None
    assert list(view.proofs()) == [(honest.encoded, for_one.encoded)]


def test_proof_against_a_revoked_identity_keeps_the_revocation() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW, revoked=True))
    assert offer_proof(view, ALICE.record(NOW - HOUR), ALICE.record(NOW, variant="b")) is Outcome.ACCEPTED
    assert len(list(view.revocations())) == 1


def test_sources_of_different_places_are_counted() -> None:
    view, record = new_view(), ALICE.record(NOW)
    offer(view, record)
    for number in range(10):
        offer(view, record, source=Source(f"sybil {number}", LINK.place))
    assert view.sources(ALICE.identity.public) == (LINK,)
    offer(view, record, source=OTHER)
    assert view.sources(ALICE.identity.public) == (LINK, OTHER)
    for number in range(10):
        offer(view, record, source=Source(f"far {number}", f"{number}"))
    assert len(view.sources(ALICE.identity.public)) == 4
    offer(view, ALICE.record(NOW + 1))
    assert view.sources(ALICE.identity.public) == (LINK,)
    assert view.sources(BOB.identity.public) == ()


# identity work

WORKED = RecordMaker("worked", work_bits=4)


def test_work_is_asked_once_per_identity_and_epoch() -> None:
    view = new_view(work_bits=4)
    record = WORKED.record(NOW)
    assert offer(view, record) is Outcome.ACCEPTED
    view._budget._all.left = view._budget._account(LINK, 0.0).left = 0
    assert offer(view, WORKED.record(NOW + 1)) is Outcome.ACCEPTED, "checked before, in this epoch"
    next_epoch = (NOW // 7_776_000 + 1) * 7_776_000
    assert offer(view, WORKED.record(next_epoch, nonce=b"\xfe" * 8), next_epoch, now=9.0) is Outcome.BAD_WORK
    assert offer(view, WORKED.record(next_epoch), next_epoch, now=9.0) is Outcome.ACCEPTED


def test_a_later_record_without_work_is_not_taken_and_so_not_passed_on() -> None:
    """Else a relay could make us forward what our neighbours mute us for."""
    view = new_view(work_bits=6)
    worked = RecordMaker("worked", work_bits=6)
    assert offer(view, worked.record(NOW)) is Outcome.ACCEPTED
    assert offer(view, worked.record(NOW + 1, nonce=b"\xff" * 8)) is Outcome.BAD_WORK
    assert view.get(worked.identity.public) == worked.record(NOW)


def unworked(number: int) -> PeerRecord:
    return RecordMaker(f"lazy {number}").record(NOW)


def test_identities_without_work_mute_their_source_and_leave_nothing() -> None:
    view = new_view(work_bits=20)
    assert [offer(view, unworked(number)) for number in range(5)] == [Outcome.BAD_WORK] * 3 + [
        Outcome.MUTED
    ] * 2
    assert len(view._memories) == 0
    assert offer(view, unworked(9), source=OTHER) is Outcome.BAD_WORK
    assert offer_proof(view, unworked(1), unworked(2)) is Outcome.MUTED
    assert offer(view, unworked(9), now=3600.0) is Outcome.BAD_WORK


def test_many_new_identities_at_once_wait() -> None:
    view = new_view(work_bits=1)
    makers = [RecordMaker(f"busy {number}", work_bits=1) for number in range(8)]
    outcomes = [offer(view, maker.record(NOW)) for maker in makers]
    assert outcomes == [Outcome.ACCEPTED] * 5 + [Outcome.LATER] * 3
    assert offer(view, makers[5].record(NOW), now=0.2) is Outcome.ACCEPTED
    assert offer(view, makers[0].record(NOW + 1), now=0.2) is Outcome.ACCEPTED, "known ones are not limited"


# bounds


def test_a_full_table_drops_the_oldest_of_the_source_that_brought_most() -> None:
    view = new_view(max_records=4)
    offer(view, ALICE.record(NOW))
    flood = Source("flood", "203.0/16")
    makers = [RecordMaker(f"sybil {number}") for number in range(20)]
    for maker in makers:
        assert offer(view, maker.record(NOW), source=flood) is Outcome.ACCEPTED
    assert len(view) == 4
    assert len(view._memories) <= 16
    assert view.get(ALICE.identity.public) is not None
    assert view.get(makers[19].identity.public) is not None
    assert view.get(makers[0].identity.public) is None


def test_reached_peers_are_dropped_last() -> None:
    view = new_view(max_records=2)
    offer(view, ALICE.record(NOW))
    offer(view, BOB.record(NOW))
    view.mark_reached(ALICE.identity.public)
    view.mark_reached(b"?" * 32)
    offer(view, RecordMaker("new").record(NOW))
    assert view.get(ALICE.identity.public) is not None
    assert view.get(BOB.identity.public) is None
    view.mark_reached(RecordMaker("new").identity.public)
    offer(view, ALICE.record(NOW + 1))
    offer(view, RecordMaker("newer").record(NOW))
    assert len(view) == 2


def test_expired_records_make_room_first() -> None:
    view = new_view(max_records=2)
    offer(view, ALICE.record(NOW, lifetime=172_800))
    offer(view, BOB.record(NOW, lifetime=600))
    offer(view, RecordMaker("new").record(NOW + 601), NOW + 601)
    assert view.get(ALICE.identity.public) is not None


def test_revocations_have_their_own_bound_and_do_not_crowd_out_records() -> None:
    view = new_view(max_records=8)
    for number in range(8):
        offer(view, RecordMaker(f"honest {number}").record(NOW))
    for number in range(50):
        offer(view, RecordMaker(f"sybil {number}").record(NOW, revoked=True), source=OTHER)
    assert len(view) == 8
    assert len(list(view.revocations())) == 2
    assert len(view._memories) <= 32


def test_a_revocation_that_had_to_make_room_is_still_known() -> None:
    view = new_view(max_records=8)
    revoked = [RecordMaker(f"stolen {number}") for number in range(10)]
    for maker in revoked:
        offer(view, maker.record(NOW, revoked=True))
    view.expire(NOW + 300 * DAY_S)
    later = NOW + 300 * DAY_S
    assert [offer(view, maker.record(later), later) for maker in revoked] == [Outcome.REVOKED] * 10
    view.expire(NOW + REVOCATION_LIFE_S)
    assert len(view._memories) == 0


def test_memories_with_proofs_are_bounded_too() -> None:
    view = new_view(max_records=2)
    for number in range(20):
        maker = RecordMaker(f"sybil {number}")
        offer(view, maker.record(NOW))
        offer(view, maker.record(NOW + 1, variant="b"))
    assert len(view._memories) <= 8


# the disk


def test_everything_survives_the_disk() -> None:
    view = new_view()
    carol, dave = RecordMaker("carol"), RecordMaker("dave")
    offer(view, ALICE.record(NOW))
    offer(view, BOB.record(NOW, revoked=True))
    offer(view, carol.record(NOW))
    offer(view, carol.record(NOW + 1, variant="b"))
    offer(view, dave.record(NOW, lifetime=600))
    view.expire(NOW + 600)
    values = decode(encode(view.to_values()), "peer view")
    again = new_view()
    again.load(values, NOW + 600)
    assert encode(again.to_values()) == encode(values)
    assert again.get(ALICE.identity.public) == ALICE.record(NOW)
    assert offer(again, BOB.record(NOW + 700), NOW + 700) is Outcome.REVOKED
    assert offer(again, carol.record(NOW + 700), NOW + 700) is Outcome.EQUIVOCATING
    assert offer(again, dave.record(NOW - HOUR), NOW + 700) is Outcome.STALE
    assert offer(again, ALICE.record(NOW)) is Outcome.KNOWN
    assert len(list(again.proofs())) == 1


def test_what_expired_meanwhile_is_not_loaded() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW))
    again = new_view()
    again.load(view.to_values(), NOW + 2 * DAY_S)
    assert len(again) == 0


def test_a_table_of_another_network_or_a_damaged_one_is_refused() -> None:
    view = new_view()
    offer(view, ALICE.record(NOW))
    values = view.to_values()
    with pytest.raises(RemoteProtocolError, match="another network"):
        PeerView(network="lab").load(values, NOW)
    good = decode(encode(values), "view")
    assert isinstance(good, list)
    assert isinstance(good[2], list)
    row = good[2][0]
    assert isinstance(row, dict)
    all_damaged: list[Value] = [
        [2, b"", []],
        [1, b"", [row | {13: 1}]],
        [1, b"", [row | {11: 1}]],
        [1, b"", [row | {0: BOB.identity.public}]],
        [1, b"", [row | {5: b"x"}]],
        [1, b"", [row | {9: [b"x"] * 3}]],
        7,
    ]
    for damaged in all_damaged:
        with pytest.raises(RemoteProtocolError):
            view.load(damaged, NOW)
    assert len(view) == 1


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order, nothing rolls back and no table or index goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.view = new_view(max_records=2)
        self.wall = NOW
        self.highest: dict[bytes, int] = {}
        self.revoked_until: dict[bytes, int] = {}

    @rule(
        maker=st.sampled_from([RecordMaker(name) for name in "abcd"]),
        age=st.integers(-700, 90_000),
        skew=st.sampled_from([-600_000, 0, 1, 600_000]),
        variant=st.sampled_from(["", "", "", "b"]),
        country=st.sampled_from(["", "DE"]),
        revoked=st.sampled_from([False] * 9 + [True]),
        source=st.sampled_from([LINK, OTHER]),
    )
    def offer(
        self,
        maker: RecordMaker,
        age: int,
        skew: int,
        variant: str,
        country: str,
        revoked: bool,
        source: Source,
    ) -> None:
        published = self.wall - age
        record = maker.record(
            published, sequence=published * 1000 + skew, variant=variant, country=country, revoked=revoked
        )
        before = self.view.get(record.identity)
        outcome = offer(self.view, record, self.wall, source)
        if outcome is not Outcome.ACCEPTED:
            assert self.view.get(record.identity) in (before, None)
            return
        assert record.published <= self.wall + 600
        assert self.wall < record.end
        assert self.wall >= self.revoked_until.get(record.identity, 0)
        if revoked:
            self.revoked_until[record.identity] = record.end
        else:
            assert record.sequence >= self.highest.get(record.identity, 0)
            self.highest[record.identity] = record.sequence

    @rule(seconds=st.integers(1, 90_000))
    def wait(self, seconds: int) -> None:
        self.wall += seconds

    @rule()
    def expire(self) -> None:
        self.view.expire(self.wall)
        assert all(record.end > self.wall for record in self.view.records())

    @rule(maker=st.sampled_from([RecordMaker(name) for name in "abcd"]))
    def forget(self, maker: RecordMaker) -> None:
        self.view.forget(maker.identity.public)
        assert self.view.get(maker.identity.public) is None

    @rule()
    def restart(self) -> None:
        values = decode(encode(self.view.to_values()), "view")
        self.view = new_view(max_records=2)
        self.view.load(values, self.wall)

    @invariant()
    def tables_are_bounded_and_agree(self) -> None:
        view = self.view
        assert len(view._records) <= 2
        assert len(view._revocations) <= 1
        assert len(view._memories) <= 8
        indexed = {**view._records, **view._revocations}
        held = {m.record.digest: identity for identity, m in view._memories.items() if m.record is not None}
        assert indexed == held
        assert all(view._memories[identity].sources for identity in held.values())


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_records_not_heard_of_lately_can_be_dropped_and_revocations_stay() -> None:
    view = PeerView(work_bits=0)
    source = Source("file", is_limited=False)
    old, new, gone = RecordMaker("old"), RecordMaker("new"), RecordMaker("gone")
    view.offer(old.record(NOW, lifetime=172_800).encoded, source, NOW, 0.0)
    view.offer(gone.record(NOW, revoked=True).encoded, source, NOW, 0.0)
    view.offer(new.record(NOW + 100).encoded, source, NOW + 100, 0.0)
    version = view.version
    view.forget_unheard(NOW + 100)
    assert [record.identity for record in view.records()] == [new.identity.public]
    assert len(list(view.revocations())) == 1
    assert view.version > version
