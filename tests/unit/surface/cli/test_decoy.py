import ssl
import urllib.request
from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from vigilnet.surface.cli.decoy import HOST_NAME, Decoy


@needs_programs("nginx")
def test_the_site_is_there_until_it_is_stopped(tmp_path: Path) -> None:
    site = Decoy(tmp_path / "site")
    try:
        context = ssl.create_default_context(cafile=str(site.root))
        context.check_hostname = False  # the name is in no DNS
        with urllib.request.urlopen(f"https://127.0.0.1:{site.port}/", context=context, timeout=60) as page:
            assert b"ordinary page" in page.read()
        assert HOST_NAME.encode() not in (tmp_path / "site" / "key.pem").read_bytes()
        assert (tmp_path / "site" / "key.pem").stat().st_mode & 0o077 == 0
    finally:
        site.stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"https://127.0.0.1:{site.port}/", timeout=60)
