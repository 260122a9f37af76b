"""The peer record ("descriptor"): what a node says about itself, signed (docs/spec/peer.md section 3).

    record    = CBOR array [body bstr, nonce bstr 8, signature bstr 64], at most 1024 octets
    signature = Ed25519(identity, label "record" ‖ 0x00 ‖ nonce ‖ body)
    digest    = SHA-256(label "record digest" ‖ record)

The body is a map with unsigned integer keys; keys from 32 on are kept and ignored, unknown ones below
are refused. Whether a record is current, new and worked for is judged by `peer.view`, not here.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final, cast

from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.kdf import sha256
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.peer.identity import PUBLIC_SIZE, SIGNATURE_SIZE, Identity, is_signed_by
from vigilnet.peer.wire import (
    U16_MAX,
    U32_MAX,
    read_array,
    read_map,
    read_octets,
    read_text,
    read_uint,
)
from vigilnet.peer.work import DEFAULT_BITS, NONCE_SIZE, epoch_of, find_nonce

VERSION: Final = 1
MAX_RECORD_SIZE: Final = 1024
MIN_LIFETIME_S: Final = 600
MAX_LIFETIME_S: Final = 172_800
DAY_S: Final = 86_400
ONION_KEY_DAYS: Final = (
    3  # from the start of its day to its not-after: in the record for one, accepted for two more
)
MAX_SEQUENCE_SKEW_MS: Final = 600_000
REVOCATION_LIFE_S: Final = 366 * DAY_S
MAX_PUBLISHED: Final = U32_MAX * 3  # keeps epochs below u32; far beyond any clock
MANDATORY_SUITES: Final = 1 << Suite.CHACHA20_POLY1305 | 1 << Suite.AES_256_GCM
FIRST_FREE_KEY: Final = 32

MAX_ONION_KEYS: Final = 2
MAX_ADDRESSES: Final = 8
MAX_ADDRESS_SIZE: Final = 256
MAX_PORT_RANGES: Final = 16
MAX_SOFTWARE_LENGTH: Final = 24
MAX_BANDWIDTH_CLASS: Final = 63
MAX_FAMILY: Final = 8
MAX_SERVICE_KEYS: Final = 4
_MANDATORY: Final = frozenset((0, 1, 2, 3, 4, 5, 6, 8, 9, 17))
_REVOKED_KEYS: Final = frozenset((0, 1, 2, 3, 4, 18))
_KNOWN: Final = frozenset(range(19))


class Capability(IntFlag):
    """What a node offers; unknown bits of newer nodes are kept."""

    RELAY = 1
    GUARD = 2
    EXIT = 4
    RENDEZVOUS = 8
    DIRECTORY = 16
    DHT = 32
    MIX = 64
    MAILBOX = 128
    INTRODUCER = 256


@dataclass(frozen=True)
class OnionKey:
    """An X25519 key for circuits, of one UTC day."""

    public: bytes  # 32 octets
    not_after: int  # Unix seconds: 86 400 · (day + 3)

    @property
    def day(self) -> int:
        """The UTC day whose key this is."""
        return self.not_after // DAY_S - ONION_KEY_DAYS


@dataclass(frozen=True)
class ExitSummary:
    """Which ports an exit serves, in short; its real policy may refuse more."""

    is_accept_list: bool  # else the ranges are what it rejects
    ranges: tuple[tuple[int, int], ...]  # first and last port

    def allows(self, port: int) -> bool:
        """Whether a stream to `port` is worth trying."""
        for low, high in self.ranges:  # a loop: each stream asks, and `any` costs a generator
            if low <= port <= high:
                return self.is_accept_list
        return not self.is_accept_list


@dataclass(frozen=True)
class PuzzleHint:
    """The puzzle that the relay asks of circuit handshakes."""

    seed: bytes  # 16 octets
    effort: int
    end: int  # Unix seconds


@dataclass(frozen=True)
class PeerRecord:
    """A decoded record; `encoded` is what was signed and what is passed on."""

    identity: bytes
    sequence: int  # ms since 1970 at signing
    published: int  # Unix seconds
    lifetime: int  # seconds
    link_key: bytes = b""
    onion_keys: tuple[OnionKey, ...] = ()
    addresses: tuple[PeerAddress, ...] = ()
    capabilities: Capability = Capability.RELAY
    suites: int = MANDATORY_SUITES  # bit s = suite s
    preferred_suite: Suite = Suite.AES_256_GCM
    exit_summary: ExitSummary | None = None
    country: str = ""
    bandwidth_class: int | None = None  # floor(log2(kB/s))
    software: str = ""
    puzzle: PuzzleHint | None = None
    family: tuple[bytes, ...] = ()  # 8 octets each
    service_keys: tuple[bytes, ...] = ()  # 32 octets each
    revoked: bool = False
    extra: Mapping[int, Value] = field(default_factory=dict)  # keys of newer nodes
    encoded: bytes = b""
    digest: bytes = b""

    @property
    def introducers(self) -> dict[bytes, str]:
        """Neighbours through which the relay can be asked to dial, and from where they see it dial."""
        return {
            address.introducer: address.host
            for address in self.addresses
            if address.introducer and address.introducer != self.identity
        }

    @property
    def is_dialable(self) -> bool:
        """Whether strangers may dial it; one that names introducers has at most addresses for its LAN."""
        return not self.introducers

    @property
    def onion_key(self) -> OnionKey:
        """The key that clients use: the last."""
        return self.onion_keys[-1]

    @property
    def nonce(self) -> bytes:
        """The identity work's nonce."""
        return self.encoded[-SIGNATURE_SIZE - 2 - NONCE_SIZE : -SIGNATURE_SIZE - 2]

    @property
    def end(self) -> int:
        """When the record stops being of use, Unix seconds; a revocation outlives its lifetime."""
        return self.published + (REVOCATION_LIFE_S if self.revoked else self.lifetime)


