"""What a protected Mac is told besides pf: interface, routes and names, as command lines (sans-IO).

Nothing of the system's is replaced: two halves of the address space are more specific than its default route,
and a resolver in the dynamic store comes before its own. All of it is gone with the interface or after a
reboot. Not tried on a real machine: written after ifconfig(8), route(8) and scutil(8).
"""

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Final, NamedTuple

from vigilnet.traffic.device.settings import (
    NEIGHBOUR_IPV4,
    TUN_IPV4,
    TUN_IPV6,
    DeviceSettings,
    Scope,
)

NAME_SERVER: Final = "198.18.86.3"  # behind the tunnel, where the daemon answers whatever is asked on port 53
HALVES: Final = ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")
STORE_KEY: Final = "State:/Network/Service/vigilnet/DNS"


class Gateway(NamedTuple):
    """Where the system's default route leads."""

    address: str
    interface: str


def interface_up(name: str, mtu: int) -> list[list[str]]:
    """Return the commands that give the tunnel's interface its addresses."""
    return [
        [
            "ifconfig",
            name,
            "inet",
            TUN_IPV4,
            NEIGHBOUR_IPV4,
            "netmask",
            "255.255.255.255",
            "mtu",
            str(mtu),
            "up",
        ],
        ["ifconfig", name, "inet6", TUN_IPV6, "prefixlen", "64"],
    ]


def routes_up(settings: DeviceSettings, name: str, gateways: Iterable[Gateway]) -> list[list[str]]:
    """Return the commands that lead into the tunnel, and around it for what is excluded."""
    inside = HALVES if settings.scope is Scope.ALL else (*settings.inside_networks, f"{NAME_SERVER}/32")
    lines = [_route("add", text, ["-interface", name]) for text in inside]
    by_version = {6 if ":" in gateway.address else 4: gateway for gateway in gateways}
    for text in settings.outside_networks:
        gateway = by_version.get(ip_network(text).version)
        if gateway is not None:
            lines.append(_route("add", text, [gateway.address]))
    return lines


def routes_down(settings: DeviceSettings) -> list[list[str]]:
    """Return the commands that take excluded networks' routes away; the others go with the interface."""
    return [_route("delete", text, []) for text in settings.outside_networks]


def around(address: str, gateway: Gateway) -> list[str]:
    """Return the command that leads one address around the tunnel."""
    return _route("add", str(ip_network(address)), [gateway.address])


def _route(verb: str, network: str, way: list[str]) -> list[str]:
    family = "-inet" if ip_network(network).version == 4 else "-inet6"
    return ["route", "-n", verb, family, "-net", network, *way]


def names_up() -> str:
    """Return the words for `scutil` that make the daemon the first resolver."""
    return (
        "d.init\n"
        f"d.add ServerAddresses * {NAME_SERVER}\n"
        'd.add SupplementalMatchDomains * ""\n'
        f"set {STORE_KEY}\n"
        "quit\n"
    )


def names_down() -> str:
    """Return the words that take it back."""
    return f"remove {STORE_KEY}\nquit\n"


def gateway_in(text: str) -> Gateway | None:
    r"""Return what `route -n get default` says; None if there is none.

    >>> gateway_in("   gateway: 192.0.2.1\n  interface: en0\n")
    Gateway(address='192.0.2.1', interface='en0')
    """
    found = dict(line.strip().partition(": ")[::2] for line in text.splitlines() if ": " in line)
    if "gateway" not in found or "interface" not in found:
        return None
    return Gateway(found["gateway"].partition("%")[0], found["interface"])


def token_in(text: str) -> str:
    r"""Return the token that `pfctl -E` says, by which pf is given up again; empty if there is none.

    >>> token_in("pf enabled\nToken : 11423573467868142133\n")
    '11423573467868142133'
    """
    for line in text.splitlines():
        name, _, value = line.partition(" : ")
        if name.strip() == "Token" and value.strip().isdecimal():
            return value.strip()
    return ""
