"""PCP and NAT-PMP at work: one UDP socket to the router, each question sent up to three times."""

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.routing.discovery.port_control import (
    MAX_ANSWER,
    NONCE_SIZE,
    SERVER_PORT,
    Given,
    UnsupportedError,
    pcp_answer,
    pcp_request,
    pmp_address,
    pmp_address_request,
    pmp_answer,
    pmp_request,
)

WAITS_S: Final = (0.25, 0.5, 1.0)  # RFC 6886 doubles from 250 ms; a router on the LAN answers the first
ROUTES: Final = Path("/proc/net/route")
_UP_GATEWAY: Final = 3  # flags of a route

_T = TypeVar("_T")


class PortControl:
    """Asks one router for one TCP port.

    Args:
        gateway: the router's address.
        port: ours.
        random_bytes: for the nonce, which lets nobody else change the mapping.
        server_port: the router's.
    """

    def __init__(
        self,
        gateway: str,
        port: int,
        random_bytes: Callable[[int], bytes],
        server_port: int = SERVER_PORT,
    ) -> None:
        self._gateway = (gateway, server_port)
        self._port = port
        self._nonce = random_bytes(NONCE_SIZE)
        self._given: Given | None = None
        self.protocol = ""  # by which we have the port

    async def map(self, lifetime: int) -> Given:
        """Ask for the port, or for it for longer.

        Raises:
            OSError: nobody answers.
            RemoteProtocolError: the router refuses, or answers what is not in the form.
        """
        wished = self._given.port if self._given is not None else self._port
        with self._socket() as sock:
            try:
                self._given, self.protocol = await self._by_pcp(sock, wished, lifetime), "PCP"
            except (UnsupportedError, TimeoutError):
                self._given, self.protocol = await self._by_pmp(sock, wished, lifetime), "NAT-PMP"
        return self._given

    async def unmap(self) -> None:
        """Give the port back; says nothing if the router does not answer."""
        given, self._given = self._given, None
        if given is None:
            return
        with contextlib.suppress(OSError, RemoteProtocolError), self._socket() as sock:
            if self.protocol == "PCP":
                await self._by_pcp(sock, given.port, 0)
            else:
                await self._ask(
                    sock, pmp_request(self._port, 0, 0), lambda said: pmp_answer(said, self._port)
                )

    async def _by_pcp(self, sock: socket.socket, wished: int, lifetime: int) -> Given:
        ours = str(sock.getsockname()[0])
        request = pcp_request(self._nonce, ours, self._port, wished, lifetime)
        return await self._ask(sock, request, lambda said: pcp_answer(said, self._nonce, self._port))

    async def _by_pmp(self, sock: socket.socket, wished: int, lifetime: int) -> Given:
        host = await self._ask(sock, pmp_address_request(), pmp_address)
        request = pmp_request(self._port, wished, lifetime)
        outer, given = await self._ask(sock, request, lambda said: pmp_answer(said, self._port))
        return Given(host, outer, given)

    def _socket(self) -> socket.socket:
        """A socket that hears the router alone."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(self._gateway)
        except BaseException:
            sock.close()
            raise
        return sock

    @staticmethod
    async def _ask(sock: socket.socket, request: bytes, read: Callable[[bytes], _T | None]) -> _T:
        loop = asyncio.get_running_loop()
        for wait in WAITS_S:
            await loop.sock_sendall(sock, request)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    while True:
                        answer = read(await loop.sock_recv(sock, MAX_ANSWER + 1))
                        if answer is not None:
                            return answer
        raise TimeoutError("the router does not answer")


def default_gateway() -> str:
    """Return the IPv4 address of the router that leads outward; "" where the system does not tell."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            return gateway_of(ROUTES.read_text())
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/sbin/route", "-n", "get", "default"]
            done = subprocess.run(  # noqa: S603  # nothing of it comes from outside
                command, capture_output=True, text=True, timeout=2, check=False
            )
            words = done.stdout.split()
            return words[words.index("gateway:") + 1] if "gateway:" in words else ""
    return ""


def gateway_of(routes: str) -> str:
    """Return the gateway of the default route with the least metric, of the text that Linux tells.

    >>> gateway_of(chr(10).join(("head", "eth0 00000000 0101A8C0 0003 0 0 100 00000000")))
    '192.168.1.1'
    """
    found: list[tuple[int, str]] = []
    for line in routes.splitlines()[1:]:
        words = line.split()
        if len(words) < 8 or words[1] != "00000000" or int(words[3], 16) & _UP_GATEWAY != _UP_GATEWAY:
            continue
        found.append((int(words[6]), socket.inet_ntoa(struct.pack("<I", int(words[2], 16)))))
    return min(found)[1] if found else ""
