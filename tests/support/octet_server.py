"""A target for raw TCP: `python octet_server.py PORT`; the first line that a client sends says what it does.

    SEND n      send n octets of `stream_of(n)`, then half-close; whatever comes is thrown away
    SINK        take everything; after the other's half-close send its SHA-256 as hex, then half-close
    BOTH n      SEND and SINK at once, the hash behind the n octets
    ECHO        send everything back
    RESET n     send n octets, then break the connection off
    DRIP        a dot each 50 ms until the other closes

The octets of SEND differ at every place of a MiB and from MiB to MiB, so that loss, doubling and
disorder change their hash.
"""

import contextlib
import hashlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator

BLOCK = 1 << 20
_PATTERN = hashlib.shake_256(b"octet server").digest(BLOCK)


def stream_of(octets: int) -> Iterator[bytes]:
    """The octets of SEND in pieces."""
    for number, start in enumerate(range(0, octets, BLOCK)):
        yield (number.to_bytes(8) + _PATTERN[8:])[: octets - start]


def hash_of(octets: int) -> str:
    """What a receiver of all octets of SEND must come to."""
    digest = hashlib.sha256()
    for piece in stream_of(octets):
        digest.update(piece)
    return digest.hexdigest()


def send(connection: socket.socket, octets: int) -> None:
    """Send `stream_of(octets)`."""
    for piece in stream_of(octets):
        connection.sendall(piece)


def take(connection: socket.socket, most: int = 1 << 62) -> tuple[int, str]:
    """Receive `most` octets, or to the other's half-close; gives count and hash."""
    digest, count = hashlib.sha256(), 0
    while count < most and (piece := connection.recv(min(1 << 18, most - count))):
        digest.update(piece)
        count += len(piece)
    return count, digest.hexdigest()


def serve(connection: socket.socket) -> None:
    """Do what the first line says."""
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = b""
        while not line.endswith(b"\n"):
            octet = connection.recv(1)
            if not octet:
                return
            line += octet
        word, _, number = line.decode().strip().partition(" ")
        _WORDS[word](connection, int(number or 0))


def _send(connection: socket.socket, octets: int) -> None:
    send(connection, octets)
    connection.shutdown(socket.SHUT_WR)
    take(connection)


def _sink(connection: socket.socket, _: int) -> None:
    connection.sendall(take(connection)[1].encode())
    connection.shutdown(socket.SHUT_WR)


def _both(connection: socket.socket, octets: int) -> None:
    sending = threading.Thread(target=send, args=(connection, octets))
    sending.start()
    found = take(connection)[1]
    sending.join()
    connection.sendall(found.encode())


def _echo(connection: socket.socket, _: int) -> None:
    while piece := connection.recv(1 << 16):
        connection.sendall(piece)


def _reset(connection: socket.socket, octets: int) -> None:
    send(connection, octets)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _drip(connection: socket.socket, _: int) -> None:
    while True:
        connection.sendall(b".")
        time.sleep(0.05)


_WORDS = {"SEND": _send, "SINK": _sink, "BOTH": _both, "ECHO": _echo, "RESET": _reset, "DRIP": _drip}


def main() -> None:
    """Serve until killed, on both families."""
    listener = socket.create_server(
        ("", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256
    )
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
