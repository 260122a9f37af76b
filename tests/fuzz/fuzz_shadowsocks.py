"""Fuzz targets of Shadowsocks: targets, and both ends' streams with and without the key."""

import contextlib
from collections.abc import Callable

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.shadowsocks.methods import METHODS, Secret, new_password, secret_from
from vigilnet.traffic.transport.shadowsocks.shadowsocks_io import read_params
from vigilnet.traffic.transport.shadowsocks.stream import (
    ClientStream,
    SeenSalts,
    ServerStream,
    _Direction,
    decode_target,
    encode_target,
)

SECRETS = [secret_from(name, new_password(name, bytes)) for name in METHODS]
NOW = 1.8e9


def _target(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        found = decode_target(data)
        assert found is None or 0 < found[1] <= len(data)


def _server(data: bytes) -> None:
    """What anybody may send to a relay."""
    secret = SECRETS[data[0] % len(SECRETS) if data else 0]
    server = ServerStream(secret, SeenSalts(), bytes)
    with contextlib.suppress(RemoteProtocolError):
        assert server.receive(data[1:], NOW) == []
    assert server.target is None


def _sealed(data: bytes) -> None:
    """What a client that holds the password may put inside."""
    secret = SECRETS[data[0] % len(SECRETS) if data else 0]
    salt = bytes(secret.method.key_size)
    sealer = _Direction(secret, salt)
    if secret.method.is_2022:
        head, body = data[1:12].ljust(11, b"\0"), data[12:]
        wire = salt + sealer.seal(head) + sealer.seal(body)
    else:
        wire = salt + sealer.seal_chunks(data[1:])
    server = ServerStream(secret, SeenSalts(), bytes)
    with contextlib.suppress(RemoteProtocolError):
        server.receive(wire, NOW)


def _client(data: bytes) -> None:
    """What a server may answer, with and without the key."""
    secret = SECRETS[data[0] % len(SECRETS) if data else 0]
    for is_sealed in (False, True):
        client = ClientStream(secret, ("a.example", 1), bytes)
        client.send(b"hello", NOW)
        with contextlib.suppress(RemoteProtocolError):
            client.receive(_answer(secret, data[1:]) if is_sealed else data[1:], NOW)


def _answer(secret: Secret, data: bytes) -> bytes:
    salt = bytes(secret.method.key_size)
    sealer = _Direction(secret, salt)
    if not secret.method.is_2022:
        return salt + sealer.seal_chunks(data)
    size = 11 + secret.method.key_size
    return salt + sealer.seal(data[:size].ljust(size, b"\0")) + sealer.seal(data[size:])


def _params(data: bytes) -> None:
    text = data.decode("latin-1")
    with contextlib.suppress(RemoteProtocolError):
        read_params({0: "aes-256-gcm", 1: text[:200], 2: [text[:20], len(data)]}, ("192.0.2.1", 1))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "target": _target,
    "server": _server,
    "sealed": _sealed,
    "client": _client,
    "params": _params,
}

_HEAD = b"\0" + int(NOW).to_bytes(8) + (17).to_bytes(2) + encode_target("a.example", 1) + b"\0\1\0x"
SEEDS: dict[str, list[bytes]] = {
    "target": [encode_target("a.example", 443), encode_target("192.0.2.1", 1), encode_target("::1", 2)],
    "server": [bytes((n,)) + bytes(200) for n in range(len(SECRETS))],
    "sealed": [bytes((n,)) + _HEAD for n in range(3)] + [b"\3" + encode_target("a.example", 443) + b"x"],
    "client": [bytes((n,)) + b"\1" + int(NOW).to_bytes(8) + bytes(34) for n in range(len(SECRETS))],
    "params": [b"password"],
}
