import os
import ssl
import urllib.request
from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.surface.cli import decoy
from vigilnet.surface.cli.decoy import HOST_NAME, Decoy


@needs_programs("nginx")
def test_the_site_is_there_until_it_is_stopped(tmp_path: Path) -> None:
    site = Decoy(tmp_path / "site", is_root=os.geteuid() == 0)
    try:
        context = ssl.create_default_context(cafile=str(site.root))
        context.check_hostname = False  # the name is in no DNS
        with urllib.request.urlopen(f"https://127.0.0.1:{site.port}/", context=context, timeout=5) as page:
            assert b"ordinary page" in page.read()
        assert HOST_NAME.encode() not in (tmp_path / "site" / "key.pem").read_bytes()
        assert (tmp_path / "site" / "key.pem").stat().st_mode & 0o077 == 0
    finally:
        site.stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"https://127.0.0.1:{site.port}/", timeout=5)


def test_a_missing_nginx_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(EnvironmentRefusedError, match="needs nginx"):
        Decoy(tmp_path, is_root=False)


@needs_programs("nginx")
def test_an_nginx_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoy, "_CONFIG", "nonsense {folder}{port}{user}")
    monkeypatch.setattr(decoy, "START_TIMEOUT_S", 0.5)
    with pytest.raises(EnvironmentRefusedError, match="does not start"):
        Decoy(tmp_path, is_root=False)