def record_digest(encoded: bytes, network: str = "") -> bytes:
    """Return the 32 octets that name this very record."""
    return sha256(label_octets(Label.RECORD_DIGEST, network), encoded)


def decode_record(encoded: bytes, network: str = "") -> PeerRecord:
    """Return the record of `encoded` after checking form, limits and signature; not times, not work.

    Raises:
        RemoteProtocolError: malformed, beyond a limit, or not signed by its identity.
    """
    record = parse_record(encoded, network)
    if not is_signature_valid(record, network):
        raise RemoteProtocolError("record: signature does not verify")
    return record


def parse_record(encoded: bytes, network: str = "") -> PeerRecord:
    """Return the record of `encoded` with form and limits checked, its signature not."""
    encoded = bytes(encoded)
    outer = read_array(decode(encoded, "record", MAX_RECORD_SIZE), "record", 3, 3)
    body = decode(read_octets(outer[0], "record body", 0, MAX_RECORD_SIZE), "record body")
    read_octets(outer[1], "record nonce", NONCE_SIZE)
    read_octets(outer[2], "record signature", SIGNATURE_SIZE)
    fields = _checked_keys(read_map(body, "record body"))
    read_uint(fields[0], "record version", VERSION, VERSION)
    published = read_uint(fields[3], "record published", 0, MAX_PUBLISHED)
    sequence = read_uint(fields[2], "record sequence")
    if abs(sequence - 1000 * published) > MAX_SEQUENCE_SKEW_MS:
        raise RemoteProtocolError("record sequence: more than 600 s away from published")
    record = PeerRecord(
        identity=read_octets(fields[1], "record identity", PUBLIC_SIZE),
        sequence=sequence,
        published=published,
        lifetime=read_uint(fields[4], "record lifetime", MIN_LIFETIME_S, MAX_LIFETIME_S),
        revoked=18 in fields and read_uint(fields[18], "record revoked", 1, 1) == 1,
        encoded=encoded,
        digest=record_digest(encoded, network),
    )
    return record if record.revoked else _with_services(record, fields)


def is_signature_valid(record: PeerRecord, network: str = "") -> bool:
    """Whether the record was signed by its identity in the network of this name."""
    body, nonce, signature = cast("list[bytes]", decode(record.encoded, "record", MAX_RECORD_SIZE))
    return is_signed_by(record.identity, signature, _signed_octets(nonce, body, network))


