"""Where a server is: the few URLs that this program asks (sans-IO)."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from vigilnet.base.errors import RemoteProtocolError

_PIN: Final = re.compile(r"sha256=([0-9a-f]{64})")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """A server: host, port and whether by TLS."""

    host: str
    port: int
    is_secure: bool
    pin: bytes = b""  # SHA-256 of the only certificate that is taken; b"": what the system trusts

    @property
    def authority(self) -> str:
        """As `Host` names it: without the usual port.

        >>> [parse_url(text).authority for text in ("http://h:80/", "https://[2001:db8::1]:8443")]
        ['h', '[2001:db8::1]:8443']
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.is_secure else "http"] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The URL in its one form."""
        pin = f"#sha256={self.pin.hex()}" if self.pin else ""
        return f"{'https' if self.is_secure else 'http'}://{self.authority}{pin}"


def parse_url(text: str) -> Url:
    """Read `http[s]://host[:port][#sha256=HEX]`; a path, user or query is refused.

    Raises:
        RemoteProtocolError: anything else.
    """
    refusal = RemoteProtocolError(f"url: got {text[:100]!r}, expected like https://host or http://host:8088")
    text = text.strip()
    if any(not 32 < ord(character) < 127 for character in text):
        raise refusal
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise refusal from error
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not host or parts.path not in ("", "/"):
        raise refusal
    if parts.query or parts.username is not None or port == 0:
        raise refusal
    pin = _PIN.fullmatch(parts.fragment)
    if parts.fragment and (pin is None or parts.scheme != "https"):
        raise refusal
    found = bytes.fromhex(pin.group(1)) if pin is not None else b""
    return Url(host, port or _PORTS[parts.scheme], parts.scheme == "https", found)
