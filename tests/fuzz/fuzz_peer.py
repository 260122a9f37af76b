"""Fuzz targets of the peer room and of the codec under it: CBOR, records, addresses, ids, files on disk."""

import secrets
from collections.abc import Callable

from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.address import PeerAddress, TransportKind, parse_components
from vigilnet.peer.descriptor import DAY_S, PeerRecord, parse_record, sign_record
from vigilnet.peer.identity import Identity, parse_peer_id, peer_id_text
from vigilnet.peer.issuing import Offer, RecordIssuer
from vigilnet.peer.keyring import KeyRing
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView

NOW = 20_000 * DAY_S
IDENTITY = Identity.from_seed(bytes(32))


def _fixed(size: int) -> bytes:
    return b"\x07" * size


RING = KeyRing(IDENTITY, NOW, _fixed)
HTX: dict[int, Value] = {0: bytes(32), 1: "www.example.org", 2: 1}
RECORD: PeerRecord = RecordIssuer(RING, _fixed, 0).issue(
    Offer(
        addresses=(
            PeerAddress.tcp("192.0.2.1", 4001),
            PeerAddress.build(TransportKind.HTX, "relay.example", 443, HTX),
        ),
        country="CH",
        software="fuzz",
    ),
    NOW,
)
REVOCATION = sign_record(
    IDENTITY, PeerRecord(IDENTITY.public, NOW * 1000, NOW, 600, revoked=True), nonce=bytes(8)
)


def _swallow(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            target(data)
        except RemoteProtocolError:
            return

    return run


def _cbor(data: bytes) -> None:
    if encode(decode(data, "fuzz", 4096)) != data:
        raise AssertionError("a second encoding was accepted")


def _record(data: bytes) -> None:
    if parse_record(data).encoded != data:
        raise AssertionError("record is not what was parsed")


def _resigned_record(data: bytes) -> None:
    """Any body under a good signature: the fields' own checks get the input."""
    parse_record(encode([data, bytes(8), bytes(64)]))


def _offered_record(data: bytes) -> None:
    view = PeerView(work_bits=0)
    view.offer(data, Source("fuzz"), NOW, 0.0)
    view.offer_proof(data, RECORD.encoded, Source("fuzz"), NOW, 0.0)
    again = PeerView(work_bits=0)
    again.load(view.to_values(), NOW)


def _multiaddr(data: bytes) -> None:
    parse_components(data)
    for kind in range(8):
        address = PeerAddress.parse(kind, data)
        if address.host and kind == TransportKind.TCP:
            again = PeerAddress.parse(kind, PeerAddress.tcp(address.host, address.port).multiaddr)
            if (again.host, again.port) != (address.host, address.port):
                raise AssertionError("host and port do not survive")


def _key_file(data: bytes) -> None:
    identity = Identity.from_libp2p_protobuf(data)
    if Identity.from_libp2p_protobuf(identity.to_libp2p_protobuf()).public != identity.public:
        raise AssertionError("key file does not survive")


def _peer_id(data: bytes) -> None:
    text = data.decode("latin-1")
    if peer_id_text(parse_peer_id(text)) != text:
        raise AssertionError("a second text of one identity")


def _key_ring(data: bytes) -> None:
    KeyRing.from_values(decode(data, "fuzz"), NOW, secrets.token_bytes)


def _view(data: bytes) -> None:
    PeerView(work_bits=0).load(decode(data, "fuzz"), NOW)


def _issuer(data: bytes) -> None:
    RecordIssuer(RING, _fixed, 0).load(decode(data, "fuzz"))


def _known_view() -> bytes:
    view = PeerView(work_bits=0)
    view.offer(RECORD.encoded, Source("fuzz"), NOW, 0.0)
    return encode(view.to_values())


_BODY = bytes(RECORD.encoded[4:-75])
TARGETS: dict[str, Callable[[bytes], None]] = {
    "cbor": _swallow(_cbor),
    "record": _swallow(_record),
    "record_body": _swallow(_resigned_record),
    "record_offered": _swallow(_offered_record),
    "multiaddr": _swallow(_multiaddr),
    "libp2p_key_file": _swallow(_key_file),
    "peer_id": _swallow(_peer_id),
    "key_ring": _swallow(_key_ring),
    "peer_view": _swallow(_view),
    "record_issuer": _swallow(_issuer),
}
SEEDS: dict[str, list[bytes]] = {
    "cbor": [RECORD.encoded, _BODY, encode({1: [True, None, -5], 2: b"x"}), encode({"a": ""})],
    "record": [RECORD.encoded, REVOCATION.encoded],
    "record_body": [_BODY],
    "record_offered": [RECORD.encoded, REVOCATION.encoded],
    "multiaddr": [address.multiaddr for address in RECORD.addresses]
    + [PeerAddress.build(TransportKind.QUIC, "2001:db8::1", 443).multiaddr],
    "libp2p_key_file": [IDENTITY.to_libp2p_protobuf()],
    "peer_id": [IDENTITY.peer_id.encode()],
    "key_ring": [encode(RING.to_values())],
    "peer_view": [_known_view()],
    "record_issuer": [encode(RecordIssuer(RING, _fixed, 0).to_values())],
}
