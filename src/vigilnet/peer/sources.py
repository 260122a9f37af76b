"""Where records come from, and how much of our time each source gets (docs/spec/peer.md section 6).

Checking identity work costs us 0.53 ms, a fresh identity without work costs its maker 0.07 ms. So
work is checked at most 5 times a second for a source and 50 times in all, and a source that brought
3 records without their work is not listened to for an hour.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CHECKS_PER_SOURCE_S: Final = 5.0
CHECKS_IN_ALL_S: Final = 50.0
BAD_WORKS: Final = 3
MUTED_S: Final = 3600.0
MAX_SOURCES: Final = 4096  # our choice
LAN_NAMES: Final = ("mdns", "beacon")
LONE_NAMES: Final = ("mdns", "beacon", "dht", "directories")  # who may have made a record for us alone
LAN_PLACE: Final = "lan"  # all that is heard on the LAN counts as one place


@dataclass(frozen=True)
class Source:
    """One source of records.

    Attributes:
        key: what the limits count: a link's neighbour, the /24 or /48 of an address, one DHT lookup.
        place: the source's /16 and declared family in one text, for the rule that two sources must
            name the same record; "" for sources that do not count there.
        is_limited: False for the user's own files and our own disk, which are never muted.
        name: what kind of source it is, for people: "invites", "gossip", "mdns"...
    """

    key: str
    place: str = ""
    is_limited: bool = True
    name: str = ""


def is_vouched(sources: Iterable[Source]) -> bool:
    """Whether a record may be used for later hops of a client's path (docs/spec/peer.md section 6).

    A record made for one client would make him known again. So it counts only if the user gave it, or it
    came with a whole table of relays, or two places name the same one. (What a relay hears by links
    and gossip it passes on: a record made for it alone comes out.)
    """
    listed = list(sources)
    places = {source.place for source in listed if source.place}
    return len(places) >= 2 or any(source.name not in LONE_NAMES for source in listed)


@dataclass
class _Account:
    """What one source spent: checks left in its bucket at a time, and bad works so far."""

    left: float
    at: float
    bad_works: int = 0
    muted_until: float = float("-inf")


class WorkBudget:
    """Token buckets per source and in all, and the muted sources; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._all = _Account(CHECKS_IN_ALL_S, float("-inf"))
        self._accounts: dict[str, _Account] = {}

    def is_muted(self, source: Source, now: float) -> bool:
        """Whether nothing of this source is looked at now."""
        account = self._accounts.get(source.key)
        return source.is_limited and account is not None and now < account.muted_until

    def take(self, source: Source, now: float) -> bool:
        """Whether one work check is allowed now; if so it is spent."""
        if not source.is_limited:
            return True
        account = self._account(source, now)
        _refill(account, CHECKS_PER_SOURCE_S, now)
        _refill(self._all, CHECKS_IN_ALL_S, now)
        if account.left < 1 or self._all.left < 1:
            return False
        account.left -= 1
        self._all.left -= 1
        return True

    def note_bad_work(self, source: Source, now: float) -> None:
        """Remember that the source brought a record without its work."""
        if not source.is_limited:
            return
        account = self._account(source, now)
        account.bad_works += 1
        if account.bad_works >= BAD_WORKS:
            account.bad_works = 0
            account.muted_until = now + MUTED_S

    def _account(self, source: Source, now: float) -> _Account:
        account = self._accounts.pop(source.key, None) or _Account(CHECKS_PER_SOURCE_S, now)
        if len(self._accounts) >= MAX_SOURCES:
            self._drop_one(now)
        self._accounts[source.key] = account  # last: used most recently
        return account

    def _drop_one(self, now: float) -> None:
        """Drop the one not used for longest; a muted one only if all are."""
        free = (key for key, account in self._accounts.items() if now >= account.muted_until)
        del self._accounts[next(free, None) or next(iter(self._accounts))]


def _refill(account: _Account, rate: float, now: float) -> None:
    account.left = min(rate, account.left + max(0.0, now - account.at) * rate)
    account.at = now
