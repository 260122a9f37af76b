"""`vigilnet up` where no node runs: one is started, and goes on."""

import argparse
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.surface.cli import background
from vigilnet.surface.cli.background import ensure_node, wait_connected
from vigilnet.surface.cli.main import main
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.exits import ExitCode

pytestmark = pytest.mark.slow
SETTINGS = """
[ingress]
socks_port = 0
http_enabled = false
[status]
port = 0
[discovery]
without = ["mdns", "beacon", "dht"]
[device]
portal_probe = ""
helper = "{folder}/no-helper.sock"
"""


@pytest.fixture
def arguments(tmp_path: Path) -> Iterator[argparse.Namespace]:
    config, folder = tmp_path / "vigilnet.toml", tmp_path / "state"
    config.write_text(SETTINGS.format(folder=tmp_path))
    yield argparse.Namespace(config=config, state_folder=folder, invite=[], json=False)
    if (folder / "control.sock").exists():
        with ControlClient(folder) as control:
            control.stop()


def test_node_is_started_once_and_goes_on(
    arguments: argparse.Namespace, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ensure_node(arguments)
    assert not ensure_node(arguments)
    assert wait_connected(arguments, 0.3).protection is not None
    log = arguments.state_folder / "node.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert "node is up" in log.read_text()
    assert capfd.readouterr().err == ""


def test_up_without_rights_starts_it_and_says_how_it_is(
    arguments: argparse.Namespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    words = ["--config", str(arguments.config), "--state-folder", str(arguments.state_folder)]
    assert main(["up", *words]) == ExitCode.NO_RIGHTS
    told = capsys.readouterr()
    assert "Looking for the network" in told.out
    assert f"vigilnet gui --state-folder {arguments.state_folder}" in told.out
    assert "sudo vigilnet up" in told.err


def test_node_that_does_not_start_says_why(
    arguments: argparse.Namespace, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments.config.write_text("[ingress]\nsocks_port = 1\nno_such_kind = true\n[circuits]\nhops = 99\n")
    with pytest.raises(EnvironmentRefusedError, match="did not start"):
        ensure_node(arguments)
    assert "hops" in capfd.readouterr().err


def test_node_started_under_sudo_is_the_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    person = pwd.struct_passwd(("me", "x", 1000, 1001, "", "/home/me", "/bin/sh"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/0")
    monkeypatch.setattr(background, "sudo_user", lambda: person)
    becoming = background._as_person()
    assert (becoming["user"], becoming["group"], becoming["extra_groups"]) == (1000, 1001, [])
    assert becoming["env"]["HOME"] == "/home/me"
    assert "XDG_RUNTIME_DIR" not in becoming["env"]
    monkeypatch.setattr(background, "sudo_user", lambda: None)
    assert background._as_person() == {}
