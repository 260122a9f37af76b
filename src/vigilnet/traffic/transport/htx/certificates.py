"""Judging an origin's certificate as the template's browser would (docs/spec/htx.md section 5)."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import brotli
import zstandard
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.kdf import sha256
from vigilnet.traffic.transport.htx.alerts import Fault, TlsFaultError

_SERVER_SAYS: Final = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
_EC: Final[dict[int, tuple[type[ec.EllipticCurve], hashes.HashAlgorithm]]] = {
    0x0403: (ec.SECP256R1, hashes.SHA256()),
    0x0503: (ec.SECP384R1, hashes.SHA384()),
    0x0603: (ec.SECP521R1, hashes.SHA512()),
}
_PSS: Final[dict[int, hashes.HashAlgorithm]] = {
    0x0804: hashes.SHA256(),
    0x0805: hashes.SHA384(),
    0x0806: hashes.SHA512(),
}
_ED25519: Final = 0x0807


class UntrustedCertificateError(TlsFaultError):
    """The browser would not accept the origin's chain: somebody is in between, or it is misconfigured."""


@dataclass(frozen=True)
class TrustAnchors:
    """Which roots are believed."""

    store: Store
    digests: frozenset[bytes] = frozenset()  # of the roots; a site's own certificate may be one

    @classmethod
    def from_pem(cls, data: bytes) -> "TrustAnchors":
        """Read a bundle of roots; ValueError if there is none."""
        roots = x509.load_pem_x509_certificates(data)
        return cls(Store(roots), frozenset(sha256(root.public_bytes(Encoding.DER)) for root in roots))


ChainCheck = Callable[[Sequence[bytes], str, float], None]


def check_chain(anchors: TrustAnchors, chain: Sequence[bytes], server_name: str, wall: float) -> None:
    """Insist that `chain` (DER, leaf first) is valid now for `server_name` and leads to a root.

    Raises:
        UntrustedCertificateError: it is not.
    """
    try:
        leaf, *others = (x509.load_der_x509_certificate(der) for der in chain)
        verifier = (
            PolicyBuilder()
            .store(anchors.store)
            .time(datetime.fromtimestamp(wall, UTC))
            .build_server_verifier(x509.DNSName(server_name))
        )
        verifier.verify(leaf, others)
    except (ValueError, VerificationError, x509.UnsupportedGeneralNameType) as error:
        fault = _fault(chain, server_name, wall)
        if fault is None and sha256(chain[0]) in anchors.digests:
            return  # signed by itself, and believed by name: as a browser that was told to
        fault = fault or Fault.ROOT
        raise UntrustedCertificateError(
            f"origin's certificate: not trusted for its name now ({fault.value})", fault
        ) from error


def _fault(chain: Sequence[bytes], server_name: str, wall: float) -> Fault | None:
    """Say what is wrong with the leaf itself; None if nothing is."""
    try:
        leaf = x509.load_der_x509_certificate(chain[0])
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        offered = names.get_values_for_type(x509.DNSName)
    except (ValueError, IndexError, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType):
        return Fault.ROOT
    if not leaf.not_valid_before_utc.timestamp() <= wall <= leaf.not_valid_after_utc.timestamp():
        return Fault.TIME
    wildcard = "*." + server_name.partition(".")[2]
    return None if {server_name, wildcard} & set(offered) else Fault.NAME


def check_signature(leaf: bytes, scheme: int, signature: bytes, transcript: bytes) -> None:
    """Insist that the holder of the leaf's key signed this very handshake (RFC 8446 section 4.4.3).

    Raises:
        RemoteProtocolError: another scheme than the key's, or a signature that does not verify.
    """
    signed = _SERVER_SAYS + transcript
    try:
        key = x509.load_der_x509_certificate(leaf).public_key()
        if isinstance(key, rsa.RSAPublicKey) and scheme in _PSS:
            digest = _PSS[scheme]
            key.verify(signature, signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and scheme in _EC:
            curve, digest = _EC[scheme]
            if not isinstance(key.curve, curve):
                raise RemoteProtocolError(f"certificate verify: scheme {scheme:#06x} for another curve")
            key.verify(signature, signed, ec.ECDSA(digest))
        elif isinstance(key, ed25519.Ed25519PublicKey) and scheme == _ED25519:
            key.verify(signature, signed)
        else:
            raise RemoteProtocolError(f"certificate verify: scheme {scheme:#06x} is not the key's")
    except (ValueError, InvalidSignature) as error:
        raise TlsFaultError("certificate verify: signature does not verify", Fault.SIGNATURE) from error


def issuer_digest(chain: Sequence[bytes]) -> bytes:
    """Return SHA-256 of the issuer's key (param 3 of a record); of the leaf's own if it came alone."""
    issuer = x509.load_der_x509_certificate(chain[1] if len(chain) > 1 else chain[0])
    return sha256(issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def decompress(algorithm: int, data: bytes, size: int) -> bytes:
    """Return a certificate message that was compressed (RFC 8879): 1 zlib, 2 brotli, 3 zstd.

    Raises:
        RemoteProtocolError: another algorithm, damaged, or not of exactly `size` octets.
    """
    try:
        if algorithm == 1:
            inflater = zlib.decompressobj()
            plain = inflater.decompress(data, size + 1)
        elif algorithm == 2:
            plain = brotli.Decompressor().process(data, output_buffer_limit=size + 1)
        elif algorithm == 3:
            plain = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompress(data, size + 1)
        else:
            raise RemoteProtocolError(f"compressed certificate: algorithm {algorithm} is unknown")
    except (zlib.error, brotli.error, zstandard.ZstdError) as error:
        raise RemoteProtocolError("compressed certificate: damaged") from error
    if len(plain) != size:
        raise RemoteProtocolError(f"compressed certificate: not of {size} octets")
    return plain
