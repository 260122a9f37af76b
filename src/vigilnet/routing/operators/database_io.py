"""The registered relays on disk: SQLite, so that a directory goes on after a restart where it was.

Writes are made in batches on a thread of their own; whoever registers is answered once its row is on disk.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.routing.operators.registry import Entry
from vigilnet.routing.operators.wire import Registration

NAME: Final = "directory.sqlite3"
_VERSION: Final = 1
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS relays (
    peer_id TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    addrs TEXT NOT NULL,
    country TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    record BLOB NOT NULL,
    signed_at INTEGER NOT NULL
) WITHOUT ROWID
"""

Row = tuple[str, str, str, str, str, int, int, bytes, int]

_log = get_logger(__name__)


class Database:
    """The file of one directory.

    Args:
        folder: the state folder, of mode 0700 and locked by this process.

    Raises:
        EnvironmentRefusedError: it cannot be opened, or is of a later version.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._thread = ThreadPoolExecutor(1, "directory")
        self._waiting: dict[str, Row] = {}
        self._gone: set[str] = set()
        self._tasks = TaskGroup("directory database")
        self._batch: asyncio.Task[None] | None = None
        try:
            self._path.touch(0o600)
            self._path.chmod(0o600)
            self._connection = sqlite3.connect(self._path, check_same_thread=False, timeout=5.0)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if version not in (0, _VERSION):
                raise EnvironmentRefusedError(f"{self._path}: of version {version}, expected {_VERSION}")
            self._connection.execute(_TABLE)
            self._connection.execute(f"PRAGMA user_version={_VERSION}")
            self._connection.commit()
        except (sqlite3.Error, OSError) as error:
            raise EnvironmentRefusedError(f"{self._path}: cannot be used: {error}") from error

    def load(self, wall: float, now: float) -> list[Entry]:
        """Return what was kept; times of the future count as now. Rows that are damaged are left out."""
        entries = []
        for row in self._connection.execute("SELECT * FROM relays"):
            try:
                entries.append(_entry(row, wall, now))
            except (TypeError, ValueError):
                _log.warning("directory: a damaged row is left out")
        return entries

    async def save(self, entry: Entry) -> None:
        """Keep a relay; returns once it is on disk. A disk that refuses is told in the log."""
        said = entry.registration
        self._gone.discard(said.peer_id)
        self._waiting[said.peer_id] = (
            said.peer_id,
            entry.address,
            json.dumps(said.addrs),
            said.country,
            json.dumps(said.capabilities),
            entry.first_seen,
            entry.last_seen,
            said.record,
            said.signed_at,
        )
        await self._written()

    async def forget(self, peer_ids: Iterable[str]) -> None:
        """Drop relays."""
        for peer_id in peer_ids:
            self._waiting.pop(peer_id, None)
            self._gone.add(peer_id)
        if self._gone:
            await self._written()

    async def _written(self) -> None:
        """Wait until all that is waiting now is on disk: the batch under way, then ours with what joins
        it.
        """
        while self._waiting or self._gone:
            if self._batch is None or self._batch.done():
                rows, gone = list(self._waiting.values()), [(peer_id,) for peer_id in self._gone]
                self._waiting.clear()
                self._gone.clear()
                self._batch = self._tasks.start("batch", self._run(rows, gone))
            await asyncio.shield(self._batch)
        if self._batch is not None and not self._batch.done():
            await asyncio.shield(self._batch)

    async def _run(self, rows: list[Row], gone: list[tuple[str]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._write, rows, gone)
        except sqlite3.Error as error:
            _log.error("directory cannot be written; it goes on without the disk", reason=str(error))

    def _write(self, rows: list[Row], gone: list[tuple[str]]) -> None:
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO relays VALUES (?,?,?,?,?,?,?,?,?)", rows)
            self._connection.executemany("DELETE FROM relays WHERE peer_id = ?", gone)

    async def close(self) -> None:
        """Write what waits and close the file."""
        await self._written()
        await self._tasks.close()
        self._thread.shutdown()
        self._connection.close()


def _entry(row: Row, wall: float, now: float) -> Entry:
    peer_id, address, addrs, country, capabilities, first_seen, last_seen, record, signed_at = row
    said = Registration(
        str(peer_id),
        tuple(map(str, json.loads(addrs))),
        str(country),
        tuple(map(str, json.loads(capabilities))),
        int(last_seen),
        int(first_seen),
        bytes(record),
        int(signed_at),
    )
    age = max(0.0, wall - last_seen)
    return Entry(said, str(address), int(first_seen), int(last_seen), now - age)
