import socket
from pathlib import Path

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.surface.control.socket_path import default_state_folder, reachable, state_folder


def test_precedence_is_argument_environment_file_default(tmp_path: Path) -> None:
    config = tmp_path / "vigilnet.toml"
    config.write_text('[node]\nstate_folder = "/from/file"\n')
    variable = {"VIGILNET_NODE_STATE_FOLDER": "/from/environment"}
    assert state_folder(Path("/given"), config, variable) == Path("/given")
    assert state_folder(None, config, variable) == Path("/from/environment")
    assert state_folder(None, config, {}) == Path("/from/file")
    assert state_folder(None, None, {}) == default_state_folder()


@pytest.mark.parametrize("text", ["", "node = 1", "[node]\n", "[relay]\nstate_folder = 1\n"])
def test_file_that_names_no_folder_means_the_default(tmp_path: Path, text: str) -> None:
    config = tmp_path / "vigilnet.toml"
    config.write_text(text)
    assert state_folder(None, config, {}) == default_state_folder()


def test_unreadable_and_malformed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml: cannot be read"):
        state_folder(None, tmp_path / "missing.toml", {})
    (tmp_path / "bad.toml").write_bytes(b"[node\n")
    with pytest.raises(ConfigurationError, match=r"bad\.toml: not a valid TOML"):
        state_folder(None, tmp_path / "bad.toml", {})


def test_long_paths_can_be_bound_and_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        with reachable(path) as name:
            listener.bind(name)
        listener.listen()
        assert path.is_socket()
        with reachable(path) as name:
            caller.connect(name)


def test_short_paths_are_used_as_they_are() -> None:
    with reachable(Path("/run/a/control.sock")) as name:
        assert name == "/run/a/control.sock"
