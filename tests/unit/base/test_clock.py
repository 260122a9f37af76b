"""The machine's clocks."""

from vigilnet.base.clock import SystemClock


def test_clocks_run_forward_and_know_the_century() -> None:
    clock = SystemClock()
    first = clock.now()
    assert clock.now() >= first
    assert clock.wall() > 1_700_000_000
