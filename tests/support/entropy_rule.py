"""The rule by which the Great Firewall blocks fully encrypted traffic, as published in 2023.

Wu et al., "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX Security
2023: the first packet of a connection is blocked unless one of five exemptions holds.
"""

import re

_PRINTABLE = frozenset(range(0x20, 0x7F))
_RUN = re.compile(rb"[\x20-\x7e]{21,}")
_PROTOCOLS = re.compile(rb"[\x16\x17]\x03[\x00-\x09]|(?:GET|PUT|POST|HEAD) ")


def is_blocked(packet: bytes) -> bool:
    """Whether a first packet meets no exemption."""
    ones = sum(octet.bit_count() for octet in packet) / len(packet)
    printable = sum(octet in _PRINTABLE for octet in packet)
    return not (
        ones <= 3.4
        or ones >= 4.6
        or all(octet in _PRINTABLE for octet in packet[:6])
        or printable > len(packet) / 2
        or _RUN.search(packet) is not None
        or _PROTOCOLS.match(packet) is not None
    )
