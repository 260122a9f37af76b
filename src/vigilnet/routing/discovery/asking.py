"""What is asked of whom: no item from two neighbours at once, another one if the first does not deliver."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from vigilnet.routing.discovery.neighbour import MAX_QUEUE, WINDOW, Neighbour
from vigilnet.routing.discovery.stock import Stock
from vigilnet.routing.discovery.wire import MAX_WANT, pack_entry, split_entry

MAX_ALTERNATES: Final = 3
HURRY: Final = 4.0  # so many times sooner we give up on who did not deliver the last time


@dataclass
class _Asked:
    """An item under way to us."""

    version: int
    neighbour: Neighbour
    due: float
    others: list[bytes] = field(default_factory=list)  # who has it as well


class Asking:
    """The items under way.

    Args:
        stock: says what is wanted.
        neighbours: by identity.
        send: sends keys to a neighbour.
        ask_s: how long a neighbour has to deliver.
    """

    def __init__(
        self,
        stock: Stock,
        neighbours: Mapping[bytes, Neighbour],
        send: Callable[[Neighbour, tuple[bytes, ...], float], None],
        ask_s: float,
    ) -> None:
        self._stock = stock
        self._neighbours = neighbours
        self._send = send
        self._ask_s = ask_s
        self._asked: dict[bytes, _Asked] = {}  # by key
        self._later: set[bytes] = set()  # keys whose identity's work could not be checked at once

    def __len__(self) -> int:
        return len(self._asked)

    def want(self, neighbour: Neighbour, entries: Iterable[bytes], now: float) -> None:
        """Ask a neighbour for entries of its that are wanted."""
        for key, version in map(split_entry, entries):
            asked = self._asked.get(key)
            if asked is not None and asked.version >= version:
                self._has_as_well(key, asked, neighbour, now)
            elif len(neighbour.queue) < MAX_QUEUE:
                neighbour.queue[key] = max(version, neighbour.queue.get(key, 0))
        self.ask(neighbour, now)

    def _has_as_well(self, key: bytes, asked: _Asked, neighbour: Neighbour, now: float) -> None:
        """Note who could be asked next; or ask it at once, if it keeps its word and the first did not."""
        if asked.neighbour is neighbour or neighbour.identity in asked.others:
            return
        if asked.neighbour.broken and not neighbour.broken:
            asked.others.insert(0, neighbour.identity)
            del asked.others[MAX_ALTERNATES:]
            self._ask_another(key, asked, now)
        elif len(asked.others) < MAX_ALTERNATES:
            asked.others.append(neighbour.identity)

    def ask(self, neighbour: Neighbour, now: float) -> None:
        """Ask for as much as may be under way, and as many strangers as their work may be checked."""
        keys: list[bytes] = []
        while neighbour.queue and neighbour.asked < WINDOW and len(keys) < MAX_WANT:
            key, version = next(iter(neighbour.queue.items()))
            under_way = self._asked.get(key)
            is_known = under_way is not None and under_way.version >= version
            if is_known or not self._stock.is_wanted(pack_entry(key, version)):
                del neighbour.queue[key]
                continue
            is_costly = key in self._later or self._stock.is_costly(key)
            if is_costly and not neighbour.strangers.take(1, now):
                break
            del neighbour.queue[key]
            if under_way is not None:
                under_way.neighbour.asked = max(0, under_way.neighbour.asked - 1)
            patience = self._ask_s / HURRY if neighbour.broken else self._ask_s
            self._asked[key] = _Asked(version, neighbour, now + patience)
            neighbour.asked += 1
            keys.append(key)
        if keys:
            self._send(neighbour, tuple(keys), now)

    def came(self, key: bytes, version: int, neighbour: Neighbour) -> None:
        """An item came from a neighbour, whatever became of it."""
        asked = self._asked.get(key)
        if asked is not None and asked.version <= version:
            del self._asked[key]
            if asked.neighbour is neighbour:
                neighbour.broken = 0
        self._later.discard(key)

    def put_off(self, neighbour: Neighbour, key: bytes, version: int) -> None:
        """An item came and could not be judged yet: ask for it again, as fast as work may be checked."""
        if len(self._later) >= MAX_QUEUE:
            self._later.clear()
        self._later.add(key)
        neighbour.queue[key] = version

    def overdue(self, now: float) -> None:
        """Ask others for what was not delivered."""
        for key, asked in list(self._asked.items()):
            if now >= asked.due:
                asked.neighbour.broken += 1
                self._ask_another(key, asked, now)

    def left(self, neighbour: Neighbour, now: float) -> None:
        """A neighbour is gone: ask others for what it was asked."""
        for key, asked in list(self._asked.items()):
            if asked.neighbour is neighbour:
                self._ask_another(key, asked, now)
        if not self._neighbours:
            self._later.clear()

    def _ask_another(self, key: bytes, asked: _Asked, now: float) -> None:
        del self._asked[key]
        asked.neighbour.asked = max(0, asked.neighbour.asked - 1)
        for place, identity in enumerate(asked.others, 1):
            other = self._neighbours.get(identity)
            if other is not None and not other.is_muted(now) and len(other.queue) < MAX_QUEUE:
                other.queue[key] = asked.version
                self.ask(other, now)
                if key in self._asked:
                    self._asked[key].others = asked.others[place:]
                return
