"""Choose the relays of one path (sans-IO).

Rules: no relay twice, no two of one family, no two of one /16 (IPv4) or /32 (IPv6) unless the
network is private; the first hop is one of few guards that are kept, the last accepts the port.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.peer.descriptor import Capability, PeerRecord

MAX_HOPS: Final = 10
SAMPLED_GUARDS: Final = 2
MAX_REMEMBERED_GUARDS: Final = 64  # also those that are gone now and may come back


class NoPathError(VigilnetError):
    """The known relays cannot make the path asked for; the message says what is missing."""

    kind = ErrorKind.UNREACHABLE


@dataclass(frozen=True)
class PathRequest:
    """What a path must offer."""

    hops: int
    port: int | None = None  # the exit must accept it; None: any exit will do
    avoid: frozenset[bytes] = frozenset()  # identities that failed or refused just now
    exit: bytes | None = None  # this exit and no other


class Dice:
    """Uniform choice from an injected source of randomness."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes

    def pick(self, items: Sequence[PeerRecord]) -> PeerRecord:
        """Return one item, each as likely as any other."""
        return items[int.from_bytes(self._random_bytes(8), "big") % len(items)]


@dataclass
class Guards:
    """The few relays that may be our first hop; kept, since every new one is a new chance to be seen."""

    kept: list[bytes] = field(default_factory=list)
    failed_until: dict[bytes, float] = field(default_factory=dict)

    def choose(self, candidates: Sequence[PeerRecord], dice: Dice, now: float) -> PeerRecord:
        """Return the first kept guard that may be used, sampling new ones when too few are left."""
        by_identity = {record.identity: record for record in candidates}
        usable = [identity for identity in self.kept if identity in by_identity]
        while len(usable) < SAMPLED_GUARDS:
            fresh = [record for record in candidates if record.identity not in usable]
            if not fresh:
                break
            picked = dice.pick(fresh).identity
            usable.append(picked)
            if picked not in self.kept:
                self.kept.append(picked)
                del self.kept[:-MAX_REMEMBERED_GUARDS]
        working = [identity for identity in usable if self.failed_until.get(identity, 0.0) <= now]
        return by_identity[(working or usable)[0]]

    def failed(self, identity: bytes, now: float, wait_s: float = 60.0) -> None:
        """A guard did not answer: use another for a while."""
        self.failed_until[identity] = now + wait_s

    def worked(self, identity: bytes) -> None:
        """A guard answered."""
        self.failed_until.pop(identity, None)


def choose_path(
    records: Iterable[PeerRecord],
    request: PathRequest,
    guards: Guards,
    dice: Dice,
    now: float,
    *,
    is_private_network: bool = False,
) -> list[PeerRecord]:
    """Return the relays of a new path, guard first.

    Args:
        records: the relays that are known and current.
        request: what the path must offer.
        guards: our guards; grows when too few are kept.
        dice: chance.
        now: monotonic seconds.
        is_private_network: relays of a lab or LAN share prefixes: that rule is off.

    Raises:
        NoPathError: too few relays, or none that serves the port.
    """
    if not 1 <= request.hops <= MAX_HOPS:
        raise NoPathError(f"path: {request.hops} hops, expected 1 to {MAX_HOPS}")
    known = [record for record in records if Capability.RELAY in record.capabilities]
    exits = [record for record in known if _serves(record, request)]
    if not exits:
        raise NoPathError(_missing_exit(known, request))
    rules = _Rules(is_private_network)
    usable = [record for record in known if record.identity not in request.avoid]
    last = dice.pick(exits)
    if request.hops == 1:
        return [last]
    candidates = [
        record for record in usable if Capability.GUARD in record.capabilities and rules.fit(record, [last])
    ]
    if not candidates:
        raise NoPathError(f"path: {len(known)} relays known, none of them can be the first hop")
    path = [guards.choose(candidates, dice, now)]
    while len(path) < request.hops - 1:
        middles = [record for record in usable if rules.fit(record, [*path, last])]
        if not middles:
            raise NoPathError(
                f"path: {len(known)} relays known, too few different ones for {request.hops} hops"
            )
        path.append(dice.pick(middles))
    return [*path, last]


def _serves(record: PeerRecord, request: PathRequest) -> bool:
    if Capability.EXIT not in record.capabilities or record.identity in request.avoid:
        return False
    if request.exit is not None and record.identity != request.exit:
        return False
    summary = record.exit_summary
    return request.port is None or summary is None or summary.allows(request.port)


def _missing_exit(known: Sequence[PeerRecord], request: PathRequest) -> str:
    exits = sum(Capability.EXIT in record.capabilities for record in known)
    if not known:
        return "path: no relays known yet; wait for discovery, or give record files"
    if request.port is not None and exits:
        return f"path: {exits} exits known, none of them accepts port {request.port} now"
    return f"path: {len(known)} relays known, no usable exit among them"


class _Rules:
    """Who may be on a path together."""

    def __init__(self, is_private_network: bool) -> None:
        self._is_private_network = is_private_network

    def fit(self, record: PeerRecord, others: Sequence[PeerRecord]) -> bool:
        return not any(self._conflict(record, other) for other in others)

    def _conflict(self, left: PeerRecord, right: PeerRecord) -> bool:
        if left.identity == right.identity or set(left.family) & set(right.family):
            return True
        return not self._is_private_network and bool(_prefixes(left) & _prefixes(right))


def _prefixes(record: PeerRecord) -> set[str]:
    found = set()
    for address in record.addresses:
        try:
            parsed = ipaddress.ip_address(address.host)
        except ValueError:
            continue
        size = 16 if parsed.version == 4 else 32
        found.add(str(ipaddress.ip_network((parsed, size), strict=False)))
    return found
