"""Relays that are known by invites only: the secrets of a relay's invites, and those that a node holds.

The secret of an invite proves to the relay that its record came from there (docs/spec/htx.md section 3).
"""

from collections.abc import Callable, Sequence
from typing import Final

from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import ConfigurationError, ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.base.store_io import Store
from vigilnet.crypto.kdf import is_equal
from vigilnet.peer.view import PeerView
from vigilnet.peer.wire import read_array, read_octets, read_uint
from vigilnet.routing.discovery.invite import SECRET_SIZE
from vigilnet.traffic.transport.htx.authenticator import MAX_INVITES
from vigilnet.traffic.transport.htx.dial_io import KEY

GIVEN: Final = "htx-invites"
HELD: Final = "held-invites"
MAX_HELD: Final = 64
_VERSION: Final = 1


class NoMoreInvitesError(VigilnetError):
    """So many invites were made, or are held, as there can be."""

    kind = ErrorKind.REFUSED


def _read(store: Store, name: str, most: int) -> list[Value]:
    content = store.read(name)
    if content is None:
        return []
    try:
        version, entries = read_array(decode(content, name), name, 2, 2)
        read_uint(version, f"{name} version", _VERSION, _VERSION)
        return list(read_array(entries, name, 0, most))
    except RemoteProtocolError as error:
        raise ConfigurationError(f"{name} in the state folder: damaged; remove it ({error})") from error


class GivenInvites:
    """The secrets of an unlisted relay's invites, oldest first; there is always one.

    Args:
        store: the state folder.
        random_bytes: source of secrets.

    Raises:
        ConfigurationError: the file is damaged.
    """

    def __init__(self, store: Store, random_bytes: Callable[[int], bytes]) -> None:
        self._store = store
        self._random_bytes = random_bytes
        try:
            self._secrets = [
                read_octets(entry, GIVEN, SECRET_SIZE) for entry in _read(store, GIVEN, MAX_INVITES)
            ]
        except RemoteProtocolError as error:
            raise ConfigurationError(f"{GIVEN} in the state folder: damaged; remove it ({error})") from error
        if not self._secrets:
            self.new()

    def secrets(self) -> Sequence[bytes]:
        """Return all that are good."""
        return self._secrets

    def new(self) -> bytes:
        """Make another one, for somebody whose invite is not to be everybody's.

        Raises:
            NoMoreInvitesError: there are 256.
        """
        if len(self._secrets) >= MAX_INVITES:
            raise NoMoreInvitesError(f"invite: {MAX_INVITES} were made; remove {GIVEN} to void them all")
        made = self._random_bytes(SECRET_SIZE)
        values: list[Value] = [_VERSION, [*self._secrets, made]]
        self._store.write_atomic(GIVEN, encode(values))
        self._secrets.append(made)
        return made


class HeldInvites:
    """The unlisted relays that this node was invited to, and the secrets.

    Args:
        store: the state folder.
        view: where their records are.

    Raises:
        ConfigurationError: the file is damaged.
    """

    def __init__(self, store: Store, view: PeerView) -> None:
        self._store = store
        self._view = view
        self._held: dict[bytes, bytes] = {}
        try:
            for entry in _read(store, HELD, MAX_HELD):
                identity, secret = read_array(entry, HELD, 2, 2)
                self._held[read_octets(identity, HELD, 32)] = read_octets(secret, HELD, SECRET_SIZE)
        except RemoteProtocolError as error:
            raise ConfigurationError(f"{HELD} in the state folder: damaged; remove it ({error})") from error

    def identities(self) -> frozenset[bytes]:
        """Return whose invites we hold."""
        return frozenset(self._held)

    def hold(self, identity: bytes, secret: bytes) -> None:
        """Keep an invite's secret.

        Raises:
            NoMoreInvitesError: 64 are held.
        """
        if is_equal(self._held.get(identity, b""), secret):
            return
        if identity not in self._held and len(self._held) >= MAX_HELD:
            raise NoMoreInvitesError(f"invite: {MAX_HELD} of unlisted relays are held already")
        held = {**self._held, identity: secret}
        values: list[Value] = [_VERSION, [[key, value] for key, value in held.items()]]
        self._store.write_atomic(HELD, encode(values))
        self._held = held

    def secret_for(self, htx_key: bytes) -> bytes | None:
        """Return the secret for the relay whose record names this htx key."""
        for identity, secret in self._held.items():
            record = self._view.get(identity)
            if record is not None and any(address.params.get(KEY) == htx_key for address in record.addresses):
                return secret
        return None
