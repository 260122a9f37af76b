"""Shadowsocks streams as machines: what goes into a TCP connection and what comes out (sans-IO).

    2017   salt ‖ chunk ‖ chunk ...                    the client's first plaintext begins with the target
    2022   salt ‖ seal(type 0, time, n) ‖ seal(n: target ‖ padding ‖ first octets) ‖ chunk ...
           salt ‖ seal(type 1, time, client's salt, n) ‖ seal(n: first octets) ‖ chunk ...
    chunk  seal(u16 n) ‖ seal(n octets);  nonce: u96 little-endian, one more for each seal
    target u8 type (1: 4 octets, 3: length ‖ name, 4: 16 octets) ‖ u16 port

Layouts and limits: docs/spec/shadowsocks.md section 3.
"""

import ipaddress
import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import is_equal
from vigilnet.traffic.transport.shadowsocks.methods import NONCE_SIZE, TAG_SIZE, Secret

# From the specification of 2022.
MAX_SKEW_S: Final = 30
SALT_LIFE_S: Final = 60.0
MAX_PADDING: Final = 900
_CLIENT, _SERVER = 0, 1
_FIXED: Final = struct.Struct(">BQH")
_IPV4, _NAME, _IPV6 = 1, 3, 4
# Our choice.
MAX_SALTS: Final = 65_536
_HEADER_CHUNK: Final = 2 + TAG_SIZE

Target = tuple[str, int]


class SeenSalts:
    """The salts that clients began with lately, so that a recorded beginning is not taken again.

    Those of 2022 are kept as long as their time is accepted; when there are too many, new ones are refused.
    Those of 2017 carry no time: the newest `MAX_SALTS` are kept, an older one could be replayed.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, float] = {}  # in the order of coming

    def add(self, salt: bytes, wall: float, *, is_timed: bool) -> bool:
        """Note `salt`; return whether it is new."""
        seen = self._seen
        if salt in seen:
            return False
        while seen:
            oldest = next(iter(seen))
            is_over = abs(wall - seen[oldest]) > SALT_LIFE_S if is_timed else len(seen) >= MAX_SALTS
            if not is_over:
                break
            del seen[oldest]
        if len(seen) >= MAX_SALTS:
            return False
        seen[salt] = wall
        return True


def encode_target(host: str, port: int) -> bytes:
    """Return a target as it travels.

    Raises:
        LocalProtocolError: no host or port that can travel.
    """
    try:
        address = ipaddress.ip_address(host)
        kind, octets = (_IPV4 if address.version == 4 else _IPV6), address.packed
    except ValueError:
        name = host.encode("idna") if not host.isascii() else host.encode()
        if not 0 < len(name) < 256:
            raise LocalProtocolError(f"shadowsocks target: name of {len(name)} octets") from None
        kind, octets = _NAME, bytes((len(name),)) + name
    if not 0 < port < 65_536:
        raise LocalProtocolError(f"shadowsocks target: port {port}")
    return bytes((kind,)) + octets + port.to_bytes(2)


def decode_target(data: bytes) -> tuple[Target, int] | None:
    """Read a target and how many octets it takes; None while it is cut.

    Raises:
        RemoteProtocolError: no target.
    """
    if not data:
        return None
    kind = data[0]
    if kind not in (_IPV4, _NAME, _IPV6):
        raise RemoteProtocolError(f"shadowsocks target: type {kind}")
    if kind == _NAME:
        if len(data) < 2:
            return None
        at, size = 2, data[1]
        if not size:
            raise RemoteProtocolError("shadowsocks target: empty name")
    else:
        at, size = 1, 4 if kind == _IPV4 else 16
    end = at + size + 2
    if len(data) < end:
        return None
    octets = bytes(data[at : at + size])
    host = octets.decode("latin-1") if kind == _NAME else str(ipaddress.ip_address(octets))
    return (host, int.from_bytes(data[end - 2 : end])), end


class _Direction:
    """An AEAD and its counter."""

    def __init__(self, secret: Secret, salt: bytes) -> None:
        self._aead = secret.aead(salt)
        self._max_chunk = secret.method.max_chunk
        self._counter = 0

    def _nonce(self) -> bytes:
        nonce = self._counter.to_bytes(NONCE_SIZE, "little")
        self._counter += 1
        return nonce

    def seal(self, data: bytes) -> bytes:
        return self._aead.encrypt(self._nonce(), data, None)

    def seal_chunks(self, data: bytes) -> bytes:
        out = []
        for at in range(0, len(data), self._max_chunk):
            piece = data[at : at + self._max_chunk]
            out += [self.seal(len(piece).to_bytes(2)), self.seal(piece)]
        return b"".join(out)

    def open(self, data: bytes) -> bytes:
        try:
            return self._aead.decrypt(self._nonce(), data, None)
        except InvalidTag:
            raise RemoteProtocolError("shadowsocks: not sealed with our key") from None

    def check_size(self, size: int) -> int:
        if not 0 < size <= self._max_chunk:
            raise RemoteProtocolError(f"shadowsocks chunk: {size} octets, 1 to {self._max_chunk} expected")
        return size


class _Receiver:
    """Takes octets in pieces; gives plaintext. `_open_header` says what is expected first."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._pending = bytearray()
        self._at = 0
        self._direction: _Direction | None = None
        self._size: int | None = None  # of the piece that comes next; None: its length comes first
        self._is_faulty = False
        self._salt = b""
        self._wall = 0.0

    def _take(self, size: int) -> bytes | None:
        end = self._at + size
        if len(self._pending) < end:
            return None
        taken = bytes(memoryview(self._pending)[self._at : end])
        self._at = end
        return taken

    def _feed(self, data: bytes | memoryview) -> list[bytes]:
        if self._is_faulty:
            raise RemoteProtocolError("shadowsocks: octets behind a fault")
        self._pending += data
        try:
            return self._open_all()
        except RemoteProtocolError:
            self._is_faulty = True
            self._pending.clear()
            raise
        finally:
            del self._pending[: self._at]
            self._at = 0

    def _open_all(self) -> list[bytes]:
        direction = self._direction
        if direction is None:
            salt = self._take(self._secret.method.key_size)
            if salt is None:
                return []
            self._salt = salt
            direction = self._direction = _Direction(self._secret, salt)
        pieces = []
        while (piece := self._next(direction)) is not None:
            pieces.append(piece)
        return pieces

    def _next(self, direction: _Direction) -> bytes | None:
        if self._size is None:
            sealed = self._take(_HEADER_CHUNK)
            if sealed is None:
                return None
            self._size = direction.check_size(int.from_bytes(direction.open(sealed)))
        sealed = self._take(self._size + TAG_SIZE)
        if sealed is None:
            return None
        self._size = None
        return direction.open(sealed)