def sign_record(
    identity: Identity,
    draft: PeerRecord,
    *,
    nonce: bytes | None = None,
    work_bits: int = DEFAULT_BITS,
    network: str = "",
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> PeerRecord:
    """Encode and sign our own record.

    Args:
        identity: whose record it is.
        draft: all fields but `encoded` and `digest`; its identity must be ours.
        nonce: the identity work of this epoch, done before; None does it here, which takes seconds.
        work_bits: how much work to do if there is no nonce.
        network: name of a private network.
        random_bytes: where the search for a nonce begins.

    Raises:
        LocalProtocolError: a field beyond its limit, or the record over 1024 octets.
    """
    if draft.identity != identity.public:
        raise LocalProtocolError("record: draft of another identity")
    if nonce is None:
        nonce = find_nonce(identity.public, epoch_of(draft.published), work_bits, random_bytes, network)
    body = encode(_body(draft))
    signature = identity.sign(_signed_octets(nonce or b"", body, network))
    try:
        return parse_record(encode([body, nonce, signature]), network)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"own {error}") from error


def _signed_octets(nonce: bytes, body: bytes, network: str) -> bytes:
    return label_octets(Label.RECORD, network) + b"\0" + nonce + body


def _body(draft: PeerRecord) -> dict[int, Value]:
    body: dict[int, Value] = {
        0: VERSION,
        1: draft.identity,
        2: draft.sequence,
        3: draft.published,
        4: draft.lifetime,
    }
    if draft.revoked:
        return body | {18: 1}
    body |= {
        5: draft.link_key,
        6: [[key.public, key.not_after] for key in draft.onion_keys],
        8: int(draft.capabilities),
        9: draft.suites,
        17: int(draft.preferred_suite),
    }
    optional: dict[int, Value] = {
        7: [_address_item(address) for address in draft.addresses],
        11: draft.country,
        13: draft.software,
        15: draft.family,
        16: draft.service_keys,
    }
    body |= {key: value for key, value in optional.items() if value}
    if draft.exit_summary is not None:
        body[10] = [0 if draft.exit_summary.is_accept_list else 1, draft.exit_summary.ranges]
    if draft.bandwidth_class is not None:
        body[12] = draft.bandwidth_class
    if draft.puzzle is not None:
        body[14] = [draft.puzzle.seed, draft.puzzle.effort, draft.puzzle.end]
    return body | dict(draft.extra)


def _address_item(address: PeerAddress) -> list[Value]:
    item: list[Value] = [int(address.transport), address.multiaddr]
    return [*item, address.params] if address.params else item


def _checked_keys(fields: Mapping[int, Value]) -> Mapping[int, Value]:
    present = fields.keys()
    if unknown := [key for key in present if key < FIRST_FREE_KEY and key not in _KNOWN]:
        raise RemoteProtocolError(f"record: unknown key {unknown[0]}")
    if 18 in present:
        if present != _REVOKED_KEYS:
            raise RemoteProtocolError("record: revoked, yet with other keys than 0 to 4")
    elif missing := _MANDATORY - present:
        raise RemoteProtocolError(f"record: key {min(missing)} missing")
    return fields


