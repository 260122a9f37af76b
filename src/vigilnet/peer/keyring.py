"""The keys of one relay and their rotation (docs/spec/peer.md section 5).

    identity   Ed25519   for ever
    link       X25519    30 d; the one before is still answered to for 48 h, the longest life of a record
    onion      X25519    one per UTC day; accepted until 48 h after its day, then erased

One onion key per identity and day: two different ones for one day are a proof of equivocation. So a
new key is written to disk before it is published (`peer.state_io`), and never made anew for a day
that has one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.codec import Value
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.kdf import sha256
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.peer.descriptor import DAY_S, MAX_LIFETIME_S, ONION_KEY_DAYS, OnionKey
from vigilnet.peer.identity import Identity
from vigilnet.peer.wire import read_array, read_map, read_octets, read_uint

LINK_KEY_LIFE_S: Final = 30 * DAY_S
MAX_ONION_DAYS: Final = 16  # only a clock that jumps about makes more than four
KEY_ID_SIZE: Final = 8
_VERSION: Final = 1


def onion_key_id(public: bytes, network: str = "") -> bytes:
    """Return the 8 octets by which CREATE names an onion key."""
    return sha256(label_octets(Label.ONION_KEY_ID, network), public)[:KEY_ID_SIZE]


@dataclass
class _Keys:
    """What lasts: the link keys and the onion keys by UTC day."""

    link: X25519PrivateKey
    link_made: int
    previous_link: X25519PrivateKey | None = None
    onion: dict[int, X25519PrivateKey] = field(default_factory=dict)


class KeyRing:
    """Private keys of one node; call `rotate` at the start and at least once an hour.

    Args:
        identity: the node's identity.
        wall: Unix seconds now.
        network: name of a private network; enters the key ids.
        random_bytes: source of new keys.
    """

    def __init__(
        self,
        identity: Identity,
        wall: float,
        random_bytes: Callable[[int], bytes],
        network: str = "",
        keys: _Keys | None = None,
    ) -> None:
        self.identity = identity
        self.network = network
        self._random_bytes = random_bytes
        self._keys = keys or _Keys(self._new_key(), int(wall))
        self._onion_by_id: dict[bytes, X25519PrivateKey] = {}
        self._today = 0
        self.rotate(wall)

    @property
    def link_key(self) -> X25519PrivateKey:
        """The current link key, as it goes into the record."""
        return self._keys.link

    @property
    def current_onion(self) -> OnionKey:
        """Today's onion key, as it goes into the record."""
        return self.onion_of(self._today)

    def onion_of(self, day: int) -> OnionKey:
        """Return the onion key of a UTC day that has one (KeyError else)."""
        public = self._keys.onion[day].public_key().public_bytes_raw()
        return OnionKey(public, (day + ONION_KEY_DAYS) * DAY_S)

    def onion_secret(self, key_id: bytes) -> X25519PrivateKey | None:
        """Return the onion key of this id, if it is still accepted."""
        return self._onion_by_id.get(key_id)

    def link_keys(self) -> tuple[X25519PrivateKey, ...]:
        """Return the link keys that neighbours may know us by: the current one first."""
        previous = self._keys.previous_link
        return (self._keys.link,) if previous is None else (self._keys.link, previous)

    def rotate(self, wall: float) -> bool:
        """Make the keys that are due and erase those that are over.

        Returns:
            Whether anything changed: write it to disk, then publish a new record.
        """
        now = int(wall)
        changed = self._rotate_link(now)
        self._today = now // DAY_S
        if self._today not in self._keys.onion:
            self._keys.onion[self._today] = self._new_key()
            changed = True
        over = [day for day in self._keys.onion if now >= (day + ONION_KEY_DAYS) * DAY_S]
        spare = sorted(set(self._keys.onion) - {self._today, *over})[MAX_ONION_DAYS - 1 :]
        for day in over + spare:
            del self._keys.onion[day]
        self._index()
        return changed or bool(over or spare)

    def to_values(self) -> Value:
        """Return the ring as plain values for the disk; secret."""
        keys = self._keys
        onion: list[Value] = [[day, key.private_bytes_raw()] for day, key in sorted(keys.onion.items())]
        values: dict[int, Value] = {
            0: _VERSION,
            1: self.identity.seed(),
            2: keys.link.private_bytes_raw(),
            3: keys.link_made,
            4: b"" if keys.previous_link is None else keys.previous_link.private_bytes_raw(),
            5: onion,
        }
        return values

    @classmethod
    def from_values(
        cls, values: Value, wall: float, random_bytes: Callable[[int], bytes], network: str = ""
    ) -> "KeyRing":
        """Return the ring that `to_values` gave, rotated to now.

        Raises:
            RemoteProtocolError: the values are damaged.
        """
        fields = read_map(values, "key ring")
        if fields.keys() != set(range(6)):
            raise RemoteProtocolError("key ring: keys missing or unknown")
        read_uint(fields[0], "key ring version", _VERSION, _VERSION)
        keys = _Keys(
            link=_read_key(fields[2]),
            link_made=read_uint(fields[3], "key ring link key time"),
            previous_link=None if fields[4] == b"" else _read_key(fields[4]),
            onion=dict(map(_read_day_key, read_array(fields[5], "key ring onion keys", 0, MAX_ONION_DAYS))),
        )
        identity = Identity.from_seed(read_octets(fields[1], "key ring identity", 32))
        return cls(identity, wall, random_bytes, network, keys)

    def _rotate_link(self, now: int) -> bool:
        keys = self._keys
        # a clock that was wrong when the key was made must not keep it for ever
        if not -DAY_S <= now - keys.link_made <= LINK_KEY_LIFE_S:
            keys.previous_link, keys.link, keys.link_made = keys.link, self._new_key(), now
            return True
        if keys.previous_link is not None and now - keys.link_made >= MAX_LIFETIME_S:
            keys.previous_link = None
            return True
        return False

    def _new_key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._random_bytes(32))

    def _index(self) -> None:
        self._onion_by_id = {
            onion_key_id(key.public_key().public_bytes_raw(), self.network): key
            for key in self._keys.onion.values()
        }

    def __repr__(self) -> str:
        return "KeyRing([hidden])"


def _read_key(value: Value) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(read_octets(value, "key ring secret", 32))


def _read_day_key(value: Value) -> tuple[int, X25519PrivateKey]:
    day, secret = read_array(value, "key ring onion key", 2, 2)
    return read_uint(day, "key ring day"), _read_key(secret)
