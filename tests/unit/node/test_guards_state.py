"""Guards survive a restart, and a damaged file costs only them."""

from pathlib import Path

import pytest

from vigilnet.base.store_io import Store
from vigilnet.node.guards_state import GUARDS, load_guards, save_guards
from vigilnet.routing.paths.selection import Guards


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "state")
    made.lock()
    return made


def test_guards_survive_a_restart(store: Store) -> None:
    guards = Guards([b"a" * 32, b"b" * 32], left={b"c" * 32: 1_800_000_000.0})
    save_guards(store, guards)
    assert load_guards(store).kept == guards.kept
    assert load_guards(store).left == guards.left


def test_without_a_file_there_are_none(store: Store) -> None:
    assert load_guards(store).kept == []


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\x81\x41a", b"\x01", b"\x82\x80\x01", b"\x82\x80\x81\x80"]
)
def test_a_damaged_file_costs_only_the_guards(store: Store, content: bytes) -> None:
    store.write_atomic(GUARDS, content)
    assert load_guards(store).kept == []
