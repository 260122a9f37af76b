"""Settings of the proxies for applications on this machine."""

from dataclasses import dataclass
from ipaddress import ip_address

from vigilnet.base.errors import ConfigurationError


@dataclass(frozen=True)
class Options:
    """Proxies for applications on this machine."""

    socks_enabled: bool = True
    socks_host: str = "127.0.0.1"
    socks_port: int = 1088  # 0: any free one
    http_enabled: bool = True
    http_host: str = "127.0.0.1"
    http_port: int = 8118  # 0: any free one
    allow_remote: bool = (
        False  # let other machines use the proxies: whoever reaches the port uses your circuits
    )
    isolate_destinations: bool = False  # a circuit for each target host, beside one for each login
    max_connections: int = 8192
    handshake_timeout_s: float = 30.0  # for an application to say what it wants

    def __post_init__(self) -> None:
        for proxy in ("socks", "http"):
            self._check_host(f"{proxy}_host", getattr(self, f"{proxy}_host"))
            port = getattr(self, f"{proxy}_port")
            if not 0 <= port <= 65535:
                raise ConfigurationError(f"{proxy}_port: got {port}, expected 0 to 65535")
        if self.max_connections < 1:
            raise ConfigurationError(f"max_connections: got {self.max_connections}, expected at least 1")
        if not 0.1 <= self.handshake_timeout_s <= 3600:
            raise ConfigurationError(
                f"handshake_timeout_s: got {self.handshake_timeout_s}, expected 0.1 to 3600 seconds"
            )

    def _check_host(self, name: str, host: str) -> None:
        try:
            is_local = ip_address(host).is_loopback
        except ValueError as error:
            raise ConfigurationError(f"{name}: got {host!r}, expected an IP address") from error
        if not is_local and not self.allow_remote:
            raise ConfigurationError(
                f"{name}: got {host}, expected 127.0.0.1 or ::1; other machines need allow_remote = true"
            )
