import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_node import served
from vigilnet.surface.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path):
        yield str(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["invite", *arguments]) == 0
    return capsys.readouterr().out


def test_show_prints_the_invite_alone(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "show", "--state-folder", folder) == "vigilnet:AAAA\n"


def test_show_of_another_relay_for_programs(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(said(capsys, "show", "12D3KooWother", "--state-folder", folder, "--json"))
    expected = {
        "schema": 1,
        "uri": "vigilnet:AAAA",
        "peer_id": "12D3KooWother",
        "until": 1_790_000_000,
        "is_new": False,
    }
    assert shown == expected


def test_add_says_whom_and_until_when(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "add", "vigilnet:BBBB", "--state-folder", folder)
    assert out == "taken: 12D3KooWguest, good until 2026-09-21 14:13 UTC\n"
    assert json.loads(said(capsys, "add", "vigilnet:BBBB", "--state-folder", folder, "--json"))["is_new"]


def test_what_is_no_invite_is_one_line_and_exit_code_1(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["invite", "add", "hello", "--state-folder", folder]) == 1
    assert capsys.readouterr().err == "vigilnet: invite: does not begin with vigilnet:\n"


def test_list_prints_the_file(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "list", "--state-folder", folder) == "vigilnet welcome 1\nvigilnet:AAAA\n"
    assert json.loads(said(capsys, "list", "--state-folder", folder, "--json"))["relays"] == 1


def test_without_an_action_it_is_an_error_of_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["invite"])
    assert ended.value.code == 2
    assert "ACTION" in capsys.readouterr().err
