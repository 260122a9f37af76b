import pytest
from cryptography import x509

from vigilnet.base.errors import ConfigurationError
from vigilnet.crypto.kdf import sha256
from vigilnet.traffic.transport.quic.certificate import make_certificate


def test_a_certificate_is_for_its_name_and_its_key() -> None:
    made = make_certificate("relay.example", 1.8e9)
    certificate, key = made.as_pem()
    read = x509.load_pem_x509_certificate(certificate)
    assert made.digest == sha256(made.der)
    assert read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == ["relay.example"]
    assert b"PRIVATE KEY" in key
    assert repr(made).count("key") == 0


def test_a_certificate_is_for_a_host_name() -> None:
    with pytest.raises(ConfigurationError, match=r"quic\.server_name"):
        make_certificate("\u00e4", 1.8e9)
