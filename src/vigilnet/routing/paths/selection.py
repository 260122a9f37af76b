"""Choose the relays of one path (sans-IO).

Rules: no relay twice, no two of one family, no two of one /16 (IPv4) or /32 (IPv6) unless the
network is private; the first hop is one of few guards that are kept, the last accepts the port.
"""

import ipaddress
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.peer.descriptor import Capability, PeerRecord

MAX_HOPS: Final = 10
SAMPLED_GUARDS: Final = 2
GIVE_UP_S: Final = 600.0
MAX_REMEMBERED_GUARDS: Final = 64  # also those that are gone now and may come back


class NoPathError(VigilnetError):
    """The known relays cannot make the path asked for; the message says what is missing."""

    kind = ErrorKind.UNREACHABLE


@dataclass(frozen=True)
class PathRequest:
    """What a path must offer."""

    hops: int
    port: int | None = None  # the exit must accept it; None: any exit will do
    avoid: frozenset[bytes] = frozenset()  # identities that failed just now: no middles, no exits
    avoid_exits: frozenset[bytes] = frozenset()  # identities that refused the port: no exits
    exit: bytes | None = None  # this exit and no other
    exit_country: str = ""  # only exits that declare this country
    last: Capability = Capability.EXIT  # what the last hop must offer


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
    failing_since: dict[bytes, float] = field(default_factory=dict)
    # Unlisted relays that we were invited to: with any, they alone are first hops; they are never later ones.
    entries: Callable[[], frozenset[bytes]] = frozenset
    left: dict[bytes, float] = field(default_factory=dict)  # left for bad tags, and when, Unix seconds

    def choose(self, candidates: Sequence[PeerRecord], dice: Dice, now: float) -> PeerRecord:
        """Return the first kept guard that works, sampling new ones when too few are left.

        One that failed just now is passed over. A further one is sampled only when all have failed for
        `GIVE_UP_S`: whoever can silence our guards must not walk us through his own.
        """
        candidates = [record for record in candidates if record.identity not in self.left] or candidates
        by_identity = {record.identity: record for record in candidates}
        usable = [identity for identity in self.kept if identity in by_identity]
        while len(usable) < SAMPLED_GUARDS or self._all_given_up(usable, now):
            fresh = [record for record in candidates if record.identity not in usable]
            if not fresh:
                break
            usable.append(self._keep(dice.pick(fresh).identity, by_identity))
        working = [identity for identity in usable if self.failed_until.get(identity, 0.0) <= now]
        return by_identity[(working or usable)[0]]

    def _all_given_up(self, usable: Sequence[bytes], now: float) -> bool:
        return all(now - self.failing_since.get(identity, now) > GIVE_UP_S for identity in usable)

    def _keep(self, identity: bytes, present: Container[bytes]) -> bytes:
        """Remember a new guard, and forget one that left the network if they are too many."""
        self.kept.append(identity)
        if len(self.kept) > MAX_REMEMBERED_GUARDS:
            gone = next((old for old in self.kept if old not in present), self.kept[-2])
            self.kept.remove(gone)
        return identity

    def leave(self, identity: bytes, wall: float) -> None:
        """Keep a guard no longer, and take it for one again only where there is no other."""
        self.kept.remove(identity)
        self.left[identity] = wall
        while len(self.left) > MAX_REMEMBERED_GUARDS:
            del self.left[next(iter(self.left))]

    def failed(self, identity: bytes, now: float, wait_s: float = 60.0) -> None:
        """A guard did not answer: use another for a while."""
        self.failed_until[identity] = now + wait_s
        self.failing_since.setdefault(identity, now)

    def worked(self, identity: bytes) -> None:
        """A guard answered."""
        self.failed_until.pop(identity, None)
        self.failing_since.pop(identity, None)


