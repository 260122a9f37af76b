"""Programs by path: put into their groups before they run where the kernel asks, else soon after."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import has_root
from tests.support.waiting import wait_until
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import program_watch_io
from vigilnet.traffic.backends.program_watch_io import ProgramWatch
from vigilnet.traffic.device.settings import Program

needs_fanotify = pytest.mark.skipif(not has_root(), reason="needs root, for fanotify")


class Groups:
    """Groups that are a dictionary."""

    def __init__(self) -> None:
        self.joined: list[tuple[int, str]] = []
        self.now: dict[int, str] = {}
        self.refusal = ""

    def join(self, pid: int, group: str) -> None:
        if self.refusal:
            raise EnvironmentRefusedError(self.refusal)
        self.joined.append((pid, group))
        self.now[pid] = group

    def group_of(self, pid: int) -> str:
        return self.now.get(pid, "")


def start(program: object) -> tuple[int, int]:
    """Run a program by a shell; return its process and exit code.

    Not by ourselves: the fork would hold this interpreter until the answer that its own thread has to give.
    """
    done = subprocess.run(
        ["sh", "-c", f"{program} & echo $!; wait $!"], capture_output=True, text=True, check=False
    )
    return int(done.stdout), done.returncode


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def watch(groups: Groups) -> Iterator[ProgramWatch]:
    made = ProgramWatch(groups.join, groups.group_of)
    yield made
    made.stop()


@pytest.fixture
def program(tmp_path: Path) -> str:
    return str(shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "program"))


@needs_fanotify
def test_a_program_is_in_its_group_before_it_runs(watch: ProgramWatch, groups: Groups, program: str) -> None:
    watch.watch([Program(program, "exit0")], 0)
    assert watch.is_exact
    for _ in range(3):
        assert (start(program)[0], "exit0") in groups.joined
    watch.watch([], 0)
    assert start(program)[1] == 0
    assert len(groups.joined) == 3


@needs_fanotify
def test_a_script_is_known_by_its_own_path(watch: ProgramWatch, groups: Groups, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    watch.watch([Program(str(script), "outside")], 0)
    assert (start(script)[0], "outside") in groups.joined


@needs_fanotify
def test_a_program_that_cannot_be_bound_does_not_start(
    watch: ProgramWatch, groups: Groups, program: str
) -> None:
    watch.watch([Program(program, "inside")], 0)
    groups.refusal = "no such group"
    assert start(program)[1] == 126
    watch.watch([Program(program, "outside")], 0)  # that would only have gone around: it may start inside
    assert start(program)[1] == 0


@pytest.mark.slow
@needs_fanotify
def test_a_file_that_was_replaced_is_found_again(
    watch: ProgramWatch, groups: Groups, program: str, tmp_path: Path
) -> None:
    watch.watch([Program(program, "outside")], 0)
    shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "new")
    (tmp_path / "new").rename(program)

    def is_known() -> bool:
        start(program)
        return bool(groups.joined)

    wait_until(is_known, "the new file is known")


@needs_fanotify
def test_programs_of_other_users_are_not_meant(watch: ProgramWatch, groups: Groups, program: str) -> None:
    watch.watch([Program(program, "outside")], 65_534)
    start(program)
    assert not groups.joined


@needs_fanotify
def test_what_the_helper_starts_itself_cannot_be_remembered(watch: ProgramWatch) -> None:
    with pytest.raises(EnvironmentRefusedError, match="helper"):
        watch.watch([Program(shutil.which("ip") or "/sbin/ip", "outside")], 0)


def test_nobody_is_taken_out_of_a_group_that_binds_more(
    watch: ProgramWatch, groups: Groups, program: str
) -> None:
    for now, wished, is_moved in (
        ("", "outside", True),
        ("inside", "outside", False),
        ("exit1", "outside", False),
        ("outside", "exit0", True),
        ("own", "exit0", False),
        ("inside", "inside", False),
    ):
        groups.joined.clear()
        groups.now = {7: now}
        assert watch._put(7, wished)
        assert bool(groups.joined) is is_moved


def fake_process(folder: Path, pid: int, program: str, user: int = 1000) -> None:
    (folder / str(pid)).mkdir(parents=True)
    (folder / str(pid) / "status").write_text(f"Name:\tx\nUid:\t{user}\t{user}\t0\t{user}\nGid:\t1\n")
    (folder / str(pid) / "exe").symlink_to(program)


def test_without_fanotify_exclusions_are_found_among_what_runs(
    groups: Groups, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_watch_io, "_open_notify", lambda: -1)
    monkeypatch.setattr(program_watch_io, "LOOK_S", 0.01)
    processes = tmp_path / "proc"
    fake_process(processes, 70, program)
    fake_process(processes, 71, "/bin/sh")
    fake_process(processes, 73, program, user=1001)
    (processes / "cmdline").touch()
    watch = ProgramWatch(groups.join, groups.group_of, processes)
    try:
        watch.watch([Program(program, "outside")], 1000)
        assert groups.joined == [(70, "outside")]
        fake_process(processes, 72, program)
        wait_until(lambda: (72, "outside") in groups.joined, "the new process is found")
        (processes / "71" / "exe").unlink()  # that one is another program now
        (processes / "71" / "exe").symlink_to(program)
        wait_until(lambda: (71, "outside") in groups.joined, "what it became is found")
        with pytest.raises(EnvironmentRefusedError, match="only exclusions"):
            watch.watch([Program(program, "inside")], 1000)
    finally:
        watch.stop()
