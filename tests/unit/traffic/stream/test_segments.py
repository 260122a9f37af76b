"""Datagrams that travel in one call."""

import pytest

from vigilnet.traffic.stream.segments import MAX_SEGMENTS, mergeable


@pytest.mark.parametrize(
    ("sizes", "start", "count"),
    [
        ([5], 0, 1),
        ([5, 5, 5], 0, 3),
        ([5, 5, 3, 3], 0, 3),
        ([5, 6], 0, 1),
        ([5, 0, 5], 0, 1),
        ([0, 0], 0, 1),
        ([5, 5], 1, 1),
        ([10] * 70, 0, MAX_SEGMENTS),
        ([1350] * 60, 0, 48),
        ([40_000, 40_000], 0, 1),
    ],
)
def test_only_what_fits_into_one_packet_is_merged(sizes: list[int], start: int, count: int) -> None:
    assert mergeable([bytes(size) for size in sizes], start) == count
