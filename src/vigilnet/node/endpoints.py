"""Host and port as people write them in settings, and what a port that cannot be had becomes for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError


def is_unspecified(host: str) -> bool:
    """Whether `host` stands for all addresses of this machine, which nobody can dial."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def join(host: str, port: int) -> str:
    """Return host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_and_port(text: str, key: str, least_port: int = 1) -> tuple[str, int]:
    """Read host:port.

    Raises:
        ConfigurationError: names `key`.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not least_port <= int(port) <= 65535:
        raise ConfigurationError(f"{key}: got {text!r}, expected host:port like 192.0.2.1:4001")
    return host, int(port)


@asynccontextmanager
async def listening(key: str, text: str) -> AsyncIterator[None]:
    """Name the setting behind an OSError of listening.

    Raises:
        EnvironmentRefusedError: the port is taken, or not for us.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentRefusedError(
            f"{key} {text}: cannot listen ({error.strerror or error}); "
            "stop what uses the port, or choose another"
        ) from error
