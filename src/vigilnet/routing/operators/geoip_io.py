"""The database of countries, a file in MaxMind's format: read through maxminddb, loaded only if one is
named.
"""

from collections.abc import Callable
from pathlib import Path

from vigilnet.base.errors import ConfigurationError


def open_geoip(path: Path) -> Callable[[str], str]:
    """Return a function from an IP address to a country code, "" where the database has none.

    The whole file is read into memory, so that replacing it under a running node does no harm.

    Raises:
        ConfigurationError: the library is missing, or the file is not such a database.
    """
    try:
        import maxminddb
    except ImportError as error:
        raise ConfigurationError(
            "operators.geoip: the package maxminddb is not installed; install vigilnet[operator]"
        ) from error
    try:
        reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigurationError(f"operators.geoip {path}: cannot be read: {error}") from error

    def country_of(address: str) -> str:
        try:
            found = reader.get(address)
        except ValueError:  # an IPv6 address asked of a database of IPv4
            return ""
        for name in ("country", "registered_country"):
            entry = found.get(name) if isinstance(found, dict) else None
            code = entry.get("iso_code") if isinstance(entry, dict) else None
            if isinstance(code, str):
                return code
        return ""

    return country_of
