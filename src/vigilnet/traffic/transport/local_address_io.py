"""Which of our addresses the system would use now: a change means another network, or one at all again."""

import socket
from typing import Final

# Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket asks for a route and sends nothing.
_ANYWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def preferred_addresses() -> tuple[str, str]:
    """Return our source addresses towards the Internet, IPv4 and IPv6; empty text where there is no route."""
    (family4, host4), (family6, host6) = _ANYWHERE
    return _source(family4, host4), _source(family6, host6)


def _source(family: socket.AddressFamily, host: str) -> str:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((host, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return ""
