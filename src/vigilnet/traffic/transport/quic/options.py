"""QUIC's settings (the file's `[quic]` table)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Links over UDP, for paths that lose packets; clients name "quic" in link.transports to use them."""

    listen: tuple[str, ...] = ()  # relay: where to listen, like "0.0.0.0:443"; UDP
    advertise: tuple[str, ...] = ()  # relay: host:port as others reach it; empty: what we listen on
    server_name: str = "localhost"  # relay: the name that clients ask for, in the clear
