import os
import socket
import threading
from pathlib import Path

import pytest

from tests.support.fake_node import FakeNode, served
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.surface.control import client
from vigilnet.surface.control.client import ControlClient, NotRunningError
from vigilnet.surface.control.models import Hop, NewIdentity, Version
from vigilnet.surface.control.schema import ControlError
from vigilnet.surface.control.socket_path import socket_of


def test_all_questions_are_answered_with_their_dataclass(tmp_path: Path) -> None:
    node = FakeNode()
    with served(tmp_path, node) as stopped, ControlClient(tmp_path) as control:
        status = control.status()
        assert (status.state, status.socks, status.roles) == ("connected", "127.0.0.1:1080", ("client",))
        assert status.first_circuit_ms == 18.5
        first, second = control.circuits()
        assert first.hops[0] == Hop("12D3KooWguard", "aes-256-gcm")
        assert second.state == "building"
        assert control.streams()[0].target == "example.org:443"
        assert control.new_identity() == NewIdentity(2)
        assert node.asked == 1
        assert control.version() == Version("0.1.0", 1)
        control.stop()
        assert stopped.wait(60)


@pytest.mark.parametrize("missing", ["", "no/such/folder"])
def test_nobody_there_means_not_running(tmp_path: Path, missing: str) -> None:
    with pytest.raises(NotRunningError, match="no node runs"):
        ControlClient(tmp_path / missing)


def test_socket_of_a_dead_node_means_not_running(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_of(tmp_path)))
    with pytest.raises(NotRunningError, match="no node runs"):
        ControlClient(tmp_path)


def test_refusals_carry_their_code(tmp_path: Path) -> None:
    with served(tmp_path), ControlClient(tmp_path) as control, pytest.raises(ControlError) as caught:
        control.call("format-disk")
    assert caught.value.code == "unknown-method"


def answering(tmp_path: Path, *parts: bytes) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(socket_of(tmp_path)))
    listener.listen()

    def serve() -> None:
        with listener:
            session, _ = listener.accept()
            with session:
                session.recv(1000)
                for part in parts:
                    session.sendall(part)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_node_that_ends_in_between_means_not_running(tmp_path: Path) -> None:
    thread = answering(tmp_path, b'{"v":1,')
    with ControlClient(tmp_path) as control, pytest.raises(NotRunningError, match="does not answer"):
        control.status()
    thread.join()


def test_silent_node_means_not_running(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(socket_of(tmp_path)))
        silent.listen()
        with ControlClient(tmp_path, timeout=0.05) as control, pytest.raises(NotRunningError):
            control.status()


def test_reply_in_pieces_is_put_together(tmp_path: Path) -> None:
    thread = answering(tmp_path, b'{"v":1,"id":1,', b'"result":{"retired":3}}\n')
    with ControlClient(tmp_path) as control:
        assert control.new_identity() == NewIdentity(3)
    thread.join()


def test_endless_reply_blames_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_REPLY", 100)
    thread = answering(tmp_path, b"x" * 200)
    with ControlClient(tmp_path) as control, pytest.raises(RemoteProtocolError, match="longer"):
        control.status()
    thread.join()


def test_node_of_another_user_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path):
        with monkeypatch.context() as other:
            other.setattr(os, "geteuid", lambda: 12345)
            other.setattr(client, "peer_uid", lambda _: 54321)
            with pytest.raises(ControlError, match="another user"):
                ControlClient(tmp_path)
        with ControlClient(tmp_path) as control:  # asyncio leaks a session that comes while it closes
            control.version()