def choose_path(
    records: Iterable[PeerRecord],
    request: PathRequest,
    guards: Guards,
    dice: Dice,
    now: float,
    *,
    is_private_network: bool = False,
    is_vouched: Callable[[PeerRecord], bool] = lambda record: True,
) -> list[PeerRecord]:
    """Return the relays of a new path, guard first.

    Args:
        records: the relays that are known and current.
        request: what the path must offer.
        guards: our guards; grows when too few are kept.
        dice: chance.
        now: monotonic seconds.
        is_private_network: relays of a lab or LAN share prefixes: that rule is off.
        is_vouched: whether a record was not made for us alone; later hops must be so.

    Raises:
        NoPathError: too few relays, or none that serves the port.
    """
    if not 1 <= request.hops <= MAX_HOPS:
        raise NoPathError(f"path: {request.hops} hops, expected 1 to {MAX_HOPS}")
    known = [record for record in records if Capability.RELAY in record.capabilities]
    later = known if is_private_network or request.hops == 1 else [r for r in known if is_vouched(r)]
    entries = guards.entries()
    if entries:
        later = [record for record in later if (record.identity in entries) == (request.hops == 1)]
    exits = [record for record in later if _serves(record, request)]
    if not exits:
        raise NoPathError(_missing_exit(later, request))
    if request.hops == 1:
        dialable = [record for record in exits if record.is_dialable]
        if not dialable:
            raise NoPathError("path: the exits that are known are behind routers, one hop reaches none")
        return [dice.pick(dialable)]
    rules = _Rules(is_private_network)
    # The guard comes first, whatever the exit: an exit that conflicts with a guard must not cost us a new
    # guard. What failed elsewhere on a path is not held against it here: guards have their own books.
    candidates = [
        record
        for record in known
        if Capability.GUARD in record.capabilities
        and record.is_dialable
        and (not entries or record.identity in entries)
        and any(rules.fit(last, [record]) for last in exits)
    ]
    if not candidates:
        raise NoPathError(f"path: {len(known)} relays known, none of them can be the first hop")
    path = [guards.choose(candidates, dice, now)]
    last = dice.pick([record for record in exits if rules.fit(record, path)])
    usable = [record for record in later if record.identity not in request.avoid]
    while len(path) < request.hops - 1:
        middles = [record for record in usable if rules.fit(record, [*path, last])]
        # Who cannot be dialled has to dial the one before it, which it cannot where that one is the same.
        ends = [path[-1], *([last] if len(path) == request.hops - 2 else [])]
        if not all(end.is_dialable for end in ends):
            middles = [record for record in middles if record.is_dialable] or middles
        if not middles:
            raise NoPathError(
                f"path: {len(known)} relays known, too few different ones for {request.hops} hops"
            )
        path.append(dice.pick(middles))
    return [*path, last]


def _serves(record: PeerRecord, request: PathRequest) -> bool:
    if request.last not in record.capabilities:
        return False
    if record.identity in request.avoid or record.identity in request.avoid_exits:
        return False
    if request.exit is not None and record.identity != request.exit:
        return False
    if request.exit_country and record.country != request.exit_country:
        return False
    summary = record.exit_summary
    return request.port is None or summary is None or summary.allows(request.port)


def _missing_exit(known: Sequence[PeerRecord], request: PathRequest) -> str:
    exits = sum(Capability.EXIT in record.capabilities for record in known)
    if not known:
        return "path: no relays known yet; wait for discovery, or give record files"
    if request.last is not Capability.EXIT:
        return f"path: {len(known)} relays known, none of them offers {request.last.name}"
    if request.exit_country and not any(_is_exit_in(record, request.exit_country) for record in known):
        return f"path: no exit in {request.exit_country} is known; {exits} exits are known elsewhere"
    if request.exit is not None and not any(record.identity == request.exit for record in known):
        return "path: the exit that was chosen is not known"
    if request.port is not None and exits:
        return f"path: {exits} exits known, none of them accepts port {request.port} now"
    return f"path: {len(known)} relays known, no usable exit among them"


def _is_exit_in(record: PeerRecord, country: str) -> bool:
    return Capability.EXIT in record.capabilities and record.country == country


class _Rules:
    """Who may be on a path together: relays that have nothing in common."""

    def __init__(self, is_private_network: bool) -> None:
        self._is_private_network = is_private_network
        self._marks: dict[bytes, frozenset[bytes | str]] = {}

    def fit(self, record: PeerRecord, others: Sequence[PeerRecord]) -> bool:
        marks = self._marks_of(record)
        return all(marks.isdisjoint(self._marks_of(other)) for other in others)

    def _marks_of(self, record: PeerRecord) -> frozenset[bytes | str]:
        """Identity, families and prefixes: one in common is a conflict."""
        marks = self._marks.get(record.identity)
        if marks is None:
            hosts = () if self._is_private_network else (address.host for address in record.addresses)
            prefixes = (prefix for host in hosts if (prefix := _prefix(host)))
            marks = self._marks[record.identity] = frozenset((record.identity, *record.family, *prefixes))
        return marks


@lru_cache(maxsize=16_384)
def _prefix(host: str) -> str:
    """The /16 or /32 of an address; a name has none."""
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return ""
    size = 16 if parsed.version == 4 else 32
    return str(ipaddress.ip_network((parsed, size), strict=False))
