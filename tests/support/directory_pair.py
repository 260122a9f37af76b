"""A circuit of one client and one directory on a virtual loop: what either end sends arrives by itself."""

import asyncio
from collections.abc import Callable

from tests.support.mux_pair import MuxPair
from vigilnet.traffic.stream.stream import Stream


class DirectoryPair(MuxPair):
    """A `MuxPair` that delivers as soon as the loop has time."""

    def __init__(self, serve: Callable[[Stream], None]) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self.exit.mux._directory = serve
        self.is_cut = False
        for end in (self.client, self.exit):
            end.carriage.wake = self._wake  # type: ignore[method-assign]

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._is_due = False
        if not self.is_cut:
            self.settle()

    def open(self) -> Stream:  # type: ignore[override]  # a stream to the directory
        """Open a stream to the directory."""
        return self.client.mux.open_directory()
