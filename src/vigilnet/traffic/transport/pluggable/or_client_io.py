"""A server proxy's side of the OR port: whose connection it is, with the cookie (see `extended_or`)."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.kdf import hmac_sha256, is_equal
from vigilnet.traffic.transport.pluggable.extended_or import (
    CLIENT_LABEL,
    COOKIE_HEAD,
    COOKIE_SIZE,
    SERVER_LABEL,
)
from vigilnet.traffic.transport.pluggable.messages import read_address

OPEN_S: Final = 10.0
_USERADDR, _TRANSPORT, _DONE = 1, 2, 0
_OKAY: Final = b"\x10\0\0\0"


@dataclass(frozen=True)
class OrAddress:
    """Where the parent takes connections; the cookie is empty for its plain port."""

    host: str
    port: int
    cookie: bytes = field(default=b"", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "OrAddress":
        """Read what the parent says: the extended port where it has one.

        Raises:
            RemoteProtocolError: neither port, or a cookie file that is none.
        """
        extended = environment.get("TOR_PT_EXTENDED_SERVER_PORT", "")
        if not extended:
            return cls(*read_address(environment.get("TOR_PT_ORPORT", "")))
        try:
            content = Path(environment.get("TOR_PT_AUTH_COOKIE_FILE", "")).read_bytes()
        except OSError as error:
            raise RemoteProtocolError("the cookie file of the extended or port cannot be read") from error
        if len(content) != len(COOKIE_HEAD) + COOKIE_SIZE or not content.startswith(COOKIE_HEAD):
            raise RemoteProtocolError("the cookie file of the extended or port is none")
        return cls(*read_address(extended), content[len(COOKIE_HEAD) :])


async def open_or(
    address: OrAddress, transport: str, client_host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the parent for a client at `client_host`.

    Raises:
        OSError: it cannot be reached, or does not answer in time.
        RemoteProtocolError: it refuses, or does not hold the cookie either.
    """
    async with asyncio.timeout(OPEN_S):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            if address.cookie:
                await _introduce(reader, writer, address.cookie, transport, client_host)
        except asyncio.IncompleteReadError as error:
            await _leave(writer)
            raise ConnectionResetError("extended or port: closed") from error
        except BaseException:
            await _leave(writer)
            raise
    return reader, writer


async def _leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _introduce(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    cookie: bytes,
    transport: str,
    client_host: str,
) -> None:
    kinds = await reader.readuntil(b"\0")
    if 1 not in kinds[:-1]:
        raise RemoteProtocolError("extended or port: asks for another proof than a cookie")
    ours = os.urandom(COOKIE_SIZE)
    writer.write(b"\1" + ours)
    answer = await reader.readexactly(2 * COOKIE_SIZE)
    nonces = ours + answer[COOKIE_SIZE:]
    if not is_equal(answer[:COOKIE_SIZE], hmac_sha256(cookie, SERVER_LABEL, nonces)):
        raise RemoteProtocolError("extended or port: the parent does not hold the cookie")
    writer.write(hmac_sha256(cookie, CLIENT_LABEL, nonces))
    if await reader.readexactly(1) != b"\1":
        raise RemoteProtocolError("extended or port: our proof is refused")
    # The client's port is not known here, and nobody needs it.
    user = f"[{client_host}]:1" if ":" in client_host else f"{client_host}:1"
    for command, body in ((_USERADDR, user.encode()), (_TRANSPORT, transport.encode()), (_DONE, b"")):
        writer.write(command.to_bytes(2) + len(body).to_bytes(2) + body)
    if await reader.readexactly(4) != _OKAY:
        raise RemoteProtocolError("extended or port: denied")
