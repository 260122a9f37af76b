"""Where cgroup v2 is mounted, as real systems have it."""

import struct
from pathlib import Path

import pytest

from vigilnet.traffic.backends.cgroups_io import ControlGroups, mark_of, mounted_cgroup2, users_program
from vigilnet.traffic.backends.ruleset import MARK_OUTSIDE, MARK_OWN

PURE = "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
HYBRID = "38 28 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
OLD = "36 28 0:35 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids"
READ_ONLY = "30 24 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw"
SPACED = "38 28 0:31 / /mnt/my\\040groups rw,relatime - cgroup2 cgroup2 rw"


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        (PURE, "/sys/fs/cgroup"),
        (f"{OLD}\n{HYBRID}\n", "/sys/fs/cgroup/unified"),
        (SPACED, "/mnt/my groups"),
    ],
)
def test_a_writable_tree_is_found_wherever_it_is(text: str, folder: str) -> None:
    assert mounted_cgroup2(text) == Path(folder)


@pytest.mark.parametrize("text", ["", OLD, READ_ONLY])
def test_none_is_found_where_there_is_none(text: str) -> None:
    assert mounted_cgroup2(text) is None


def test_each_group_has_a_mark_of_its_own() -> None:
    marks = [mark_of(group) for group in ("own", "outside", "inside", "exit0", "exit1", "unserved")]
    assert len(set(marks)) == len(marks)


class Groups(ControlGroups):
    """Groups that are a dictionary."""

    def __init__(self) -> None:
        super().__init__("fake")
        self.now = {7: "exit0", 8: "exit1", 9: "exit1"}

    def members(self, group: str) -> list[int]:
        return [pid for pid, name in self.now.items() if name == group]

    def join(self, pid: int, group: str) -> None:
        self.now[pid] = group


def test_a_group_does_not_pass_from_one_exit_to_another(tmp_path: Path) -> None:
    groups, record = Groups(), tmp_path / "run" / "exits.json"
    groups.bind((), record)
    assert not record.exists()
    groups.bind(("SE", "DE"), record)
    groups.bind(("SE", "DE", "FR"), record)
    assert groups.now == {7: "exit0", 8: "exit1", 9: "exit1"}
    groups.bind((), record)  # a node that was started anew: none is served, and none is another's yet
    groups.bind(("SE",), record)
    assert groups.now == {7: "exit0", 8: "exit1", 9: "exit1"}
    groups.bind(("SE", "NO"), record)
    assert groups.now == {7: "exit0", 8: "unserved", 9: "unserved"}
    record.write_text("no json")
    groups.bind(("DE",), record)
    assert groups.now[7] == "exit0"  # nothing is known of before


def mark_after(program: bytes, user: int, mark: int) -> int:
    """Run a program, of the few instructions that ours has, for a socket; what mark it has then."""
    registers: dict[int, int] = {}
    lines = list(struct.iter_unpack("<BBhi", program))
    at = 0
    while True:
        code, which, offset, value = lines[at]
        target, at = which & 15, at + 1
        if code == 0x95:
            assert registers[0] == 1  # every socket is allowed
            return mark
        if code == 0x61:
            registers[target] = mark
        elif code == 0x63:
            mark = registers[which >> 4]
        elif code == 0x85:
            registers[0] = 77 << 32 | user  # a group of users, and the user
        elif code == 0xB7:
            registers[target] = value
        elif (
            (code == 0x05)
            or (code == 0x55 and registers[target] != value)
            or (code == 0x16 and registers[target] & 0xFFFF_FFFF == value & 0xFFFF_FFFF)
        ):
            at += offset


@pytest.mark.parametrize("users", [(1000,), (0, 1000, 65_534, 0x8000_0000, 0xFFFF_FFFE)])
def test_sockets_of_excluded_users_and_no_others_are_marked(users: tuple[int, ...]) -> None:
    program = users_program(users)
    for user in users:
        assert mark_after(program, user, 0) == MARK_OUTSIDE
        assert mark_after(program, user, MARK_OWN) == MARK_OWN  # a group's mark stays
    for user in (1, 999, 1001, 0xFFFF_FFFD):
        assert mark_after(program, user, 0) == 0
