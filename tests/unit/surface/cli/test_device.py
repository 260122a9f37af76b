"""The commands of the whole device, against a node that only remembers."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_node import FakeHost, FakeNode, served
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.surface.cli import device
from vigilnet.surface.cli.main import main
from vigilnet.surface.exits import ExitCode


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path):
        yield str(tmp_path)


def said(capsys: pytest.CaptureFixture[str], folder: str, *words: str) -> str:
    assert main([*words, "--state-folder", folder]) == 0
    return capsys.readouterr().out


def test_up_and_down(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    up = said(capsys, folder, "up")
    assert up.startswith("● Only some apps are protected")
    assert "all traffic goes through the network" in up
    assert json.loads(said(capsys, folder, "device", "--json"))["is_up"] is True
    assert "down" in said(capsys, folder, "down")


@pytest.mark.parametrize(
    "words",
    [
        ("dns", "overlay"),
        ("dns", "custom", "192.0.2.53"),
        ("lan", "on"),
        ("split", "scope", "included"),
        ("split", "set", "outside", "network", "192.0.2.0/24"),
        ("split", "set", "inside", "user", "1000", "root"),
        ("firewall", "list"),
        ("firewall", "add", "out", "tcp", "192.0.2.0/24", "25"),
    ],
)
def test_changes_are_passed_on(
    folder: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert said(capsys, folder, *words)


def test_a_change_shows_what_was_changed_and_no_more(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, folder, "up")
    assert "packets" in said(capsys, folder, "device")
    assert "packets" not in said(capsys, folder, "dns", "overlay")
    assert said(capsys, folder, "down") == "device  down\n"


def test_lockdown_says_that_nothing_leaves(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing leaves this device" in said(capsys, folder, "lockdown", "on")
    assert "lockdown" not in said(capsys, folder, "lockdown", "off")


def test_lockdown_over_ssh_has_to_be_agreed_to(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
    assert main(["lockdown", "on", "--state-folder", folder]) == ExitCode.REFUSED
    assert "vigilnet lockdown on --yes" in capsys.readouterr().err
    assert "nothing leaves this device" in said(capsys, folder, "lockdown", "on", "--yes")
    assert said(capsys, folder, "lockdown", "off")


def test_portal(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, folder, "portal") == "this network wants no sign-in\n"
    assert "sign in at http://192.0.2.1/" in said(capsys, folder, "portal", "http://192.0.2.1/")


@pytest.mark.parametrize(
    "words",
    [
        ("split", "set", "outside", "planet", "earth"),
        ("split", "set", "outside", "user", "nobody-of-this-name"),
        ("split", "scope"),
        ("firewall", "remove", "out", "any", "::/0"),
        ("exec", "--outside"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    folder: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert main([*words, "--state-folder", folder]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("where", ["--outside", "--inside", "--exit=SE"])
def test_exec_becomes_the_program(folder: str, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    became: list[object] = []

    def become(file: str, words: list[str]) -> None:
        became.append((file, words))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execvp", become)
    with pytest.raises(SystemExit):
        main(["exec", where, "--state-folder", folder, "--", "curl", "-s"])
    assert became == [("curl", ["curl", "-s"])]


@pytest.mark.slow
def test_without_rights_and_helper_up_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    node = FakeNode()
    assert node.device is not None
    node.device.has_helper = False
    with served(tmp_path, node):
        assert main(["up", "--state-folder", str(tmp_path)]) == ExitCode.NO_RIGHTS
    assert "sudo vigilnet up" in capsys.readouterr().err


def test_a_helper_that_does_not_start_is_told(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    arguments = argparse.Namespace(state_folder=Path(folder), config=None, helper_argument=[])
    with pytest.raises(EnvironmentRefusedError, match="did not start"):
        device._start_helper(arguments, Path(folder) / "helper.sock")


def test_programs_are_remembered_by_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = FakeHost(FakeNode(), tmp_path / "vigilnet.toml")
    for name in ("foo", "bar"):
        (tmp_path / name).touch(mode=0o755)
    foo, bar = str(tmp_path / "foo"), str(tmp_path / "bar")
    monkeypatch.chdir(tmp_path)
    with served(tmp_path, host=host):
        folder = str(tmp_path)
        assert said(capsys, folder, "split", "list") == "no programs are remembered\n"
        assert said(capsys, folder, "split", "add", "--app", foo) == f"outside {foo}\n"
        assert f"exit SE {bar}" in said(capsys, folder, "split", "add", "--exit", "SE", "--app", "bar")
        assert f"inside {foo}" in said(capsys, folder, "split", "add", "--inside", "--app", foo)
        assert said(capsys, folder, "split", "remove", "--app", foo) == f"exit SE {bar}\n"
        for words in (["add"], ["add", "--app", "/nowhere"], ["remove", "--app", foo]):
            assert main(["split", *words, "--state-folder", folder]) == 1
            assert capsys.readouterr().err.count("\n") == 1
    assert host.changes[0][1]  # kept in the settings file
    assert host.changes[-1][0] == {
        "device.outside_programs": "",
        "device.inside_programs": "",
        "device.bound_programs": f"SE {bar}",
    }


@pytest.mark.parametrize(("where", "is_told"), [("--exit=SE", True), ("--outside", False)])
def test_exec_says_when_names_are_not_resolved_at_the_exit(
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
    is_told: bool,
) -> None:
    monkeypatch.setattr("vigilnet.surface.cli.device.asks_instead", lambda *, has_redirect: "nscd")
    monkeypatch.setattr(os, "execvp", lambda program, words: None)
    main(["exec", where, "--state-folder", folder, "--", "true"])
    said = capsys.readouterr().err
    assert ("names are asked by nscd: resolved as everybody's, not at SE" in said) is is_told
