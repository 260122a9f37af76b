"""Getting a carrier to a relay that has several addresses (docs/spec/link.md section 8; after RFC 8305).

Addresses are tried in the order of our transports, IPv6 and IPv4 in turn, each a little after the one
before; the first connection wins. Where there is no way to an IPv4 address, the network's NAT64 is asked for.
"""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.peer.special_addresses import is_public
from vigilnet.traffic.link import nat64
from vigilnet.traffic.link.neighbours import DialAddress
from vigilnet.traffic.transport.carrier import Carrier, Transport

PLAIN_TCP, QUIC = 1, 3  # their numbers in a record
PREFIX_LIFE_S: Final = 60.0  # then the network is asked for its NAT64 again; sooner if it had none
NO_PREFIX_LIFE_S: Final = 5.0
PREFIX_WAIT_S: Final = 3.0
_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class LinkUnavailableError(VigilnetError):
    """No link can be had now; the text says why and what would help."""

    kind = ErrorKind.UNREACHABLE


class Nat64:
    """Finds the NAT64 of the network that we are in, when it is needed (RFC 7050).

    Nothing is asked where there is IPv4: the question would tell the network's resolver about us.

    Args:
        clock: for how long an answer is kept.
        local_addresses: ours towards the Internet, IPv4 and IPv6, empty where there is no way.
    """

    def __init__(self, clock: Clock, local_addresses: Callable[[], tuple[str, str]]) -> None:
        self._clock = clock
        self._local_addresses = local_addresses
        self._prefix: ipaddress.IPv6Network | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def address_for(self, host: str) -> str:
        """Return the IPv6 address that stands for an IPv4 one here; an empty text if none does."""
        ipv4, ipv6 = self._local_addresses()
        if ipv4 or not ipv6:
            return ""
        async with self._asking:
            if self._clock.now() >= self._until:
                self._prefix = nat64.find_prefix(await self._ask())
                life = PREFIX_LIFE_S if self._prefix is not None else NO_PREFIX_LIFE_S
                self._until = self._clock.now() + life
        try:
            return nat64.embed(self._prefix, host) if self._prefix is not None else ""
        except ValueError:  # a name, or IPv6
            return ""

    async def _ask(self) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PREFIX_WAIT_S):
                found = await loop.getaddrinfo(
                    nat64.NAME, None, family=socket.AF_INET6, type=socket.SOCK_STREAM
                )
        except (OSError, TimeoutError):
            return []
        return [str(entry[4][0]) for entry in found]


Translate = Callable[[str], Awaitable[str]]
Starter = Callable[[str, Coroutine[Any, Any, Carrier]], "asyncio.Task[Carrier]"]


def is_private(host: str) -> bool:
    """Whether `host` is an address that is not of the open Internet; names are not known here."""
    return is_public(host) is False


def dial_order(
    addresses: Iterable[DialAddress], transports: Mapping[int, Transport], *, allow_private: bool
) -> list[DialAddress]:
    """Return the addresses that we can and may dial, in the order to try them."""
    usable = [
        address
        for address in addresses
        if address.transport in transports
        and address.host
        and address.port
        and (allow_private or not is_private(address.host))
    ]
    order: list[DialAddress] = []
    for kind in transports:
        ours = [address for address in usable if address.transport == kind]
        six = [address for address in ours if ":" in address.host]
        rest = [address for address in ours if ":" not in address.host]
        for turn in range(max(len(six), len(rest))):
            order.extend(six[turn : turn + 1] + rest[turn : turn + 1])
    return order


def never_in_the_open(addresses: list[DialAddress]) -> list[DialAddress]:
    """Leave out plain TCP where a relay can be reached under cover: falling back would uncover it.

    QUIC is no cover, and tried only by those who asked for it.
    """
    if all(address.transport in (PLAIN_TCP, QUIC) for address in addresses):
        return addresses
    return [address for address in addresses if address.transport != PLAIN_TCP]


async def dial_first(
    addresses: Sequence[DialAddress],
    transports: Mapping[int, Transport],
    start: Starter,
    *,
    stagger_s: float,
    timeout_s: float,
    translate: Translate | None = None,
) -> tuple[Carrier, DialAddress]:
    """Dial `addresses` in order, `stagger_s` apart; return the first carrier and its address.

    Where there is no way to an address, `translate` may know another by which it is reached.

    Raises:
        OSError: none could be reached; the error that came first.
    """
    waiting = list(addresses)
    running: dict[asyncio.Task[Carrier], DialAddress] = {}
    errors: list[Exception] = []
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop(0)
                dial = _dial(transports[address.transport], address, timeout_s, translate)
                running[start("dial address", dial)] = address
            done, _ = await asyncio.wait(
                running, timeout=stagger_s if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                address = running.pop(task)
                error = task.exception()
                if error is None:
                    return task.result(), address
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
    finally:
        for task in running:
            task.add_done_callback(_close_late)
            task.cancel()
    raise errors[0]


async def _dial(
    transport: Transport, address: DialAddress, timeout_s: float, translate: Translate | None
) -> Carrier:
    async with asyncio.timeout(timeout_s):
        try:
            return await transport.dial(address.host, address.port, address.params)
        except OSError as error:
            if translate is None or error.errno not in _NO_WAY:
                raise
            host = await translate(address.host)
            if not host:
                raise
            return await transport.dial(host, address.port, address.params)


def _close_late(task: "asyncio.Task[Carrier]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
