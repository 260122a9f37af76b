"""With whom a relay gossips: few, drawn by chance, of different networks and families (sans-IO).

Whoever surrounds a relay decides what it learns. So it dials its own choice, never only those who
dialled it, and no two of one /16 (or /32) or family.
"""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from vigilnet.peer.descriptor import PeerRecord

FIRST_SHUNNED_S: Final = 2.0  # after a failed dial, or silence; each further failure doubles it
MAX_SHUNNED_S: Final = 600.0
MAX_SHUNNED: Final = 4096


@dataclass
class Neighbourhood:
    """The relays that we chose.

    Args:
        random_bytes: chance.
        size: how many we want.
        is_private_network: all share one network: that rule is off.
    """

    random_bytes: Callable[[int], bytes]
    size: int
    is_private_network: bool
    chosen: dict[bytes, frozenset[str]] = field(default_factory=dict)  # identity to its places
    _shunned: dict[bytes, tuple[float, float]] = field(
        default_factory=dict
    )  # identity to until when, how long

    @property
    def is_full(self) -> bool:
        """Whether no more are wanted."""
        return len(self.chosen) >= self.size

    def choose(self, records: Iterable[PeerRecord], now: float) -> PeerRecord | None:
        """Draw one more; None if nobody fits. It counts from now on, until `drop`."""
        taken = frozenset[str]().union(*self.chosen.values())
        fitting = [
            record
            for record in records
            if record.identity not in self.chosen
            and record.is_dialable
            and not self.is_shunned(record.identity, now)
            and (self.is_private_network or not places(record) & taken)
        ]
        record = self.draw(fitting)
        if record is not None:
            self.chosen[record.identity] = places(record)
        return record

    def draw(self, records: list[PeerRecord]) -> PeerRecord | None:
        """Return one of `records` by chance."""
        if not records:
            return None
        return records[int.from_bytes(self.random_bytes(8), "big") % len(records)]

    def drop(self, identity: bytes, now: float) -> None:
        """Choose somebody else in the place of one that failed."""
        self.chosen.pop(identity, None)
        self.shun(identity, now)

    def shun(self, identity: bytes, now: float) -> None:
        """Leave a relay alone for a while."""
        _, before = self._shunned.pop(identity, (0.0, FIRST_SHUNNED_S / 2))
        while len(self._shunned) >= MAX_SHUNNED:
            del self._shunned[next(iter(self._shunned))]
        wait = min(MAX_SHUNNED_S, 2 * before)
        self._shunned[identity] = (now + wait, wait)

    def worked(self, identity: bytes) -> None:
        """A relay answered: forget its failures."""
        self._shunned.pop(identity, None)

    def is_shunned(self, identity: bytes, now: float) -> bool:
        """Whether a relay failed just now."""
        return identity in self._shunned and now < self._shunned[identity][0]

    def unreached(
        self, records: Iterable[PeerRecord], is_reached: Callable[[bytes], bool], now: float
    ) -> PeerRecord | None:
        """Draw one that nobody here has dialled with success, to be tried."""
        return self.draw(
            [
                record
                for record in records
                if not is_reached(record.identity) and not self.is_shunned(record.identity, now)
            ]
        )


def places(record: PeerRecord) -> frozenset[str]:
    """Return what no two chosen relays may share: /16 and /32 networks, names, families."""
    return frozenset(family.hex() for family in record.family) | {
        place_of(address.host) for address in record.addresses if address.host
    }


def place_of(host: str) -> str:
    """Return the /16 of an IPv4 address, the /32 of an IPv6 one, else the text.

    >>> [place_of(host) for host in ("192.0.2.77", "2001:db8:1:2::3", "relay.example")]
    ['192.0.0.0/16', '2001:db8::/32', 'relay.example']
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 16 if address.version == 4 else 32), strict=False))
