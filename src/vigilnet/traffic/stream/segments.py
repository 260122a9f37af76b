"""Which datagrams of one size the kernel takes in one call (UDP segmentation; hot path, sans-IO)."""

from collections.abc import Sequence
from typing import Final

MAX_SEGMENTS: Final = 64  # the least that kernels with UDP segmentation take
MAX_OCTETS: Final = 65_535 - 48  # of all payloads, beside the headers of IPv6 and UDP


def mergeable(payloads: Sequence[bytes], start: int) -> int:
    """Return how many payloads from `start` on make one packet: one size, the last maybe shorter."""
    size = len(payloads[start])
    count, total = 1, size
    while start + count < len(payloads) and count < MAX_SEGMENTS and size:
        following = len(payloads[start + count])
        total += following
        if following > size or not following or total > MAX_OCTETS:
            break
        count += 1
        if following < size:
            break
    return count
