"""Registrations and listings in JSON (docs/spec/operator.md sections 2 and 3; sans-IO).

A signed registration carries the relay's record and a signature over it and the time, so that nobody else can
register the relay, and nobody can repeat what it said once:

    signature = Ed25519(identity, label "operator registration" ‖ 0x00 ‖ signed_at u64 ‖ record digest 32)
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.peer.address import PeerAddress, TransportKind, is_host_name
from vigilnet.peer.descriptor import (
    MAX_RECORD_SIZE,
    Capability,
    PeerRecord,
    is_signature_valid,
    parse_record,
)
from vigilnet.peer.identity import SIGNATURE_SIZE, Identity, is_signed_by, parse_peer_id, peer_id_text
from vigilnet.routing.operators.countries import UNKNOWN, is_country

MAX_BODY: Final = 8192
MAX_ADDRESSES: Final = 8
MAX_ADDRESS: Final = 256
MAX_CAPABILITIES: Final = 8
MAX_TIME: Final = 1 << 53  # what JSON readers take for a whole number
_OLD_PEER_ID: Final = re.compile(r"(?:12D3KooW|16Uiu2|Qm)[1-9A-HJ-NP-Za-km-z]{1,56}")
_CAPABILITY: Final = re.compile(r"[a-z][a-z0-9_-]{0,15}")
_NAMES: Final = {
    Capability.RELAY: "relay",
    Capability.GUARD: "guard",
    Capability.EXIT: "exit",
    Capability.DIRECTORY: "directory",
}


@dataclass(frozen=True, slots=True)
class Registration:
    """What a relay says of itself; `record` and what follows only if it is signed."""

    peer_id: str
    addrs: tuple[str, ...]
    country: str
    capabilities: tuple[str, ...]
    last_seen: int  # seconds; servers use their own clock
    first_seen: int
    record: bytes = b""
    signed_at: int = 0  # ms
    signature: bytes = b""


def decode_registration(value: object) -> Registration:
    """Read the body of `POST /api/relay/register`.

    Raises:
        RemoteProtocolError: a field is missing, of another kind or beyond its limit.
    """
    if not isinstance(value, dict):
        raise RemoteProtocolError("registration: not an object")
    is_signed = "record" in value
    if is_signed != ("signature" in value) or is_signed != ("signed_at" in value):
        raise RemoteProtocolError("registration: record, signed_at and signature belong together")
    peer_id = _text(value, "peer_id", 64)
    if is_signed:
        parse_peer_id(peer_id)
    elif _OLD_PEER_ID.fullmatch(peer_id) is None:
        raise RemoteProtocolError("registration: peer_id is not one")
    country = _text(value, "country", 2)
    if country != UNKNOWN and not is_country(country):
        raise RemoteProtocolError("registration: country is not an ISO 3166 code of two capital letters")
    addrs = _texts(value, "addrs", MAX_ADDRESSES, MAX_ADDRESS)
    for text in addrs:
        host_of_multiaddr(text)
    capabilities = _texts(value, "capabilities", MAX_CAPABILITIES, 16)
    if not all(_CAPABILITY.fullmatch(text) for text in capabilities):
        raise RemoteProtocolError("registration: capabilities are words of small letters")
    return Registration(
        peer_id,
        addrs,
        country,
        capabilities,
        _time(value, "last_seen"),
        _time(value, "first_seen"),
        _octets(value, "record", 1, MAX_RECORD_SIZE) if is_signed else b"",
        _time(value, "signed_at") if is_signed else 0,
        _octets(value, "signature", SIGNATURE_SIZE, SIGNATURE_SIZE) if is_signed else b"",
    )


def encode_registration(registration: Registration) -> dict[str, object]:
    """Return a registration as JSON values; what `decode_registration` reads."""
    value: dict[str, object] = {
        "peer_id": registration.peer_id,
        "addrs": list(registration.addrs),
        "country": registration.country,
        "capabilities": list(registration.capabilities),
        "last_seen": registration.last_seen,
        "first_seen": registration.first_seen,
    }
    if registration.record:
        value["record"] = to_base64(registration.record)
        value["signed_at"] = registration.signed_at
        value["signature"] = to_base64(registration.signature)
    return value


def sign_registration(identity: Identity, record: PeerRecord, wall: float, network: str = "") -> Registration:
    """Return our own registration of this moment."""
    signed_at = int(wall * 1000)
    return Registration(
        peer_id_text(record.identity),
        addresses_of(record),
        record.country or UNKNOWN,
        capabilities_of(record),
        int(wall),
        int(wall),
        record.encoded,
        signed_at,
        identity.sign(_signed_octets(signed_at, record, network)),
    )


def verified_record(registration: Registration, network: str = "") -> PeerRecord | None:
    """Return the record if the relay itself signed it and this registration of it, else None.

    Raises:
        RemoteProtocolError: the record is malformed.
    """
    record = parse_record(registration.record, network)
    octets = _signed_octets(registration.signed_at, record, network)
    is_good = (
        peer_id_text(record.identity) == registration.peer_id
        and is_signed_by(record.identity, registration.signature, octets)
        and is_signature_valid(record, network)
    )
    return record if is_good else None


def _signed_octets(signed_at: int, record: PeerRecord, network: str) -> bytes:
    label = label_octets(Label.OPERATOR_REGISTRATION, network)
    return label + b"\0" + signed_at.to_bytes(8) + record.digest


def capabilities_of(record: PeerRecord) -> tuple[str, ...]:
    """Return what a record offers in the words of the API."""
    return tuple(name for capability, name in _NAMES.items() if capability in record.capabilities)


def addresses_of(record: PeerRecord) -> tuple[str, ...]:
    """Return a record's addresses as multiaddr texts; those without host and port are left out."""
    return tuple(multiaddr_text(address) for address in record.addresses if address.port)[:MAX_ADDRESSES]


