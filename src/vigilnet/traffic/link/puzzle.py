"""Puzzle kind 1: what a client of a flooded responder must solve (docs/spec/link.md section 4).

The puzzle is over e, the first 32 octets of message 1, not over the message, whose tags cover the
hello and so the solution. One e is therefore sent under one hello only.
"""

import hashlib
import struct
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.kdf import sha256
from vigilnet.crypto.labels import Label, label_octets

_RANGE: Final = 1 << 32
_NONCE: Final = struct.Struct(">Q")


def puzzle_target(responder: bytes, cookie: bytes, e: bytes, network: str = "") -> bytes:
    """Return T, which ties a puzzle to one responder, one cookie and one ephemeral key."""
    return sha256(label_octets(Label.PUZZLE_LINK, network), b"\0", responder, cookie, e)


def is_solved(target: bytes, seed: bytes, nonce: bytes, effort: int) -> bool:
    """Whether `nonce` (8 octets) solves the puzzle; one in `effort` does, on average."""
    head = sha256(target, seed, nonce)[:4]
    return int.from_bytes(head, "big") * effort < _RANGE


class Solver:
    """Looks for a solution in slices, so that the loop can breathe between them.

    Args:
        target: T, see `puzzle_target`.
        seed: 16 octets of the RETRY.
        effort: mean number of tries.
        max_tries: when to give up; 32 times the effort fails once in e^32.
    """

    def __init__(self, target: bytes, seed: bytes, effort: int, max_tries: int | None = None) -> None:
        self._state = hashlib.sha256(target + seed)
        self._below = (_RANGE + effort - 1) // effort
        self._next = 0
        self._end = 32 * effort if max_tries is None else max_tries

    def search(self, tries: int) -> bytes | None:
        """Try `tries` more nonces; return the one that solves, or None so far."""
        start, stop = self._next, min(self._next + tries, self._end)
        if start >= stop:
            raise RemoteProtocolError(f"link puzzle: no solution in {self._end} tries")
        copy, pack, below = self._state.copy, _NONCE.pack, self._below.to_bytes(5, "big")
        for number in range(start, stop):
            attempt = copy()
            nonce = pack(number)
            attempt.update(nonce)
            if b"\0" + attempt.digest()[:4] < below:
                self._next = number + 1
                return nonce
        self._next = stop
        return None
