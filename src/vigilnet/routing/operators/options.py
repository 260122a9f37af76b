"""The room's settings (the file's `[operators]` table)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.base.http.url import parse_url
from vigilnet.routing.operators.countries import parse_override

MAX_OPERATORS: Final = 8
MIN_TOKEN: Final = 16


@dataclass(frozen=True)
class Options:
    """Directories of operators: which are asked, and how this node's own is run (modes bootstrap and
    super).
    """

    urls: tuple[str, ...] = ()  # asked, registered with: "https://dir.example", pinned by "...#sha256=HEX"
    query_s: float = 600.0  # between two questions, once one was answered
    heartbeat_s: float = 30.0  # between two registrations of a relay
    listen: tuple[str, ...] = ()  # own: host:port for everybody; the status port serves it on this machine
    certificate: Path | None = None  # own: chain in PEM: `listen` then speaks https
    certificate_key: Path | None = None  # own: its key in PEM; "": in the same file
    ttl_s: float = 120.0  # own: a relay not heard of for so long is not listed
    prune_s: float = 60.0  # own: between two looks for what is to be forgotten
    rate_per_minute: int = 100  # own: requests of one address; 0: no limit
    geoip: Path | None = None  # own: database of countries in MaxMind's format (wants vigilnet[operator])
    countries: tuple[str, ...] = ()  # own: over the database, like "192.0.2.0/24=DE"
    admin_token: str = ""  # own: lets others than this machine prune; at least 16 characters

    def __post_init__(self) -> None:
        if len(self.urls) > MAX_OPERATORS:
            raise ConfigurationError(f"urls: {len(self.urls)}, at most {MAX_OPERATORS} expected")
        for text in self.urls:
            try:
                parse_url(text)
            except RemoteProtocolError as error:
                raise ConfigurationError(f"urls: {error}") from error
        for text in self.countries:
            parse_override(text)
        for name, least, most in (
            ("query_s", 1.0, 86_400.0),
            ("heartbeat_s", 0.1, 3600.0),
            ("ttl_s", 0.2, 3600.0),
            ("prune_s", 0.1, 3600.0),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigurationError(
                    f"{name}: got {getattr(self, name)}, {least:g} to {most:g} seconds expected"
                )
        if self.rate_per_minute < 0:
            raise ConfigurationError(f"rate_per_minute: got {self.rate_per_minute}, expected 0 or more")
        if self.admin_token and len(self.admin_token) < MIN_TOKEN:
            raise ConfigurationError(f"admin_token: shorter than {MIN_TOKEN} characters")
