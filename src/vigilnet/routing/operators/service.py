"""A directory at work: its disk, its clockwork, and its routes' functions."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.http.messages import Request, Response, error_response, json_response
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.routing.operators.directory import Directory
from vigilnet.routing.operators.registry import Entry

_log = get_logger(__name__)


class Keeper(Protocol):
    """What keeps the list: `database_io.Database`, which only a directory loads."""

    def load(self, wall: float, now: float) -> list[Entry]:
        """Return what was kept."""
        ...

    async def save(self, entry: Entry) -> None:
        """Keep a relay; returns once it is on disk."""
        ...

    async def forget(self, peer_ids: Iterable[str]) -> None:
        """Drop relays."""
        ...

    async def close(self) -> None:
        """Write what waits."""
        ...


class DirectoryService:
    """Serves one directory; mounted by the surface (`surface/status`).

    Args:
        directory: judges and answers.
        database: keeps it.
        clock: time.
        prune_s: between two looks for what is to be forgotten.
    """

    def __init__(self, directory: Directory, database: Keeper, clock: Clock, prune_s: float) -> None:
        self.directory = directory
        self._database = database
        self._clock = clock
        self._prune_s = prune_s
        self._tasks = TaskGroup("directory")

    def start(self) -> None:
        """Take in what was kept, and begin to prune."""
        entries = self._database.load(self._clock.wall(), self._clock.now())
        self.directory.registry.load(entries)
        self._tasks.start("prune", self._keep_pruning())

    async def close(self) -> None:
        """Stop, with all on disk."""
        await self._tasks.close()
        await self._database.close()

    async def register(self, request: Request) -> Response:
        """Answer `POST /api/relay/register`, once it is on disk."""
        judged = self.directory.judge(request, self._clock.wall(), self._clock.now())
        if isinstance(judged, Response):
            return judged
        await self._database.save(judged.entry)
        return json_response({"registered": True, "is_new": judged.is_new})

    def by_country(self, request: Request) -> Response:
        """Answer `GET /api/relays/by-country`."""
        return self.directory.by_country(request, self._clock.now())

    def operator(self, request: Request) -> Response:
        """Answer `GET /api/operator`."""
        del request
        return self.directory.operator()

    async def prune(self, request: Request) -> Response:
        """Answer `GET /api/relays/prune`."""
        if not self.directory.may_prune(request):
            return error_response(403, "only from this machine, or with the admin token")
        pruned = await self._prune()
        registry = self.directory.registry
        active = registry.active(self._clock.now())
        return json_response({"pruned": pruned, "active_peers": active, "total_peers": len(registry)})

    async def _prune(self) -> int:
        gone = self.directory.registry.prune(self._clock.now())
        await self._database.forget(gone)
        return len(gone)

    async def _keep_pruning(self) -> None:
        while True:
            await asyncio.sleep(self._prune_s)
            pruned = await self._prune()
            _log.debug("directory is pruned", pruned=pruned)
