"""The room's state on disk: keys, what our records used up, known peers (docs/spec/peer.md section 7).

keys      the key ring; written before any record that shows a new key
issuer    our last sequence and the identity work
peers     the table of known records; may be lost, yet without it old records can come back
"""

from collections.abc import Callable
from typing import Final

from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import MAX_FILE_SIZE, Store
from vigilnet.peer.identity import Identity
from vigilnet.peer.issuing import RecordIssuer
from vigilnet.peer.keyring import KeyRing
from vigilnet.peer.view import PeerView

KEYS: Final = "keys"
ISSUER: Final = "issuer"
PEERS: Final = "peers"

_log = get_logger(__name__)


def load_key_ring(
    store: Store,
    wall: float,
    random_bytes: Callable[[int], bytes],
    network: str = "",
    identity: Identity | None = None,
) -> KeyRing:
    """Return the node's key ring, rotated and on disk; a new one if there is none.

    Args:
        store: the state folder, locked and unlocked.
        wall: Unix seconds now.
        random_bytes: source of new keys.
        network: name of a private network.
        identity: an imported identity for a new ring.

    Raises:
        ConfigurationError: the file is damaged, or holds another identity than the imported one.
    """
    values = _read(store, KEYS)
    if values is None:
        ring = KeyRing(identity or Identity.from_seed(random_bytes(32)), wall, random_bytes, network)
    else:
        try:
            ring = KeyRing.from_values(values, wall, random_bytes, network)
        except RemoteProtocolError as error:
            raise _damaged(KEYS, error) from error
        if identity is not None and identity.public != ring.identity.public:
            raise ConfigurationError(
                f"state file {KEYS}: holds another identity already, use an empty state folder"
            )
    save_key_ring(store, ring)
    return ring


def save_key_ring(store: Store, ring: KeyRing) -> None:
    """Write the key ring; call it after `rotate` said True and before the next record."""
    store.write_atomic(KEYS, encode(ring.to_values()))


def load_issuer(store: Store, issuer: RecordIssuer) -> None:
    """Give the issuer what it left on disk.

    Raises:
        ConfigurationError: the file is damaged.
    """
    values = _read(store, ISSUER)
    if values is not None:
        try:
            issuer.load(values)
        except RemoteProtocolError as error:
            raise _damaged(ISSUER, error) from error


def save_issuer(store: Store, issuer: RecordIssuer) -> None:
    """Write what the issuer must remember; call it before a new record leaves this machine."""
    store.write_atomic(ISSUER, encode(issuer.to_values()))


def load_view(store: Store, view: PeerView, wall: float) -> None:
    """Fill the table of known peers from the disk; a damaged file is only logged: peers are found again."""
    try:
        values = _read(store, PEERS)
        if values is not None:
            view.load(values, wall)
    except (RemoteProtocolError, ConfigurationError) as error:
        _log.warning("known peers on disk cannot be used, starting without them", reason=error)


def save_view(store: Store, view: PeerView) -> None:
    """Write the table of known peers."""
    store.write_atomic(PEERS, encode(view.to_values()))


def _read(store: Store, name: str) -> Value:
    content = store.read(name)
    if content is None:
        return None
    try:
        return decode(content, f"state file {name}", MAX_FILE_SIZE)
    except RemoteProtocolError as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: RemoteProtocolError) -> ConfigurationError:
    return ConfigurationError(f"state file {name}: damaged ({error}), restore a copy or remove the file")
