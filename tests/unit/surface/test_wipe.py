import io
import json
import sys
from pathlib import Path

import pytest

from vigilnet.base.store_io import Store
from vigilnet.surface import wipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    store = Store(state)
    store.lock()
    store.write_atomic("keys", b"secret")
    store.write_atomic("peers", b"whom we know")
    store.close()
    return state


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"vigilnet.lock"}


def test_everything_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wipe.main(["--state-folder", str(folder), "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "wiped": 2}
    assert not left(folder)
    assert wipe.main(["--state-folder", str(folder), "--yes"]) == 0
    assert capsys.readouterr().out == f"wiped 0 files in {folder}\n"


@pytest.mark.parametrize("answer", ["no\n", "", "y\n"])
def test_nothing_goes_without_a_clear_yes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert wipe.main(["--state-folder", str(folder)]) == 2
    assert "not wiped" in capsys.readouterr().err
    assert left(folder) == {"keys", "peers"}


def test_a_pipe_cannot_confirm_but_a_terminal_can(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = io.StringIO("yes\n")
    monkeypatch.setattr(sys, "stdin", answer)
    assert wipe.main(["--state-folder", str(folder)]) == 2
    monkeypatch.setattr(answer, "isatty", lambda: True)
    assert wipe.main(["--state-folder", str(folder)]) == 0
    assert not left(folder)


def test_folders_that_are_no_nodes_are_never_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    assert wipe.main(["--state-folder", str(tmp_path), "--yes"]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "diary.txt").read_text() == "dear diary"
    assert wipe.main(["--state-folder", str(tmp_path / "none"), "--yes"]) == 2
    assert not (tmp_path / "none").exists()


def test_folder_that_stays_locked_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wipe, "STOP_S", 0.05)
    owner = Store(folder)
    owner.lock()
    try:
        assert wipe.main(["--state-folder", str(folder), "--yes"]) == 1
    finally:
        owner.close()
    assert "in use by process" in capsys.readouterr().err
    assert left(folder) == {"keys", "peers"}
