"""Settings of the exit."""

import re
from dataclasses import dataclass
from typing import Final

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.exit.policy import policy_rules

_CONTACT: Final = re.compile(r"(?=.{3,254}$)[^\s@<>\"]+@[^\s@<>\"]+")


@dataclass(frozen=True)
class Options:
    """Letting others' traffic out to the Internet from here; off unless asked for."""

    enabled: bool = False  # its operator answers for what leaves here: read docs/spec/exit.md first
    accept_notice: bool = False  # its owner has read docs/exit-notice.md; without it no exit starts
    abuse_contact: str = ""  # an e-mail address for complaints; without it no exit starts
    policy: str = "web"  # preset: web, common, open (all but mail) or none
    rules: tuple[
        str, ...
    ] = ()  # before the preset, like "reject 192.0.2.0/24:*" or "accept *:22"; first match wins
    allow_private_targets: bool = False  # loopback and private addresses, /etc/hosts; for test networks only
    own_addresses: tuple[
        str, ...
    ] = ()  # ours beyond those of this machine's interfaces, such as behind a NAT
    resolvers: tuple[str, ...] = ()  # address or address:port; empty: the system's
    resolve_timeout_s: float = 5.0
    connect_timeout_s: float = 15.0
    max_streams: int = 8192  # open and opening, of all clients
    max_datagram_flows: int = 1024  # UDP associations of all clients
    datagram_idle_s: float = 180.0  # a flow without datagrams is closed after so long
    datagram_rate: int = 100_000_000  # octets a second, each flow and direction
    echo_rate: int = 65_536  # octets of ICMP echoes a second, each flow and direction

    def __post_init__(self) -> None:
        if self.abuse_contact and not _CONTACT.fullmatch(self.abuse_contact):
            raise ConfigurationError(
                f"abuse_contact: got {self.abuse_contact!r}, expected like abuse@example.org"
            )
        policy_rules(self.policy, self.rules)
        for name in ("resolve_timeout_s", "connect_timeout_s", "datagram_idle_s"):
            if not 0.1 <= getattr(self, name) <= 3600:
                raise ConfigurationError(f"{name}: got {getattr(self, name)}, expected 0.1 to 3600 seconds")
        for name in ("max_streams", "max_datagram_flows", "datagram_rate", "echo_rate"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}: got {getattr(self, name)}, expected at least 1")