class ClientStream(_Receiver):
    """The dialling end.

    Args:
        secret: method and key.
        target: where the server is to connect to.
        random_bytes: for salt and padding.
    """

    def __init__(self, secret: Secret, target: Target, random_bytes: Callable[[int], bytes]) -> None:
        super().__init__(secret)
        self._target = encode_target(*target)
        self._random_bytes = random_bytes
        self._our_salt = random_bytes(secret.method.key_size)
        self._sending = _Direction(secret, self._our_salt)
        self._has_begun = False
        self._has_header = not secret.method.is_2022

    def send(self, data: bytes, wall: float) -> bytes:
        """Return what to write for `data`; the first time with salt and target before it."""
        if self._has_begun:
            return self._sending.seal_chunks(data)
        self._has_begun = True
        if not self._secret.method.is_2022:
            return self._our_salt + self._sending.seal_chunks(self._target + data)
        padding = b"" if data else bytes(1 + int.from_bytes(self._random_bytes(2)) % MAX_PADDING)
        room = self._secret.method.max_chunk - len(self._target) - 2 - len(padding)
        body = self._target + len(padding).to_bytes(2) + padding + data[:room]
        head = self._sending.seal(_FIXED.pack(_CLIENT, int(wall), len(body)))
        return self._our_salt + head + self._sending.seal(body) + self._sending.seal_chunks(data[room:])

    def receive(self, data: bytes | memoryview, wall: float) -> list[bytes]:
        """Take octets of the server; return plaintext in pieces.

        Raises:
            RemoteProtocolError: the server does not hold our key, or is not speaking to us.
        """
        self._wall = wall
        return self._feed(data)

    def _next(self, direction: _Direction) -> bytes | None:
        if not self._has_header:
            sealed = self._take(_FIXED.size + len(self._our_salt) + TAG_SIZE)
            if sealed is None:
                return None
            head = direction.open(sealed)
            if head[0] != _SERVER or not is_equal(head[9:-2], self._our_salt):
                raise RemoteProtocolError("shadowsocks: an answer to somebody else")
            _check_skew(int.from_bytes(head[1:9]), self._wall)
            self._size = direction.check_size(int.from_bytes(head[-2:]))
            self._has_header = True
        return super()._next(direction)


