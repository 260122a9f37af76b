from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.stream.flow_control import (
    ChangeBudget,
    CreditReceiver,
    CreditSender,
    RunLengthGovernor,
    SendmeCounter,
    SendmeLedger,
)

KIB = 1024
RUNS = st.lists(st.sampled_from([1, 7]), max_size=300)


def tag(number: int) -> bytes:
    return number.to_bytes(16, "big")


@given(RUNS)
def test_both_sides_agree_on_every_crossing(runs: list[int]) -> None:
    sender, receiver = SendmeLedger(), SendmeCounter()
    for number, cells in enumerate(runs):
        crossed, due = sender.sent(cells), receiver.received(cells)
        assert crossed == due == ((sender.total // 28) > ((sender.total - cells) // 28))
        if due:
            sender.crossed(tag(number), float(number))
            covered, rtt_ns, crossings = sender.acknowledge(receiver.count, tag(number), number + 0.5)
            assert 28 <= covered + 6 <= 40
            assert (rtt_ns, crossings) == (500_000_000, 1)
        assert sender.in_flight < 28


def test_one_acknowledgement_covers_all_crossings_before_it() -> None:
    sender = SendmeLedger()
    for number in range(12):
        if sender.sent(7):
            sender.crossed(tag(number), float(number))
    assert sender.acknowledge(56, tag(7), 10.0) == (56, 3_000_000_000, 2)
    assert sender.in_flight == 28
    with pytest.raises(RemoteProtocolError):
        sender.acknowledge(28, tag(3), 10.0)
    assert sender.acknowledge(84, tag(11), 12.0) == (28, 1_000_000_000, 1)


@given(RUNS)
def test_late_acknowledgements_cover_everything_in_order(runs: list[int]) -> None:
    sender, receiver, waiting = SendmeLedger(), SendmeCounter(), []
    for number, cells in enumerate(runs):
        if sender.sent(cells):
            sender.crossed(tag(number), 0.0)
        if receiver.received(cells):
            waiting.append((receiver.count, tag(number)))
    in_flight = sender.in_flight
    assert in_flight == sum(runs)
    for count, octets in waiting:
        in_flight -= sender.acknowledge(count, octets, 1.0)[0]
        assert sender.in_flight == in_flight
    assert sender.in_flight < 28


def test_a_full_window_always_has_an_acknowledgement_to_come() -> None:
    for first in range(28):  # wherever the count stands, 28 cells in flight cross a multiple
        sender = SendmeLedger()
        for _ in range(first):
            sender.sent(1)
        assert any(sender.sent(7) for _ in range(4))


def test_count_wraps_at_2_to_the_32() -> None:
    sender, receiver = SendmeLedger(), SendmeCounter()
    start = 2**32 // 28 * 28  # 4 cells before the wrap
    sender.total = receiver.total = start
    sender._acknowledged = start
    for turn in (1, 2):
        for _ in range(3):
            assert not sender.sent(7)
            assert not receiver.received(7)
        assert sender.sent(7)
        assert receiver.received(7)
        sender.crossed(tag(turn), 0.0)
        assert receiver.count == (start + 28 * turn) % 2**32
        assert sender.acknowledge(receiver.count, tag(turn), 1.0)[0] == 28


@pytest.mark.parametrize(
    ("count", "octets"), [(27, tag(1)), (29, tag(1)), (28, tag(2)), (56, tag(1)), (28, b"")]
)
def test_forged_sendme_blames_the_peer(count: int, octets: bytes) -> None:
    sender = SendmeLedger()
    for _ in range(28):
        sender.sent(1)
    sender.crossed(tag(1), 0.0)
    with pytest.raises(RemoteProtocolError):
        sender.acknowledge(count, octets, 1.0)


def test_early_and_repeated_sendme_blame_the_peer() -> None:
    sender = SendmeLedger()
    with pytest.raises(RemoteProtocolError, match="nothing"):
        sender.acknowledge(0, bytes(16), 0.0)
    for _ in range(28):
        sender.sent(1)
    sender.crossed(tag(1), 0.0)
    sender.acknowledge(28, tag(1), 1.0)
    with pytest.raises(RemoteProtocolError, match="nothing"):
        sender.acknowledge(28, tag(1), 1.0)


def test_credit_bounds_what_is_sent() -> None:
    sender = CreditSender(10)
    sender.sent(10)
    assert sender.room == 0
    with pytest.raises(LocalProtocolError):
        sender.sent(1)


@pytest.mark.parametrize("limit", [0, 9, 10])
def test_credit_that_does_not_grow_blames_the_peer(limit: int) -> None:
    sender = CreditSender(10)
    with pytest.raises(RemoteProtocolError):
        sender.credited(limit)
    sender.credited(11)
    assert sender.room == 11


def test_overrun_blames_the_peer_at_the_first_octet() -> None:
    receiver = CreditReceiver(0.0)
    receiver.received(64 * KIB)
    with pytest.raises(RemoteProtocolError):
        receiver.received(1)


def test_reading_more_than_came_is_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError):
        CreditReceiver(0.0).consumed(1, 0.0, 0.1)


def test_credit_is_given_when_half_the_window_is_empty() -> None:
    receiver = CreditReceiver(0.0)
    receiver.received(64 * KIB)
    assert receiver.consumed(32 * KIB - 1, 10.0, 0.1) == 0
    assert receiver.consumed(1, 10.0, 0.1) == (32 + 64) * KIB
    assert receiver.window == 64 * KIB
    assert receiver.unread == 32 * KIB


def test_window_doubles_up_to_4_mib_for_a_fast_reader_only() -> None:
    receiver, now = CreditReceiver(0.0), 0.0
    windows = []
    for _ in range(10):
        now += 0.19  # within two round trips of 0.1 s
        octets = receiver.limit - receiver.offset
        receiver.received(octets)
        assert receiver.consumed(octets, now, 0.1) == receiver.limit
        windows.append(receiver.window // KIB)
    assert windows == [128, 256, 512, 1024, 2048, 4096, 4096, 4096, 4096, 4096]
    slow = CreditReceiver(0.0)
    slow.received(64 * KIB)
    slow.consumed(64 * KIB, 1.0, 0.1)
    assert slow.window == 64 * KIB


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 100_000), st.floats(0, 1)), max_size=60))
def test_memory_stays_within_the_window_and_credits_always_grow(steps: list[tuple[int, int, float]]) -> None:
    receiver, now = CreditReceiver(0.0), 0.0
    sender = CreditSender(receiver.limit)
    for sent, read, wait in steps:
        now += wait
        octets = min(sent, sender.room)
        sender.sent(octets)
        receiver.received(octets)
        assert receiver.unread <= receiver.window
        limit = receiver.consumed(min(read, receiver.unread), now, 0.2)
        if limit:
            sender.credited(limit)  # refuses one that does not grow
    assert receiver.limit == sender.limit
    assert receiver.window <= 4096 * KIB
    limit = receiver.consumed(receiver.unread, now, 0.2)
    assert limit or sender.room > receiver.window // 2  # a reader that has caught up never leaves us stuck


