"""What the helper is asked to make of this machine's kernel: plain values, checked one by one (sans-IO).

The helper trusts nobody with text for `nft` or `ip`: it takes these values, each parsed into its own type,
and writes the commands itself (`ruleset`, `routes`). docs/spec/device.md section 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final, Self

from vigilnet.base.errors import RemoteProtocolError

MAX_NETWORKS: Final = 1024
MAX_USERS: Final = 64
MAX_PORTS: Final = 64
MAX_RULES: Final = 256
MAX_BINDINGS: Final = 16
MAX_PROGRAMS: Final = 64
MAX_PATH: Final = 256
MIN_MTU, MAX_MTU = 1280, 65_521
MAX_ID: Final = 0xFFFF_FFFE
_ADDRESS_CHARACTERS: Final = frozenset("0123456789abcdefABCDEF.:/")

INTERFACE: Final = "vigilnet0"
TUN_IPV4: Final = "198.18.86.1"  # of the benchmarking range (RFC 2544): no network of anybody's
TUN_IPV6: Final = "fd56:4e45:5400::1"
NEIGHBOUR_IPV4: Final = (
    "198.18.86.2"  # the tunnel's router, and where connections that it takes seem to come from
)
NEIGHBOUR_IPV6: Final = "fd56:4e45:5400::2"


def bound_source(number: int, version: int) -> str:
    """Return the source address, at the interface, of programs bound to the exit of that number.

    >>> bound_source(0, 4), bound_source(15, 6)
    ('198.18.86.16', 'fd56:4e45:5400::1f')
    """
    return f"198.18.86.{16 + number}" if version == 4 else f"fd56:4e45:5400::{16 + number:x}"


_BOUND: Final = {
    ip_address(bound_source(number, version)).packed: number
    for number in range(MAX_BINDINGS)
    for version in (4, 6)
}


def binding_of(source: bytes) -> int | None:
    """Return the number of the exit that a packed source address stands for; None if for none."""
    return _BOUND.get(source)


def is_bound_group(name: str) -> bool:
    """Whether a group is one of programs bound to an exit, written in the one way in which it is written.

    >>> is_bound_group("exit15"), is_bound_group("exit16"), is_bound_group("exit01")
    (True, False, False)
    """
    return name in _BOUND_GROUPS


_BOUND_GROUPS: Final = frozenset(f"exit{number}" for number in range(MAX_BINDINGS))


class Scope(StrEnum):
    """Whose traffic is taken."""

    ALL = "all"  # but what was excluded
    INCLUDED = "included"  # only what was included


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """One rule of the user's own: what may not even go through the tunnel, or what may come in."""

    direction: str  # "out": refuse; "in": let in
    protocol: str  # "tcp", "udp" or "any"
    network: str  # "0.0.0.0/0" and "::/0" for any
    port: int = 0  # 0: any

    def __post_init__(self) -> None:
        if self.direction not in ("out", "in"):
            raise RemoteProtocolError(f"firewall rule: direction {self.direction!r}, expected out or in")
        if self.protocol not in ("tcp", "udp", "any"):
            raise RemoteProtocolError(f"firewall rule: protocol {self.protocol!r}, expected tcp, udp or any")
        if not 0 <= self.port <= 65535 or (self.port and self.protocol == "any"):
            raise RemoteProtocolError(f"firewall rule: port {self.port} of protocol {self.protocol}")
        _network(self.network)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is put into a group whenever it starts."""

    path: str
    group: str  # "outside", "inside", or "exit0" and on for the bound ones

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or len(self.path) > MAX_PATH or not self.path.isprintable():
            raise RemoteProtocolError(f"program: not an absolute path of at most {MAX_PATH} characters")
        if self.group not in ("outside", "inside") and not is_bound_group(self.group):
            raise RemoteProtocolError("program: no such group")


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Everything the kernel's side of a protected device depends on."""

    capture_port: int  # where the daemon takes redirected TCP, on 127.0.0.1 and ::1
    dns_port: int  # where it answers names, UDP and TCP
    scope: Scope = Scope.ALL
    mtu: int = 1500
    allow_lan: bool = False
    outside_networks: tuple[str, ...] = ()
    inside_networks: tuple[str, ...] = ()  # taken although the scope is INCLUDED
    outside_users: tuple[int, ...] = ()
    inside_users: tuple[int, ...] = ()
    open_ports: tuple[int, ...] = ()  # TCP that others may reach here: a relay's own
    binding_ports: tuple[int, ...] = ()  # further capture ports, one for each exit that programs are bound to
    binding_dns_ports: tuple[int, ...] = ()  # where their names are answered, in the same order
    binding_names: tuple[str, ...] = ()  # whose exits those are: a number must not pass from one to another
    underlay_marks: tuple[int, ...] = ()  # firewall marks of other VPNs, whose outer packets may leave
    rules: tuple[FirewallRule, ...] = ()
    programs: tuple[Program, ...] = ()

    def __post_init__(self) -> None:
        for name, port in (("capture port", self.capture_port), ("dns port", self.dns_port)):
            _check_port(name, port)
        if not MIN_MTU <= self.mtu <= MAX_MTU:
            raise RemoteProtocolError(f"mtu: {self.mtu}, expected {MIN_MTU} to {MAX_MTU}")
        for name, most in _LIMITS.items():
            if len(getattr(self, name)) > most:
                raise RemoteProtocolError(f"{name}: {len(getattr(self, name))} entries, at most {most}")
        for text in (*self.outside_networks, *self.inside_networks):
            _network(text)
        for port in (*self.open_ports, *self.binding_ports, *self.binding_dns_ports):
            _check_port("port", port)
        if len(self.binding_dns_ports) != len(self.binding_ports):
            raise RemoteProtocolError(
                f"binding dns ports: {len(self.binding_dns_ports)}, expected {len(self.binding_ports)}"
            )
        for number in (*self.outside_users, *self.inside_users, *self.underlay_marks):
            if not 0 <= number <= MAX_ID:
                raise RemoteProtocolError(f"user or mark: {number}, expected 0 to {MAX_ID}")

    def encode(self) -> dict[str, Any]:
        """Return the plain values."""
        return asdict(self)

    @classmethod
    def decode(cls, value: object) -> Self:
        """Check and take over plain values.

        Raises:
            RemoteProtocolError: a field is unknown, missing, of another type or out of bounds.
        """
        if not isinstance(value, dict):
            raise RemoteProtocolError("device settings: not an object")
        known = {field.name for field in fields(cls)}
        if not value.keys() <= known or not {"capture_port", "dns_port"} <= value.keys():
            raise RemoteProtocolError("device settings: unknown or missing fields")
        return cls(**{name: _TAKE[name](item) for name, item in value.items()})