def multiaddr_text(address: PeerAddress) -> str:
    """Return the multiaddr in its text form.

    >>> multiaddr_text(PeerAddress.tcp("192.0.2.1", 4001))
    '/ip4/192.0.2.1/tcp/4001'
    """
    try:
        kind = f"ip{ipaddress.ip_address(address.host).version}"
    except ValueError:
        kind = "dns"
    suffix = "udp/{}/quic-v1" if address.transport == TransportKind.QUIC else "tcp/{}"
    return f"/{kind}/{address.host}/{suffix.format(address.port)}"


def host_of_multiaddr(text: str) -> str:
    """Return the host of `/ip4|ip6|dns|dns4|dns6/HOST/tcp|udp/PORT[/...]`.

    Raises:
        RemoteProtocolError: anything else.
    """
    refusal = RemoteProtocolError(
        "registration: addrs has what is not a multiaddr like /ip4/192.0.2.1/tcp/4001"
    )
    parts = text.split("/")
    if len(parts) < 5:
        raise refusal
    empty, kind, host, protocol, port = parts[:5]
    if empty or protocol not in ("tcp", "udp") or not _is_port(port) or not text.isprintable():
        raise refusal
    if kind in ("dns", "dns4", "dns6"):
        if not is_host_name(host):
            raise refusal
        return host
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise refusal from error
    if kind != f"ip{address.version}" or "%" in host:
        raise refusal
    return str(address)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65_536


def decode_listing(value: object, limit: int) -> list[bytes]:
    """Return the records of `GET /api/relays/by-country`; relays without one are left out.

    Raises:
        RemoteProtocolError: not a listing.
    """
    if not isinstance(value, dict):
        raise RemoteProtocolError("listing: not an object")
    found: list[bytes] = []
    for relays in value.values():
        if not isinstance(relays, list):
            raise RemoteProtocolError("listing: a country's relays are not a list")
        for relay in relays:
            if len(found) >= limit:
                return found
            if isinstance(relay, dict) and "record" in relay:
                found.append(_octets(relay, "record", 1, MAX_RECORD_SIZE))
    return found


def decode_operator(value: object) -> bytes | None:
    """Return the record of `GET /api/operator`; None if the operator has none.

    Raises:
        RemoteProtocolError: not such an answer.
    """
    if not isinstance(value, dict):
        raise RemoteProtocolError("operator: not an object")
    return _octets(value, "record", 1, MAX_RECORD_SIZE) if "record" in value else None


def to_base64(octets: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _octets(value: Mapping[str, object], name: str, least: int, most: int) -> bytes:
    text = value.get(name)
    if not isinstance(text, str) or len(text) > (most * 4 + 2) // 3:
        raise RemoteProtocolError(f"{name}: not a text of base64url, or too long")
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteProtocolError(f"{name}: not base64url") from error
    if to_base64(octets) != text:  # one text for one value
        raise RemoteProtocolError(f"{name}: not base64url in its one form")
    if not least <= len(octets) <= most:
        raise RemoteProtocolError(f"{name}: {len(octets)} octets, {least} to {most} expected")
    return octets


def _text(value: Mapping[str, object], name: str, most: int) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= most:
        raise RemoteProtocolError(f"registration: {name} must be a text of 1 to {most} letters")
    return text


def _texts(value: Mapping[str, object], name: str, most: int, longest: int) -> tuple[str, ...]:
    items = value.get(name)
    if not isinstance(items, list) or not 0 < len(items) <= most:
        raise RemoteProtocolError(f"registration: {name} must be a list of 1 to {most} texts")
    if not all(isinstance(item, str) and 0 < len(item) <= longest for item in items):
        raise RemoteProtocolError(f"registration: {name} must be texts of up to {longest} letters")
    return tuple(items)


def _time(value: Mapping[str, object], name: str) -> int:
    number = value.get(name)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_TIME:
        raise RemoteProtocolError(f"registration: {name} must be a whole number")
    return number
