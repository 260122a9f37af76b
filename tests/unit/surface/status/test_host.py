"""Where the directory listens, and with which certificate."""

from pathlib import Path

import pytest

from tests.support.origins import make_certificates
from vigilnet.base.errors import ConfigurationError
from vigilnet.surface.status.host import _host_and_port, _tls_of


def test_https_wants_a_certificate_and_its_key(tmp_path: Path) -> None:
    make_certificates(tmp_path, "directory.example")
    assert _tls_of(None, None) is None
    assert _tls_of(tmp_path / "chain.pem", tmp_path / "key.pem") is not None
    for certificate, key in (("none.pem", "key.pem"), ("chain.pem", "none.pem"), ("key.pem", "key.pem")):
        with pytest.raises(ConfigurationError, match=r"operators\.certificate"):
            _tls_of(tmp_path / certificate, tmp_path / key)


def test_an_address_to_listen_at_is_host_and_port() -> None:
    assert _host_and_port("[::1]:80") == ("::1", 80)
    for text in ("", "80", "host:", ":80", "host:70000"):
        with pytest.raises(ConfigurationError, match="host:port"):
            _host_and_port(text)
