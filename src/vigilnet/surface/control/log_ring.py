"""The last lines of this process's log, kept in memory for the control API."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from vigilnet.base.safelog import SafeFormatter
from vigilnet.surface.control.models import Log, LogLine

MAX_LINES: Final = 1000
_LEVELS: Final = {"error": 40, "warning": 30, "info": 20, "debug": 10}


class LogRing(logging.Handler):
    """Keeps lines as they are written, with targets and addresses left out unless asked for."""

    def __init__(self, *, show_sensitive: bool = False) -> None:
        super().__init__()
        self.setFormatter(SafeFormatter(show_sensitive=show_sensitive, show_time=False))
        self._lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        self._count = 0
        self.listeners: list[Callable[[LogLine], None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line; called by logging under the handler's lock, from any thread."""
        self._count += 1
        head, _, text = self.format(record).partition(": ")
        level, _, source = head.partition(" ")
        line = LogLine(self._count, round(record.created, 3), level, source, text)
        self._lines.append(line)
        for listener in self.listeners:
            listener(line)

    def last(self, after: int = 0, level: str = "debug", limit: int = 200) -> Log:
        """Return the newest lines of a level and graver, oldest first."""
        least = _LEVELS.get(level, 10)
        lines: Sequence[LogLine] = [
            line for line in list(self._lines) if line.number > after and _LEVELS.get(line.level, 50) >= least
        ]
        running = logging.getLevelName(logging.getLogger("vigilnet").level).lower()
        return Log(tuple(lines[-limit:]) if limit > 0 else (), running, max(0, self._count - MAX_LINES))
