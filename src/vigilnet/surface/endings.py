"""How a program of ours hears that it is to end: signals, and the pipe of whoever started it."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Final

if sys.platform == "win32":
    HANGING_UP: Final = (signal.SIGBREAK,)  # Ctrl-Break, and what `vigilnet testnet` sends

    def on_signals(
        loop: asyncio.AbstractEventLoop, told: Mapping[signal.Signals, Callable[[], None]]
    ) -> None:
        """Call back in the loop, at each of these signals.

        The loop knows no signals there, and one does not cut its waiting short: a socket wakes it.
        """
        woken, waker = socket.socketpair()
        woken.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)

        def readable(kept_open: socket.socket = waker) -> None:
            del kept_open
            woken.recv(64)

        loop.add_reader(woken.fileno(), readable)
        for number, callback in told.items():
            signal.signal(number, lambda *_, callback=callback: loop.call_soon_threadsafe(callback))

    def on_closed_input(loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> None:
        """Call back in the loop once standard input is closed; a thread waits, for the loop cannot."""

        def wait() -> None:
            try:
                while os.read(0, 1024):
                    pass
            except OSError:
                return
            loop.call_soon_threadsafe(told)

        threading.Thread(target=wait, name="standard input", daemon=True).start()

else:
    HANGING_UP: Final = (signal.SIGHUP,)

    def on_signals(
        loop: asyncio.AbstractEventLoop, told: Mapping[signal.Signals, Callable[[], None]]
    ) -> None:
        """Call back in the loop, at each of these signals."""
        for number, callback in told.items():
            loop.add_signal_handler(number, callback)

    def on_closed_input(loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> None:
        """Call back in the loop once standard input is closed; raises PermissionError where it is a file."""

        def readable() -> None:
            if not os.read(0, 4096):
                loop.remove_reader(0)
                told()

        loop.add_reader(0, readable)
