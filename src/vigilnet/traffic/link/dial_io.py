"""Getting a carrier to a relay that has several addresses (docs/spec/link.md section 8; after RFC 8305).

Addresses are tried in the order of our transports, IPv6 and IPv4 in turn, each a little after the one
before; the first connection wins.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.traffic.link.neighbours import DialAddress
from vigilnet.traffic.transport.carrier import Carrier, Transport

PLAIN_TCP, QUIC = 1, 3  # their numbers in a record


class LinkUnavailableError(VigilnetError):
    """No link can be had now; the text says why and what would help."""

    kind = ErrorKind.UNREACHABLE


Starter = Callable[[str, Coroutine[Any, Any, Carrier]], "asyncio.Task[Carrier]"]


def is_private(host: str) -> bool:
    """Whether `host` is an address that is not of the open Internet; names are not known here."""
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return False


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
) -> tuple[Carrier, DialAddress]:
    """Dial `addresses` in order, `stagger_s` apart; return the first carrier and its address.

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
                dial = transports[address.transport].dial(address.host, address.port, address.params)
                running[start("dial address", _within(dial, timeout_s))] = address
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


async def _within(dial: Coroutine[Any, Any, Carrier], timeout_s: float) -> Carrier:
    async with asyncio.timeout(timeout_s):
        return await dial


def _close_late(task: "asyncio.Task[Carrier]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