_LIMITS: Final = {
    "outside_networks": MAX_NETWORKS,
    "inside_networks": MAX_NETWORKS,
    "outside_users": MAX_USERS,
    "inside_users": MAX_USERS,
    "open_ports": MAX_PORTS,
    "binding_ports": MAX_BINDINGS,
    "binding_dns_ports": MAX_BINDINGS,
    "binding_names": MAX_BINDINGS,
    "underlay_marks": MAX_USERS,
    "rules": MAX_RULES,
    "programs": MAX_PROGRAMS,
}


def check_plain(text: str) -> None:
    """Refuse what no address is written with: behind a `%` Python takes any text, lines of commands too.

    Raises:
        RemoteProtocolError: see above.
    """
    if not _ADDRESS_CHARACTERS.issuperset(text):
        raise RemoteProtocolError("address: other characters than an address has")


def _network(text: str) -> IPv4Network | IPv6Network:
    check_plain(text)
    try:
        return ip_network(text)
    except (ValueError, TypeError) as error:
        raise RemoteProtocolError("network: not an address range like 192.0.2.0/24") from error


def _check_port(name: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise RemoteProtocolError(f"{name}: {port}, expected 1 to 65535")


def take_number(value: object) -> int:
    if type(value) is not int:
        raise RemoteProtocolError("device settings: expected a number")
    return value


def take_flag(value: object) -> bool:
    if type(value) is not bool:
        raise RemoteProtocolError("device settings: expected true or false")
    return value


def take_text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 64:
        raise RemoteProtocolError("device settings: expected a short text")
    return value


def _scope(value: object) -> Scope:
    try:
        return Scope(take_text(value))
    except ValueError as error:
        raise RemoteProtocolError("device settings: unknown scope") from error


def take_many(take: Callable[[object], Any]) -> Callable[[object], tuple[Any, ...]]:
    def taken(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) > MAX_NETWORKS:
            raise RemoteProtocolError("device settings: expected a list")
        return tuple(map(take, value))

    return taken


def _rule(value: object) -> FirewallRule:
    if not isinstance(value, dict) or not value.keys() <= {"direction", "protocol", "network", "port"}:
        raise RemoteProtocolError("device settings: expected a firewall rule")
    return FirewallRule(
        take_text(value.get("direction")),
        take_text(value.get("protocol")),
        take_text(value.get("network")),
        take_number(value.get("port", 0)),
    )


def _program(value: object) -> Program:
    if not isinstance(value, dict) or value.keys() != {"path", "group"}:
        raise RemoteProtocolError("device settings: expected a program")
    path = value["path"]
    if not isinstance(path, str):
        raise RemoteProtocolError("device settings: expected a path")
    return Program(path, take_text(value["group"]))


_TAKE: Final[Mapping[str, Callable[[object], Any]]] = {
    "capture_port": take_number,
    "dns_port": take_number,
    "scope": _scope,
    "mtu": take_number,
    "allow_lan": take_flag,
    "outside_networks": take_many(take_text),
    "inside_networks": take_many(take_text),
    "outside_users": take_many(take_number),
    "inside_users": take_many(take_number),
    "open_ports": take_many(take_number),
    "binding_ports": take_many(take_number),
    "binding_dns_ports": take_many(take_number),
    "binding_names": take_many(take_text),
    "underlay_marks": take_many(take_number),
    "rules": take_many(_rule),
    "programs": take_many(_program),
}
