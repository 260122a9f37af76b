import os
import subprocess
import sys

import pytest

from vigilnet.surface.cli import main as cli
from vigilnet.surface.cli.help_page import GROUPS, commands_of


def test_run_and_keys_become_programs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []

    def execv(_: str, arguments: list[str]) -> None:
        became.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "execv", execv)
    assert cli.main(["run", "--config", "x.toml", "--help"]) == 130
    assert cli.main(["keys", "show", "--json"]) == 130
    assert [arguments[1:] for arguments in became] == [
        ["-P", "-m", "vigilnet.surface.daemon", "--config", "x.toml", "--help"],
        ["-P", "-m", "vigilnet.surface.keys", "show", "--json"],
    ]


@pytest.mark.parametrize("arguments", [["fly"], ["status", "--odd"], ["testnet", "--hops", "eleven"]])
def test_wrong_arguments_are_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("vigilnet: ")
    assert err.count("\n") == 1


def test_no_command_at_all_shows_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "vigilnet up " in said.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["statsu"], "no command is called 'statsu'; did you mean `status`; see `vigilnet --help`"),
        (["fly"], "no command is called 'fly'; see `vigilnet --help`"),
        (["status", "--odd"], "unrecognized arguments: --odd; see `vigilnet status --help`"),
        (["config", "list", "a", "b"], "unrecognized arguments: b; see `vigilnet config list --help`"),
    ],
)
def test_the_line_names_what_was_meant_and_whose_help_tells_more(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert capsys.readouterr().err == f"vigilnet: {line}\n"


def test_help_shows_each_command_once() -> None:
    parser = cli.new_parser()
    grouped = [name for _, names in GROUPS for name in names]
    assert sorted(grouped) == sorted(name for name, _ in commands_of(parser) if " " not in name)
    assert all(command.description for _, command in commands_of(parser))


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for command in (
        "run",
        "keys",
        "status",
        "circuits",
        "streams",
        "new-identity",
        "stop",
        "version",
        "wipe",
        "testnet",
    ):
        assert f"\n  {command} " in text
    assert "Exit codes" in text


@pytest.mark.slow
def test_output_into_a_closed_pipe_is_no_stack_trace() -> None:
    program = f"{sys.executable} -m vigilnet.surface.cli.main version; echo $? >&2"
    shell = subprocess.run(
        ["/bin/sh", "-c", f"({program}) | true"], capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in shell.stderr


@pytest.mark.parametrize(
    ("words", "exit_code", "has_output"),
    [(["-q", "version"], 0, False), (["version", "--plain"], 0, True), (["help", "no.such", "-q"], 9, False)],
)
def test_quiet_prints_no_result_and_keeps_the_exit_code(
    words: list[str], exit_code: int, has_output: bool
) -> None:
    command = [sys.executable, "-m", "vigilnet.surface.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stdout)) == (exit_code, has_output), done


def test_manners_of_another_program_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    words = ["exec", "--outside", "--", "curl", "-q", "--plain"]
    assert cli._take_manners(words) == words
    assert "NO_COLOR" not in os.environ
    assert cli._take_manners(["--plain", "status"]) == ["status"]
    assert os.environ["NO_COLOR"] == "1"
    monkeypatch.delenv("NO_COLOR")
