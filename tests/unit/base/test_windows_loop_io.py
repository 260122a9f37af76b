import asyncio
import contextlib
import ctypes
import select
import selectors
import socket
from collections.abc import Iterator

import pytest

from vigilnet.base import windows_loop_io
from vigilnet.base.windows_loop_io import WindowsPoll, new_loop

_IN, _OUT = 0x0300, 0x0010  # of Windows


def poll_of_this_system(entries: "ctypes.Array[ctypes.c_char]", count: int, wait: int) -> int:
    """WSAPoll's contract, kept by poll."""
    poll, ready = select.poll(), 0
    for at in range(count):
        number, wanted, _ = windows_loop_io._ENTRY.unpack_from(entries, at * windows_loop_io._ENTRY.size)
        poll.register(
            number, (select.POLLIN if wanted & _IN else 0) | (select.POLLOUT if wanted & _OUT else 0)
        )
    told = dict(poll.poll(wait))
    for at in range(count):
        place = at * windows_loop_io._ENTRY.size
        number, wanted, _ = windows_loop_io._ENTRY.unpack_from(entries, place)
        events = told.get(number, 0)
        found = (0x0100 if events & select.POLLIN else 0) | (_OUT if events & select.POLLOUT else 0)
        found |= 0x0001 if events & select.POLLERR else 0
        found |= 0x0002 if events & select.POLLHUP else 0
        windows_loop_io._ENTRY.pack_into(entries, place, number, wanted, found)
        ready += bool(found)
    return ready


@pytest.fixture
def poll() -> Iterator[WindowsPoll]:
    with contextlib.closing(WindowsPoll(poll_of_this_system)) as made:
        yield made


@contextlib.contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    with contextlib.ExitStack() as stack:
        made = [socket.socketpair() for _ in range(count)]
        for one, other in made:
            stack.enter_context(one)
            stack.enter_context(other)
        yield made


def test_tells_which_of_many_is_ready(poll: WindowsPoll) -> None:
    with pairs(150) as made:  # more than one growth of the list
        for number, (one, _) in enumerate(made):
            poll.register(one, selectors.EVENT_READ, number)
        assert poll.select(0) == []
        for number in (3, 77, 149):
            made[number][1].send(b"x")
        assert sorted(key.data for key, _ in poll.select(1)) == [3, 77, 149]


def test_the_last_takes_the_place_of_one_that_goes(poll: WindowsPoll) -> None:
    with pairs(4) as made:
        for number, (one, _) in enumerate(made):
            poll.register(one, selectors.EVENT_READ, number)
        assert poll.unregister(made[1][0]).data == 1
        for _, other in made:
            other.send(b"x")
        assert sorted(key.data for key, _ in poll.select(1)) == [0, 2, 3]
        assert poll.unregister(made[3][0]).data == 3
        assert sorted(key.data for key, _ in poll.select(1)) == [0, 2]
        assert len(poll.get_map()) == 2
        with pytest.raises(KeyError):
            poll.unregister(made[1][0])


def test_changed_wishes_count_at_once(poll: WindowsPoll) -> None:
    with pairs(1) as [(one, other)]:
        poll.register(one, selectors.EVENT_READ)
        other.send(b"x")
        poll.modify(one, selectors.EVENT_WRITE, "w")
        assert [(key.data, events) for key, events in poll.select(1)] == [("w", selectors.EVENT_WRITE)]
        poll.modify(one, selectors.EVENT_READ | selectors.EVENT_WRITE)
        assert [events for _, events in poll.select(1)] == [selectors.EVENT_READ | selectors.EVENT_WRITE]


def test_broken_connection_wakes_whoever_waits(poll: WindowsPoll) -> None:
    """A refused connect is told as an error alone, which must reach the writer that waits for it."""
    with pairs(1) as [(one, other)]:
        poll.register(one, selectors.EVENT_WRITE)
        other.close()
        assert [events for _, events in poll.select(1)] == [selectors.EVENT_WRITE]


def test_what_is_wrong_is_said(poll: WindowsPoll) -> None:
    with pairs(1) as [(one, _)]:
        poll.register(one, selectors.EVENT_READ)
        with pytest.raises(KeyError):
            poll.register(one, selectors.EVENT_READ)
        with pytest.raises(ValueError, match="events"):
            poll.register(one, 8)
    failing = WindowsPoll(lambda *_: -1)
    with pytest.raises(OSError, match="WSAPoll"):
        failing.select(0)


def test_a_loop_runs_on_it() -> None:
    async def echo() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(100_000))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"o" * 100_000)
            answer = await reader.readexactly(100_000)
            writer.close()
            await writer.wait_closed()
            return answer

    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(WindowsPoll(poll_of_this_system))

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(echo()) == b"o" * 100_000


def test_elsewhere_it_is_the_usual_loop() -> None:
    with contextlib.closing(new_loop()) as loop:
        assert isinstance(loop, asyncio.SelectorEventLoop)
