"""Finding the sign-in page of a network, without leaving protection (docs/spec/device.md section 9).

One plain request for a page whose text is known goes straight out, when the user asks for it. Whoever answers
otherwise is the portal; its address alone is then reached around the tunnel for a bounded time.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError

PROBE: Final = "http://nmcheck.gnome.org/check_network_status.txt"
EXPECTED: Final = frozenset({b"NetworkManager is online", b"success"})  # what such pages say
TIMEOUT_S: Final = 8.0
MAX_ANSWER: Final = 16 * 1024

Resolve = Callable[[str], Awaitable[list[str]]]


class Portal(NamedTuple):
    """A network's sign-in page; `url` is empty if the network wants none."""

    url: str
    host: str
    addresses: list[str]


def host_of(url: str) -> tuple[str, int]:
    """Return (host, port) of an http or https URL.

    Raises:
        ConfigurationError: not such a URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ConfigurationError("portal: expected an address like http://192.0.2.1/login") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("portal: expected an address like http://192.0.2.1/login")
    return parts.hostname, port


def judge(answer: bytes, probe: str) -> str:
    r"""Return the sign-in page's URL that an answer to the probe means; empty if it is the page's own.

    >>> judge(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "http://a.example/x")
    'http://a.example/login'
    >>> judge(b"HTTP/1.1 200 OK\r\n\r\nsuccess\n", "http://a.example/x")
    ''
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = lines[0].split(b" ")[1:2]
    if status == [b"200"] and body.strip() in EXPECTED:
        return ""
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"location" and status and status[0].startswith(b"3"):
            return urljoin(probe, value.strip().decode("latin-1"))
    return probe  # it answers in place of the page: the page's own address is the portal


async def find_portal(resolve: Resolve, probe: str = PROBE) -> Portal:
    """Ask for the page that should be there, straight out, and find who answers.

    Args:
        resolve: gives the addresses of a name as this network's own servers tell them.
        probe: a page whose text is one of `EXPECTED`.

    Raises:
        EnvironmentRefusedError: nothing answers.
    """
    host, port = host_of(probe)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            addresses = await find_addresses(resolve, host)
            answer = await _fetch(addresses[0], port, host, urlsplit(probe).path or "/")
            url = judge(answer, probe)
            if not url:
                return Portal("", "", [])
            portal, _ = host_of(url)
            return Portal(url, portal, addresses if portal == host else await find_addresses(resolve, portal))
    except (OSError, TimeoutError, IndexError, EOFError) as error:
        raise EnvironmentRefusedError(
            "portal: no answer on this network; name the sign-in page if you know it: vigilnet portal URL"
        ) from error


async def find_addresses(resolve: Resolve, host: str) -> list[str]:
    """Return the addresses of a host that may be one itself."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [host]
    return await resolve(host)


async def system_addresses(host: str) -> list[str]:
    """Return the addresses of a host as this system finds them; for a device that is not protected."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def _fetch(address: str, port: int, host: str, path: str) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (address, port))
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\r\n"
        await loop.sock_sendall(sock, request.encode("latin-1", "replace"))
        answer = b""
        while len(answer) < MAX_ANSWER:
            part = await loop.sock_recv(sock, MAX_ANSWER)
            if not part:
                break
            answer += part
    if not answer.startswith(b"HTTP/1."):
        raise EOFError
    return answer
