"""Tokens of the loopback HTTP API: made on demand by whoever may use the control socket, forgotten in time.

A token is never written down; a node that starts again knows none of the old ones.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from vigilnet.surface.control.operations import Role

LIFE_S: Final = 12 * 3600.0
MAX_SESSIONS: Final = 32
TOKEN_OCTETS: Final = 32


@dataclass(frozen=True, slots=True)
class _Entry:
    role: Role
    until: float


class Sessions:
    """The tokens of now; times are monotonic seconds."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}  # by SHA-256, so that looking one up tells nothing of it

    def open(self, role: Role, now: float) -> str:
        """Return a fresh token; the oldest one ends when there are too many."""
        self._entries = {digest: entry for digest, entry in self._entries.items() if entry.until > now}
        while len(self._entries) >= MAX_SESSIONS:
            del self._entries[next(iter(self._entries))]
        token = secrets.token_urlsafe(TOKEN_OCTETS)
        self._entries[_digest(token)] = _Entry(role, now + LIFE_S)
        return token

    def role_of(self, token: str, now: float) -> Role | None:
        """Return what the token may do; None if it is none of ours, or too old."""
        entry = self._entries.get(_digest(token))
        return entry.role if entry is not None and entry.until > now else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
