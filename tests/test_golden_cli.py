"""What commands say to programs, and of themselves, is what is written down."""

import json
from typing import Any

import pytest

from tests.support.golden_cli import ASKED, GOLDEN, answer_of, fields, helps
from vigilnet.surface.cli.help_page import commands_of
from vigilnet.surface.cli.main import new_parser

WRITTEN: dict[str, Any] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("line", ASKED)
def test_json_of_a_command(line: str) -> None:
    answer = answer_of(line)
    assert answer == WRITTEN["json"][line], "look at the difference, then: python -m tests.support.golden_cli"
    assert answer["said"]["schema"] == 1


def test_help_of_every_command() -> None:
    assert helps() == WRITTEN["help"], "look at the difference, then: python -m tests.support.golden_cli"


def test_fields_of_what_asks_no_node() -> None:
    assert fields() == WRITTEN["fields"], "look at the difference, then: python -m tests.support.golden_cli"


def test_every_command_that_asks_a_node_is_asked_above() -> None:
    asking = {
        name
        for name, command in commands_of(new_parser())
        if any(action.dest == "state_folder" for action in command._actions)
    }
    asked = {" ".join(line.split()[:size]) for line in ASKED for size in (1, 2)}
    assert asking - asked == {"top", "exec"}  # one draws, the other becomes another program


def test_every_command_has_help() -> None:
    for name, words in WRITTEN["help"].items():
        assert [option for option, text in words.items() if not text] == [], name
