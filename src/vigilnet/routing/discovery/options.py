"""The discovery room's settings (the file's `[discovery]` table), and the profiles of sources."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from vigilnet.base.errors import ConfigurationError

SOURCES: Final = ("cache", "invites", "welcome", "gossip", "circuits", "dht", "mdns", "beacon", "directories")


class Profile(Enum):
    """Which sources are used; what is asked of a LAN, see docs/spec/discovery.md section 1."""

    DEFAULT = frozenset(SOURCES)
    VIGIL = frozenset(SOURCES) - {"directories"}
    QNET = frozenset(SOURCES) - {"dht", "beacon"}
    QUIET = frozenset(SOURCES) - {"directories", "dht", "mdns", "beacon"}


@dataclass(frozen=True)
class Options:
    """Where peers are found; every source is judged by signatures."""

    profile: Profile = (
        Profile.DEFAULT
    )  # default (all), vigil, qnet or quiet: see docs/spec/discovery.md section 1
    sources: tuple[str, ...] = ()  # instead of the profile's; see there for their names
    without: tuple[str, ...] = ()  # sources to leave out
    welcome_lists: tuple[Path, ...] = ()  # files of invites, from whomever you like
    welcome_signers: tuple[str, ...] = ()  # peer ids; not empty: only lists that one of them signed
    neighbours: int = 6  # relays that a relay gossips with by its own choice
    cache_s: float = 86_400.0  # records of the last run that are older are not used

    def __post_init__(self) -> None:
        if not 0 < self.cache_s <= 86_400.0:
            raise ConfigurationError(f"cache_s: got {self.cache_s}, above 0 to 86400 expected")
        if not 1 <= self.neighbours <= 32:
            raise ConfigurationError(f"neighbours: got {self.neighbours}, 1 to 32 expected")
        for key, names in (("sources", self.sources), ("without", self.without)):
            for name in names:
                if name not in SOURCES:
                    raise ConfigurationError(f"{key}: got {name!r}, expected some of {', '.join(SOURCES)}")

    def uses(self, source: str) -> bool:
        """Whether a source is used."""
        return source in (self.sources or self.profile.value) and source not in self.without
