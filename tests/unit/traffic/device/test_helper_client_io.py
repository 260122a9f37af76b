"""The daemon's session with the helper, used by several threads."""

import json
import select
import socket
import threading
from pathlib import Path

import pytest

from vigilnet.traffic.device import helper_socket_io
from vigilnet.traffic.device.helper_client_io import HelperClient
from vigilnet.traffic.device.helper_wire import Operation, Request


def test_a_reply_that_another_thread_waits_for_is_no_end_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, may_read = tmp_path / "helper.sock", threading.Event()
    receive = helper_socket_io.receive

    def receive_later(connection: socket.socket) -> tuple[bytes, list[int]]:
        assert may_read.wait(60)
        return receive(connection)

    with socket.socket(socket.AF_UNIX, helper_socket_io.KIND) as listener:
        listener.bind(str(path))
        listener.listen()
        client = HelperClient(path)
        client.connect()
        helper, _ = listener.accept()
        monkeypatch.setattr(helper_socket_io, "receive", receive_later)
        replies: list[object] = []
        asking = threading.Thread(
            target=lambda: replies.append(client._ask(Request(Operation.STATUS), [])), daemon=True
        )
        asking.start()
        with helper:
            assert json.loads(helper.recv(1000)) == {"op": "status"}
            helper_socket_io.send(helper, b"{}")
            session = client._connection
            assert session is not None
            poll = select.poll()
            poll.register(session, select.POLLIN)
            assert poll.poll(60_000)
            connecting = threading.Thread(target=client.connect, daemon=True)
            connecting.start()
            connecting.join(0.2)  # it would have closed the session by now
            may_read.set()
            asking.join(60)
            connecting.join(60)
            assert replies == [({}, -1)]
            assert client._connection is session
            client.close()
