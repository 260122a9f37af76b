"""TCP from both ends at once, for two that are behind routers (docs/spec/discovery.md section 11).

Both dial the place where a third sees the other dial from, out of the port from which they dial that third.
Each router then has a connection of its own going out, which the other's SYN fits. Works where routers give
one port of theirs to one port of ours, wherever we dial; and not where they draw another for each place.
"""

import asyncio
import ipaddress
import secrets
import socket
import sys

# After a refusal: a router that answers RST to what it does not expect. By chance: two that keep step would
# miss each other each time.
TRY_LEAST_MS, TRY_SPREAD_MS = 100, 400
Endpoint = tuple[str, int]


def share_port(sock: socket.socket) -> None:
    """Let another socket dial out of the same port later."""
    if sys.platform != "win32":  # there the option would let others take the port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "darwin":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def take_port(sock: socket.socket) -> None:
    """Bind to a port of this machine that no other socket has, and let a socket of ours dial out of it later.

    What connect() chooses instead may be the port of another program's connection to another place. Its
    ports are even and these odd, on Linux: not for connections that must look like a browser's.
    """
    share_port(sock)
    sock.bind(("" if sock.family == socket.AF_INET else "::", 0))


async def punch(local: Endpoint, remote: Endpoint, timeout_s: float) -> socket.socket:
    """Dial `remote` out of `local` again and again; return the connected socket.

    Raises:
        OSError: not within the time, or this machine cannot.
    """
    loop = asyncio.get_running_loop()
    error: OSError = TimeoutError("no connection from both ends")
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                sock = _bound(local)
                try:
                    await loop.sock_connect(sock, remote)
                except OSError as refused:
                    sock.close()
                    error = refused
                    await asyncio.sleep((TRY_LEAST_MS + secrets.randbelow(TRY_SPREAD_MS)) / 1000)
                except BaseException:
                    sock.close()
                    raise
                else:
                    return sock
    except TimeoutError:
        raise error from None


def _bound(local: Endpoint) -> socket.socket:
    version = ipaddress.ip_address(local[0].partition("%")[0]).version
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        share_port(sock)
        sock.bind(local)
    except BaseException:
        sock.close()
        raise
    return sock
