"""Settings of a protected device."""

import sys
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.traffic.device.settings import MAX_MTU, MAX_PROGRAMS, MIN_MTU, FirewallRule, Program

_PROBE: Final = "http://nmcheck.gnome.org/check_network_status.txt"  # the one that many desktops ask for


RUN_FOLDER: Final = Path("/var/run/vigilnet" if sys.platform == "darwin" else "/run/vigilnet")


class DnsMode(StrEnum):
    """Who resolves names for applications."""

    LOCAL = "local"
    OVERLAY = "overlay"
    CUSTOM = "custom"


@dataclass(frozen=True)
class Options:
    """Taking all of this device's traffic into the network: `vigilnet up` (docs/device.md)."""

    up: bool = False  # protect the device as soon as the node runs; needs the helper
    helper: Path = RUN_FOLDER / "helper.sock"  # the privileged helper's socket
    dns: str = "local"  # local (your resolver sees the names), overlay (the exit resolves) or custom
    dns_server: str = ""  # of custom: address or address:port, asked by TCP through a circuit
    allow_lan: bool = False  # reach printers and the like on the local network directly
    allow_private_targets: bool = False  # carry private addresses to the exit; for test networks only
    scope: str = "all"  # all (but what is excluded) or included (only what is included)
    outside_networks: tuple[str, ...] = ()  # address ranges that are reached around the tunnel
    outside_domains: tuple[str, ...] = ()  # names, with those below them, that are reached around it
    outside_users: tuple[int, ...] = ()  # user ids whose programs go around it
    inside_networks: tuple[str, ...] = ()  # with scope "included": what goes through the tunnel
    inside_users: tuple[int, ...] = ()
    outside_programs: tuple[str, ...] = ()  # paths of programs that go around it whenever they are started
    inside_programs: tuple[str, ...] = ()  # with scope "included": programs that go through the tunnel
    bound_programs: tuple[str, ...] = ()  # like "SE /usr/bin/foo": leave by an exit there, or by that peer id
    open_ports: tuple[int, ...] = ()  # TCP ports of this device that others may reach
    firewall: tuple[
        str, ...
    ] = ()  # rules like "out tcp 192.0.2.0/24 25" (refuse) or "in any 10.0.0.0/8" (let in)
    underlay_marks: tuple[int, ...] = ()  # firewall marks of other VPNs, such as 51820 of WireGuard
    mtu: int = 1500  # of the tunnel's interface
    portal_probe: str = _PROBE  # page asked for by `vigilnet portal` and where no path comes up; empty: never
    max_connections: int = 8192  # captured TCP connections at a time
    max_flows: int = 512  # UDP flows at a time
    flow_idle_s: float = 120.0  # a UDP flow without datagrams is forgotten after so long

    def __post_init__(self) -> None:
        if self.dns not in tuple(DnsMode):
            raise ConfigurationError(f"dns: got {self.dns!r}, expected local, overlay or custom")
        if self.dns == DnsMode.CUSTOM or self.dns_server:
            parse_server(self.dns_server)
        if self.scope not in ("all", "included"):
            raise ConfigurationError(f"scope: got {self.scope!r}, expected all or included")
        for name in ("outside_networks", "inside_networks"):
            for text in getattr(self, name):
                _check_network(name, text)
        self.firewall_rules()
        self.programs()
        if not MIN_MTU <= self.mtu <= MAX_MTU:
            raise ConfigurationError(f"mtu: got {self.mtu}, expected {MIN_MTU} to {MAX_MTU}")
        if self.max_connections < 1 or not 1 <= self.max_flows <= 16_384:
            raise ConfigurationError("max_connections or max_flows: expected at least 1")
        if not 1 <= self.flow_idle_s <= 3600:
            raise ConfigurationError(f"flow_idle_s: got {self.flow_idle_s}, expected 1 to 3600 seconds")

    def programs(self) -> dict[str, str]:
        """Return where each remembered program goes: "outside", "inside", or "exit" and whose, by its path.

        Raises:
            ConfigurationError: no absolute path, too many, or one in two lists.
        """
        wishes = [(path, "outside") for path in self.outside_programs]
        wishes += [(path, "inside") for path in self.inside_programs]
        for text in self.bound_programs:
            exit_, _, path = text.partition(" ")
            wishes.append((path, f"exit {exit_}"))
        found: dict[str, str] = {}
        for path, where in wishes:
            _check_path(path)
            if path in found or len(found) >= MAX_PROGRAMS:
                raise ConfigurationError(
                    f"programs: {path!r} is listed twice, or more than {MAX_PROGRAMS} are"
                )
            found[path] = where
        return found

    def shown_programs(self) -> tuple[str, ...]:
        """Return the remembered programs as they are shown: where each goes, and its path."""
        return tuple(f"{where} {path}" for path, where in self.programs().items())

    def firewall_rules(self) -> tuple[FirewallRule, ...]:
        """Return the rules of `firewall`.

        Raises:
            ConfigurationError: one is malformed.
        """
        return tuple(map(parse_rule, self.firewall))


def parse_rule(text: str) -> FirewallRule:
    """Return a rule of the user's: direction, protocol, network, and a port if one is meant.

    Raises:
        ConfigurationError: malformed.

    >>> parse_rule("out tcp 192.0.2.0/24 25").port
    25
    """
    words = text.split()
    try:
        direction, protocol, network, *port = words
        (number,) = port or ["0"]
        return FirewallRule(direction, protocol, network, int(number))
    except (ValueError, RemoteProtocolError) as error:
        raise ConfigurationError(
            f"firewall: got {text!r}, expected `out|in tcp|udp|any NETWORK [PORT]`, like out tcp 0.0.0.0/0 25"
        ) from error


def _check_path(path: str) -> None:
    try:
        Program(path, "outside")
    except RemoteProtocolError as error:
        raise ConfigurationError(f"programs: got {path!r}, expected a path like /usr/bin/foo") from error
    if "," in path:  # lists are written with commas
        raise ConfigurationError(f"programs: got {path!r}, a path with a comma cannot be remembered")


def _check_network(name: str, text: str) -> None:
    try:
        ip_network(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: got {text!r}, expected a range like 192.0.2.0/24") from error


def parse_server(text: str) -> tuple[str, int]:
    """Return (address, port) of a name server.

    Raises:
        ConfigurationError: neither an address nor address:port.

    >>> parse_server("192.0.2.1"), parse_server("[2001:db8::1]:5353")
    (('192.0.2.1', 53), ('2001:db8::1', 5353))
    """
    host, port = text, "53"
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        return str(ip_address(host)), int(port)
    except ValueError as error:
        raise ConfigurationError(
            f"dns_server: got {text!r}, expected an address like 192.0.2.1 or 192.0.2.1:53"
        ) from error
