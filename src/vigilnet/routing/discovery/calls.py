"""How calls to relays that nobody can dial are shared out, and which endpoints are dialled (sans-IO).

Whoever uses up the calls to a relay denies it to everybody else. So each network that asks has a share, and
half of the calls are kept for networks that did not ask lately (docs/spec/discovery.md section 11.3).
"""

import ipaddress
from typing import Final

from vigilnet.peer.address import prefix_of
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.special_addresses import is_public
from vigilnet.routing.discovery.introduction import Endpoint
from vigilnet.routing.discovery.limits import Bucket

CALLED_BURST, CALLED_RATE = 16.0, 2.0  # of one relay, in all
KEPT: Final = CALLED_BURST / 2  # of them for who did not ask for that relay lately
SHARE_BURST, SHARE_RATE = 4.0, 0.2  # of one relay by one asker, or one network of askers
LATELY_S: Final = 600.0
MAX_SHARES: Final = 8192
LEAST_PORT: Final = 1024  # routers give no port below it to one above; services listen there
PUNCH_BURST, PUNCH_RATE = 8.0, 1 / 30  # towards one /24 or /48
MAX_PREFIXES: Final = 1024


class CallShares:
    """Counts the calls to relays: by asker and network, and in all.

    Args:
        has_prefix_limits: off in labs and LANs, where all share one prefix: askers count there.
    """

    def __init__(self, *, has_prefix_limits: bool) -> None:
        self._has_prefix_limits = has_prefix_limits
        self._relays: dict[bytes, Bucket] = {}
        self._shares: dict[tuple[bytes, bytes | str], tuple[Bucket, float]] = {}  # the last used last

    def add(self, relay: bytes, now: float) -> None:
        """Begin to count the calls to a relay."""
        self._relays[relay] = Bucket(CALLED_BURST, CALLED_RATE, now)

    def drop(self, relay: bytes) -> None:
        """Count them no longer."""
        self._relays.pop(relay, None)

    def take(self, relay: bytes, asker: bytes, host: str, now: float) -> bool:
        """Whether an asker, who is seen at `host`, may call a relay now; if so it is counted."""
        # Who comes by a program that carries links (a pluggable transport) may be seen at no address of his.
        has_place = self._has_prefix_limits and bool(is_public(host))
        key = (relay, prefix_of(host) if has_place else asker)
        share, last = self._shares.pop(key, (None, float("-inf")))
        is_new = share is None or now - last >= LATELY_S
        if share is None or is_new:
            share = Bucket(SHARE_BURST, SHARE_RATE, now)
        while len(self._shares) >= MAX_SHARES:
            del self._shares[next(iter(self._shares))]
        self._shares[key] = (share, last)
        if not share.take(1, now) or not self._relays[relay].take(1, now, 0 if is_new else KEPT):
            return False
        self._shares[key] = (share, now)
        return True


class PunchLimits:
    """How often one network may be dialled because an introducer said so."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}  # the last used last

    def take(self, host: str, now: float) -> bool:
        """Whether `host` may be dialled now; if so it is counted."""
        prefix = prefix_of(host)
        bucket = self._buckets.pop(prefix, None) or Bucket(PUNCH_BURST, PUNCH_RATE, now)
        while len(self._buckets) >= MAX_PREFIXES:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[prefix] = bucket
        return bucket.take(1, now)


def is_place_of(record: PeerRecord, endpoint: Endpoint) -> bool:
    """Whether a relay itself says that it is seen there: an introducer's word alone has nobody dialled.

    IPv6 hosts change the second half of their address as they like; ports are the router's choice.
    """
    if endpoint.port < LEAST_PORT:
        return False
    hosts = {address.host for address in record.addresses} | set(record.introducers.values())
    return any(_is_same_place(host, endpoint.host) for host in hosts if host)


def _is_same_place(one: str, other: str) -> bool:
    try:
        first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    except ValueError:
        return False
    if first.version != second.version:
        return False
    bits = 0 if first.version == 4 else 64
    return int(first) >> bits == int(second) >> bits
