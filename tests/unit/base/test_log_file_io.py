"""Each day has its log file, and old ones go."""

import logging
import os
import sys
from pathlib import Path

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.log_file_io import DailyLog
from vigilnet.base.safelog import get_logger, set_up

DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2  # of 2024-10-04


class Days:
    """A clock that stands where the test puts it."""

    wall_s = NOON

    def now(self) -> float:
        return 0.0

    def wall(self) -> float:
        return self.wall_s


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_each_day_has_its_file_and_so_many_are_kept(tmp_path: Path) -> None:
    clock, log = Days(), tmp_path / "node.log"
    (tmp_path / "node.log.old").write_text("not ours")
    out = DailyLog(log, 7, clock)
    for day in range(10):
        clock.wall_s = NOON + day * DAY
        out.write(f"day {day}\n")
        out.write("more\n")
        assert log.read_text() == f"day {day}\nmore\n"
        assert log.stat().st_mode & 0o777 == 0o600
    out.close()
    kept = [f"node.log.2024-10-{number:02}" for number in range(6, 13)]
    assert names(tmp_path) == ["node.log", *kept, "node.log.old"]
    assert (tmp_path / "node.log.2024-10-12").read_text() == "day 8\nmore\n"


def test_the_last_line_of_a_day_and_the_first_of_the_next(tmp_path: Path) -> None:
    clock, log = Days(), tmp_path / "log"
    out = DailyLog(log, 1, clock)
    clock.wall_s = 20_001 * DAY - 0.001
    out.write("last\n")
    clock.wall_s = 20_001 * DAY
    out.write("first\n")
    out.close()
    assert ((tmp_path / "log.2024-10-04").read_text(), log.read_text()) == ("last\n", "first\n")


def test_a_start_on_another_day_puts_the_file_of_before_aside(tmp_path: Path) -> None:
    clock, log = Days(), tmp_path / "log"
    log.write_text("of before\n")
    os.utime(log, (NOON - 2 * DAY, NOON - 2 * DAY))
    DailyLog(log, 7, clock).close()
    assert (tmp_path / "log.2024-10-02").read_text() == "of before\n"
    log.write_text("of today\n")
    os.utime(log, (NOON, NOON))
    out = DailyLog(log, 7, clock)
    out.write("and on\n")
    out.close()
    assert log.read_text() == "of today\nand on\n"


def test_no_days_to_keep_is_one_file_for_ever(tmp_path: Path) -> None:
    clock = Days()
    out = DailyLog(tmp_path / "log", 0, clock)
    out.write("one\n")
    clock.wall_s += 3 * DAY
    out.write("two\n")
    out.close()
    assert names(tmp_path) == ["log"]


def test_a_clock_that_jumps_loses_no_line(tmp_path: Path) -> None:
    clock, log = Days(), tmp_path / "log"
    out = DailyLog(log, 7, clock)
    out.write("now\n")
    clock.wall_s -= 5 * DAY
    out.write("back\n")
    assert log.read_text() == "now\nback\n"
    (tmp_path / "log.2024-10-04").write_text("another's\n")
    clock.wall_s = NOON + DAY
    out.write("next\n")
    out.close()
    assert log.read_text() == "now\nback\nnext\n"
    assert (tmp_path / "log.2024-10-04").read_text() == "another's\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentRefusedError, match=r"log\.file .*/none/log: cannot be written"):
        DailyLog(tmp_path / "none" / "log", 7, Days())
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentRefusedError, match="cannot be written"):
        DailyLog(tmp_path / "link", 7, Days())


def test_log_lines_and_standard_error_go_there_over_midnight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, before = Days(), list(logging.getLogger().handlers)
    with (tmp_path / "terminal").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        out = DailyLog(tmp_path / "log", 7, clock, takes_stderr=True)
        try:
            set_up("info", stream=out, show_time=False)
            get_logger("vigilnet.test").info("of today")
            clock.wall_s += DAY
            get_logger("vigilnet.test").info("of tomorrow")
            os.write(stderr.fileno(), b"from a library\n")
        finally:
            logging.getLogger().handlers[:] = before
            out.close()
    assert (tmp_path / "log.2024-10-04").read_text() == "info vigilnet.test: of today\n"
    assert (tmp_path / "log").read_text() == "info vigilnet.test: of tomorrow\nfrom a library\n"
    assert (tmp_path / "terminal").read_text() == ""
