import contextlib
import json
import socket
import stat
import threading
from pathlib import Path

import pytest

from tests.support.fake_node import FakeHost, FakeNode, serving
from vigilnet.surface.control import door
from vigilnet.surface.control.door import Door, connect, new_door


def served(path: Path) -> contextlib.AbstractContextManager[None]:
    """Serve a node's control port, its file at `path`."""
    return serving(path, FakeHost(FakeNode(), path.with_name("vigilnet.toml")), is_unix=False)


def asked(session: socket.socket) -> dict[str, object]:
    session.sendall(b'{"method":"version","id":3}\n')
    with session.makefile("rb") as file:
        reply: dict[str, object] = json.loads(file.readline())
    return reply


def test_who_can_read_the_file_may_ask(tmp_path: Path) -> None:
    path = tmp_path / ".control"
    with served(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with connect(path, 10) as session:
            assert asked(session)["id"] == 3
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        connect(path, 10)


def test_each_start_has_a_key_of_its_own() -> None:
    assert new_door(1).key != new_door(1).key


def test_wrong_key_is_hung_up_on(tmp_path: Path) -> None:
    path, wrong = tmp_path / ".control", tmp_path / "wrong"
    with served(path):
        new_door(Door.read(path).port).write(wrong)
        with pytest.raises(ConnectionRefusedError):
            connect(wrong, 10)
        with socket.create_connection((door.HOST, Door.read(path).port), 10) as stranger:
            stranger.sendall(door.MAGIC + bytes(door.NONCE_SIZE))
            answer = b""
            while len(answer) < door.NONCE_SIZE + door.PROOF_SIZE:
                answer += stranger.recv(1024)
            stranger.sendall(answer[door.NONCE_SIZE :])  # its own proof, sent back
            assert stranger.recv(1024) == b""
        with connect(path, 10) as session:
            assert asked(session)["id"] == 3


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + bytes(40), b'{"method":"stop"}\n' + bytes(40)]
)
def test_what_is_no_hello_is_hung_up_on(tmp_path: Path, said: bytes) -> None:
    path = tmp_path / ".control"
    with served(path), socket.create_connection((door.HOST, Door.read(path).port), 10) as stranger:
        stranger.sendall(said)
        with contextlib.suppress(ConnectionResetError):  # what it had sent lay unread
            assert stranger.recv(1024) == b""


def test_another_program_on_the_port_learns_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".control"
    with socket.create_server((door.HOST, 0)) as other:
        new_door(other.getsockname()[1]).write(path)
        heard = bytearray()

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                heard.extend(connection.recv(1024))
                connection.sendall(bytes(door.NONCE_SIZE + door.PROOF_SIZE))
                heard.extend(connection.recv(1024))

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionRefusedError, match="not the node"):
            connect(path, 10)
        thread.join(10)
    assert len(heard) == len(door.MAGIC) + door.NONCE_SIZE


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"port": 0, "key": "00"}', b'{"port": 65536, "key": "%s"}' % (b"00" * 32)],
)
def test_broken_file_is_no_door(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".control").write_bytes(content)
    with pytest.raises(OSError, match="not a control file"):
        connect(tmp_path / ".control", 10)


def test_proofs_are_as_written() -> None:
    it = Door(1, bytes(range(32)))
    ours, theirs = b"c" * 32, b"n" * 32
    assert it.node_proof(ours, theirs).hex() == NODE_PROOF
    assert it.client_proof(ours, theirs).hex() == CLIENT_PROOF
    assert it.client_proof(ours, theirs) != it.node_proof(ours, theirs)


NODE_PROOF = "cbbc5636dc51179a3dcbf4d21172c1b6060bc574e93e1342fc5026232f483260"
CLIENT_PROOF = "c13a0f8b644afd4bbc799bf696b4e105a0975c9b8d01966a8e577209bb726215"
