"""Shadowsocks's settings (the file's `[shadowsocks]` table)."""

from dataclasses import dataclass

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.shadowsocks.methods import METHODS

DEFAULT_METHOD = "2022-blake3-aes-256-gcm"


@dataclass(frozen=True)
class Options:
    """Links that look like random octets; a client needs none of it."""

    listen: tuple[str, ...] = ()  # relay: where our own server listens, like "0.0.0.0:8388"
    advertise: tuple[str, ...] = ()  # relay: host:port as others reach it; empty: what we listen on
    method: str = DEFAULT_METHOD  # relay: 2022-blake3-{aes-256-gcm,aes-128-gcm,chacha20-poly1305}, or of 2017
    password: str = ""  # relay: "": made by the node; everybody who has the relay's record has it
    behind: str = ""  # relay: where another program's server hands links to us, like "127.0.0.1:8389"
    clients: tuple[
        str, ...
    ] = ()  # SERVER=PROXY: dial that relay by ss-local or its like, at socks5://HOST:PORT
    max_unproven: int = 1024  # relay: connections that have not shown the password; more close the oldest

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigurationError(f"method: got {self.method!r}, expected one of {', '.join(METHODS)}")
        if self.max_unproven < 1:
            raise ConfigurationError(f"max_unproven: got {self.max_unproven}, at least 1 expected")
