"""The ClientHello as it is on the wire (docs/spec/htx.md section 2; RFC 8446 section 4.1.2).

    u16 0x0303 | random 32 | u8 n, session id n | u16 n, suites n | u8 n, compression n | u16 n, extensions n

Both sides read it: the relay to look for the authenticator, the client and the tests to compare what we
send with what browsers send.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.wire import (
    MAX_HELLO,
    MAX_SESSION_ID,
    MESSAGE_HEAD,
    RANDOM_SIZE,
    TLS_1_2,
    ExtensionType,
    MessageType,
    Reader,
    encode_message,
    read_extensions,
)

SESSION_ID_AT: Final = MESSAGE_HEAD + 2 + RANDOM_SIZE + 1  # in the message; its length octet lies before
X25519: Final = 29
SECP256R1: Final = 23
SECP384R1: Final = 24
X25519MLKEM768: Final = 4588
_GREASE: Final = frozenset(0x0A0A + 0x1010 * index for index in range(16))


def is_grease(value: int) -> bool:
    """Whether `value` is one of the 16 reserved ones of RFC 8701."""
    return value in _GREASE


@dataclass(frozen=True)
class ClientHello:
    """One ClientHello; extensions in their order, GREASE included."""

    random: bytes
    session_id: bytes
    suites: tuple[int, ...]
    compressions: bytes
    extensions: tuple[tuple[int, bytes], ...]

    def encode(self) -> bytes:
        """Return the whole handshake message."""
        suites = b"".join(suite.to_bytes(2, "big") for suite in self.suites)
        block = b"".join(
            kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for kind, data in self.extensions
        )
        body = b"".join((
            TLS_1_2.to_bytes(2, "big"), self.random,
            bytes((len(self.session_id),)), self.session_id,
            len(suites).to_bytes(2, "big"), suites,
            bytes((len(self.compressions),)), self.compressions,
            len(block).to_bytes(2, "big"), block,
        ))  # fmt: skip
        return encode_message(MessageType.CLIENT_HELLO, body)

    def extension(self, kind: int) -> bytes | None:
        """Return the data of one extension."""
        return next((data for found, data in self.extensions if found == kind), None)

    def with_extension(self, kind: int, data: bytes) -> "ClientHello":
        """Return a copy with other data in one extension that it has."""
        changed = tuple((found, data if found == kind else old) for found, old in self.extensions)
        return replace(self, extensions=changed)

    @property
    def server_name(self) -> str | None:
        """The host that is asked for."""
        data = self.extension(ExtensionType.SERVER_NAME)
        if not data:
            return None
        reader = Reader(data, "server name")
        names = Reader(reader.vector(2, 1), "server name")
        reader.end()
        kind, name = names.number(1), names.vector(2, 1)
        names.end()
        if kind:
            raise RemoteProtocolError(f"server name: of type {kind}")
        return name.decode("ascii", "replace")

    @property
    def key_shares(self) -> Mapping[int, bytes]:
        """Key shares by group, in their order."""
        data = self.extension(ExtensionType.KEY_SHARE)
        if data is None:
            return {}
        reader = Reader(data, "key share")
        entries = Reader(reader.vector(2), "key share")
        reader.end()
        shares: dict[int, bytes] = {}
        while not entries.is_empty:
            group, share = entries.number(2), entries.vector(2, 1)
            if group in shares:
                raise RemoteProtocolError("key share: a group twice")
            shares[group] = share
        return shares


def without_ech_payload(hello: ClientHello) -> bytes | None:
    """Return the message with its outer ECH's payload zeroed, as the session id of a real one was sealed.

    None: there is no ECH, or none of that form.
    """
    data = hello.extension(ExtensionType.ECH)
    if data is None:
        return None
    try:
        reader = Reader(data, "ech")
        kind, _ = reader.number(1), reader.take(5)
        reader.vector(2)
        payload = reader.vector(2, 1)
        reader.end()
    except RemoteProtocolError:
        return None
    if kind:
        return None
    zeroed = data[: -len(payload)] + bytes(len(payload))
    return hello.with_extension(ExtensionType.ECH, zeroed).encode()


def encode_key_shares(shares: Mapping[int, bytes]) -> bytes:
    """Return the data of a client's key_share extension."""
    entries = b"".join(
        group.to_bytes(2, "big") + len(share).to_bytes(2, "big") + share for group, share in shares.items()
    )
    return len(entries).to_bytes(2, "big") + entries


def decode_client_hello(message: bytes) -> ClientHello:
    """Read a whole ClientHello message.

    Raises:
        RemoteProtocolError: malformed, or over `MAX_HELLO`.
    """
    what = "client hello"
    if len(message) > MAX_HELLO:
        raise RemoteProtocolError(f"{what}: {len(message)} octets, at most {MAX_HELLO}")
    reader = Reader(message, what)
    kind, size = reader.number(1), reader.number(3)
    if kind != MessageType.CLIENT_HELLO or size != len(message) - MESSAGE_HEAD:
        raise RemoteProtocolError(f"{what}: message type {kind}, length {size}")
    if reader.number(2) != TLS_1_2:
        raise RemoteProtocolError(f"{what}: legacy version is not 0x0303")
    random, session_id = reader.take(RANDOM_SIZE), reader.vector(1, 0, MAX_SESSION_ID)
    suites, compressions = reader.numbers(2), reader.vector(1, 1)
    extensions = tuple(read_extensions(reader, what)) if not reader.is_empty else ()
    reader.end()
    return ClientHello(random, session_id, suites, compressions, extensions)
