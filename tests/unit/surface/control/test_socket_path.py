import os
import pwd
import socket
from pathlib import Path

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.surface.control import socket_path
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


def test_under_sudo_the_node_of_the_person_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = pwd.struct_passwd(("me", "x", 1000, 1000, "", str(tmp_path / "me"), "/bin/sh"))
    roots = tmp_path / "root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {1000: person}[number])
    monkeypatch.setattr(socket_path, "default_state_folder", lambda: roots)
    monkeypatch.setenv("SUDO_UID", "1000")
    assert socket_path.sudo_user() is person
    assert state_folder(environment={}) == tmp_path / "me" / ".local" / "share" / "vigilnet"
    roots.mkdir()
    (roots / "control.sock").touch()
    assert state_folder(environment={}) == roots, "where only root's runs, it is meant"
    for number in ("0", "4711", "x", ""):
        monkeypatch.setenv("SUDO_UID", number)
        assert socket_path.sudo_user() is None
        assert state_folder(environment={}) == roots
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("SUDO_UID", "1000")
    assert socket_path.sudo_user() is None
