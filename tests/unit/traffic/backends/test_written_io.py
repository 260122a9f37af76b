import stat
from pathlib import Path

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends.written_io import Journal, LockdownMark, refuse_wishes


def test_lockdown_is_on_until_it_is_off(tmp_path: Path) -> None:
    LockdownMark(tmp_path / "state").set(is_on=True)
    assert LockdownMark(tmp_path / "state").is_on
    assert stat.S_IMODE((tmp_path / "state" / "lockdown").stat().st_mode) == 0o600
    LockdownMark(tmp_path / "state").set(is_on=False)
    LockdownMark(tmp_path / "state").set(is_on=False)
    assert not LockdownMark(tmp_path / "state").is_on


def test_journal_gives_back_what_was_written_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    assert journal.read() is None
    journal.write({"one": 1})
    journal.write(["two"])
    assert Journal(tmp_path / "run").read() == ["two"]
    (tmp_path / "run" / "changed.json").write_text("{")
    assert journal.read() is None
    journal.forget()
    journal.forget()
    assert not (tmp_path / "run" / "changed.json").exists()


def test_a_wish_that_cannot_be_kept_is_named() -> None:
    refuse_wishes({"users": (), "marks": None}, "a toaster")
    with pytest.raises(EnvironmentRefusedError, match="device: marks are not possible on a toaster yet"):
        refuse_wishes({"users": (), "marks": (1,)}, "a toaster")
