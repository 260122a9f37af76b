"""Logging that keeps to itself whom we talk to.

The text of a line is constant; what varies goes into fields of fixed names (`peer`, `circuit`,
`reason`). Targets, paths, addresses, names and bridge ids are wrapped in `sensitive`; keys and
payload are never logged, so octets show as their length only. Of an error that is not ours only
the class and the errno are shown, and of another library's line only that there was one: both may
carry addresses in their text. One line of one text is written at most `REPEATS` times a minute.

>>> get_logger("vigilnet.example").info("link closed", peer=sensitive("12D3KooWexample"), reason="idle")
"""

import errno
import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Final, Protocol

from vigilnet.base.errors import VigilnetError

ROOT: Final = "vigilnet"
HIDDEN: Final = "[hidden]"
REPEATS: Final = 20  # our choice: lines of one text
REPEAT_WINDOW_S: Final = 60.0
MAX_TEXTS: Final = 1024
MAX_VALUE_LENGTH: Final = 200

_FIELDS: Final = "vigilnet_fields"
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/+,[]")


class LogStream(Protocol):
    """Where log lines are written to."""

    def write(self, text: str, /) -> object:
        """Take one line with its end."""
        ...

    def flush(self) -> object:
        """Keep nothing back."""
        ...


class Sensitive:
    """A value that logs, `str` and `repr` show as `[hidden]`."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return HIDDEN

    __repr__ = __str__

    def reveal(self) -> object:
        """Return the value; for the log handler of a user who asked to see everything."""
        return self._value


def sensitive(value: object) -> Sensitive:
    """Wrap a target, path, address, name or bridge id for a log field."""
    return Sensitive(value)


class FieldLogger:
    """A logger of constant texts with fields; get one per module by `get_logger(__name__)`."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, text: str, **fields: object) -> None:
        """Log what only a developer wants to know."""
        self._log(logging.DEBUG, text, fields)

    def info(self, text: str, **fields: object) -> None:
        """Log what is rare and what the user cares for."""
        self._log(logging.INFO, text, fields)

    def warning(self, text: str, **fields: object) -> None:
        """Log what a normal run does not have."""
        self._log(logging.WARNING, text, fields)

    def error(self, text: str, **fields: object) -> None:
        """Log what someone must act on; say how."""
        self._log(logging.ERROR, text, fields)

    def failure(self, text: str, error: BaseException, **fields: object) -> None:
        """Log an unexpected error with the places it came through, without its values."""
        self._log(logging.ERROR, text, {**fields, "error": error}, error)

    def _log(
        self, level: int, text: str, fields: Mapping[str, object], error: BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, text, exc_info=error, extra={_FIELDS: fields})


def get_logger(name: str) -> FieldLogger:
    """Return the logger of the module `name`."""
    return FieldLogger(logging.getLogger(name))


def describe_error(error: BaseException) -> str:
    """Say what an error is without repeating a text that may hold an address or a name."""
    if isinstance(error, VigilnetError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"{type(error).__name__} {errno.errorcode.get(error.errno, error.errno)}"
    return type(error).__name__


class SafeFormatter(logging.Formatter):
    """Writes `time level logger: text field=value ...`, one line, control characters escaped."""

    def __init__(self, *, show_sensitive: bool = False, show_time: bool = True) -> None:
        super().__init__("%(asctime)s" if show_time else None)
        self._show_sensitive = show_sensitive
        self._show_time = show_time

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and below it where an unexpected error came through."""
        head = f"{record.levelname.lower()} {record.name}: {self._text(record)}"
        if self._show_time:
            head = f"{self.formatTime(record)} {head}"
        fields: Mapping[str, object] = getattr(record, _FIELDS, {})
        line = " ".join([head, *(f"{name}={self._value(value)}" for name, value in fields.items())])
        error = record.exc_info[1] if record.exc_info else None
        return line if error is None else "\n".join([line, *self._places(error)])

    def _text(self, record: logging.LogRecord) -> str:
        if hasattr(record, _FIELDS):
            return str(record.msg)
        return (
            _escape(record.getMessage()) if self._show_sensitive else "a line of another library (withheld)"
        )

    def _value(self, value: object) -> str:
        if isinstance(value, Sensitive):
            if not self._show_sensitive:
                return HIDDEN
            value = value.reveal()
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} octets>"
        if isinstance(value, BaseException):
            value = str(value) if self._show_sensitive else describe_error(value)
        return _escape(str(value))

    def _places(self, error: BaseException) -> list[str]:
        frames = traceback.extract_tb(error.__traceback__)
        return [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _escape(text: str) -> str:
    text = text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "..."
    return text if text and _PLAIN.issuperset(text) else ascii(text)


class RepeatFilter(logging.Filter):
    """Lets one text through `REPEATS` times a minute; the next one after says how many were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}  # text to (start of its minute, lines in it)

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line is written."""
        key = f"{record.name}:{record.msg}" if hasattr(record, _FIELDS) else record.name
        since, count = self._seen.get(key, (record.created, 0))
        if not 0 <= record.created - since < REPEAT_WINDOW_S:
            self._tell_dropped(record, count - REPEATS)
            since, count = record.created, 0
        if key not in self._seen and len(self._seen) >= MAX_TEXTS:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = (since, count + 1)
        return count < REPEATS

    def _tell_dropped(self, record: logging.LogRecord, dropped: int) -> None:
        if dropped > 0 and hasattr(record, _FIELDS):
            setattr(record, _FIELDS, {**getattr(record, _FIELDS), "dropped": dropped})


def set_up(
    level: str = "info",
    *,
    stream: LogStream | None = None,
    show_sensitive: bool = False,
    show_time: bool = True,
) -> None:
    """Send every log line of this process to `stream` (standard error if None), made safe.

    Args:
        level: "debug", "info", "warning" or "error"; other libraries get at least "warning".
        stream: where to write.
        show_sensitive: the user's own, explicit wish to see whom the node talks to.
        show_time: whether a line starts with the time (a journal adds its own).
    """
    handler = logging.StreamHandler[LogStream](sys.stderr if stream is None else stream)
    handler.setFormatter(SafeFormatter(show_sensitive=show_sensitive, show_time=show_time))
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, SafeFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level.upper())
