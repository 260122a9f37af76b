"""The table of registered relays: who is listed, since when and for how long (sans-IO).

`wall` is Unix seconds and shown, `now` is monotonic seconds and decides: a clock that jumps neither empties
the list nor keeps the dead on it.
"""

import json
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.base.http.guards import account_of, is_loopback
from vigilnet.peer.address import prefix_of
from vigilnet.routing.operators.wire import Registration, to_base64

MAX_RELAYS: Final = 8192
MAX_PER_ADDRESS: Final = 4  # of one IPv4 address or IPv6 /64; not in private networks
MAX_PER_PREFIX: Final = 64  # of one /24 or /48; likewise
MAX_LAPSED: Final = 8192


class FullError(VigilnetError):
    """There is no room for another relay of this place, or at all."""

    kind = ErrorKind.REFUSED


@dataclass(slots=True)
class Entry:
    """One registered relay."""

    registration: Registration
    address: str  # it registered from
    first_seen: int  # Unix seconds
    last_seen: int
    heard_at: float  # monotonic
    encoded: bytes = b""  # as listed

    def encode(self) -> None:
        """Make what is listed."""
        said = self.registration
        value: dict[str, object] = {
            "peer_id": said.peer_id,
            "addrs": list(said.addrs),
            "country": said.country,
            "capabilities": list(said.capabilities),
            "last_seen": self.last_seen,
            "first_seen": self.first_seen,
        }
        if said.record:
            value["record"] = to_base64(said.record)
        self.encoded = json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Heard:
    """A relay that did not register here but that this node has reached itself."""

    peer_id: str
    country: str
    encoded: bytes


@dataclass
class Registry:
    """All relays that registered and are not forgotten.

    Args:
        ttl_s: how long one is listed after it was heard of.
        has_limits: whether places are limited; not in private networks.
    """

    ttl_s: float
    has_limits: bool = True
    max_relays: int = MAX_RELAYS
    _entries: dict[str, Entry] = field(default_factory=dict)
    _lapsed: OrderedDict[str, int] = field(default_factory=OrderedDict)  # peer id -> signed_at
    _addresses: Counter[str] = field(default_factory=Counter)
    _prefixes: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, peer_id: str) -> Entry | None:
        """Return a relay that is not forgotten."""
        return self._entries.get(peer_id)

    def signed_at(self, peer_id: str) -> int:
        """Return the time in the last signed registration that is remembered; 0 if none is."""
        entry = self._entries.get(peer_id)
        return entry.registration.signed_at if entry is not None else self._lapsed.get(peer_id, 0)

    def is_lapsed(self, peer_id: str) -> bool:
        """Whether the relay registered here once and ceased to."""
        return peer_id in self._lapsed

    def register(self, registration: Registration, address: str, wall: float, now: float) -> Entry:
        """Take a registration that was judged; it replaces the relay's former one.

        Raises:
            FullError: no room.
        """
        known = self._entries.get(registration.peer_id)
        if known is None or known.address != address:
            self._check_room(address, is_new=known is None, now=now)
        first_seen = int(wall) if known is None else known.first_seen
        entry = Entry(registration, address, first_seen, int(wall), now)
        self._put(entry)
        return entry

    def load(self, entries: Iterable[Entry]) -> None:
        """Take in what was kept on disk."""
        for entry in entries:
            if len(self._entries) < self.max_relays:
                self._put(entry)

    def _put(self, entry: Entry) -> None:
        self._remove(entry.registration.peer_id)
        self._lapsed.pop(entry.registration.peer_id, None)
        entry.encode()
        self._entries[entry.registration.peer_id] = entry
        self._addresses[account_of(entry.address)] += 1
        self._prefixes[prefix_of(entry.address)] += 1

    def _check_room(self, address: str, *, is_new: bool, now: float) -> None:
        if is_new and len(self._entries) >= self.max_relays:
            self.prune(now)
        if is_new and len(self._entries) >= self.max_relays:
            raise FullError("directory: full, try again later")
        if not self.has_limits or is_loopback(
            address
        ):  # this machine's owner needs no protection from itself
            return
        if self._addresses[account_of(address)] >= MAX_PER_ADDRESS:
            raise FullError("directory: too many relays of this address")
        if self._prefixes[prefix_of(address)] >= MAX_PER_PREFIX:
            raise FullError("directory: too many relays of this network")

    def prune(self, now: float) -> list[str]:
        """Forget those not heard of for the time to live; return their peer ids."""
        gone = [peer_id for peer_id, entry in self._entries.items() if not self._is_active(entry, now)]
        for peer_id in gone:
            self._lapsed[peer_id] = self._entries[peer_id].registration.signed_at
            self._remove(peer_id)
        while len(self._lapsed) > MAX_LAPSED:
            self._lapsed.popitem(last=False)
        return gone

    def active(self, now: float) -> int:
        """How many are listed."""
        return sum(self._is_active(entry, now) for entry in self._entries.values())

    def listing(self, country: str, now: float, heard: Iterable[Heard] = ()) -> tuple[bytes, ...]:
        """Return the JSON of the relays by country, in parts; of one country alone unless `country` is empty.

        The parts are those that the table keeps: each answer under way costs no copy of them.
        """
        by_country: dict[str, list[bytes]] = {}
        for entry in self._entries.values():
            if self._is_active(entry, now):
                by_country.setdefault(entry.registration.country, []).append(entry.encoded)
        for relay in heard:
            if relay.peer_id not in self._entries and not self.is_lapsed(relay.peer_id):
                by_country.setdefault(relay.country, []).append(relay.encoded)
        names = [country] if country in by_country else [] if country else sorted(by_country)
        parts: list[bytes] = []
        for name in names:
            parts.append(b'%s"%s":[' % (b"]," if parts else b"{", name.encode()))
            for number, encoded in enumerate(by_country[name]):
                parts += (b",", encoded) if number else (encoded,)
        return (*parts, b"]}") if parts else (b"{}",)

    def _is_active(self, entry: Entry, now: float) -> bool:
        return now - entry.heard_at <= self.ttl_s

    def _remove(self, peer_id: str) -> None:
        entry = self._entries.pop(peer_id, None)
        if entry is None:
            return
        for counter, key in (
            (self._addresses, account_of(entry.address)),
            (self._prefixes, prefix_of(entry.address)),
        ):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
