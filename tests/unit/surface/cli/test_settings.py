from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_node import FakeHost, FakeNode, served
from vigilnet.surface.cli import settings
from vigilnet.surface.cli.main import main


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    around = FakeHost(FakeNode(), tmp_path / "vigilnet.toml")
    with served(tmp_path, host=around):
        yield around


def run(tmp_path: Path, *words: str) -> int:
    return main([*words, "--state-folder", str(tmp_path)])


@pytest.mark.usefixtures("host")
def test_hops_are_said_and_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "hops") == 0
    assert run(tmp_path, "hops", "5", "--once") == 0
    assert run(tmp_path, "hops", "5") == 0
    assert run(tmp_path, "hops", "11") == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "new paths have 3 hops", "new paths have 5 hops", "nothing changed: new paths have 5 hops",
    ]  # fmt: skip
    assert "circuits.hops" in captured.err


def test_exit_mode_needs_consent(
    host: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, "mode", "exit", "--abuse-contact", "a@example.org") == 10
    err = capsys.readouterr().err
    assert "not agreed, nothing was changed" in err
    assert "from your address" in err
    assert host.changes == []
    monkeypatch.setattr(settings, "_agrees", lambda _: True)
    assert run(tmp_path, "mode", "exit", "--abuse-contact", "a@example.org") == 0
    assert run(tmp_path, "mode", "client", "--yes") == 0
    assert len(host.changes) == 2


@pytest.mark.usefixtures("host")
def test_mode_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "mode") == 0
    assert capsys.readouterr().out == "client\n"


@pytest.mark.usefixtures("host")
def test_options_are_listed_explained_and_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "config", "list", "--changed") == 0
    assert capsys.readouterr().out == "every option is at its default\n"
    assert run(tmp_path, "config", "set", "circuits.idle_s", "90") == 0
    assert run(tmp_path, "config", "list", "circuits", "--changed") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "circuits.idle_s  90.0   command line"
    assert run(tmp_path, "config", "get", "circuits.hops") == 0
    assert capsys.readouterr().out.splitlines() == [
        "circuits.hops = 3",
        "  1 to 10; 1 is fast and not anonymous",
        "  kind int; default 3; from default",
        "  in effect at once",
    ]
    assert run(tmp_path, "config", "get", "no.such") == 9
    assert run(tmp_path, "config", "set", "log.level", "loud") == 2
    assert run(tmp_path, "config", "reset", "circuits.idle_s") == 0
