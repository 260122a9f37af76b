"""OpenDHT as our `DhtEngine`: its thread calls back, we hand everything to the event loop.

Its thread holds a lock while it calls back and waits for Python's own lock (GIL). What of the library waits
for that lock without giving the GIL away (`get...Log`, `getBound`, `getNodeMessageStats`) stops both for
ever, so nothing of it is called while the node runs.
"""

import asyncio
import contextlib
import os
import socket
from typing import Final

import opendht  # type: ignore[import-untyped]  # it has no types of its own

from vigilnet.base.errors import EnvironmentRefusedError

PROBE_S: Final = 5.0


class OpenDhtEngine:
    """One OpenDHT node on a UDP port; make it inside the running loop.

    Args:
        host4: IPv4 address to listen at, or "" for none.
        host6: IPv6 address to listen at, or "" for none.
        port: UDP port.
        network: number of the network; nodes of other numbers are not heard.

    Raises:
        EnvironmentRefusedError: the port cannot be had.
    """

    def __init__(self, host4: str, host6: str, port: int, network: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._values: dict[bytes, opendht.Value] = {}
        config = opendht.DhtConfig()
        config.setNetwork(network)
        self._runner = opendht.DhtRunner()
        # OpenDHT ends the whole process when it cannot have its port, so we try first.
        _try_port(socket.AF_INET, host4, port)
        _try_port(socket.AF_INET6, host6, port)
        self._runner.run(port=port, ipv4=host4, ipv6=host6, config=config)
        self.port = port or int(str(self._runner.getBound()).rpartition(":")[2])

    def bootstrap(self, host: str, port: int) -> None:
        """See `DhtEngine`."""
        self._runner.bootstrap(host, str(port))

    async def is_joined(self) -> bool:
        """See `DhtEngine`."""
        return await self._get(os.urandom(20), 1, PROBE_S, [])

    def put(self, key: bytes, value: bytes) -> None:
        """See `DhtEngine`."""
        self.withdraw(key)
        self._values[key] = opendht.Value(value)
        self._runner.put(_hash(key), self._values[key], permanent=True)

    def withdraw(self, key: bytes) -> None:
        """See `DhtEngine`."""
        value = self._values.pop(key, None)
        if value is not None:
            self._runner.cancelPut(_hash(key), value)

    async def get(self, key: bytes, at_most: int, timeout_s: float) -> list[bytes]:
        """See `DhtEngine`."""
        found: list[bytes] = []
        await self._get(key, at_most, timeout_s, found)
        return found[:at_most]

    async def _get(self, key: bytes, at_most: int, timeout_s: float, found: list[bytes]) -> bool:
        """Put values of a key into `found`; return whether any node answered in time."""
        done: asyncio.Future[bool] = self._loop.create_future()

        def finish(is_ok: bool) -> None:
            if not done.done():
                done.set_result(is_ok)

        def got(value: opendht.Value) -> bool:
            found.append(bytes(value.data))
            return len(found) < at_most

        def ended(is_ok: bool, nodes: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(finish, is_ok)

        self._runner.get(_hash(key), got, ended)
        try:
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            return bool(found)

    async def close(self) -> None:
        """See `DhtEngine`."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.to_thread(self._runner.join)


def _try_port(family: socket.AddressFamily, host: str, port: int) -> None:
    if not host:
        return
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trial.bind((host, port))
    except OSError as error:
        raise EnvironmentRefusedError(
            f"dht: UDP port {port} cannot be had ({error.strerror}); stop what uses it, or listen elsewhere"
        ) from error


def _hash(key: bytes) -> opendht.InfoHash:
    return opendht.InfoHash(key.hex().encode())
