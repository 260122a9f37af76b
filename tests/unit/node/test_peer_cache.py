"""What a node remembers of others between two runs, and for how long."""

import asyncio
from pathlib import Path

import pytest

from tests.support.records import RecordMaker
from tests.support.virtual_loop import VirtualLoop, run
from vigilnet.base.store_io import Store
from vigilnet.base.tasks import TaskGroup
from vigilnet.node import peer_cache
from vigilnet.node.peer_cache import FIRST_SAVE_S, SAVE_S, keep_cache, load_cache, save_cache
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView

NOW = 1_800_000_000
DAY = 86_400.0
FILE = Source("file", is_limited=False)


def loaded(store: Store, wall: float, cache_s: float = DAY) -> PeerView:
    view = PeerView(work_bits=0)
    load_cache(store, view, wall, cache_s)
    return view


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state")
    store.lock()
    return store


def saved(store: Store) -> None:
    view = PeerView(work_bits=0)
    view.offer(RecordMaker("relay").record(NOW, lifetime=172_800).encoded, FILE, NOW, 0.0)
    save_cache(store, view)


def test_a_record_of_the_last_day_is_used_and_an_older_one_is_not(store: Store) -> None:
    saved(store)
    assert len(loaded(store, NOW + DAY)) == 1
    assert len(loaded(store, NOW + DAY + 1)) == 0


def test_the_cache_can_be_shorter_or_off(store: Store) -> None:
    saved(store)
    assert len(loaded(store, NOW + 3601, 3600.0)) == 0
    assert len(loaded(store, NOW, 0.0)) == 0


def test_what_is_too_old_to_be_used_still_keeps_older_records_out(store: Store) -> None:
    saved(store)
    view = loaded(store, NOW + DAY + 1)
    older = RecordMaker("relay").record(NOW - 600, lifetime=172_800)
    assert not view.offer(older.encoded, FILE, NOW + DAY + 1, 0.0).is_accepted
    newer = RecordMaker("relay").record(NOW + 600, lifetime=172_800)
    assert view.offer(newer.encoded, FILE, NOW + DAY + 1, 0.0).is_accepted


def test_the_table_is_written_when_it_changed_and_seldom(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, loop = PeerView(work_bits=0), VirtualLoop()
    written: list[float] = []
    monkeypatch.setattr(peer_cache, "save_cache", lambda *_: written.append(loop.time()))

    async def scenario() -> None:
        start = loop.time()
        group = TaskGroup("test")
        group.start("keep", keep_cache(store, view))
        await asyncio.sleep(5 * SAVE_S)
        assert written == []
        for number in range(3):
            view.offer(RecordMaker(f"relay{number}").record(NOW).encoded, FILE, NOW, 0.0)
            await asyncio.sleep(FIRST_SAVE_S + 1)
        await asyncio.sleep(SAVE_S)
        assert len(written) == 2
        assert written[0] - start <= 5 * SAVE_S + FIRST_SAVE_S + 1
        await group.close()

    run(scenario(), loop)
