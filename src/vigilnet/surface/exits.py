"""Exit codes of our programs, and the one line that an error becomes: no stack trace reaches a user."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import IntEnum
from typing import Final, NoReturn

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.surface.control.client import NotRunningError
from vigilnet.surface.control.schema import ControlError, ErrorCode, error_object

_log = get_logger(__name__)


class ExitCode(IntEnum):
    """What an exit code means; stable."""

    OK = 0
    FAILED = 1  # the machine, the network or the node refused
    USAGE = 2  # wrong arguments or settings
    OFF = 3  # of `status` and `up --wait` alone, like the three below
    CONNECTING = 4
    RESERVATION = 5  # connected, but not all that could be protected is
    BLOCKED = 6  # lockdown lets nothing out
    NOT_RUNNING = 7  # no node answers on this state folder
    NO_RIGHTS = 8
    NOT_FOUND = 9  # no such circuit, option, exit or relay
    REFUSED = 10  # by policy, or for want of consent
    INTERRUPTED = 130


_CODES: Final[dict[str, ExitCode]] = {
    ErrorCode.BAD_REQUEST: ExitCode.USAGE,
    ErrorCode.BAD_OPTION: ExitCode.USAGE,
    ErrorCode.FORBIDDEN: ExitCode.NO_RIGHTS,
    ErrorCode.NOT_FOUND: ExitCode.NOT_FOUND,
    ErrorCode.UNKNOWN_OPTION: ExitCode.NOT_FOUND,
    ErrorCode.NO_EXIT: ExitCode.NOT_FOUND,
    ErrorCode.REFUSED: ExitCode.REFUSED,
    ErrorCode.EXIT_WARNING: ExitCode.REFUSED,
    ErrorCode.LOCKED_OPTION: ExitCode.REFUSED,
    ErrorCode.OFF: ExitCode.REFUSED,
}


class OneLineParser(argparse.ArgumentParser):
    """Answers wrong arguments with one line."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Refuse a value that is none of the choices; of forty commands only the nearest is named."""
        if isinstance(action.choices, Mapping) and value not in action.choices:
            near = get_close_matches(str(value), action.choices, 1)
            hint = f"; did you mean `{near[0]}`" if near else ""
            raise argparse.ArgumentError(None, f"no command is called {str(value)[:40]!r}{hint}")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """Say what was wrong and where to look, then exit."""
        fail(f"{message}; see `{self.prog} --help`", self.prog.partition(" ")[0])
        raise SystemExit(ExitCode.USAGE)


def fail(message: str, program: str = "vigilnet") -> None:
    """Write the one line of an error."""
    sys.stderr.write(f"{program}: {' '.join(message.split())}\n")
    sys.stderr.flush()


def refuse(error: VigilnetError, program: str, *, as_json: bool = False) -> ExitCode:
    """Tell of an error of ours, with why and what next where it says so; returns the exit code."""
    code, why, next_step = "failed", "", ""
    if isinstance(error, NotRunningError):
        code, next_step = "not-running", error.next
    if isinstance(error, ControlError):
        code, why, next_step = error.code, error.why, error.next
    if as_json:
        told = error_object(code, " ".join(str(error).split()), why, next_step)
        sys.stdout.write(json.dumps({"schema": 1, "error": told}, separators=(",", ":")) + "\n")
        sys.stdout.flush()
    else:
        fail(str(error), program)
        for name, text in (("why", why), ("next", next_step)):
            if text:
                sys.stderr.write(f"  {name:4}  {text}\n")
    return _code_of(error)


def _code_of(error: VigilnetError) -> ExitCode:
    if isinstance(error, NotRunningError):
        return ExitCode.NOT_RUNNING
    if isinstance(error, ControlError):
        return _CODES.get(error.code, ExitCode.FAILED)
    return ExitCode.USAGE if error.kind is ErrorKind.CONFIGURATION else ExitCode.FAILED


def run_guarded(program: str, action: Callable[[], int], *, as_json: bool = False) -> int:
    """Run a program's work; turn whatever it raises into one line (or JSON) and an exit code."""
    try:
        return int(action())
    except VigilnetError as error:
        return refuse(error, program, as_json=as_json)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except OSError as error:
        fail(f"{error.filename or 'system'}: {error.strerror or type(error).__name__}", program)
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 the last net
        _log.failure("internal error", error)
        fail(f"internal error ({type(error).__name__}); please report it with what you did", program)
        return ExitCode.FAILED
