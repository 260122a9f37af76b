import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_node import served
from vigilnet.surface.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path):
        yield str(tmp_path)


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:  # noqa: ANN401 JSON
    assert main([*arguments, "--json"]) in (0, 5)
    return json.loads(capsys.readouterr().out)


def test_new_identity(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "new-identity", "--state-folder", folder) == {"schema": 1, "retired": 2}
    main(["new-identity", "--state-folder", folder])
    assert capsys.readouterr().out == "all apps take new paths; 2 retired\n"


@pytest.mark.parametrize(
    ("more", "text"), [([], "stopping\n"), (["--json"], '{"schema":1,"stopping":true}\n')]
)
def test_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], text: str) -> None:
    with served(tmp_path) as stopped:
        assert main(["stop", "--state-folder", str(tmp_path), *more]) == 0
        assert stopped.wait(60)
    assert capsys.readouterr().out == text


def test_state_folder_is_read_from_the_settings_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "vigilnet.toml"
    (tmp_path / "state").mkdir()
    config.write_text(f'[node]\nstate_folder = "{tmp_path}/state"\n')
    with served(tmp_path / "state"):
        assert as_json(capsys, "status", "--config", str(config))["pid"] == 4711


@pytest.mark.parametrize("command", ["status", "circuits", "streams", "new-identity", "stop"])
def test_no_node_is_one_line_and_exit_code_7(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--state-folder", str(tmp_path)]) == 7
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"vigilnet: no node runs with state folder {tmp_path}\n  next  vigilnet up\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(as_json(capsys, "version")) == {"schema", "version", "python", "system"}
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("vigilnet ")
