"""The machine's clocks."""

import time

import pytest

from vigilnet.base.clock import SystemClock


def test_clocks_run_forward_and_know_the_century() -> None:
    clock = SystemClock()
    first = clock.now()
    assert clock.now() >= first
    assert clock.wall() > 1_700_000_000


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux tells time asleep")
def test_time_asleep_is_counted() -> None:
    clock = SystemClock()
    first = clock.now()
    assert first <= time.clock_gettime(time.CLOCK_BOOTTIME) <= clock.now()
