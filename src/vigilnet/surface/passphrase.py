"""Where the passphrase of a state folder comes from: a file that the user names, or his terminal.

Never from the command line or the environment: other processes can read those.
"""

import getpass
import sys
from pathlib import Path
from typing import Final

from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import SEAL_NAME

MAX_LENGTH: Final = 4096


def is_sealed(folder: Path) -> bool:
    """Whether a state folder has a passphrase; makes nothing."""
    return (folder / SEAL_NAME).exists()


def passphrase_from(file: Path | None, question: str = "passphrase: ") -> str | None:
    """Return the passphrase: the first line of `file`, else what is typed on a terminal; None without one.

    Raises:
        ConfigurationError: the file cannot be read or is empty.
    """
    if file is not None:
        return _first_line(file)
    if not sys.stdin.isatty():
        return None
    return getpass.getpass(question)


def new_passphrase(file: Path | None) -> str:
    """Return a new passphrase; on a terminal it is asked for twice.

    Raises:
        ConfigurationError: there is none, or the two differ.
    """
    first = passphrase_from(file, "new passphrase: ")
    if not first:
        raise ConfigurationError("passphrase: none given; use a terminal or --passphrase-file FILE")
    if file is None and getpass.getpass("once more: ") != first:
        raise ConfigurationError("passphrase: the two differ, nothing was changed")
    return first


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            line = opened.readline(MAX_LENGTH).rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"passphrase file {file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"passphrase file {file}: is not UTF-8 text") from error
    if not line:
        raise ConfigurationError(f"passphrase file {file}: its first line is empty")
    return line
