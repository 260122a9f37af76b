import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from vigilnet.surface.cli import processes
from vigilnet.surface.cli.processes import Daemon, end_all

ROOT = Path(__file__).parents[4]
PARENT = (
    "import subprocess,sys,time;"
    "p=subprocess.Popen([sys.executable,'-c','import sys; sys.stdin.read()'],stdin=subprocess.PIPE);"
    "print(p.pid,flush=True); time.sleep(60)"
)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int) -> bool:
    give_up = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < give_up:
        time.sleep(0.02)
    return not is_alive(pid)


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(processes, "DAEMON_MODULE", "tests.support.fake_daemon")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("VIGILNET_LINK_PING_AFTER_S", "junk of the user's own")
    (tmp_path / "client.toml").write_text(f'[node]\nstate_folder = "{tmp_path}/client"\n')
    return Daemon("client", tmp_path / "client.toml", tmp_path / "client.log")


def test_daemon_is_ended_politely(daemon: Daemon) -> None:
    assert daemon.exit_code is None
    end_all([daemon])
    assert daemon.exit_code is not None
    assert not is_alive(daemon.pid)
    end_all([daemon])


@pytest.mark.slow
def test_users_settings_do_not_reach_it(daemon: Daemon) -> None:
    # empty until the kernel has put the new program's words where it shows them
    environment = wait_until(Path(f"/proc/{daemon.pid}/environ").read_bytes, "its environment")
    end_all([daemon])
    assert b"VIGILNET_LINK" not in environment
    assert b"PYTHONPATH" in environment


def test_last_line_is_what_it_said_or_that_it_said_nothing(daemon: Daemon) -> None:
    end_all([daemon])
    daemon.log.write_text("starting\nport 4001 is in use\n")
    assert daemon.last_line() == "port 4001 is in use"
    daemon.log.write_text("")
    assert "without a word" in daemon.last_line()


@pytest.mark.slow
def test_stubborn_daemon_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.3)
    monkeypatch.setenv("VIGILNET_TEST_FAKE", "client:stubborn")
    daemon: Daemon = request.getfixturevalue("daemon")
    socket = tmp_path / "client" / "control.sock"
    wait_until(socket.exists, "it listens")
    end_all([daemon])
    assert daemon.exit_code == -signal.SIGKILL


def test_pipe_alone_ends_a_daemon_whose_parent_was_killed(tmp_path: Path) -> None:
    # The parent starts a sleeper that only watches its standard input, and is then killed.
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        assert wait_until_gone(child)
