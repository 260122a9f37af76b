import logging

import pytest

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError, RemoteProtocolError
from vigilnet.surface.control.client import NotRunningError
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [(ConfigurationError("log.level: odd,\n expected info"), 2, "vigilnet: log.level: odd, expected info"),
     (EnvironmentRefusedError("port 4001: in use"), 1, "vigilnet: port 4001: in use"),
     (RemoteProtocolError("control reply: not JSON"), 1, "vigilnet: control reply: not JSON"),
     (NotRunningError("no node runs"), 7, "vigilnet: no node runs"),
     (FileNotFoundError(2, "No such file or directory", "/x"), 1, "vigilnet: /x: No such file or directory"),
     (OSError("odd"), 1, "vigilnet: system: OSError"),
     (KeyboardInterrupt(), 130, "")],
)  # fmt: skip
def test_every_error_is_one_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> int:
        raise error

    assert run_guarded("vigilnet", action) == code
    assert capsys.readouterr().err == (f"{line}\n" if line else "")


def test_a_bug_is_one_line_too_and_hides_its_values(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def action() -> int:
        raise KeyError("secret.example")

    logging.getLogger("vigilnet").setLevel("CRITICAL")
    assert run_guarded("vigilnet", action) == ExitCode.FAILED
    err = capsys.readouterr().err
    assert err == "vigilnet: internal error (KeyError); please report it with what you did\n"
    logging.getLogger("vigilnet").setLevel("NOTSET")


def test_wrong_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        OneLineParser(prog="vigilnet keys").parse_args(["--odd"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "vigilnet: unrecognized arguments: --odd; see `vigilnet keys --help`\n"
    )
