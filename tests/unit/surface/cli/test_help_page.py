import os

import pytest

from vigilnet.surface.cli.help_page import CODES, man_page
from vigilnet.surface.cli.main import main, new_parser
from vigilnet.surface.control.schema import ErrorCode


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def test_every_error_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert {str(code) for code in ErrorCode} <= {str(code) for code in CODES}
    for code in CODES:
        assert said(capsys, "help", str(code)).startswith(f"{code}: ")


def test_help_of_a_command_and_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--why" in said(capsys, "help", "circuits")
    assert "new-identity" in said(capsys, "help")
    assert main(["help", "brew"]) == 9


def test_man_page_names_every_command_and_is_plain_troff() -> None:
    text = man_page(new_parser(), {"run": "usage: vigilnetd [-h]\n\n.odd\n"})
    for heading in (".TH VIGILNET 1", ".SS circuits", ".SS config set", ".SH EXIT CODES"):
        assert heading in text
    assert "usage: vigilnetd [\\-h]\n\\&\n\\&.odd\n.fi" in text
    requests = {line.split()[0] for line in text.splitlines() if line.startswith(".")}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".B", ".I", ".nf", ".fi"}


@pytest.mark.slow
def test_manual_and_help_tell_what_programs_behind_commands_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\\-\\-helper\\-mode MODE" in said(capsys, "help", "--man")
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda _, words: became.append(words))
    main(["help", "keys"])
    assert became[0][-3:] == ["-m", "vigilnet.surface.keys", "--help"]
