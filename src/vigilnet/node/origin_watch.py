"""Looks at a relay's own origin now and then, as a visitor, and says what keeps clients out.

An origin that is down, whose certificate is not for its name, that speaks an older TLS, or is itself
a relay of the network (a loop) cannot stand before a relay (docs/spec/htx.md section 7).
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from typing import Final

from vigilnet.base.errors import ConfigurationError
from vigilnet.base.safelog import get_logger
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.traffic.transport.htx.certificates import issuer_digest
from vigilnet.traffic.transport.htx.htx_io import HtxTransport

LOOK_S: Final = 3600.0  # a visit an hour, a third of it more or less
RETRY_S: Final = 60.0
PATIENCE_S: Final = 30.0
UP: Final = "up"

_log = get_logger(__name__)

Place = tuple[str, int]


class OriginWatch:
    """What is known of one origin.

    Args:
        transport: visits it.
        origin: host and port.
        host_name: in its certificate.
        relays: records of relays that were reached at their address.
        random_bytes: source of chance.
    """

    def __init__(
        self,
        transport: HtxTransport,
        origin: Place,
        host_name: str,
        relays: Callable[[], Iterable[PeerRecord]],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._host_name = host_name
        self._relays = relays
        self._random_bytes = random_bytes
        self._found = ""
        self.issuer: bytes | None = None  # digest of its issuer's key, once seen

    @property
    def state(self) -> str:
        """`up`, what is wrong, or nothing before the first look."""
        error = self._transport.origin_error
        return f"down: {error}" if error else self._found

    async def refuse_loops(self) -> None:
        """Insist that the origin is no relay.

        Raises:
            ConfigurationError: it is one.
        """
        if await self._is_relay():
            raise ConfigurationError("htx.origin: is a relay of the network; name a web server instead")

    async def run(self) -> None:
        """Look again and again."""
        while True:
            is_well = await self.look()
            chance = self._random_bytes(1)[0] / 255 * 2 / 3 + 2 / 3
            await asyncio.sleep(chance * LOOK_S if is_well else RETRY_S)

    async def look(self) -> bool:
        """Visit the origin once; return whether a relay can stand before it."""
        try:
            found = await self._visit()
        except OSError as error:
            found = f"down: {os.strerror(error.errno)}" if error.errno else str(error) or "down: no answer"
        if found != self._found and found != UP:
            _log.warning("htx origin cannot serve", reason=found)
        self._found = found
        return found == UP

    async def _visit(self) -> str:
        if await self._is_relay():
            return "is a relay of the network: name a web server instead"
        async with asyncio.timeout(PATIENCE_S):
            handshake, _ = await self._transport.look_at_origin(*self._origin, self._host_name)
        self.issuer = issuer_digest(handshake.chain)
        return UP

    async def _is_relay(self) -> bool:
        """Whether relays that were reached are at the origin's address, and nowhere else.

        A record may name any address beside one where it was reached: that alone proves nothing.
        """
        host, port = self._origin
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        places = {(str(entry[4][0]), port) for entry in found}
        return any(
            {(address.host, address.port) for address in record.addresses} & places
            and {address.host for address in record.addresses} <= {place for place, _ in places}
            for record in self._relays()
        )
