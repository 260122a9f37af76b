"""Readers for the fields of decoded CBOR: each checks type and limits, or blames the peer."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from vigilnet.base.codec import Value
from vigilnet.base.errors import RemoteProtocolError

U16_MAX: Final = (1 << 16) - 1
U32_MAX: Final = (1 << 32) - 1
U64_MAX: Final = (1 << 64) - 1


def read_uint(value: Value, what: str, low: int = 0, high: int = U64_MAX) -> int:
    """Return `value` if it is an integer from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise RemoteProtocolError(f"{what}: not an integer from {low} to {high}")
    return value


def read_octets(value: Value, what: str, low: int, high: int | None = None) -> bytes:
    """Return `value` if it is a byte string of `low` to `high` octets (exactly `low` without `high`)."""
    if not isinstance(value, bytes) or not low <= len(value) <= (low if high is None else high):
        raise RemoteProtocolError(f"{what}: not a byte string of {low}{f' to {high}' if high else ''} octets")
    return value


def read_text(value: Value, what: str, low: int, high: int) -> str:
    """Return `value` if it is a text of `low` to `high` printable ASCII characters."""
    if (
        not isinstance(value, str)
        or not low <= len(value) <= high
        or not (value.isascii() and value.isprintable())
    ):
        raise RemoteProtocolError(f"{what}: not a printable ascii text of {low} to {high} characters")
    return value


def read_array(value: Value, what: str, low: int, high: int) -> Sequence[Value]:
    """Return `value` if it is an array of `low` to `high` items."""
    if not isinstance(value, list) or not low <= len(value) <= high:
        raise RemoteProtocolError(f"{what}: not an array of {low} to {high} items")
    return value


def read_map(value: Value, what: str) -> Mapping[int, Value]:
    """Return `value` if it is a map whose keys are unsigned integers."""
    if not isinstance(value, dict) or not all(type(key) is int and key >= 0 for key in value):
        raise RemoteProtocolError(f"{what}: not a map with unsigned integer keys")
    return cast("Mapping[int, Value]", value)
