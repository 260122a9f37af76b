import json
from pathlib import Path

import pytest

from tests.support.fake_node import served
from vigilnet.surface.doctor import network
from vigilnet.surface.doctor.main import main


@pytest.fixture(autouse=True)
def no_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests ask nobody's resolver."""
    monkeypatch.setattr(network, "_servers", lambda _: [])


def test_findings_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path):
        assert main(["--state-folder", str(tmp_path)]) == 1
        text = capsys.readouterr().out
        assert main(["--state-folder", str(tmp_path), "--json", "--port", "6667"]) == 1
        shown = json.loads(capsys.readouterr().out)
    assert "! Names cannot be looked up\n" in text
    assert "    Next: look names up at the exit: vigilnet dns overlay" in text
    assert text.splitlines()[-1].endswith("--all  --json  --repair")
    assert "measured:" not in text
    assert any("Named by" in line and "irect." in line for line in text.splitlines())
    assert {peer["link"] for peer in shown["peers"]} >= {"direct"}
    assert shown["schema"] == 1
    assert shown["problems"] >= 1


def test_repair_says_what_it_did_and_looks_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    main(["--state-folder", str(folder), "--repair", "--all"])
    text = capsys.readouterr().out
    assert "repaired: close it to other users" in text
    assert "Other users can look into the state folder" not in text
    assert "measured:" in text
