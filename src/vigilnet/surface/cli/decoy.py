"""The web site behind the relays of a testnet over HTX: an nginx of our own on loopback.

Its certificate is made for the occasion; the nodes of the testnet are told to believe its root alone.
"""

import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vigilnet.base.store_io import write_file
from vigilnet.base.web_server_io import WebServer

HOST_NAME: Final = "www.testnet.example"
_DAYS: Final = datetime.timedelta(days=30)


class Decoy:
    """One nginx of ours.

    Args:
        folder: for its files; made if it is not there.

    Raises:
        EnvironmentRefusedError: nginx is missing, or does not start.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        make_certificates(folder, HOST_NAME)
        self._server = WebServer(folder, folder / "chain.pem", folder / "key.pem", folder / "site")
        self.port: Final = self._server.port

    @property
    def root(self) -> Path:
        """The root certificate to believe."""
        return self._folder / "root.pem"

    def stop(self) -> None:
        """End it."""
        self._server.stop()


def make_certificates(folder: Path, host_name: str) -> None:
    """Write chain.pem, key.pem and root.pem: a leaf for `host_name` under a root of its own."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _builder("Testnet Root", root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(is_root=True), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _builder(host_name, key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host_name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_root=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    (folder / "chain.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    write_file(folder / "key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("Testnet Root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAYS / 30)
        .not_valid_after(now + _DAYS)
    )


def _usage(*, is_root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
