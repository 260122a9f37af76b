"""What the host of a BEGIN may be: an address in its one plain spelling, or a public name (sans-IO).

Names are judged before the resolver sees them, addresses after (docs/spec/exit.md section 2). Odd
spellings of IPv4 that libc would accept (decimal, octal, hex, short) are refused, never repaired.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.peer.special_addresses import IpAddress
from vigilnet.traffic.stream.names import check_name, pack_ipv4
from vigilnet.traffic.stream.wire import EndReason

_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Never public: special-use names (RFC 6761, 6762, 7686, 8375, 9476), ICANN's `internal`, and what
# routers make up.
_LOCAL_SUFFIXES: Final = frozenset(
    {
        "alt",
        "corp",
        "home",
        "home.arpa",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "private",
        "service.arpa",
        "test",
        "workgroup",
    }
)


class TargetRefusedError(VigilnetError):
    """The exit does not reach this target; `reason` is what the END says."""

    kind = ErrorKind.REFUSED

    def __init__(self, message: str, reason: EndReason) -> None:
        super().__init__(message)
        self.reason = reason


def parse_host(text: str, *, allow_local_names: bool = False) -> IpAddress | str:
    """Return the address, or the name in lower case without its final dot.

    Args:
        text: the host of a BEGIN as it came; up to 255 octets.
        allow_local_names: whether names such as localhost may go to the resolver (test networks).

    Raises:
        TargetRefusedError: neither; `POLICY` for what is refused on purpose, `RESOLVE_FAILED` for
            what is no name.
    """
    packed = pack_ipv4(text)
    if packed is not None:
        return IPv4Address(packed)
    if ":" in text:
        return _parse_ipv6(text)
    name = parse_name(text)
    if not allow_local_names and is_local_name(name):
        raise TargetRefusedError("exit target: name of a local network, refused", EndReason.POLICY)
    return name


def _parse_ipv6(text: str) -> IPv6Address:
    try:
        address = IPv6Address(text)
    except AddressValueError as error:
        raise TargetRefusedError("exit target: malformed IPv6 address", EndReason.POLICY) from error
    if address.scope_id is not None:
        raise TargetRefusedError("exit target: IPv6 address with a zone, refused", EndReason.POLICY)
    return address


def parse_name(text: str) -> str:
    """Return a DNS name in lower case without its final dot.

    Raises:
        TargetRefusedError: not a name, or one that a lax resolver would read as an IPv4 address.
    """
    name = text.lower().removesuffix(".") if text.isascii() else text
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise TargetRefusedError("exit target: odd spelling of an IPv4 address, refused", EndReason.POLICY)
    wrong = check_name(name)
    if wrong:
        raise TargetRefusedError(f"exit target: {wrong}", EndReason.RESOLVE_FAILED)
    return name


def is_local_name(name: str) -> bool:
    """Whether a name, as `parse_name` returns it, belongs to a local network."""
    labels = name.split(".")
    return len(labels) == 1 or labels[-1] in _LOCAL_SUFFIXES or ".".join(labels[-2:]) in _LOCAL_SUFFIXES
