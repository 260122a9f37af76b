import os
import socket
import stat
from pathlib import Path

import pytest

from vigilnet.base import system_io


def test_a_lock_is_had_once(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        system_io.take_lock(first)
        with pytest.raises(OSError, match="temporarily"):
            system_io.take_lock(second)
        os.close(first)
        first = -1
        system_io.take_lock(second)
    finally:
        for handle in (first, second):
            if handle >= 0:
                os.close(handle)


def test_a_folder_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert system_io.take_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_folder_of_another_user_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert not system_io.take_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_parts_go_in_order() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert system_io.send_parts(ours, [b"one", memoryview(b"two"), bytearray(b"three")]) == 11
        assert theirs.recv(100) == b"onetwothree"


def test_rights_are_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert system_io.has_rights()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not system_io.has_rights()
