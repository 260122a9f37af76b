"""Both ends of a pipe, joined in memory."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.deterministic import counted_bytes
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.noise import Pattern
from vigilnet.traffic.link.admission import Admission
from vigilnet.traffic.link.handshake import Channel, Initiator, Responder
from vigilnet.traffic.link.neighbours import LinkRecord
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.pipe import NETWORK, Pipe
from vigilnet.traffic.link.wire import LinkSuite
from vigilnet.traffic.transport.carrier import CarrierKind

SECRET = X25519PrivateKey.from_private_bytes(b"p" * 32)
PUBLIC = SECRET.public_key().public_bytes_raw()
NOW = 100.0


def refuse(_: bytes) -> LinkRecord:
    raise RemoteProtocolError("pipe: a record")


def pipes(
    *,
    has_tls_records: bool = False,
    network: str = NETWORK,
    options: Options | None = None,
    channel: Channel | None = None,
) -> tuple[Pipe, Pipe]:
    """Return the dialling end and the answering one, not joined yet."""
    suite = LinkSuite(Pattern.XK_HFS, Suite.CHACHA20_POLY1305)
    answering_channel = channel or Channel(CarrierKind.PLAIN, bytes(32), network)
    channel = channel or Channel(CarrierKind.PLAIN, bytes(32), NETWORK)
    dialling = Initiator(
        suite, X25519PrivateKey.generate(), b"", responder=PUBLIC, responder_key=PUBLIC, channel=channel
    )
    admission = Admission(options or Options(), PUBLIC, network, counted_bytes(), NOW)
    ticket = admission.enter("192.0.2.1", NOW, lambda: None)
    assert ticket is not None
    answering = Responder(
        PUBLIC, SECRET, channel=answering_channel, admission=admission,
        ticket=ticket, admit=refuse, wall_minus_now=0.0,
    )  # fmt: skip
    return (
        Pipe(dialling, has_tls_records=has_tls_records),
        Pipe(answering, has_tls_records=has_tls_records),
    )


def exchange(one: Pipe, other: Pipe, piece: int = 1 << 20) -> tuple[bytes, bytes]:
    """Let both say what they have to say; return what each got."""
    got: dict[int, bytes] = {id(one): b"", id(other): b""}
    is_quiet = False
    while not is_quiet:
        is_quiet = True
        for sender, receiver in ((one, other), (other, one)):
            wire = b"".join(sender.data_to_send())
            is_quiet = is_quiet and not wire
            for at in range(0, len(wire), piece):
                got[id(receiver)] += b"".join(receiver.receive(wire[at : at + piece], NOW))
    return got[id(one)], got[id(other)]
