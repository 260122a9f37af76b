from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vigilnet.traffic.stream.congestion import CongestionParameters, Vegas

MS = 1_000_000


def settled(parameters: CongestionParameters | None = None, rtt_ms: int = 50) -> Vegas:
    """A window that has left slow start at its first queue."""
    window = Vegas(parameters)
    window.acknowledged(rtt_ms * MS, window.window)
    window.acknowledged(rtt_ms * MS * 20, window.window)
    while window.is_in_slow_start:
        window.acknowledged(rtt_ms * MS * 20, window.window)
    return window


def path(window: Vegas, cells: int, sendmes: int, rtt_ms: int = 50) -> list[int]:
    """A path that holds `cells` without queueing: the rest of the window lies in a queue."""
    seen = []
    for _ in range(sendmes):
        rtt = rtt_ms * MS * max(window.window, cells) // cells
        window.acknowledged(rtt, window.window)
        seen.append(window.window)
    return seen


def test_slow_start_adds_28_per_sendme_up_to_the_cap_then_less() -> None:
    window = Vegas()
    seen = [window.window]
    for _ in range(12):
        window.acknowledged(50 * MS, window.window)
        seen.append(window.window)
    assert seen[:7] == [56, 84, 112, 140, 168, 196, 224]
    assert seen[7] == 252  # the step is still whole at the cap
    steps = [after - before for before, after in pairwise(seen[7:])]
    assert steps[0] == 28 * 224 // (2 * 252)
    assert steps == sorted(steps, reverse=True)


def test_slow_start_does_not_grow_an_idle_window() -> None:
    window = Vegas()
    for _ in range(20):
        window.acknowledged(50 * MS, 5)
    assert window.window == 56
    assert window.is_in_slow_start


def test_slow_start_ends_when_a_queue_shows_and_keeps_gamma_above_the_path() -> None:
    window = Vegas()
    path(window, 200, 40)
    assert not window.is_in_slow_start
    assert 200 <= window.window <= 200 + 112 + 28


def test_slow_start_ends_at_its_maximum() -> None:
    window = Vegas(CongestionParameters(slow_start_cap=100_000))
    for _ in range(200):
        window.acknowledged(50 * MS, window.window)
    assert not window.is_in_slow_start
    assert window.window >= 2048


def test_window_settles_a_little_above_what_the_path_holds() -> None:
    for cells in (60, 200, 1000):
        window = Vegas()
        seen = path(window, cells, 4000, rtt_ms=50)[-500:]
        assert cells + 28 <= min(seen)
        assert max(seen) <= cells + cells * 10 // 50 + 140, "what drains in 10 ms may lie there"


def test_window_follows_a_path_that_grows_and_shrinks() -> None:
    window = Vegas()
    path(window, 100, 1000)
    grown = path(window, 800, 4000)[-1]
    assert grown > 800
    shrunk = path(window, 100, 2000)[-1]
    assert shrunk < 300


def test_large_queue_shrinks_the_window_to_the_path_at_once() -> None:
    window = settled()
    before = window.window
    for _ in range(40):
        window.acknowledged(50 * MS, window.window)
    grown = window.window
    assert grown >= before
    for _ in range(100):
        window.acknowledged(5000 * MS, window.window)
    assert window.window < grown


def test_window_that_our_own_link_keeps_from_filling_does_not_grow() -> None:
    window = Vegas()
    path(window, 1000, 400)
    seen = []
    for _ in range(400):
        window.acknowledged(window.min_rtt_ns, window.window // 2)
        seen.append(window.window)
    assert len(set(seen[200:])) == 1  # what was full before may still count once


def test_clock_jumps_are_skipped() -> None:
    window = Vegas()
    window.acknowledged(50 * MS, 1)
    for odd in (0, -5, 50 * MS * 5001, 50 * MS // 5001):
        window.acknowledged(odd, 1)
        assert (window.rtt_ns, window.min_rtt_ns) == (50 * MS, 50 * MS)


def test_minimum_round_trip_is_forgotten_at_the_floor() -> None:
    window = Vegas(CongestionParameters(delta=28))
    path(window, 100, 400)
    # A path that became slower for good looks like a queue until the floor is reached; then we learn.
    for _ in range(400):
        window.acknowledged(500 * MS, window.window)
    assert window.min_rtt_ns > 400 * MS
    assert window.window > 28


def test_tolerated_queue_counts_as_empty() -> None:
    strict, lenient = Vegas(), Vegas(CongestionParameters(tolerated_queue_ns=5 * MS))
    assert path(strict, 50, 400, rtt_ms=1)[-1] < path(lenient, 50, 400, rtt_ms=1)[-1]


def test_a_longer_path_may_hold_as_much_as_it_is_long() -> None:
    flat = CongestionParameters(tolerated_queue_max_ns=0)
    for rtt_ms, is_more in ((1, False), (6, True)):
        windows = [path(Vegas(rules), 50, 400, rtt_ms=rtt_ms)[-1] for rules in (flat, CongestionParameters())]
        assert (windows[0] < windows[1]) is is_more


def test_what_a_path_may_hold_has_an_end() -> None:
    rules = CongestionParameters(tolerated_queue_max_ns=10**12)
    assert path(Vegas(), 500, 400, rtt_ms=200)[-1] < path(Vegas(rules), 500, 400, rtt_ms=200)[-1]


@given(
    st.lists(st.tuples(st.integers(-1, 10**12), st.integers(0, 5000)), max_size=200),
    st.sampled_from([CongestionParameters(), CongestionParameters(tolerated_queue_ns=5 * MS)]),
)
def test_window_stays_within_its_bounds_whatever_is_measured(
    steps: list[tuple[int, int]], parameters: CongestionParameters
) -> None:
    window = Vegas(parameters)
    for rtt_ns, in_flight in steps:
        window.acknowledged(rtt_ns, in_flight)
        assert 28 <= window.window <= 3584
        assert window.path_cells <= window.window
        assert window.min_rtt_ns <= max(window.rtt_ns, window.min_rtt_ns)
