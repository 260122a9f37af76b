"""A client looks for one relay: asks relays in the DHT, through circuits (discovery.md section 9)."""

from collections.abc import Awaitable, Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.routing.discovery.dht import Lookup, identity_key
from vigilnet.routing.discovery.fetch_io import OpenDirectory, Table, ask
from vigilnet.routing.discovery.wire import ItemType

MAX_ASKED: Final = 6  # relays, one after the other: with 30 % liars two good ones are among them
MAX_TAKEN: Final = 4  # records of one answer: an identity has one

_log = get_logger(__name__)


class PeerFinder:
    """Finds relays by identity.

    Args:
        open_directory: builds a circuit to a relay in the DHT, another one each time; raises VigilnetError.
        table: the peer table.
        found: gives the record of an identity once the table has it and it may be used; None else.
        clock: time.
        network: name of a private network.
    """

    def __init__(
        self,
        open_directory: Callable[[], Awaitable[OpenDirectory]],
        table: Table,
        found: Callable[[bytes], PeerRecord | None],
        clock: Clock,
        network: str,
    ) -> None:
        self._open_directory = open_directory
        self._table = table
        self._found = found
        self._clock = clock
        self._network = network

    async def find(self, identity: bytes) -> PeerRecord | None:
        """Return a relay's record, from the table or by up to six look-ups; None if it is not found.

        Raises:
            VigilnetError: nobody could be asked.
        """
        error: VigilnetError | None = None
        for _ in range(MAX_ASKED):
            record = self._found(identity)
            if record is not None:
                return record
            try:
                await self._ask(identity)
            except VigilnetError as failed:
                _log.debug("no answer from a relay in the dht", reason=str(failed))
                error = failed
        record = self._found(identity)
        if record is None and error is not None:
            raise error
        return record

    async def _ask(self, identity: bytes) -> None:
        directory = await self._open_directory()
        items = await ask(directory, Lookup(identity_key(identity, self._network)).encode())
        source = Source(f"dht by {directory.source.key}", directory.source.place, name="dht")
        for item in list(items)[:MAX_TAKEN]:
            if item.type is ItemType.RECORD:
                self._table.offer(item.octets, source, self._clock.wall(), self._clock.now())
