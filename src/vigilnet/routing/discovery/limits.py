"""How much one neighbour, and one stretch of addresses, can make us do (discovery.md section 5.5)."""

from collections.abc import Iterable
from typing import Final

from vigilnet.peer.address import prefix_of
from vigilnet.peer.descriptor import PeerRecord

MAX_PREFIXES: Final = 4096
PREFIX_BURST: Final = 8.0  # identities of one /24 or /48 that nobody here has reached, passed on at once
PREFIX_RATE: Final = 1 / 300  # and further ones a second
REVOCATION_BURST: Final = 64.0
REVOCATION_RATE: Final = 0.1
_REVOCATIONS: Final = "revocations"


class Bucket:
    """Lets `burst` through at once and `rate` a second; `now` is monotonic seconds."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst, self._rate = burst, rate
        self._left, self._at = burst, now

    def take(self, amount: float, now: float, kept: float = 0.0) -> bool:
        """Whether `amount` may pass now and leave `kept` for others; if so it is spent."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < amount + kept:
            return False
        self._left -= amount
        return True


class PrefixLimits:
    """Which identities that nobody here has reached are passed on: few of each /24 or /48 at a time.

    Someone with many identities in few networks thus fills neither links nor tables of others. Who was
    reached, or passed on before, is not held back, so a relay cannot be kept out by its prefix: those
    who dialled it pass it on.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}  # the last used last

    def may_pass(self, record: PeerRecord, now: float) -> bool:
        """Whether a record of an identity unreached so far may be passed on now; if so it is counted."""
        if record.revoked:
            return self._take(_REVOCATIONS, REVOCATION_BURST, REVOCATION_RATE, now)
        return all(self._take(prefix, PREFIX_BURST, PREFIX_RATE, now) for prefix in sorted(prefixes(record)))

    def _take(self, prefix: str, burst: float, rate: float, now: float) -> bool:
        bucket = self._buckets.pop(prefix, None) or Bucket(burst, rate, now)
        while len(self._buckets) >= MAX_PREFIXES:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[prefix] = bucket
        return bucket.take(1, now)


def prefixes(record: PeerRecord) -> set[str]:
    """Return the /24 and /48 networks, or names, of a record's addresses; {""} if it has none."""
    return {prefix_of(address.host) for address in record.addresses if address.host} or {""}


def within_prefixes(records: Iterable[PeerRecord], limit: int) -> list[PeerRecord]:
    """Return the records in their order without those whose prefix was used `limit` times already."""
    used: dict[str, int] = {}
    kept = []
    for record in records:
        places = prefixes(record)
        if all(used.get(place, 0) < limit for place in places):
            kept.append(record)
            used |= {place: used.get(place, 0) + 1 for place in places}
    return kept
