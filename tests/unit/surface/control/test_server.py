import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_node import FakeHost, FakeNode, control_server, served
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.surface.control import server
from vigilnet.surface.control.recent import HURRIED
from vigilnet.surface.control.schema import MAX_REQUEST
from vigilnet.surface.control.server import MAX_SESSIONS
from vigilnet.surface.control.socket_path import reachable, socket_of


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with served(tmp_path):
        yield tmp_path


class Raw:
    """A session that sends what it likes."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        with reachable(socket_of(folder)) as name:
            self._socket.connect(name)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, line: bytes) -> None:
        self._socket.sendall(line)

    def ask(self, line: bytes) -> dict[str, Any]:
        self.send(line + b"\n")
        return self.reply()

    def reply(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(self._file.readline())
        return reply

    def is_closed(self) -> bool:
        return self._file.readline() == b""


def test_socket_is_for_its_owner_alone(folder: Path) -> None:
    assert stat.S_IMODE(socket_of(folder).stat().st_mode) == 0o600


def test_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    with served(tmp_path):
        assert socket_of(tmp_path).is_socket()
    assert not socket_of(tmp_path).exists()


def test_socket_of_a_dead_node_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead, reachable(socket_of(tmp_path)) as name:
        dead.bind(name)
    with served(tmp_path), Raw(tmp_path) as session:
        assert session.ask(b'{"method":"version"}')["result"]["version"] == "0.1.0"


def test_several_requests_on_one_session(folder: Path) -> None:
    with Raw(folder) as session:
        for number in range(5):
            reply = session.ask(b'{"v":1,"id":%d,"method":"status"}' % number)
            assert reply["id"] == number
            assert reply["result"]["state"] == "connected"


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"hello", "bad-request"), (b"{}", "bad-request"), (b'{"method":"format-disk"}', "unknown-method"),
     (b'{"v":99,"method":"status"}', "unsupported-version")],
)  # fmt: skip
def test_bad_requests_are_answered_and_the_session_goes_on(folder: Path, line: bytes, code: str) -> None:
    with Raw(folder) as session:
        assert session.ask(line)["error"]["code"] == code
        assert "result" in session.ask(b'{"method":"status"}')


def test_parameters_of_a_wrong_kind_are_a_bad_request(folder: Path) -> None:
    with Raw(folder) as session:
        for params in (b"{}", b'{"uri":7}', b'{"uri":null}'):
            reply = session.ask(b'{"method":"add-invite","params":%s}' % params)
            assert reply["error"]["code"] == "bad-request"
        assert session.ask(b'{"method":"add-invite","params":{"uri":"vigilnet:AA"}}')["result"]["is_new"]


def test_request_of_64_kib_passes_and_a_longer_one_ends_the_session(folder: Path) -> None:
    line = b'{"method":"status","params":{"x":"%s"}}'
    with Raw(folder) as session:
        assert "result" in session.ask(line % (b"a" * (MAX_REQUEST - len(line) - 100)))
        assert session.ask(line % (b"a" * MAX_REQUEST))["error"]["code"] == "bad-request"
        assert session.is_closed()


def test_half_a_request_ends_quietly(folder: Path) -> None:
    with Raw(folder) as session:
        session.send(b'{"method":')
    with Raw(folder) as session:
        assert "result" in session.ask(b'{"method":"status"}')


def test_sessions_are_limited(folder: Path) -> None:
    sessions = [Raw(folder) for _ in range(MAX_SESSIONS)]
    for session in sessions:
        session.ask(b'{"method":"version"}')
    with Raw(folder) as one_more:  # told unasked and closed: to write might be too late
        assert one_more.reply()["error"]["code"] == "busy"
    for session in sessions:
        session.__exit__()


def test_failure_of_the_node_is_an_answer(tmp_path: Path) -> None:
    node = FakeNode()
    node.refusal = "circuits: none can be built now"
    with served(tmp_path, node), Raw(tmp_path) as session:
        error = session.ask(b'{"method":"new-identity"}')["error"]
        assert error == {"code": "failed", "message": "circuits: none can be built now"}


def test_stop_is_answered_first_and_then_done(tmp_path: Path) -> None:
    with served(tmp_path) as stopped, Raw(tmp_path) as session:
        assert session.ask(b'{"method":"stop"}')["result"] == {"stopping": True}
        assert stopped.wait(60)


def test_folder_that_cannot_hold_a_socket_is_named(tmp_path: Path) -> None:
    host = FakeHost(FakeNode(), tmp_path / "vigilnet.toml")
    server, _ = control_server(tmp_path / "missing" / "control.sock", host)
    with pytest.raises(EnvironmentRefusedError, match="control socket"):
        asyncio.run(server.start())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_refused_even_where_the_modes_let_him_in(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("open")
    for above in (folder, *folder.parents):
        if above != Path("/") and above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    program = (
        "import os,socket,sys; s=socket.socket(socket.AF_UNIX); os.setuid(65534); s.connect(sys.argv[1]);"
        "print(s.makefile().readline(), end='')"
    )
    with served(folder), reachable(socket_of(folder)) as name:
        socket_of(folder).chmod(0o666)
        answer = subprocess.run(
            [sys.executable, "-c", program, name], capture_output=True, text=True, check=False, timeout=30
        )
    assert json.loads(answer.stdout)["error"]["code"] == "forbidden", answer.stderr


def test_a_bug_costs_one_answer_and_not_the_session(tmp_path: Path) -> None:
    class Buggy(FakeNode):
        def circuits(self) -> Any:  # noqa: ANN401 it never returns
            raise KeyError("secret.example")

    with served(tmp_path, Buggy()), Raw(tmp_path) as session:
        error = session.ask(b'{"method":"circuits"}')["error"]
        assert error == {
            "code": "failed",
            "message": "circuits: internal error (KeyError); see vigilnet logs",
        }
        assert session.ask(b'{"method":"version"}')["result"]["version"] == "0.1.0"


def test_session_that_asks_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.05)
    with served(tmp_path), Raw(tmp_path) as session:
        assert session.is_closed()


def test_session_in_a_hurry_is_told_again_what_it_was_told_and_a_change_ends_that(folder: Path) -> None:
    with Raw(folder) as session:
        for number in range(3 * HURRIED):
            reply = session.ask(b'{"id":%d,"method":"status"}' % number)
            assert (reply["id"], reply["result"]["hops"]) == (number, 3)
        session.ask(b'{"method":"set-hops","params":{"hops":2}}')
        assert session.ask(b'{"method":"status"}')["result"]["hops"] == 2
