import contextlib
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from tests.support.origins import make_certificates
from tests.support.waiting import wait_until
from vigilnet.base import web_server_io
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.web_server_io import WebServer


def start(folder: Path, site: Path) -> WebServer:
    return WebServer(folder / "server", folder / "chain.pem", folder / "key.pem", site)


def fetch(server: WebServer, root: Path, path: str = "") -> bytes:
    context = ssl.create_default_context(cafile=str(root))
    context.check_hostname = False  # the name is in no DNS
    url = f"https://127.0.0.1:{server.port}/{path}"
    with urllib.request.urlopen(url, context=context, timeout=30) as page:
        assert page.headers["Content-Type"] == "text/html"
        return bytes(page.read())


@needs_programs("nginx")
def test_it_shows_the_operator_s_pages_and_takes_a_new_certificate(tmp_path: Path) -> None:
    before = make_certificates(tmp_path).root
    site = tmp_path / "pages"
    site.mkdir()
    (site / "index.html").write_text("my own page")
    server = start(tmp_path, site)
    try:
        assert fetch(server, tmp_path / "root.pem") == b"my own page"
        assert make_certificates(tmp_path).root != before
        server.reload()

        def is_new() -> bool:
            try:
                return fetch(server, tmp_path / "root.pem") == b"my own page"
            except OSError:
                return False

        wait_until(is_new, "the new certificate")
    finally:
        server.stop()
    with pytest.raises(OSError, match="refused"):
        fetch(server, tmp_path / "root.pem")


@needs_programs("nginx")
def test_without_pages_there_is_one(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    server = start(tmp_path, tmp_path / "none" / "yet")
    try:
        assert b"ordinary page" in fetch(server, tmp_path / "root.pem")
    finally:
        server.stop()


def test_a_missing_nginx_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(EnvironmentRefusedError, match="needs nginx"):
        start(tmp_path, tmp_path / "site")


@pytest.mark.slow
@needs_programs("nginx")
def test_an_nginx_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server_io, "_CONFIG", "nonsense {folder}{port}{user}{site}{chain}{key}")
    monkeypatch.setattr(web_server_io, "START_TIMEOUT_S", 0.5)
    with pytest.raises(EnvironmentRefusedError, match="does not start"):
        start(tmp_path, tmp_path / "site")


@pytest.mark.slow
@needs_programs("nginx")
def test_another_who_answers_on_its_port_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificates(tmp_path)
    monkeypatch.setattr(web_server_io, "START_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr("socket.create_server", lambda *_: contextlib.nullcontext(other))
        with pytest.raises(EnvironmentRefusedError, match="does not start"):
            start(tmp_path, tmp_path / "site")


@needs_programs("nginx")
def test_a_path_cannot_speak_to_nginx(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentRefusedError, match="path"):
        start(tmp_path, tmp_path / 'a";}')
