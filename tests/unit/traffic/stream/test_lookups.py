"""The look-ups of a circuit, at both of its ends."""

from tests.support.mux_pair import MuxPair
from vigilnet.traffic.stream.congestion import CongestionParameters
from vigilnet.traffic.stream.messages import (
    Resolve,
    Resolved,
    ResourceRecord,
    Target,
)
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.wire import EndReason

UDP = Target("", 0, 17)
ICMP = Target("203.0.113.1", 0, 1)
WIDE = MuxOptions(congestion=CongestionParameters(start=3584))


def test_large_answer_waits_for_a_run_of_seven() -> None:
    pair = MuxPair()
    answers: list[Resolved | EndReason] = []
    pair.targets.answers_lookups = False
    pair.client.mux.resolve(Resolve("name.test", 16), answers.append)
    pair.settle()
    large = Resolved(0, tuple(ResourceRecord(16, 60, bytes(200)) for _ in range(40)))
    pair.targets.lookups[0][1](large)
    records = pair.exit.pull_all()
    assert [record.cells for record in records] == [7]
    pair.settle()
    assert answers == [large]


def test_answer_that_fits_no_record_says_that_it_was_cut() -> None:
    pair = MuxPair()
    pair.targets.answers_lookups = False
    answers: list[Resolved | EndReason] = []
    pair.client.mux.resolve(Resolve("name.test", 16), answers.append)
    pair.settle()
    pair.targets.lookups[0][1](Resolved(0, tuple(ResourceRecord(16, 60, bytes(255)) for _ in range(60))))
    pair.settle()
    assert answers == [Resolved(0, was_cut=True)]


def test_large_answer_without_change_budget_asks_to_be_pulled_later() -> None:
    pair = MuxPair()
    pair.targets.answers_lookups = False
    large = Resolved(0, tuple(ResourceRecord(16, 60, bytes(200)) for _ in range(40)))
    answers: list[Resolved | EndReason] = []
    pair.client.mux.resolve(Resolve("name.test", 16), answers.append)
    pair.settle()
    budget = pair.exit.mux.outbox._governor._budget
    budget._tokens, budget._filled_at = 0.5, pair.now
    pair.targets.lookups[0][1](large)
    pair.settle()
    assert not answers
    assert pair.exit.carriage.later
    pair.now += 0.5
    pair.settle()
    assert answers == [large]


def test_look_up_is_answered_once() -> None:
    pair = MuxPair()
    answers: list[Resolved | EndReason] = []
    pair.client.mux.resolve(Resolve("name.test", 1), answers.append)
    pair.settle()
    assert answers == [Resolved(0, (ResourceRecord(1, 60, b"\xcb\x00\x71\x50"),))]
    assert pair.client.mux.is_idle
    assert pair.exit.mux.is_idle


def test_abandoned_look_up_frees_its_place_at_both_ends() -> None:
    pair = MuxPair()
    pair.targets.answers_lookups = False
    answers: list[Resolved | EndReason] = []
    number = pair.client.mux.resolve(Resolve("name.test", 1), answers.append)
    pair.settle()
    pair.client.mux.abandon(number)
    pair.client.mux.abandon(number)
    assert pair.client.mux.is_idle
    pair.settle()
    assert pair.exit.mux.is_idle
    pair.targets.lookups[0][1](Resolved(0))  # the resolver comes late
    pair.settle()
    assert not answers


def test_answer_that_crosses_the_client_s_end_harms_nothing() -> None:
    pair = MuxPair()
    number = pair.client.mux.resolve(Resolve("name.test", 1), lambda _: None)
    pair.exit.receive_record(pair.client.pull_all()[0])
    pair.client.sent.clear()
    pair.client.mux.abandon(number)
    pair.settle()
    assert pair.client.mux.is_idle
    assert pair.exit.mux.is_idle
