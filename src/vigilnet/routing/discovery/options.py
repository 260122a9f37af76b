"""The discovery room's settings (the file's `[discovery]` table)."""

from dataclasses import dataclass
from pathlib import Path

from vigilnet.base.errors import ConfigurationError


@dataclass(frozen=True)
class Options:
    """Where peers are found; every source is judged by signatures."""

    welcome_lists: tuple[Path, ...] = ()  # files of invites, from whomever you like
    welcome_signers: tuple[str, ...] = ()  # peer ids; not empty: only lists that one of them signed
    gossip: bool = True  # relays tell each other whom they know; a client never takes part
    fetch: bool = True  # clients ask relays for records, through circuits; not those with a peers_folder
    neighbours: int = 6  # relays that a relay gossips with by its own choice
    cache_s: float = 86_400.0  # records of the last run that are older are not used; 0: none is

    def __post_init__(self) -> None:
        if not 0 <= self.cache_s <= 86_400.0:
            raise ConfigurationError(f"cache_s: got {self.cache_s}, 0 to 86400 expected")
        if not 1 <= self.neighbours <= 32:
            raise ConfigurationError(f"neighbours: got {self.neighbours}, 1 to 32 expected")
