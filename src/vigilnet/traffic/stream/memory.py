"""What the streams of all circuits of a node may hold together (sans-IO, hot path).

A stream alone is bounded, but a client may open thousands, at targets that send much while he reads
nothing, or that read nothing while he sends. So the more all hold, the less each may still take.
"""

from typing import Final

# Our choice.
SEND_BUFFER: Final = 256 * 1024  # octets of one stream that wait for its circuit; more would only add delay
PLENTY: Final = 64 * 1024 * 1024  # octets that wait over all streams
SCARCE: Final = 128 * 1024 * 1024
SMALL_BUFFER: Final = 64 * 1024  # above PLENTY
LEAST_BUFFER: Final = 16 * 1024  # above SCARCE: 8192 streams add 128 MiB at most
MAX_WINDOWS: Final = 256 * 1024 * 1024  # above, no stream's window grows any further


class StreamMemory:
    """Shared by all muxes of one role; counts, and says what one stream may hold."""

    __slots__ = ("waiting", "windows")

    def __init__(self) -> None:
        self.waiting = 0  # octets written to streams and not taken into records yet
        self.windows = 0  # octets that other ends may send and readers need not have taken

    def send_buffer(self) -> int:
        """Return how many octets one stream may have waiting now."""
        waiting = self.waiting
        if waiting < PLENTY:
            return SEND_BUFFER
        return SMALL_BUFFER if waiting < SCARCE else LEAST_BUFFER

    def spare_windows(self) -> int:
        """Return by how much windows may still grow, never below 0."""
        return max(0, MAX_WINDOWS - self.windows)
