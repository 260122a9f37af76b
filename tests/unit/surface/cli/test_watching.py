import json
import logging
import webbrowser
from pathlib import Path

import pytest

from tests.support.fake_node import FakeHost, FakeNode, served
from vigilnet.base.safelog import get_logger, sensitive
from vigilnet.surface.cli.main import main


def test_log_lines_are_safe_and_filtered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = FakeHost(FakeNode(), tmp_path / "x.toml")
    logger = logging.getLogger("vigilnet")
    logger.addHandler(host.logs)
    logger.setLevel("DEBUG")
    try:
        log = get_logger("vigilnet.test")
        log.warning("link lost", peer=sensitive("192.0.2.1"))
        log.debug("a detail")
    finally:
        logger.removeHandler(host.logs)
        logger.setLevel("NOTSET")
    with served(tmp_path, host=host):
        assert main(["logs", "--level", "warning", "--state-folder", str(tmp_path)]) == 0
        text = capsys.readouterr().out
        assert text.endswith("warning test: link lost peer=[hidden]\n") or "192.0.2.1" not in text
        assert "a detail" not in text
        assert main(["logs", "--json", "-n", "1", "--state-folder", str(tmp_path)]) == 0
        assert json.loads(capsys.readouterr().out)["lines"][0]["text"] == "a detail"


def test_dashboard_is_opened_with_a_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def browser(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", browser)
    monkeypatch.setenv("DISPLAY", ":99")
    with served(tmp_path):
        assert main(["gui", "--tab", "--no-tray", "--state-folder", str(tmp_path)]) == 0
        assert main(["gui", "--print", "--read-only", "--state-folder", str(tmp_path)]) == 0
    # what browsers are told stands on a command line, so the token is in a page of the owner's instead
    page = tmp_path / "dashboard.html"
    assert opened == [page.as_uri()]
    assert "url=http://127.0.0.1:8088/#token=" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    told, printed = capsys.readouterr().out.splitlines()
    assert told == "the dashboard is open"  # a token is not for a scrollback that nobody asked for
    assert "#token=" in printed
