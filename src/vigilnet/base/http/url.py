"""Where a server is: the few URLs that this program asks (sans-IO)."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from vigilnet.base.errors import RemoteProtocolError

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """A server: host, port and whether by TLS."""

    host: str
    port: int
    is_secure: bool

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
        return f"{'https' if self.is_secure else 'http'}://{self.authority}"


def parse_url(text: str) -> Url:
    """Read `http[s]://host[:port]`; a path, user or query is refused.

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
    if parts.query or parts.fragment or parts.username is not None or port == 0:
        raise refusal
    return Url(host, port or _PORTS[parts.scheme], parts.scheme == "https")