def _with_services(record: PeerRecord, fields: Mapping[int, Value]) -> PeerRecord:
    """Add what a record that is not revoked says beyond its identity and times."""
    optional: dict[str, object] = {}
    for key, (name, read) in _OPTIONAL.items():
        if key in fields:
            optional[name] = read(fields[key])
    suites = read_uint(fields[9], "record suites", 0, U32_MAX)
    preferred = read_uint(fields[17], "record preferred suite", min(Suite), max(Suite))
    if suites & MANDATORY_SUITES != MANDATORY_SUITES:
        raise RemoteProtocolError("record suites: a mandatory one is missing")
    return PeerRecord(
        identity=record.identity,
        sequence=record.sequence,
        published=record.published,
        lifetime=record.lifetime,
        link_key=read_octets(fields[5], "record link key", PUBLIC_SIZE),
        onion_keys=_read_onion_keys(fields[6], record.published // DAY_S),
        capabilities=Capability(read_uint(fields[8], "record capabilities", 0, U32_MAX)),
        suites=suites,
        preferred_suite=Suite(preferred),
        extra={key: value for key, value in fields.items() if key >= FIRST_FREE_KEY},
        encoded=record.encoded,
        digest=record.digest,
        **optional,  # type: ignore[arg-type]  # each reader returns its field's type
    )


def _read_onion_keys(value: Value, day: int) -> tuple[OnionKey, ...]:
    keys = []
    for item in read_array(value, "record onion keys", 1, MAX_ONION_KEYS):
        public, not_after = read_array(item, "record onion key", 2, 2)
        key = OnionKey(
            read_octets(public, "record onion key", PUBLIC_SIZE), read_uint(not_after, "record not-after")
        )
        # one key per identity and day: any other not-after would hide a key made for one client
        if key.not_after % DAY_S:
            raise RemoteProtocolError("record onion key: not-after is not the end of a day")
        keys.append(key)
    if [key.day for key in keys] not in ([day], [day - 1, day]):
        raise RemoteProtocolError("record onion keys: not those of the day of publication and the one before")
    return tuple(keys)


def _read_addresses(value: Value) -> tuple[PeerAddress, ...]:
    return tuple(map(_read_address, read_array(value, "record addresses", 1, MAX_ADDRESSES)))


def _read_address(value: Value) -> PeerAddress:
    transport, multiaddr, *params = read_array(value, "record address", 2, 3)
    if len(encode(value)) > MAX_ADDRESS_SIZE:
        raise RemoteProtocolError(f"record address: over {MAX_ADDRESS_SIZE} octets")
    address = PeerAddress.parse(
        read_uint(transport, "record transport", 0, U16_MAX),
        read_octets(multiaddr, "record multiaddr", 1, MAX_ADDRESS_SIZE),
        read_map(params[0], "record address parameters") if params else {},
    )
    if address.transport is TransportKind.HTX:
        _check_htx(address.params)
    return address


def _check_htx(params: Mapping[int, Value]) -> None:
    read_octets(params.get(0), "record htx key", PUBLIC_SIZE)
    read_text(params.get(1), "record htx host name", 1, 253)
    read_uint(params.get(2), "record htx mode", 1, 2)
    if 3 in params:
        read_octets(params[3], "record htx issuer", 32)


def _read_exit_summary(value: Value) -> ExitSummary:
    kind, ranges = read_array(value, "record exit summary", 2, 2)
    pairs = []
    for item in read_array(ranges, "record port ranges", 0, MAX_PORT_RANGES):
        low, high = read_array(item, "record port range", 2, 2)
        first = read_uint(low, "record port", 1, U16_MAX)
        pairs.append((first, read_uint(high, "record port", first, U16_MAX)))
    return ExitSummary(read_uint(kind, "record exit summary", 0, 1) == 0, tuple(pairs))


def _read_country(value: Value) -> str:
    country = read_text(value, "record country", 2, 2)
    if not (country.isalpha() and country.isupper()):
        raise RemoteProtocolError("record country: not two capital letters")
    return country


def _read_puzzle(value: Value) -> PuzzleHint:
    seed, effort, end = read_array(value, "record puzzle", 3, 3)
    return PuzzleHint(
        read_octets(seed, "record puzzle seed", 16),
        read_uint(effort, "record puzzle effort", 0, U32_MAX),
        read_uint(end, "record puzzle end"),
    )


def _read_family(value: Value) -> tuple[bytes, ...]:
    return tuple(
        read_octets(item, "record family", 8) for item in read_array(value, "record family", 1, MAX_FAMILY)
    )


def _read_service_keys(value: Value) -> tuple[bytes, ...]:
    keys = read_array(value, "record service keys", 1, MAX_SERVICE_KEYS)
    return tuple(read_octets(item, "record service key", PUBLIC_SIZE) for item in keys)


_OPTIONAL: Final[Mapping[int, tuple[str, Callable[[Value], object]]]] = {
    7: ("addresses", _read_addresses),
    10: ("exit_summary", _read_exit_summary),
    11: ("country", _read_country),
    12: ("bandwidth_class", lambda value: read_uint(value, "record bandwidth class", 0, MAX_BANDWIDTH_CLASS)),
    13: ("software", lambda value: read_text(value, "record software", 1, MAX_SOFTWARE_LENGTH)),
    14: ("puzzle", _read_puzzle),
    15: ("family", _read_family),
    16: ("service_keys", _read_service_keys),
}
