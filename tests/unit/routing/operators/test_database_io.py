"""The directory's file: what is kept, and what is made of a bad one."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.support.operators import HOST, START, Relay
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.routing.operators.database_io import NAME, Database
from vigilnet.routing.operators.registry import Entry


def _entry(name: str, last_seen: int = START) -> Entry:
    return Entry(Relay(name).registration(), HOST, START - 10, last_seen, 0.0)


def test_relays_are_kept_forgotten_and_found_again(tmp_path: Path) -> None:
    async def write() -> None:
        database = Database(tmp_path)
        await asyncio.gather(*(database.save(_entry(f"relay {number}")) for number in range(20)))
        await database.save(_entry("relay 0", START + 30))
        await database.forget([Relay("relay 1").peer_id])
        await database.close()

    async def read() -> dict[str, Entry]:
        database = Database(tmp_path)
        found = {entry.registration.peer_id: entry for entry in database.load(START + 40, 1000.0)}
        await database.close()
        return found

    asyncio.run(write())
    found = asyncio.run(read())
    assert len(found) == 19
    first = found[Relay("relay 0").peer_id]
    assert (first.first_seen, first.last_seen, first.heard_at) == (START - 10, START + 30, 990.0)
    said, kept = Relay("relay 0").registration(), first.registration
    assert (kept.record, kept.signed_at, kept.addrs) == (said.record, said.signed_at, said.addrs)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_time_of_the_future_counts_as_now(tmp_path: Path) -> None:
    async def run() -> float:
        database = Database(tmp_path)
        await database.save(_entry("one", START + 9999))
        [entry] = database.load(START, 50.0)
        await database.close()
        return entry.heard_at

    assert asyncio.run(run()) == 50.0


def test_journal_is_written_ahead(tmp_path: Path) -> None:
    async def run() -> str:
        database = Database(tmp_path)
        with sqlite3.connect(tmp_path / NAME) as other:
            mode = other.execute("PRAGMA journal_mode").fetchone()[0]
        other.close()
        await database.close()
        return str(mode)

    assert asyncio.run(run()) == "wal"


def test_damaged_rows_are_left_out(tmp_path: Path) -> None:
    async def run() -> int:
        database = Database(tmp_path)
        await database.save(_entry("one"))
        with sqlite3.connect(tmp_path / NAME) as other:
            other.execute(
                "INSERT INTO relays SELECT 'x', address, '{', country, capabilities, 1, 2, 'r', 3 FROM relays"
            )
        other.close()
        found = len(database.load(START, 0.0))
        await database.close()
        return found

    assert asyncio.run(run()) == 1


def test_file_that_is_no_database_or_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(EnvironmentRefusedError, match="cannot be used"):
        Database(tmp_path)
    (tmp_path / NAME).unlink()
    with sqlite3.connect(tmp_path / NAME) as other:
        other.execute("PRAGMA user_version=2")
    other.close()
    with pytest.raises(EnvironmentRefusedError, match="of version 2"):
        Database(tmp_path)


def test_disk_that_refuses_does_not_stop_the_directory(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(tmp_path)
        database._connection.execute("DROP TABLE relays")
        await database.save(_entry("one"))
        await database.close()

    asyncio.run(run())
