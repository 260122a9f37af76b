"""The DHT: under which keys records are, and how a client asks for them (sans-IO; discovery.md section 9).

    key      = SHA-256(label "dht key" ‖ 00 ‖ name)[:20]
    name     = "id" ‖ 00 ‖ identity           one record
             | tag ‖ 00 ‖ u8 shard            records of relays with a tag, of a sixteenth of all identities
    request  = u8 17 ‖ u16 20 ‖ key           a client's, through a circuit, instead of a fetch (`directory`)

Relays join the DHT; a client never does. The engine is somebody else's: it has to serve `DhtEngine`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import sha256
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.peer.descriptor import Capability, PeerRecord
from vigilnet.routing.discovery.wire import HEAD_SIZE

LOOKUP: Final = 17
DHT_KEY_SIZE: Final = 20
LOOKUP_SIZE: Final = HEAD_SIZE + DHT_KEY_SIZE
SHARDS: Final = 16
MAX_VALUES: Final = 32  # taken from one get
RELAY_TAG: Final = "relay"
EXIT_TAG: Final = "exit"


class DhtEngine(Protocol):
    """What we need of a DHT; all of it is called in the event loop."""

    def bootstrap(self, host: str, port: int) -> None:
        """Try to join through a node at an address."""
        ...

    async def is_joined(self) -> bool:
        """Whether any other node answers."""
        ...

    def put(self, key: bytes, value: bytes) -> None:
        """Publish a value and keep it published until it is replaced, withdrawn or we end."""
        ...

    def withdraw(self, key: bytes) -> None:
        """Publish our value of a key no longer."""
        ...

    async def get(self, key: bytes, at_most: int, timeout_s: float) -> list[bytes]:
        """Return values of a key, from whomever: anybody may have put them there."""
        ...

    async def close(self) -> None:
        """Leave."""
        ...


@dataclass(frozen=True)
class Lookup:
    """A client's request for what is under a key."""

    key: bytes

    def encode(self) -> bytes:
        """Return the request."""
        if len(self.key) != DHT_KEY_SIZE:
            raise LocalProtocolError(f"lookup: a key of {len(self.key)} octets, {DHT_KEY_SIZE} expected")
        return bytes((LOOKUP,)) + DHT_KEY_SIZE.to_bytes(2, "big") + self.key

    @classmethod
    def decode(cls, octets: bytes) -> Self:
        """Parse a request.

        Raises:
            RemoteProtocolError: not one.
        """
        if len(octets) != LOOKUP_SIZE or octets[:HEAD_SIZE] != bytes((LOOKUP, 0, DHT_KEY_SIZE)):
            raise RemoteProtocolError(f"lookup: {len(octets)} octets that are no request")
        return cls(octets[HEAD_SIZE:])


def dht_key(name: bytes, network: str = "") -> bytes:
    """Return the key of a name."""
    return sha256(label_octets(Label.DHT_KEY, network), b"\0", name)[:DHT_KEY_SIZE]


def identity_key(identity: bytes, network: str = "") -> bytes:
    """Return under which key the record of an identity is."""
    return dht_key(b"id\0" + identity, network)


def tag_key(tag: str, shard: int, network: str = "") -> bytes:
    """Return under which key a part of the relays with a tag is."""
    return dht_key(tag.encode() + b"\0" + bytes((shard,)), network)


def shard_of(identity: bytes) -> int:
    """Return the shard of an identity: no single key holds all relays."""
    return identity[0] * SHARDS // 256


def tags_of(record: PeerRecord) -> list[str]:
    """Return what a record may be looked for by, besides its identity."""
    tags = [RELAY_TAG]
    if Capability.EXIT in record.capabilities:
        tags.append(EXIT_TAG)
        if record.country:
            tags.append(country_tag(record.country))
    return tags


def country_tag(country: str) -> str:
    """Return the tag of exits in a country."""
    return f"exit {country.lower()}"


def keys_of(record: PeerRecord, network: str = "") -> list[bytes]:
    """Return all keys under which a relay puts its record."""
    shard = shard_of(record.identity)
    return [
        identity_key(record.identity, network),
        *(tag_key(tag, shard, network) for tag in tags_of(record)),
    ]


def network_number(network: str) -> int:
    """Return the engine's network number, so that networks do not mix; never 0, which means none."""
    number = int.from_bytes(sha256(label_octets(Label.DHT_NETWORK, network))[:4], "big")
    return number or 1


def only_fitting(records: Sequence[PeerRecord], key: bytes, network: str = "") -> list[PeerRecord]:
    """Leave out records that do not belong under the key where they were found."""
    return [record for record in records if key in keys_of(record, network)]
