"""The system's own programs, run with constant words and values that were parsed into their types."""

import subprocess
import sys
from collections.abc import Iterable
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError

COMMAND_S: Final = 20.0
PROGRAM_FOLDERS: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES: Final = {"nft": "nftables", "ip": "iproute2", "tc": "iproute2"}


def ip_batch(lines: Iterable[str], *, must: bool = True) -> None:
    """Run lines of `routes`: by family, since `ip -batch` takes that option for all of its lines only."""
    kept = list(lines)
    for option in ("", "-4", "-6"):
        ours = [line for line in kept if (line[:2] if line[:1] == "-" else "") == option]
        if not ours:
            continue
        text = "".join(f"{line.removeprefix(option).strip()}\n" for line in ours)
        try:
            run(["ip", *([option] if option else []), "-batch", "-"], text)
        except EnvironmentRefusedError:
            if must:
                raise


def run(command: list[str], text: str = "") -> str:
    """Run one program and return what it says.

    Raises:
        EnvironmentRefusedError: it is missing, refuses, or does not end.
    """
    return _done(command, text).stdout


def run_both(command: list[str]) -> str:
    """Run one program and return what it says, errors included; raises as `run`."""
    done = _done(command, "")
    return done.stdout + done.stderr


def _done(command: list[str], text: str) -> "subprocess.CompletedProcess[str]":
    try:
        done = subprocess.run(  # noqa: S603  # see above
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env=None if sys.platform == "win32" else {"PATH": PROGRAM_FOLDERS, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        package = _PACKAGES.get(command[0])
        advice = f"; install {package}" if package else ""
        raise EnvironmentRefusedError(f"{command[0]}: not installed here{advice}") from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentRefusedError(f"{command[0]}: no answer within {COMMAND_S:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise EnvironmentRefusedError(
            f"{' '.join(command)}: refused: {said[0] if said else 'no reason given'}"
        )
    return done
