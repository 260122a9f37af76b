"""Writes a small database of countries in MaxMind's format (MaxMind DB 2.0, IPv4, records of 24 bits)."""

import ipaddress
from collections.abc import Mapping

_MARKER = b"\xab\xcd\xefMaxMind.com"


def _text(text: str) -> bytes:
    return bytes([2 << 5 | len(text)]) + text.encode()


def _number(number: int) -> bytes:
    octets = number.to_bytes(4).lstrip(b"\0")
    return bytes([6 << 5 | len(octets)]) + octets


def _map(items: Mapping[str, bytes]) -> bytes:
    return bytes([7 << 5 | len(items)]) + b"".join(_text(name) + value for name, value in items.items())


def make_mmdb(countries: Mapping[str, str]) -> bytes:
    """Return a database in which each network (`192.0.2.0/24`) has a country."""
    nodes: list[list[int | bytes | None]] = [[None, None]]
    for text, country in countries.items():
        network = ipaddress.ip_network(text)
        bits = f"{int(network.network_address):032b}"[: network.prefixlen]
        at = 0
        for bit in map(int, bits[:-1]):
            following = nodes[at][bit]
            if not isinstance(following, int):
                nodes.append([None, None])
                following = nodes[at][bit] = len(nodes) - 1
            at = following
        nodes[at][int(bits[-1])] = _map({"country": _map({"iso_code": _text(country)})})
    data, tree = b"", b""
    for pair in nodes:
        for side in pair:
            if isinstance(side, bytes):
                value = len(nodes) + 16 + len(data)
                data += side
            else:
                value = len(nodes) if side is None else side
            tree += value.to_bytes(3)
    metadata = {
        "binary_format_major_version": _number(2),
        "binary_format_minor_version": _number(0),
        "build_epoch": _number(1),
        "database_type": _text("Test-Country"),
        "description": _map({}),
        "ip_version": _number(4),
        "languages": bytes([0, 4]),  # an array of none
        "node_count": _number(len(nodes)),
        "record_size": _number(24),
    }
    return tree + bytes(16) + data + _MARKER + _map(metadata)
