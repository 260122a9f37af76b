"""How a client reaches the node of a state folder where there are no unix sockets (Windows).

The node listens on a port of 127.0.0.1 and writes port and a fresh key to a file of its state folder. Whoever
can read the file may steer the node. Both ends prove that they know the key before anything else is said, so
neither another user's program nor one that took the port of a node that ended learns or does anything:

    client   8 octets that say so | nonce (32)
    node     nonce (32) | HMAC-SHA256(key, "node" | both nonces)
    client   HMAC-SHA256(key, "client" | both nonces)

Then the session goes on as on the unix socket (docs/spec/control.md section 1.1).
"""

import asyncio
import hmac
import json
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vigilnet.base.store_io import write_file

FILE_NAME: Final = ".control"  # no name that the store takes for state
HOST: Final = "127.0.0.1"
MAGIC: Final = b"VNCTL1\n\0"
NONCE_SIZE: Final = 32
KEY_SIZE: Final = 32
PROOF_SIZE: Final = 32
PROVE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Door:
    """Where a node listens, and what both ends know."""

    port: int
    key: bytes

    def write(self, path: Path) -> None:
        """Write it to the state folder; raises EnvironmentRefusedError."""
        write_file(path, json.dumps({"v": 1, "port": self.port, "key": self.key.hex()}).encode())

    @staticmethod
    def read(path: Path) -> "Door":
        """Read it; raises FileNotFoundError where there is none, OSError where it is none of ours."""
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(1024))
            door = Door(int(found["port"]), bytes.fromhex(found["key"]))
        except (ValueError, TypeError, KeyError) as error:
            raise OSError(0, "not a control file") from error
        if len(door.key) != KEY_SIZE or not 0 < door.port < 1 << 16:
            raise OSError(0, "not a control file")
        return door

    def node_proof(self, theirs: bytes, ours: bytes) -> bytes:
        """What a node answers to a client's nonce."""
        return hmac.digest(self.key, b"node" + theirs + ours, "sha256")

    def client_proof(self, ours: bytes, theirs: bytes) -> bytes:
        """What a client answers to a node's nonce."""
        return hmac.digest(self.key, b"client" + ours + theirs, "sha256")


def new_door(port: int) -> Door:
    """Return a door with a key that nobody has had."""
    return Door(port, secrets.token_bytes(KEY_SIZE))


def connect(path: Path, timeout: float) -> socket.socket:
    """Return a session with the node whose control file is at `path`, both ends proven.

    Raises:
        FileNotFoundError: no node has left such a file.
        ConnectionRefusedError: nobody listens there, or somebody who does not know the key.
        OSError: anything else; TimeoutError among them.
    """
    door = Door.read(path)
    connection = socket.create_connection((HOST, door.port), timeout)
    try:
        ours = secrets.token_bytes(NONCE_SIZE)
        connection.sendall(MAGIC + ours)
        theirs = _read_exactly(connection, NONCE_SIZE)
        _check(_read_exactly(connection, PROOF_SIZE), door.node_proof(ours, theirs))
        connection.sendall(door.client_proof(ours, theirs))
    except BaseException:
        connection.close()
        raise
    return connection


def _check(proof: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(proof, expected):
        raise ConnectionRefusedError(0, "not the node of this folder")


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        part = connection.recv(size - len(octets))
        if not part:  # of another program, which hung up
            raise ConnectionRefusedError(0, "not the node of this folder")
        octets += part
    return octets


async def wait_proven(door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """The node's side: whether the other end has proven that it knows the key, in time."""
    try:
        async with asyncio.timeout(PROVE_S):
            hello = await reader.readexactly(len(MAGIC) + NONCE_SIZE)
            if not hello.startswith(MAGIC):
                return False
            theirs, ours = hello[len(MAGIC) :], secrets.token_bytes(NONCE_SIZE)
            writer.write(ours + door.node_proof(theirs, ours))
            await writer.drain()
            proof = await reader.readexactly(PROOF_SIZE)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return hmac.compare_digest(proof, door.client_proof(theirs, ours))


def listen() -> socket.socket:
    """Return a listening socket on any port of this machine alone; raises OSError."""
    return socket.create_server((HOST, 0), backlog=16)
