"""The labels that separate every use of a key or hash from every other (docs/spec/circuit.md section 1).

A private network's name is appended to every label, so that its records and handshakes fail elsewhere.
"""

from enum import StrEnum


class Label(StrEnum):
    """One label per use; a key is never used under two."""

    RECORD = "record"
    RECORD_DIGEST = "record digest"
    IDENTITY_WORK = "identity work"
    LINK = "link"
    CIRCUIT = "circuit"
    ONION_KEY_ID = "onion key id"
    ONION_REKEY = "onion rekey"
    PUZZLE_CIRCUIT = "puzzle circuit"
    PUZZLE_LINK = "puzzle link"
    COOKIE = "cookie"
    HTX_AUTHENTICATOR = "htx authenticator"
    HTX_SWITCH = "htx switch"
    WELCOME_LIST = "welcome list"
    OPERATOR_REGISTRATION = "operator registration"
    DHT_KEY = "dht key"
    DHT_NETWORK = "dht network"
    FAMILY = "family"


def label_octets(use: Label, network: str = "") -> bytes:
    """Return the octets of `use` in the network named `network` (empty: the public one).

    >>> label_octets(Label.LINK)
    b'vigilnet v1 link'
    >>> label_octets(Label.LINK, "lab")
    b'vigilnet v1 link@lab'
    """
    return f"vigilnet v1 {use}@{network}".encode() if network else f"vigilnet v1 {use}".encode()
