"""A shared folder of record files."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.records import RecordMaker
from vigilnet.base.errors import EnvironmentRefusedError, LocalProtocolError
from vigilnet.peer import records_io
from vigilnet.peer.records_io import FoundRecord, RecordFolder
from vigilnet.peer.view import Outcome, PeerView

NOW = 1_800_000_000
ALICE, BOB = RecordMaker("alice").record(NOW), RecordMaker("bob").record(NOW)


@pytest.fixture
def folder(tmp_path: Path) -> RecordFolder:
    return RecordFolder(tmp_path / "shared" / "records")


def test_published_records_are_found_by_others(folder: RecordFolder) -> None:
    folder.publish("alice", ALICE.encoded)
    assert stat.S_IMODE((folder.path / "alice.record").stat().st_mode) == 0o644
    other = RecordFolder(folder.path)
    assert other.scan(0.0).found == [FoundRecord("alice", ALICE.encoded)]
    assert other.deadline() == 1.0
    folder.publish("bob", BOB.encoded)
    assert other.scan(0.5).found == []
    assert other.scan(1.0).found == [FoundRecord("bob", BOB.encoded)]
    folder.publish("bob", ALICE.encoded)
    assert other.scan(2.0).found == [FoundRecord("bob", ALICE.encoded)]
    folder.withdraw("bob")
    folder.withdraw("bob")
    assert other.scan(3.0).removed == ["bob"]
    assert other.scan(4.0).found == []


def test_a_folder_that_is_not_there_yet_is_empty(folder: RecordFolder) -> None:
    scan = folder.scan(0.0)
    assert (scan.found, scan.bad) == ([], [])


def test_bad_files_are_reported_by_name_once_and_stop_nothing(folder: RecordFolder) -> None:
    folder.publish("good", ALICE.encoded)
    (folder.path / "big.record").write_bytes(bytes(1025))
    (folder.path / "folder.record").mkdir()
    os.mkfifo(folder.path / "pipe.record")
    (folder.path / "dangling.record").symlink_to(folder.path / "nowhere")
    (folder.path / ".partial-1.record").write_bytes(b"x")
    (folder.path / "notes.txt").write_bytes(b"x")
    scan = folder.scan(0.0)
    assert [found.name for found in scan.found] == ["good"]
    assert [name for name, _ in scan.bad] == ["big", "folder", "pipe"]
    assert folder.scan(1.0).bad == []


def test_records_are_offered_to_the_view(folder: RecordFolder) -> None:
    view = PeerView(work_bits=0)
    folder.publish("alice", ALICE.encoded)
    folder.publish("junk", b"junk")
    verdicts = dict(folder.offer_changes(view, NOW, 0.0))
    assert verdicts["alice"].outcome is Outcome.ACCEPTED
    assert verdicts["junk"].outcome is Outcome.MALFORMED
    assert view.get(ALICE.identity) == ALICE
    assert folder.offer_changes(view, NOW, 5.0) == []


def test_too_many_files_are_reported(folder: RecordFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_io, "MAX_FILES", 2)
    for name in "abc":
        folder.publish(name, ALICE.encoded)
    scan = folder.scan(0.0)
    assert [found.name for found in scan.found] == ["a", "b"]
    assert "3 files, only the first 2" in scan.bad[0][1]


def test_folders_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentRefusedError, match="records folder"):
        RecordFolder(tmp_path / "file").publish("x", b"")
    assert RecordFolder(tmp_path / "file").scan(0.0).bad


@pytest.mark.parametrize("name", ["", "../x", ".x", "a/b", "x" * 101])
def test_names_stay_inside_the_folder(folder: RecordFolder, name: str) -> None:
    with pytest.raises(LocalProtocolError):
        folder.publish(name, b"")
