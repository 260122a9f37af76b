"""A target that shows both ways to be whole: answers with the digest of what came, and octets of its own."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from typing import Final

from tests.support import socks_shim

PATIENCE_S: Final = 240


@contextlib.contextmanager
def target(content: bytes) -> Iterator[int]:
    """Serve octets to whoever connects, and what they send back to them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                size = int.from_bytes(socks_shim.receive(connection, 4), "big")
                got = socks_shim.receive(connection, size)
                connection.sendall(hashlib.sha256(got).digest() + content)

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def exchange(connection: socket.socket, sent: bytes) -> tuple[bytes, bytes]:
    """Send, read to the end; returns the digest that came back and the rest."""
    connection.settimeout(PATIENCE_S)
    connection.sendall(len(sent).to_bytes(4, "big") + sent)
    got = b""
    while part := connection.recv(1 << 16):
        got += part
    return got[:32], got[32:]
