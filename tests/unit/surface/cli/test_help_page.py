import pytest

from vigilnet.surface.cli.help_page import CODES
from vigilnet.surface.cli.main import main
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


def test_man_page_names_every_command_and_is_plain_troff(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "help", "--man")
    for heading in (".TH VIGILNET 1", ".SS circuits", ".SS config set", ".SH EXIT CODES"):
        assert heading in text
    requests = {line.split()[0] for line in text.splitlines() if line.startswith(".")}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".B", ".I", ".nf", ".fi"}
