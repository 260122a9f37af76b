"""Messages with descriptors beside them, on sockets that keep messages apart and on those that do not."""

import os
import socket
from collections.abc import Iterator

import pytest

from vigilnet.base.errors import EnvironmentRefusedError, RemoteProtocolError
from vigilnet.traffic.device.helper_socket_io import macos_peer, peer_of, receive, send
from vigilnet.traffic.device.helper_wire import MAX_MESSAGE

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[socket.SOCK_SEQPACKET, socket.SOCK_STREAM])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    near, far = socket.socketpair(socket.AF_UNIX, request.param)
    near.settimeout(60)
    far.settimeout(60)
    with near, far:
        yield near, far


def test_a_message_comes_whole_with_what_was_beside_it(pair: Pair) -> None:
    near, far = pair
    reader, writer = os.pipe()
    try:
        send(near, b'{"op":"mark"}', [reader, writer])
        octets, descriptors = receive(far)
        assert (octets, len(descriptors)) == (b'{"op":"mark"}', 2)
        os.write(descriptors[1], b"through")
        assert os.read(reader, 10) == b"through"
        assert not os.get_inheritable(descriptors[0])
        for descriptor in descriptors:
            os.close(descriptor)
        send(far, b"{}")
        assert receive(near) == (b"{}", [])
    finally:
        os.close(reader)
        os.close(writer)


def test_the_end_is_an_empty_message(pair: Pair) -> None:
    near, far = pair
    near.close()
    assert receive(far) == (b"", [])


def test_a_line_may_come_in_pieces_but_must_end(pair: Pair) -> None:
    near, far = pair
    if near.type != socket.SOCK_STREAM:
        return
    reader, writer = os.pipe()
    near.sendall(b'{"op":')
    near.sendall(b'"status"}\n')
    assert receive(far)[0] == b'{"op":"status"}'
    socket.send_fds(near, [b"x" * 100], [writer])
    near.sendall(b"x" * MAX_MESSAGE)
    with pytest.raises(RemoteProtocolError, match="without an end"):
        receive(far)
    os.close(writer)
    assert os.read(reader, 1) == b""  # the descriptor that came with it was closed, too
    os.close(reader)


def test_the_peer_is_told(pair: Pair) -> None:
    assert peer_of(pair[0]) == (os.getpid(), os.getuid())


def test_credentials_of_a_version_that_we_do_not_know_are_refused() -> None:
    with pytest.raises(EnvironmentRefusedError, match="version 7"):
        macos_peer(bytes(4), b"\x07" + bytes(75))
