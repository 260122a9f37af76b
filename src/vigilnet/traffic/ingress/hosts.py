"""Hosts as applications spell them, made what a BEGIN may carry (sans-IO; docs/spec/ingress.md section 4)."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream.names import check_name


def canonical_host(text: str) -> str:
    """Return an address in canonical text, an IPv4-mapped one as IPv4, or a name without its final dot.

    A name is not resolved, and what only a system resolver would read as an address is no name.

    Raises:
        RemoteProtocolError: neither; the message does not repeat the host.

    >>> canonical_host("::FFFF:192.0.2.1"), canonical_host("2001:DB8::0:1"), canonical_host("example.org.")
    ('192.0.2.1', '2001:db8::1', 'example.org')
    """
    try:
        return canonical_address(ip_address(text))
    except ValueError:
        pass
    name = text.removesuffix(".")
    wrong = check_name(name)
    if wrong:
        raise RemoteProtocolError(wrong)
    return name


def canonical_address(address: IPv4Address | IPv6Address) -> str:
    """Return the text form that a BEGIN may carry.

    Raises:
        RemoteProtocolError: an address with a zone: it means something on this machine only.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise RemoteProtocolError("host: address with a zone")
        return str(address.ipv4_mapped or address)
    return str(address)
