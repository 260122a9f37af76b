"""Invites: one relay's record as a text that people can send each other (docs/spec/discovery.md section 2).

    vigilnet:<base64url of the record, without padding>[.<base64url of a secret of 32 octets>]

Nothing in it is secret, but for the secret of an unlisted relay, which opens it to whoever has it. It is as
good as the record in it: whoever takes it in has the peer table judge the record as any other.
"""

import base64
import re
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE

SCHEME: Final = "vigilnet:"
MAX_INVITE_LENGTH: Final = len(SCHEME) + -(-MAX_RECORD_SIZE * 4 // 3)  # 1375
SECRET_SIZE: Final = 32
_SECRET_LENGTH: Final = 43
_LETTERS: Final = re.compile(r"[A-Za-z0-9_-]+")


def format_invite(encoded: bytes, secret: bytes | None = None) -> str:
    """Return the invite for an encoded record; an unlisted relay's has a secret.

    >>> format_invite(bytes(5))
    'vigilnet:AAAAAAA'
    """
    if not 0 < len(encoded) <= MAX_RECORD_SIZE:
        raise LocalProtocolError(f"invite: record of {len(encoded)} octets, 1 to {MAX_RECORD_SIZE} expected")
    if secret is not None and len(secret) != SECRET_SIZE:
        raise LocalProtocolError(f"invite: secret of {len(secret)} octets, {SECRET_SIZE} expected")
    end = "" if secret is None else f".{_letters(secret)}"
    return SCHEME + _letters(encoded) + end


def _letters(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def split_secret(text: str) -> tuple[str, bytes | None]:
    """Return the invite without its secret, and that; None if it has none.

    Raises:
        RemoteProtocolError: what stands behind the dot is no secret.
    """
    invite, dot, letters = text.strip().partition(".")
    if not dot:
        return invite, None
    if len(letters) != _SECRET_LENGTH or not _LETTERS.fullmatch(letters):
        raise RemoteProtocolError(f"invite: secret of {len(letters)} letters, {_SECRET_LENGTH} expected")
    secret = base64.urlsafe_b64decode(letters + "=")
    if _letters(secret) != letters:
        raise RemoteProtocolError("invite: last letter is not the one it must be; copy it whole")
    return invite, secret


def parse_invite(text: str) -> bytes:
    """Return the octets in an invite, whatever they are; each record has exactly one invite.

    White space around it, which copying adds, and capitals in `vigilnet:` are forgiven.

    Raises:
        RemoteProtocolError: not an invite.
    """
    text = text.strip()
    if len(text) > MAX_INVITE_LENGTH:
        raise RemoteProtocolError(f"invite: {len(text)} characters, at most {MAX_INVITE_LENGTH}")
    scheme, letters = text[: len(SCHEME)], text[len(SCHEME) :]
    if scheme.lower() != SCHEME:
        raise RemoteProtocolError(f"invite: does not begin with {SCHEME}")
    if not _LETTERS.fullmatch(letters) or len(letters) % 4 == 1:
        raise RemoteProtocolError("invite: letters missing, or others than A-Z a-z 0-9 - _; copy it whole")
    encoded = base64.urlsafe_b64decode(letters + "=" * (-len(letters) % 4))
    if format_invite(encoded) != SCHEME + letters:
        raise RemoteProtocolError("invite: last letter is not the one it must be; copy it whole")
    return encoded
