"""The event loop on Windows: readers and writers for any number of sockets.

The usual loop there (completion ports) cannot tell when a socket is ready, which our rooms build on. Python's
other one asks select(), which takes 512 sockets; this one asks WSAPoll, which has no such limit. It looks at
every socket at each turn, so it costs more the more there are: enough for a client and a small relay.
"""

import asyncio
import ctypes
import math
import selectors
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

_ENTRY: Final = struct.Struct("@Phh4x" if struct.calcsize("P") == 8 else "@Phh")  # WSAPOLLFD
_READABLE, _WRITABLE = 0x0300, 0x0010  # POLLRDNORM | POLLRDBAND, POLLWRNORM
_FAILED: Final = 0x0007  # POLLERR | POLLHUP | POLLNVAL
_GROWN_BY: Final = 64  # entries


class _Keys(Mapping[Any, selectors.SelectorKey]):
    """What is registered, by descriptor or by what has one."""

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, which: Any) -> selectors.SelectorKey:  # noqa: ANN401 as selectors has it
        return self._keys[_number_of(which)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class WindowsPoll(selectors.BaseSelector):
    """A selector over WSAPoll.

    Args:
        poll: takes entries, how many, and milliseconds (-1: without end); returns how many are ready.
    """

    def __init__(self, poll: Any) -> None:  # noqa: ANN401 a function of a library
        self._poll = poll
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._map = _Keys(self._keys)
        self._places: dict[int, int] = {}  # of a descriptor in the entries
        self._order: list[int] = []
        self._entries = ctypes.create_string_buffer(_GROWN_BY * _ENTRY.size)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401
        """Watch a socket."""
        number = _number_of(fileobj)
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"events: got {events!r}")
        if number in self._keys:
            raise KeyError(f"{number} is registered already")
        key = self._keys[number] = selectors.SelectorKey(fileobj, number, events, data)
        self._places[number] = len(self._order)
        self._order.append(number)
        if len(self._order) * _ENTRY.size > len(self._entries):
            grown = ctypes.create_string_buffer(len(self._entries) + _GROWN_BY * _ENTRY.size)
            ctypes.memmove(grown, self._entries, len(self._entries))
            self._entries = grown
        self._put(number, events)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 as selectors has it
        """Watch it no more."""
        key = self._keys.pop(_number_of(fileobj))
        place, last = self._places.pop(key.fd), self._order.pop()
        if last != key.fd:
            self._order[place] = last
            self._places[last] = place
            self._put(last, self._keys[last].events)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401
        """Watch it for something else."""
        number = _number_of(fileobj)
        key = self._keys[number] = self._keys[number]._replace(events=events, data=data)
        self._put(number, events)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until something is ready, or so long."""
        wait = -1 if timeout is None else 0 if timeout <= 0 else math.ceil(timeout * 1000)
        count = len(self._order)
        ready = self._poll(self._entries, count, wait)
        if ready < 0:
            raise OSError(0, "WSAPoll failed")
        if not ready:
            return []
        found = []
        with memoryview(self._entries) as entries:
            for number, _, told in _ENTRY.iter_unpack(entries[: count * _ENTRY.size]):
                if told:
                    key = self._keys[number]
                    events = (selectors.EVENT_READ if told & (_READABLE | _FAILED) else 0) | (
                        selectors.EVENT_WRITE if told & (_WRITABLE | _FAILED) else 0
                    )
                    if events & key.events:
                        found.append((key, events & key.events))
        return found

    def close(self) -> None:
        """Forget everything."""
        self._keys.clear()
        self._places.clear()
        self._order.clear()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what is registered."""
        return self._map

    def _put(self, number: int, events: int) -> None:
        wanted = (_READABLE if events & selectors.EVENT_READ else 0) | (
            _WRITABLE if events & selectors.EVENT_WRITE else 0
        )
        _ENTRY.pack_into(self._entries, self._places[number] * _ENTRY.size, number, wanted, 0)


def _number_of(fileobj: Any) -> int:  # noqa: ANN401 as selectors has it
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that our rooms can run on, on Windows."""
    if sys.platform != "win32":
        return asyncio.SelectorEventLoop()
    poll = ctypes.WinDLL("ws2_32").WSAPoll
    poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)
    return asyncio.SelectorEventLoop(WindowsPoll(poll))
