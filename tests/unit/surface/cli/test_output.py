import io

import pytest

from vigilnet.surface.cli import output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_only_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.is_coloured(Terminal())
    assert not output.is_coloured(io.StringIO())
    assert output.paint("open", "green", Terminal()) == "\033[32mopen\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.paint("open", "green", Terminal()) == "open"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not output.is_coloured(Terminal())


def test_state_has_its_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "is_coloured", lambda _: True)
    assert output.paint_state("connected").startswith("\033[32m")
    assert output.paint_state("of a later version") == "of a later version"


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_fields([("state", "connected"), ("network", ""), ("links", 0), ("none", None)])
    assert capsys.readouterr().out == "state  connected\nlinks  0\n"


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_table(("ID", "STATE"), [(1, "open"), (100, "building")])
    assert capsys.readouterr().out == " ID  STATE\n  1  open\n100  building\n"


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json({"a": [1, "ü"]})
    assert capsys.readouterr().out == '{"schema":1,"a":[1,"\\u00fc"]}\n'
