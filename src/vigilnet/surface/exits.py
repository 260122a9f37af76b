"""Exit codes of our programs, and the one line that an error becomes: no stack trace reaches a user."""

import argparse
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import NoReturn

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.surface.control.client import NotRunningError

_log = get_logger(__name__)


class ExitCode(IntEnum):
    """What an exit code means; stable."""

    OK = 0
    FAILED = 1  # the machine, the network or the node refused
    USAGE = 2  # wrong arguments or settings
    NOT_RUNNING = 3  # no node answers on this state folder
    INTERRUPTED = 130


class OneLineParser(argparse.ArgumentParser):
    """Answers wrong arguments with one line."""

    def error(self, message: str) -> NoReturn:
        """Say what was wrong and where to look, then exit."""
        fail(f"{message}; see `{self.prog} --help`", self.prog.partition(" ")[0])
        raise SystemExit(ExitCode.USAGE)


def fail(message: str, program: str = "vigilnet") -> None:
    """Write the one line of an error."""
    sys.stderr.write(f"{program}: {' '.join(message.split())}\n")
    sys.stderr.flush()


def run_guarded(program: str, action: Callable[[], int]) -> int:
    """Run a program's work; turn whatever it raises into one line and an exit code."""
    try:
        return int(action())
    except NotRunningError as error:
        fail(str(error), program)
        return ExitCode.NOT_RUNNING
    except VigilnetError as error:
        fail(str(error), program)
        return ExitCode.USAGE if error.kind is ErrorKind.CONFIGURATION else ExitCode.FAILED
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
