"""A relay's certificate for QUIC: signed by itself; its digest is in the record (sans-IO)."""

import datetime
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID

from vigilnet.base.errors import ConfigurationError
from vigilnet.crypto.kdf import sha256

LIFE: Final = datetime.timedelta(days=3650)  # nobody checks it: clients compare the digest


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    der: bytes
    key_der: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """What the record says of it, and what ties a link to it: 32 octets."""
        return sha256(self.der)

    def as_pem(self) -> tuple[bytes, bytes]:
        """Return certificate and key as TLS stacks take them."""
        certificate = x509.load_der_x509_certificate(self.der)
        key = load_der_private_key(self.key_der, None)
        return (
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def make_certificate(server_name: str, wall: float) -> Certificate:
    """Make one for `server_name`.

    Raises:
        ConfigurationError: not a host name.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.fromtimestamp(int(wall), datetime.UTC)
    try:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, server_name)])
        names = x509.SubjectAlternativeName([x509.DNSName(server_name)])
    except ValueError as error:
        raise ConfigurationError(f"quic.server_name: got {server_name!r}, expected a host name") from error
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + LIFE)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        certificate.public_bytes(Encoding.DER),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    )
