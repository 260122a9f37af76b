"""A log file that begins anew each day (UTC); those of the days before stay beside it for a while.

`node.log` of the 4th is called `node.log.2026-05-04` from the first line of the 5th on. A file that cannot be
renamed goes on as it is: a log must not end the node.
"""

import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from vigilnet.base.clock import Clock
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.system_io import NOT_BY_LINK, OPEN_PRIVATELY


class DailyLog:
    """What `safelog.set_up` writes to; readable by its owner alone.

    Args:
        path: the file of today; made if it is missing, gone on with if it is there.
        keep_days: how many days' files are kept beside it; 0: one file for ever.
        clock: tells which day it is.
        takes_stderr: what others write to standard error goes there too.

    Raises:
        EnvironmentRefusedError: the file cannot be written.
    """

    def __init__(self, path: Path, keep_days: int, clock: Clock, *, takes_stderr: bool = False) -> None:
        self._path = path
        self._keep_days = keep_days
        self._clock = clock
        self._takes_stderr = takes_stderr
        self._day = self._today()
        self._file: TextIO | None = None
        with suppress(OSError):  # nothing there yet, or open() says what is wrong
            self._day = _day_of(path.stat().st_mtime)
        if self._is_over():
            self._put_aside()
        try:
            self._file = self._open()
        except OSError as error:
            raise EnvironmentRefusedError(
                f"log.file {path}: cannot be written: {error.strerror}; choose another file"
            ) from error

    def write(self, text: str) -> None:
        """Append; the first text of a new day goes into a new file."""
        if self._is_over():
            self.close()
            self._put_aside()
        if self._file is None:
            self._file = self._open()
        self._file.write(text)

    def flush(self) -> None:
        """Nothing waits: each line is written at once."""

    def close(self) -> None:
        """Let go of the file; a later `write` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _today(self) -> str:
        return _day_of(self._clock.wall())

    def _is_over(self) -> bool:
        return self._keep_days > 0 and self._today() > self._day  # a clock that goes back changes nothing

    def _open(self) -> TextIO:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | OPEN_PRIVATELY | NOT_BY_LINK
        handle = os.open(self._path, flags, 0o600)
        if self._takes_stderr:
            os.dup2(handle, sys.stderr.fileno())
        return os.fdopen(handle, "w", buffering=1, encoding="utf-8", errors="backslashreplace")

    def _put_aside(self) -> None:
        """Give the file its day's name and remove those that are too old."""
        aside = self._path.with_name(f"{self._path.name}.{self._day}")
        self._day = self._today()
        with suppress(OSError):
            if not aside.exists():
                self._path.rename(aside)
            oldest = (datetime.fromisoformat(self._day) - timedelta(days=self._keep_days)).date().isoformat()
            ours = re.compile(re.escape(self._path.name) + r"\.(\d{4}-\d\d-\d\d)")
            for path in self._path.parent.iterdir():
                if (found := ours.fullmatch(path.name)) and found[1] < oldest:
                    path.unlink()


def _day_of(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).date().isoformat()
