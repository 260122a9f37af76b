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
    with served(tmp_path):
        assert main(["gui", "--state-folder", str(tmp_path)]) == 0
        assert main(["gui", "--print", "--read-only", "--state-folder", str(tmp_path)]) == 0
    assert opened[0].startswith("http://127.0.0.1:8088/#token=")
    captured = capsys.readouterr()
    assert opened[0] not in captured.out  # a token is not for a scrollback that nobody asked for
    assert "#token=" in captured.out
