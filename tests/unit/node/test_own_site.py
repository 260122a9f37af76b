from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from tests.support.origins import HOST, make_certificates
from vigilnet.base.errors import ConfigurationError
from vigilnet.node.own_site import OwnSite, host_name_of


def test_the_name_is_the_certificate_s(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    assert host_name_of(tmp_path / "chain.pem") == HOST
    make_certificates(tmp_path, "*.Example.Test")
    assert host_name_of(tmp_path / "chain.pem") == "example.test"


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_file_without_a_certificate_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chain.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"htx\.certificate"):
        host_name_of(tmp_path / "chain.pem")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    with pytest.raises(ConfigurationError, match=r"htx\.certificate_key"):
        OwnSite(tmp_path / "server", tmp_path / "chain.pem", tmp_path / "nowhere.pem", None)


@needs_programs("nginx")
def test_it_runs_until_it_is_stopped(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    site = OwnSite(tmp_path / "server", tmp_path / "chain.pem", tmp_path / "key.pem", None)
    try:
        assert site.port > 0
        assert (tmp_path / "server" / "site" / "index.html").exists()
    finally:
        site.stop()
