"""Events: what changed, told to whoever watches; each topic's whole new value, at most once a second.

Nothing is looked at while nobody watches but the traffic of each second, which the last minute is made of.
A watcher that does not read gets the newest value of each topic, never a growing queue.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from vigilnet.base.errors import VigilnetError
from vigilnet.base.tasks import TaskGroup
from vigilnet.surface.control.models import LogLine
from vigilnet.surface.control.operations import TOPICS, Role
from vigilnet.surface.control.schema import ControlError, ErrorCode, plain, without_private
from vigilnet.surface.control.showing import SAMPLE_S
from vigilnet.surface.control.steering import Steering

MAX_WATCHERS: Final = 32
MAX_LOG_LINES: Final = 200  # that wait for one watcher; older ones are dropped
_VOLATILE: Final = ("uptime_s", "since_s", "age_s", "linked_s", "traffic")  # change always, mean nothing new


class Subscription:
    """What one watcher has not read yet."""

    def __init__(self, topics: Sequence[str], role: Role) -> None:
        self.topics = frozenset(topics or TOPICS)
        self._role = role
        self._newest: dict[str, Any] = {}
        self._lines: deque[Any] = deque(maxlen=MAX_LOG_LINES)
        self._ready = asyncio.Event()

    def offer(self, topic: str, data: Any) -> None:  # noqa: ANN401 JSON
        """Take a plain value for whoever reads next."""
        if topic not in self.topics:
            return
        if self._role is not Role.FULL:
            data = without_private(TOPICS[topic], data)
        if topic == "log":
            self._lines.append(data)
        else:
            self._newest[topic] = data
        self._ready.set()

    async def next(self) -> list[tuple[str, Any]]:
        """Wait for events and return all there are."""
        await self._ready.wait()
        self._ready.clear()
        events = [*self._newest.items(), *(("log", line) for line in self._lines)]
        self._newest.clear()
        self._lines.clear()
        return events


class EventFeed:
    """Looks once a second and tells the watchers.

    Args:
        steering: what is watched.
        on_log: registers a listener for log lines.
    """

    def __init__(self, steering: Steering, log_listeners: list[Callable[[LogLine], None]]) -> None:
        self._steering = steering
        self._watchers: set[Subscription] = set()
        self._last: dict[str, Any] = {}
        self._tasks = TaskGroup("events")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._log_listeners = log_listeners

    def start(self) -> None:
        """Begin to look."""
        self._loop = asyncio.get_running_loop()
        self._log_listeners.append(self._on_line)
        self._tasks.start("look", self._look())

    async def close(self) -> None:
        """Stop; safe to call twice."""
        if self._on_line in self._log_listeners:
            self._log_listeners.remove(self._on_line)
        await self._tasks.close()

    def check(self, topics: Sequence[str]) -> None:
        """Refuse what `subscribe` would; raises ControlError."""
        unknown = [topic for topic in topics if topic not in TOPICS]
        if unknown:
            raise ControlError(
                ErrorCode.BAD_REQUEST, f"topic {unknown[0][:32]!r}: unknown, expected {', '.join(TOPICS)}"
            )
        if len(self._watchers) >= MAX_WATCHERS:
            raise ControlError(ErrorCode.BUSY, f"events: {MAX_WATCHERS} watch already")

    @contextmanager
    def subscribe(self, topics: Sequence[str], role: Role) -> Iterator[Subscription]:
        """Give a subscription that begins with the present value of each topic.

        Raises:
            ControlError: a topic is unknown, or too many watch already.
        """
        self.check(topics)
        subscription = Subscription(topics, role)
        self._watchers.add(subscription)
        try:
            for topic in subscription.topics - {"log", "traffic"}:
                subscription.offer(topic, self._value(topic))
            yield subscription
        finally:
            self._watchers.discard(subscription)

    def _on_line(self, line: LogLine) -> None:
        """A log line was written, in whatever thread."""
        if self._watchers and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, "log", plain(line))

    def _tell(self, topic: str, data: Any) -> None:  # noqa: ANN401 JSON
        for watcher in self._watchers:
            watcher.offer(topic, data)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            sample = self._steering.showing.sample()
            if not self._watchers:
                self._last.clear()
                continue
            self._tell("traffic", plain(sample))
            for topic in frozenset().union(*(watcher.topics for watcher in self._watchers)):
                if topic not in ("traffic", "log"):
                    self._tell_if_new(topic)

    def _tell_if_new(self, topic: str) -> None:
        try:
            value = self._value(topic)
        except VigilnetError:
            return
        steady = _steady(value)
        if self._last.get(topic) != steady:
            self._last[topic] = steady
            self._tell(topic, value)

    def _value(self, topic: str) -> Any:  # noqa: ANN401 JSON
        showing = self._steering.showing
        values: dict[str, Callable[[], object]] = {
            "status": showing.status, "paths": showing.paths, "peers": showing.peers,
            "streams": showing.streams,
        }  # fmt: skip
        return plain(values[topic]())


def _steady(value: Any) -> Any:  # noqa: ANN401 JSON
    """Return a plain value without what changes each second anyhow."""
    if isinstance(value, dict):
        return {name: _steady(item) for name, item in value.items() if name not in _VOLATILE}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return value
