"""Padding of a circuit between the client and its last hop (docs/spec/circuit.md section 6; sans-IO).

    keep-alive   a padding record after 5 to 15 s without a record of ours
    constant     one record at every tick: what waits, or padding; nothing between the ticks

The client asks for it with PAD_NEGOTIATE and pads its own direction alike.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.circuit.messages import PadNegotiate

# From the specification.
MAX_CELLS_PER_S: Final = 100
MAX_SECONDS: Final = 3600
QUIET_S: Final = (5.0, 15.0)
TOLERANCE: Final = 1.5  # times the cells that were asked for
BURST: Final = 20

# Our choice.
EARLY_S: Final = 0.0005  # timers fire a little early
MAX_LATE: Final = 4  # ticks that a late timer makes up for


class PaddingProfile(IntEnum):
    """What PAD_NEGOTIATE may ask for."""

    OFF = 0
    KEEP_ALIVE = 1
    CONSTANT = 2


PROFILES: Final = {
    "off": PaddingProfile.OFF,
    "keep-alive": PaddingProfile.KEEP_ALIVE,
    "constant": PaddingProfile.CONSTANT,
}


def check_wish(wish: PadNegotiate) -> PaddingProfile:
    """Return the profile that is asked for.

    Raises:
        RemoteProtocolError: there is none of this number, or more is asked than anybody gives.
    """
    if wish.profile not in tuple(PaddingProfile):
        raise RemoteProtocolError(f"pad negotiate: profile {wish.profile}, 0 to 2 expected")
    profile = PaddingProfile(wish.profile)
    if profile is PaddingProfile.OFF:
        return profile
    if not 1 <= wish.cells_per_second <= MAX_CELLS_PER_S or not 1 <= wish.seconds <= MAX_SECONDS:
        raise RemoteProtocolError(
            f"pad negotiate: {wish.cells_per_second} cells a second for {wish.seconds} s, "
            f"at most {MAX_CELLS_PER_S} and {MAX_SECONDS}"
        )
    return profile


class Padder:
    """When one end of a circuit sends; serves `stream.outbox.Pacer`.

    Args:
        wish: what was negotiated; not OFF.
        now: monotonic seconds.
        random_bytes: randomness.
    """

    __slots__ = ("_interval", "_random_bytes", "_until", "is_single", "next_at")

    def __init__(self, wish: PadNegotiate, now: float, random_bytes: Callable[[int], bytes]) -> None:
        self.is_single = check_wish(wish) is PaddingProfile.CONSTANT
        self._interval = 1.0 / wish.cells_per_second
        self._until = now + wish.seconds
        self._random_bytes = random_bytes
        self.next_at = now + (self._interval if self.is_single else self._quiet_s())

    def _quiet_s(self) -> float:
        low, high = QUIET_S
        return max(self._interval, low + (high - low) * int.from_bytes(self._random_bytes(2), "big") / 65_536)

    def is_over(self, now: float) -> bool:
        """Whether what was negotiated has run out."""
        return now >= self._until

    def may_send(self, now: float) -> bool:
        """Whether a record with something in it may leave now."""
        return not self.is_single or now >= self.next_at - EARLY_S

    def wants_padding(self, now: float) -> bool:
        """Whether a record must leave now, even an empty one."""
        return now >= self.next_at - EARLY_S

    def sent(self, now: float) -> None:
        """A record left."""
        if self.is_single:
            self.next_at = max(self.next_at, now - MAX_LATE * self._interval) + self._interval
        else:
            self.next_at = now + self._quiet_s()


class PaddingAllowance:
    """How much padding a client takes from the hop that it asked."""

    __slots__ = ("_rate", "_tokens", "_updated")

    def __init__(self) -> None:
        self._rate = self._tokens = 0.0
        self._updated = 0.0

    def ask(self, wish: PadNegotiate, now: float) -> None:
        """Something was negotiated; what was before may still be on its way."""
        rate = TOLERANCE * wish.cells_per_second if check_wish(wish) else 0.0
        self._rate = max(self._rate, rate)
        self._tokens = max(self._tokens, float(BURST))
        self._updated = now

    def take(self, now: float) -> bool:
        """Whether one more padding record is within what was asked."""
        self._tokens = min(BURST + self._rate, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
