"""What the link room asks about others and about ourselves, and what it remembers of them (sans-IO)."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.crypto.aead import Suite
from vigilnet.traffic.link.options import Options

RELAY_BIT: Final = 1  # of a record's capabilities

# Our choice.
MAX_BACK_OFFS: Final = 4096
MAX_CLOCKS: Final = 32

# From the specification.
CLOCKS_WANTED: Final = 3


class DialAddress(Protocol):
    """What we need of a record's address."""

    @property
    def transport(self) -> int:
        """Which transport; the key into ours."""
        ...

    @property
    def host(self) -> str:
        """Address or name."""
        ...

    @property
    def port(self) -> int:
        """Port."""
        ...

    @property
    def params(self) -> Mapping[int, object]:
        """The transport's own parameters."""
        ...


class LinkRecord(Protocol):
    """What the link room needs of a peer record."""

    @property
    def identity(self) -> bytes:
        """Identity key, 32 octets."""
        ...

    @property
    def link_key(self) -> bytes:
        """Link key, 32 octets."""
        ...

    @property
    def addresses(self) -> tuple[DialAddress, ...]:
        """Where the relay listens."""
        ...

    @property
    def preferred_suite(self) -> Suite:
        """Which AEAD the relay wants."""
        ...

    @property
    def capabilities(self) -> int:
        """Bit 0: a relay."""
        ...


class RecordSource(Protocol):
    """Whom we know."""

    def get(self, identity: bytes) -> LinkRecord | None:
        """Return the current record of `identity`."""
        ...


class LocalNode(Protocol):
    """Who we are, on a node that has an identity."""

    @property
    def identity(self) -> bytes:
        """Our identity key, 32 octets."""
        ...

    @property
    def link_key(self) -> X25519PrivateKey:
        """Our link key of the present, which our record names."""
        ...

    @property
    def previous_link_key(self) -> X25519PrivateKey | None:
        """The link key before it, while records that name it may be current."""
        ...

    @property
    def record(self) -> bytes:
        """Our own encoded record, as we would publish it now."""
        ...


@dataclass(frozen=True)
class LinkStatus:
    """One link for the status; `peer` is None for an anonymous client."""

    peer: bytes | None
    is_initiator: bool
    age_s: float
    round_trip_s: float | None
    octets_sent: int
    octets_received: int
    updates: tuple[int, int]
    is_retired: bool
    dialled: DialAddress | None = None  # None: the neighbour dialled us
    padding_octets: int = 0  # sent for the carrier's shape
    held_s: float = 0.0  # the longest that something waited for it
    shape: str = ""  # the profile's name


@dataclass
class _BackOff:
    failures: int = 0
    next_at: float = 0.0


class BackOffs:
    """How long to leave a peer alone after failed dials.

    Doubling from `retry_first_s` to `retry_max_s`, up to half of it taken away by chance, so that
    those who lost the same relay do not come back together.
    """

    def __init__(self, options: Options, random_bytes: Callable[[int], bytes]) -> None:
        self._options = options
        self._random_bytes = random_bytes
        self._peers: dict[bytes, _BackOff] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def failed(self, peer: bytes, now: float) -> None:
        """Note a failed dial, or a link that did not live."""
        back_off = self._peers.pop(peer, None) or _BackOff()
        while len(self._peers) >= MAX_BACK_OFFS:
            del self._peers[next(iter(self._peers))]
        self._peers[peer] = back_off
        options = self._options
        longest = min(options.retry_max_s, options.retry_first_s * 2.0 ** min(back_off.failures, 30))
        chance = int.from_bytes(self._random_bytes(4), "big") / 2**32
        back_off.failures += 1
        back_off.next_at = now + longest * (0.5 + 0.5 * chance)

    def succeeded(self, peer: bytes) -> None:
        """Forget what failed before."""
        self._peers.pop(peer, None)

    def clear(self) -> None:
        """Forget everything: the network changed."""
        self._peers.clear()

    def wait_s(self, peer: bytes, now: float) -> float:
        """How long to wait before the next dial; 0 for none."""
        back_off = self._peers.get(peer)
        return max(0.0, back_off.next_at - now) if back_off else 0.0

    def failures(self, peer: bytes) -> int:
        """How many dials failed in a row."""
        back_off = self._peers.get(peer)
        return back_off.failures if back_off else 0


class ClockOffsets:
    """What relays say about our clock; one of them alone could lie to us."""

    def __init__(self) -> None:
        self._offsets: dict[bytes, float] = {}

    def note(self, relay: bytes, offset_s: float) -> None:
        """Note the difference between a relay's clock and ours."""
        self._offsets.pop(relay, None)
        while len(self._offsets) >= MAX_CLOCKS:
            del self._offsets[next(iter(self._offsets))]
        self._offsets[relay] = offset_s

    def median(self) -> float | None:
        """What to add to our clock; None while fewer than three relays were asked."""
        if len(self._offsets) < CLOCKS_WANTED:
            return None
        return statistics.median(self._offsets.values())
