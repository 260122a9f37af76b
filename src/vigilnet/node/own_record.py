"""Who we are on a relay: keys from disk, and the record that says so, kept fresh."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.base.store_io import Store
from vigilnet.crypto.aead import Suite
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import Capability, ExitSummary, PeerRecord
from vigilnet.peer.identity import Identity
from vigilnet.peer.issuing import Offer, RecordIssuer, family_id
from vigilnet.peer.state_io import load_issuer, load_key_ring, save_issuer, save_key_ring


class OwnRecord:
    """Serves the link room's `LocalNode` and the circuit room's `OnionSecrets`.

    Args:
        store: the state folder, locked.
        clock: time.
        random_bytes: source of keys.
        network: name of the private network, if any.
        work_bits: identity work that the network asks for.
        key_file: libp2p's key file with our identity, which must be that of the state folder if it has one.

    Raises:
        ConfigurationError: the key file cannot be used.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        network: str,
        work_bits: int,
        key_file: Path | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._network = network
        identity = _read_key(key_file) if key_file is not None else None
        self.ring = load_key_ring(store, clock.wall(), random_bytes, network, identity)
        self._issuer = RecordIssuer(self.ring, random_bytes, work_bits)
        load_issuer(store, self._issuer)
        self._offer = Offer()
        self._record: PeerRecord | None = None
        self._is_unsaved = False

    @property
    def identity(self) -> bytes:
        """Our identity key, 32 octets."""
        return self.ring.identity.public

    @property
    def link_key(self) -> X25519PrivateKey:
        """Our link key of the present: the one that our record names, as long as it is not renewed."""
        return self._link_keys()[0]

    @property
    def previous_link_key(self) -> X25519PrivateKey | None:
        """The other link key that neighbours may know us by."""
        return next(iter(self._link_keys()[1:]), None)

    def _link_keys(self) -> tuple[X25519PrivateKey, ...]:
        keys = self.ring.link_keys()
        return keys if self._record is None or _names(self._record, keys[0]) else keys[::-1]

    @property
    def record(self) -> bytes:
        """Our own encoded record; empty before the first `refresh`, and while no address is known."""
        return b"" if self._record is None else self._record.encoded

    @property
    def parsed(self) -> PeerRecord | None:
        """Our own record; None before the first `refresh`."""
        return self._record

    def onion_secret(self, key_id: bytes) -> X25519PrivateKey | None:
        """Return the onion key of this id while it is accepted."""
        return self.ring.onion_secret(key_id)

    def describe(
        self,
        addresses: Sequence[PeerAddress],
        capabilities: Capability,
        exits: ExitSummary | None,
        software: str,
        country: str = "",
        suite: Suite = Suite.AES_256_GCM,
        family: str = "",
    ) -> None:
        """Say what our records offer from now on."""
        self._offer = Offer(
            addresses=tuple(addresses),
            capabilities=capabilities,
            exit_summary=exits,
            software=software,
            country=country,
            preferred_suite=suite,
            family=(family_id(family, self._network),) if family else (),
        )

    def prepare(self) -> None:
        """Do the identity work that is still missing; may take seconds: call it beside the event loop."""
        self._issuer.prepare(self._clock.wall())

    def refresh(self) -> bool:
        """Rotate keys and issue a record where one is due; return whether there is a new record.

        While there is no address to tell there is no record.

        Raises:
            EnvironmentRefusedError: the disk or the clock refuses; the record of before stays, for
                keys that are not on disk must not be published (peer.keyring). Call again later.
        """
        wall = self._clock.wall()
        self._is_unsaved |= self.ring.rotate(wall)
        if self._is_unsaved:
            save_key_ring(self._store, self.ring)
            self._is_unsaved = False
        if not self._is_due(wall):
            return False
        record = self._issuer.issue(self._offer, wall)
        save_issuer(self._store, self._issuer)
        self._record = record
        return True

    def _is_due(self, wall: float) -> bool:
        """Whether our record is missing, says something that changed, or is old."""
        record = self._record
        if not self._offer.addresses:
            return False  # nobody could use it
        return (
            record is None
            or not _names(record, self.ring.link_key)
            or self.ring.current_onion not in record.onion_keys
            or wall >= self._issuer.next_issue(wall, self._offer.addresses)
        )


def _read_key(path: Path) -> Identity:
    try:
        return Identity.from_libp2p_protobuf(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"node.key_file {path}: cannot be read: {error.strerror}") from error
    except RemoteProtocolError as error:
        raise ConfigurationError(f"node.key_file {path}: {error}") from error


def _names(record: PeerRecord, link_key: X25519PrivateKey) -> bool:
    return record.link_key == link_key.public_key().public_bytes_raw()