def test_change_budget_is_four_then_one_a_second() -> None:
    budget = ChangeBudget(0.0)
    cells = [7, 1, 7, 1]
    assert all(budget.take(run, 0.0) for run in cells)
    assert budget.take(1, 0.0)  # no change
    assert not budget.take(7, 0.0)
    assert budget.wait_s(7, 0.0) == 1.0
    assert budget.wait_s(1, 0.0) == 0.0
    assert budget.wait_s(7, 0.75) == 0.25
    assert not budget.take(7, 0.75)
    assert budget.take(7, 1.0)
    assert not budget.take(1, 1.0)
    assert [budget.take(run, 1000.0) for run in (1, 7, 1, 7, 1)] == [True] * 4 + [False]


def test_client_takes_four_times_the_budget() -> None:
    budget = ChangeBudget(0.0, tolerance=4)
    taken = [budget.take(7 if turn % 2 == 0 else 1, 0.0) for turn in range(17)]
    assert taken == [True] * 16 + [False]
    assert budget.take(7, 0.25)


@given(st.lists(st.floats(0, 2), max_size=100))
def test_waiting_as_told_is_always_enough_and_the_rate_holds(waits: list[float]) -> None:
    budget, now = ChangeBudget(0.0), 0.0
    for changes, wait in enumerate(waits, start=1):
        now += wait
        wanted = 8 - budget.cells
        now += budget.wait_s(wanted, now)
        assert budget.take(wanted, now)
        assert changes <= 4 + now + 0.001


def test_governor_goes_to_seven_with_seven_waiting_and_stays() -> None:
    governor = RunLengthGovernor(0.0)
    assert governor.choose(6, 0.0) == 1
    assert governor.choose(7, 0.0) == 7
    assert governor.choose(1, 0.1) == 7
    governor.emptied(0.1)
    assert governor.choose(1, 0.299) == 7
    governor.emptied(0.3)
    assert governor.choose(1, 0.5) == 1


def test_governor_does_not_fall_back_while_the_queue_was_only_held_up() -> None:
    governor = RunLengthGovernor(0.0)
    governor.choose(7, 0.0)
    assert governor.choose(3, 9.0) == 7  # never ran empty: the window was closed


def test_governor_stays_at_seven_when_seven_wait_after_a_pause() -> None:
    governor = RunLengthGovernor(0.0)
    governor.choose(7, 0.0)
    governor.emptied(0.0)
    assert governor.choose(8, 5.0) == 7


def test_governor_keeps_to_the_change_budget() -> None:
    governor, now, lengths = RunLengthGovernor(0.0), 0.0, []
    for _ in range(40):
        lengths.append(governor.choose(7, now))
        governor.emptied(now)
        now += 0.25
        lengths.append(governor.choose(1, now))
        governor.emptied(now)
        now += 0.01
    changes = sum(before != after for before, after in pairwise([1, *lengths]))
    assert changes <= 4 + now + 1
    assert changes >= 8
