"""What a session was told a moment ago, for one that asks faster than people and pages do (sans-IO).

An operation costs far more beside a full data path than alone, since the path's octets push the code for it
out of the processor's caches. So whoever asks more than `HURRIED` times a second is told again what it was
told up to `FRESH_S` ago, unless something was changed since. Nobody else ever gets an old answer.
"""

from typing import Final

from vigilnet.surface.control.schema import Request

HURRIED: Final = 20
FRESH_S: Final = 0.25
_WINDOW_S: Final = 1.0
READS: Final = frozenset(("status", "circuits", "streams", "paths", "peers", "exits", "settings", "traffic"))


class Recent:
    """One session's answers of the last moment."""

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0  # of this window
        self._before = 0  # of the last one
        self._told: dict[str, tuple[float, int, bytes]] = {}

    def find(self, request: Request, now: float, changes: int) -> bytes | None:
        """Return the JSON of a result that is good enough; counts the request.

        Args:
            request: what is asked.
            now: monotonic seconds.
            changes: how many changes the node has been told so far.
        """
        if now - self._began >= _WINDOW_S:
            is_next = now - self._began < 2 * _WINDOW_S
            self._began, self._before, self._count = now, self._count if is_next else 0, 0
        self._count += 1
        if max(self._count, self._before) <= HURRIED or request.params:
            return None
        at, seen, text = self._told.get(request.method, (0.0, -1, b""))
        return text if seen == changes and now - at < FRESH_S else None

    def keep(self, request: Request, now: float, changes: int, text: bytes) -> None:
        """Remember what was told, where it may be told again."""
        if request.method in READS and not request.params:
            self._told[request.method] = (now, changes, text)