class ServerStream(_Receiver):
    """The accepting end; `target` is set once the client's beginning was read and is new.

    Args:
        secret: method and key.
        salts: those of all connections of the listener.
        random_bytes: for our salt.
    """

    def __init__(self, secret: Secret, salts: SeenSalts, random_bytes: Callable[[int], bytes]) -> None:
        super().__init__(secret)
        self.target: Target | None = None
        self._salts = salts
        self._random_bytes = random_bytes
        self._sending: _Direction | None = None
        self._first = b""

    def receive(self, data: bytes | memoryview, wall: float) -> list[bytes]:
        """Take octets of a client; return plaintext in pieces, without the target.

        Raises:
            RemoteProtocolError: no client of ours, or a replay: answer nothing.
        """
        self._wall = wall
        pieces = self._feed(data)
        return [piece for piece in pieces if piece]

    def _next(self, direction: _Direction) -> bytes | None:
        if self.target is not None:
            return super()._next(direction)
        return self._begin_2022(direction) if self._secret.method.is_2022 else self._begin_2017(direction)

    def _begin_2017(self, direction: _Direction) -> bytes | None:
        piece = super()._next(direction)
        if piece is None:
            return None
        self._first += piece
        found = decode_target(self._first)
        if found is None:
            return b""
        self._note_salt(is_timed=False)
        self.target, end = found
        rest, self._first = self._first[end:], b""
        return rest

    def _begin_2022(self, direction: _Direction) -> bytes | None:
        if self._size is None:
            sealed = self._take(_FIXED.size + TAG_SIZE)
            if sealed is None:
                return None
            kind, time, size = _FIXED.unpack(direction.open(sealed))
            if kind != _CLIENT:
                raise RemoteProtocolError(f"shadowsocks: header type {kind} of a client")
            _check_skew(time, self._wall)
            self._note_salt(is_timed=True)
            self._size = direction.check_size(size)
        sealed = self._take(self._size + TAG_SIZE)
        if sealed is None:
            return None
        self._size = None
        body = direction.open(sealed)
        found = decode_target(body)
        if found is None or len(body) < found[1] + 2:
            raise RemoteProtocolError("shadowsocks: header cut")
        target, at = found
        padding = int.from_bytes(body[at : at + 2])
        rest = body[at + 2 :]
        if padding > min(MAX_PADDING, len(rest)) or not rest:
            raise RemoteProtocolError(f"shadowsocks: {padding} octets of padding among {len(rest)}")
        self.target = target
        return rest[padding:]

    def _note_salt(self, *, is_timed: bool) -> None:
        if not self._salts.add(self._salt, self._wall, is_timed=is_timed):
            raise RemoteProtocolError("shadowsocks: salt seen before, or too many")

    def send(self, data: bytes, wall: float) -> bytes:
        """Return what to write for `data`; before the client's beginning was read that is our own bug."""
        if self.target is None:
            raise LocalProtocolError("shadowsocks: an answer before the client's beginning")
        if self._sending is not None:
            return self._sending.seal_chunks(data)
        if not data:
            return b""
        salt = self._random_bytes(self._secret.method.key_size)
        sending = self._sending = _Direction(self._secret, salt)
        if not self._secret.method.is_2022:
            return salt + sending.seal_chunks(data)
        first, rest = data[: self._secret.method.max_chunk], data[self._secret.method.max_chunk :]
        head = bytes((_SERVER,)) + int(wall).to_bytes(8) + self._salt + len(first).to_bytes(2)
        return salt + sending.seal(head) + sending.seal(first) + sending.seal_chunks(rest)


def _check_skew(time: int, wall: float) -> None:
    if abs(time - wall) > MAX_SKEW_S:
        raise RemoteProtocolError(
            f"shadowsocks: clocks differ by {abs(time - wall):.0f} s, {MAX_SKEW_S} allowed"
        )
