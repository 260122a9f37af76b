"""The version of this program."""

from functools import cache
from importlib import metadata


@cache
def program_version() -> str:
    """Return the installed version; "0" for a source tree that nobody installed."""
    try:
        return metadata.version("vigilnet")
    except metadata.PackageNotFoundError:
        return "0"
