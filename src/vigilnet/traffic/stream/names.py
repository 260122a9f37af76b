"""Which host names and address texts may appear in BEGIN and RESOLVE (docs/spec/circuit.md section 6)."""

import re
from ipaddress import ip_address
from typing import Final

MAX_NAME: Final = 253

_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


def check_name(name: str) -> str:
    """Say what is wrong with a DNS name, or return an empty text; never repeats the name.

    Labels of letters, digits, hyphen and underscore (international names in their `xn--` form), 1 to
    63 octets each, at most 253 in all, no dot at the end. A name whose last label is a number is no
    name: system resolvers would read `127.1` or `0x7f.1` as an address.

    >>> check_name("example.org"), check_name("127.1")
    ('', 'host name: its last label is a number')
    """
    if not 0 < len(name) <= MAX_NAME:
        return f"host name: {len(name)} octets, expected 1 to {MAX_NAME}"
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "host name: a label is empty, too long or has a character that names have not"
    if _NUMBER.fullmatch(labels[-1]):
        return "host name: its last label is a number"
    return ""


def check_host(host: str) -> str:
    """Say what is wrong with a host, a name or the canonical text of an address; else an empty text.

    >>> check_host("2001:db8::1"), check_host("2001:DB8::1")
    ('', 'host: address text is not in its canonical form')
    """
    if _IPV4.fullmatch(host):
        return ""
    try:
        address = ip_address(host)
    except ValueError:
        return check_name(host)
    if address.version == 6 and address.ipv4_mapped is not None:
        return "host: an IPv4 address in IPv6 form"  # its text differs between versions of Python
    if str(address) != host or "%" in host:
        return "host: address text is not in its canonical form"
    return ""


def pack_ipv4(text: str) -> bytes | None:
    """Return the four octets of the canonical text of an IPv4 address, or None for any other text.

    Each stream passes here: `ipaddress` takes 18 calls for the same.

    >>> [pack_ipv4(text) for text in ("65.66.67.68", "65.66.67.068", "example.org")]
    [b'ABCD', None, None]
    """
    return bytes(map(int, text.split("."))) if _IPV4.fullmatch(text) else None


def ipv4_text(packed: bytes) -> str:
    """Return the canonical text of four octets."""
    first, second, third, fourth = packed
    return f"{first}.{second}.{third}.{fourth}"
