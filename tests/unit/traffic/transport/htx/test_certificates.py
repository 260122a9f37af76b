import time
import zlib
from pathlib import Path

import brotli
import pytest
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from tests.support.origins import HOST, make_certificates
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.certificates import (
    TrustAnchors,
    UntrustedCertificateError,
    check_chain,
    check_signature,
    decompress,
    issuer_digest,
)

PLAIN = b"a chain of certificates" * 100
PACKED = {
    1: zlib.compress(PLAIN),
    2: brotli.compress(PLAIN),
    3: zstandard.ZstdCompressor().compress(PLAIN),
}


@pytest.mark.parametrize("algorithm", [1, 2, 3])
def test_what_was_compressed_comes_back(algorithm: int) -> None:
    assert decompress(algorithm, PACKED[algorithm], len(PLAIN)) == PLAIN


@pytest.mark.parametrize("algorithm", [1, 2, 3])
@pytest.mark.parametrize("size", [1, len(PLAIN) - 1, len(PLAIN) + 1])
def test_another_size_than_announced_is_refused(algorithm: int, size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        decompress(algorithm, PACKED[algorithm], size)


@pytest.mark.parametrize("algorithm", [1, 2, 3])
def test_a_bomb_is_not_unpacked(algorithm: int) -> None:
    bomb = bytes(64 << 20)
    pack = {1: zlib.compress, 2: lambda data: brotli.compress(data, quality=1), 3: zstandard.compress}
    packed = pack[algorithm](bomb)
    started = time.process_time()
    with pytest.raises(RemoteProtocolError):
        decompress(algorithm, packed, 4000)
    assert time.process_time() - started < 1.0


@given(st.integers(0, 4), st.binary(max_size=100))
def test_any_octets_unpack_or_blame_the_server(algorithm: int, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decompress(algorithm, data, 5000)


def chain_of(folder: Path, **options: int) -> tuple[list[bytes], TrustAnchors]:
    certificates = make_certificates(folder, **options)  # type: ignore[arg-type]
    found = x509.load_pem_x509_certificates((folder / "chain.pem").read_bytes())
    return [certificate.public_bytes(Encoding.DER) for certificate in found], TrustAnchors.from_pem(
        certificates.root
    )


def test_a_chain_is_valid_for_its_name_and_time_alone(tmp_path: Path) -> None:
    chain, anchors = chain_of(tmp_path)
    now = time.time()
    check_chain(anchors, chain, HOST, now)
    for name, wall in (
        ("other.example.test", now),
        (HOST, now + 1e8),
        (HOST, now - 1e8),
        ("not a name", now),
    ):
        with pytest.raises(UntrustedCertificateError):
            check_chain(anchors, chain, name, wall)
    with pytest.raises(UntrustedCertificateError):
        check_chain(anchors, [b"nonsense"], HOST, now)
    assert len(issuer_digest(chain)) == 32


def test_a_signature_must_be_over_this_handshake_by_this_key(tmp_path: Path) -> None:
    chain, _ = chain_of(tmp_path)
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + bytes(32)
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    check_signature(chain[0], 0x0403, signature, bytes(32))
    for scheme, given_signature, transcript in (
        (0x0403, signature, b"x" * 32),
        (0x0503, signature, bytes(32)),
        (0x0804, signature, bytes(32)),
        (0x0807, signature, bytes(32)),
        (0x0403, b"nonsense", bytes(32)),
    ):
        with pytest.raises(RemoteProtocolError):
            check_signature(chain[0], scheme, given_signature, transcript)


def test_a_site_s_own_certificate_can_be_believed(tmp_path: Path) -> None:
    """Self-signed pairs: believed for their names and time if the operator named them."""
    certificates = make_certificates(tmp_path)
    chain = (certificates.folder / "chain.pem").read_bytes()
    (leaf,) = x509.load_pem_x509_certificates(chain)
    der = leaf.public_bytes(Encoding.DER)
    now = time.time()
    believed = TrustAnchors.from_pem(chain)
    check_chain(believed, [der], HOST, now)
    for name, wall in (("other.example.test", now), (HOST, now + 61 * 86_400)):
        with pytest.raises(UntrustedCertificateError):
            check_chain(believed, [der], name, wall)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    with pytest.raises(UntrustedCertificateError):
        check_chain(TrustAnchors.from_pem(make_certificates(stranger).root), [der], HOST, now)
