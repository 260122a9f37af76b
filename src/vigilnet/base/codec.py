"""Strict deterministic CBOR (RFC 8949 section 4.2.1): one value has exactly one encoding.

Signed objects and digests depend on it, so `decode` refuses every input that `encode` would not
have made. Known here: integers of 64 bits, byte and text strings, arrays, maps with integer or text
keys, false, true and null. No floats, no tags, no indefinite lengths, no other simple values.

The parsing is cbor2's; before it sees a hostile input, a scan over the heads refuses what could
cost time or memory (tags that compute, nesting, lengths beyond the input).
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import cbor2

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError

Value: TypeAlias = (
    "int | bytes | str | bool | Sequence[Value] | Mapping[int, Value] | Mapping[str, Value] | None"
)

MAX_SIZE: Final = 1 << 20  # our choice; callers pass the limit of what they parse
MAX_DEPTH: Final = 8  # our choice: a record needs 4
_MAX_INT: Final = (1 << 64) - 1

_MAP: Final = 5
_ARRAY: Final = 4
_SIMPLE: Final = 7
_SIMPLE_HEADS: Final = frozenset((0xF4, 0xF5, 0xF6))  # false, true, null


def encode(value: Value) -> bytes:
    """Return the one encoding of `value`.

    Raises:
        LocalProtocolError: a value of another type, out of range or nested too deep; our own bug.
    """
    return cbor2.dumps(_ordered(value, MAX_DEPTH))


def decode(data: bytes, what: str, max_size: int = MAX_SIZE) -> Value:
    """Return the value that `data` is the one encoding of.

    Args:
        data: exactly one item.
        what: what is being parsed, for the error's text.
        max_size: the longest input accepted, in octets.

    Raises:
        RemoteProtocolError: not CBOR, or not the deterministic encoding of a value known here.
    """
    data = bytes(data)
    if len(data) > max_size:
        raise RemoteProtocolError(f"{what}: {len(data)} octets, at most {max_size}")
    _scan(data, what)
    try:
        value: Value = cbor2.loads(data, max_depth=MAX_DEPTH + 1, allow_indefinite=False)
        again = encode(value)
    except (cbor2.CBORError, LocalProtocolError, ValueError, TypeError) as error:
        raise RemoteProtocolError(f"{what}: not deterministic cbor") from error
    if again != data:
        raise RemoteProtocolError(f"{what}: not the deterministic encoding of its value")
    return value


def _scan(data: bytes, what: str) -> None:
    """Walk over the heads of all items; costs a step per item and no memory that the input asks for."""
    at = 0
    still_open = [1]  # items to come in each array or map that is open, outermost first
    while still_open:
        if not still_open[-1]:
            still_open.pop()
            continue
        still_open[-1] -= 1
        major, argument, at = _head(data, at, what)
        if major in (2, 3):
            at += argument
        elif major in (_ARRAY, _MAP):
            argument *= major - 3
            still_open.append(argument)
        # every item to come takes an octet or more
        if len(still_open) > MAX_DEPTH + 1 or (major in (_ARRAY, _MAP) and argument > len(data) - at):
            raise RemoteProtocolError(f"{what}: cbor nested too deep or longer than the input")
        if at > len(data):
            raise RemoteProtocolError(f"{what}: cbor string runs past the end")
    if at != len(data):
        raise RemoteProtocolError(f"{what}: {len(data) - at} octets after the end")


def _head(data: bytes, at: int, what: str) -> tuple[int, int, int]:
    """Read one head: (major type, argument, where its content begins)."""
    if at >= len(data):
        raise RemoteProtocolError(f"{what}: cbor ends early")
    major, low = data[at] >> 5, data[at] & 31
    if major == _SIMPLE:
        if data[at] not in _SIMPLE_HEADS:
            raise RemoteProtocolError(f"{what}: cbor float or simple value")
        return major, low, at + 1
    if major == 6:
        raise RemoteProtocolError(f"{what}: cbor tag")
    if low < 24:
        return major, low, at + 1
    size = 1 << (low - 24) if low < 28 else 0
    if not size or at + 1 + size > len(data):
        raise RemoteProtocolError(f"{what}: cbor head {data[at]:#04x} is indefinite, reserved or cut")
    return major, int.from_bytes(data[at + 1 : at + 1 + size]), at + 1 + size


def _ordered(value: Value, depth: int) -> object:
    """Return `value` with maps sorted by the octets of their encoded keys."""
    if depth < 0:
        raise LocalProtocolError("cbor: nested too deep")
    if isinstance(value, bool | bytes | str | None):
        return value
    if isinstance(value, int):
        if not -_MAX_INT - 1 <= value <= _MAX_INT:
            raise LocalProtocolError("cbor: integer beyond 64 bits")
        return value
    if isinstance(value, Mapping):
        if not all(type(key) in (int, str) for key in value):
            raise LocalProtocolError("cbor: map key neither integer nor text")
        keys = sorted(value, key=cbor2.dumps)
        return {key: _ordered(value[key], depth - 1) for key in keys}  # type: ignore[index]  # a union of maps
    if isinstance(value, list | tuple):
        return [_ordered(item, depth - 1) for item in value]
    raise LocalProtocolError(f"cbor: type {type(value).__name__} has no encoding here")
