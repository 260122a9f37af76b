"""When and how a relay issues its own record (docs/spec/peer.md section 3.3).

Each 3 h, on the grid of 10 800 s that all relays share, so that neither time nor number of records
tells clients apart; in between only at a start or when an address changed. The identity work is done
once per epoch and kept. Sequences only grow, also over restarts and clocks that go back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vigilnet.base.codec import Value
from vigilnet.base.errors import EnvironmentRefusedError, LocalProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.kdf import sha256
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import (
    DAY_S,
    MAX_SEQUENCE_SKEW_MS,
    Capability,
    ExitSummary,
    PeerRecord,
    PuzzleHint,
    sign_record,
)
from vigilnet.peer.keyring import KeyRing
from vigilnet.peer.wire import read_array, read_octets, read_uint
from vigilnet.peer.work import DEFAULT_BITS, epoch_of, find_nonce, is_work_done

GRID_S: Final = 10_800
MAX_DELAY_S: Final = 300  # our choice: half of the 600 s in which a record of the grid may be signed
FAMILY_ID_SIZE: Final = 8
MIN_OWN_LIFETIME_S: Final = 6 * 3600
LIFETIME_S: Final = DAY_S
_VERSION: Final = 1


@dataclass(frozen=True)
class Offer:
    """What the node says about itself in its next record, beyond its keys."""

    addresses: tuple[PeerAddress, ...] = ()
    capabilities: Capability = Capability.RELAY
    preferred_suite: Suite = Suite.AES_256_GCM
    exit_summary: ExitSummary | None = None
    country: str = ""
    bandwidth_class: int | None = None
    software: str = ""
    puzzle: PuzzleHint | None = None
    family: tuple[bytes, ...] = ()
    lifetime: int = LIFETIME_S


def family_id(name: str, network: str = "") -> bytes:
    """Return what a record says of a family: who does not know its name learns only who is in it."""
    return sha256(label_octets(Label.FAMILY, network), name.encode())[:FAMILY_ID_SIZE]


class RecordIssuer:
    """Issues the records of one relay; one per identity.

    `issue` waits for the identity work once per epoch (2.2 s in the mean at 12 bits): services call
    `prepare` beside the event loop first.

    Args:
        ring: the relay's keys; rotate it before `issue`.
        work_bits: identity work that the network asks for.
        random_bytes: where the search for a nonce begins, and how long we wait after the grid.
    """

    def __init__(
        self, ring: KeyRing, random_bytes: Callable[[int], bytes], work_bits: int = DEFAULT_BITS
    ) -> None:
        self._ring = ring
        self._random_bytes = random_bytes
        self._work_bits = work_bits
        self._nonces: dict[int, bytes] = {}  # by epoch, this one and perhaps the next
        self._sequence = 0
        self._published: int | None = None
        self._delay = 0.0
        self._addresses: tuple[PeerAddress, ...] = ()

    def next_issue(self, wall: float, addresses: tuple[PeerAddress, ...]) -> float:
        """Return when the next record is due, Unix seconds; at or before `wall` means now."""
        if self._published is None or addresses != self._addresses or wall < self._published - MAX_DELAY_S:
            return wall
        return self._published - self._published % GRID_S + GRID_S + self._delay

    def prepare(self, wall: float) -> None:
        """Do the identity work of this epoch, and of the next one in its last day; may take seconds."""
        for epoch in sorted({epoch_of(int(wall)), epoch_of(int(wall) + DAY_S)}):
            if epoch not in self._nonces:
                nonce = find_nonce(
                    self._ring.identity.public, epoch, self._work_bits, self._random_bytes, self._ring.network
                )
                self._nonces = {kept: old for kept, old in self._nonces.items() if kept >= epoch - 1}
                self._nonces[epoch] = nonce or b""

    def issue(self, offer: Offer, wall: float) -> PeerRecord:
        """Sign a record that is published now.

        Raises:
            EnvironmentRefusedError: our clock is behind the last record we signed.
            LocalProtocolError: something in the offer is beyond its limit.
        """
        published, sequence = self._times(wall)
        if self._ring.current_onion.day != published // DAY_S:
            raise LocalProtocolError("own record: issued before the key ring was rotated")
        if offer.lifetime < MIN_OWN_LIFETIME_S:
            raise LocalProtocolError(
                f"own record lifetime: {offer.lifetime} s, at least {MIN_OWN_LIFETIME_S}"
            )
        self.prepare(wall)
        draft = PeerRecord(
            identity=self._ring.identity.public,
            sequence=sequence,
            published=published,
            lifetime=offer.lifetime,
            link_key=self._ring.link_key.public_key().public_bytes_raw(),
            onion_keys=(self._ring.current_onion,),
            addresses=offer.addresses,
            capabilities=offer.capabilities,
            preferred_suite=offer.preferred_suite,
            exit_summary=offer.exit_summary,
            country=offer.country,
            bandwidth_class=offer.bandwidth_class,
            software=offer.software,
            puzzle=offer.puzzle,
            family=offer.family,
        )
        return self._sign(draft, offer.addresses)

    def revoke(self, wall: float) -> PeerRecord:
        """Sign the revocation of our identity: final, it cannot be taken back for 366 days."""
        published, sequence = self._times(wall)
        self.prepare(wall)
        draft = PeerRecord(self._ring.identity.public, sequence, published, LIFETIME_S, revoked=True)
        return self._sign(draft, self._addresses)

    def to_values(self) -> Value:
        """Return sequence and work as plain values for the disk."""
        nonces: list[Value] = [[epoch, nonce] for epoch, nonce in sorted(self._nonces.items())]
        return [_VERSION, self._sequence, nonces]

    def load(self, values: Value) -> None:
        """Take in what `to_values` gave.

        Raises:
            RemoteProtocolError: damaged.
        """
        version, sequence, items = read_array(values, "record issuer", 3, 3)
        read_uint(version, "record issuer version", _VERSION, _VERSION)
        self._sequence = read_uint(sequence, "record issuer sequence")
        found = map(_read_nonce, read_array(items, "record issuer nonces", 0, 4))
        identity, bits, network = self._ring.identity.public, self._work_bits, self._ring.network
        self._nonces = {
            epoch: nonce for epoch, nonce in found if is_work_done(identity, nonce, epoch, bits, network)
        }

    def _times(self, wall: float) -> tuple[int, int]:
        """Choose published and sequence: on the grid if it is near, else just now."""
        now = int(wall)
        grid = now - now % GRID_S
        is_on_grid = now - grid < MAX_SEQUENCE_SKEW_MS // 1000 - 1 and self._published != grid
        published = grid if is_on_grid else now
        sequence = max(int(wall * 1000), self._sequence + 1)
        if sequence - 1000 * published > MAX_SEQUENCE_SKEW_MS:
            raise EnvironmentRefusedError("clock: behind the time of our last record, set the clock right")
        return published, sequence

    def _sign(self, draft: PeerRecord, addresses: tuple[PeerAddress, ...]) -> PeerRecord:
        record = sign_record(
            self._ring.identity,
            draft,
            nonce=self._nonces[epoch_of(draft.published)],
            network=self._ring.network,
        )
        self._sequence, self._published, self._addresses = draft.sequence, draft.published, addresses
        self._delay = int.from_bytes(self._random_bytes(2)) / 65536 * MAX_DELAY_S
        return record


def _read_nonce(value: Value) -> tuple[int, bytes]:
    epoch, nonce = read_array(value, "record issuer nonce", 2, 2)
    return read_uint(epoch, "record issuer epoch"), read_octets(nonce, "record issuer nonce", 8)
