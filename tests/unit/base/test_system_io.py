import os
import socket
import stat
import subprocess
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


def test_a_folder_that_others_can_change_is_told_from_one_that_is_closed(tmp_path: Path) -> None:
    inner = tmp_path / "between" / "inner"
    inner.mkdir(parents=True)
    assert system_io.is_closed_to_others(inner)
    inner.parent.chmod(0o1777)  # as /tmp: what is ours there stays
    assert system_io.is_closed_to_others(inner)
    assert not system_io.is_closed_to_others(inner.parent)
    inner.parent.chmod(0o777)
    assert not system_io.is_closed_to_others(inner)
    inner.parent.chmod(0o755)
    (tmp_path / "link").symlink_to(inner)
    assert system_io.is_closed_to_others(tmp_path / "link")
    if os.geteuid() == 0:
        os.chown(inner.parent, 65_534, -1)
        assert not system_io.is_closed_to_others(tmp_path / "link")


@pytest.mark.slow
def test_our_own_modules_are_not_looked_for_where_we_happen_to_be(tmp_path: Path) -> None:
    """`sudo vigilnet up` in another user's folder ran, as root, what was called like a module of ours."""
    for name in ("vigilnet.py", "ipaddress.py"):
        (tmp_path / name).write_text("raise SystemExit(99)")
    command = [*system_io.module_command("vigilnet.surface.device_helper"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0


def test_an_accepted_connection_does_not_block_and_speaks_to_its_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            system_io.accept(listener, listener.family)
        listener.setblocking(True)
        with socket.create_connection(listener.getsockname()) as client:
            accepted = system_io.accept(listener, listener.family)
            with accepted:
                assert not accepted.getblocking()
                assert accepted.family is socket.AF_INET
                assert accepted.getpeername() == client.getsockname()
                client.sendall(b"x")
                accepted.setblocking(True)
                assert accepted.recv(1) == b"x"
