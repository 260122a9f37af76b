"""What a protected Windows machine is told besides filters: addresses, routes and names (sans-IO).

Routes and addresses are of the active store alone and belong to the adapter: they go with it, and after a
reboot. The rule of the name resolution policy table is found by its comment. Not tried on a real machine:
written after the help of netsh and of the DnsClient module.
"""

from ipaddress import ip_network
from typing import Final

from vigilnet.traffic.backends.macos_commands import HALVES, NAME_SERVER, Gateway
from vigilnet.traffic.device.settings import TUN_IPV4, TUN_IPV6, DeviceSettings, Scope

NAME: Final = "VigilNet"  # of the adapter
COMMENT: Final = "vigilnet"


def interface_up(mtu: int) -> list[list[str]]:
    """Return the commands that give the tunnel's interface its addresses."""
    lines = [
        ["ipv4", "set", "address", f"name={NAME}", "static", TUN_IPV4, "255.255.255.252", "store=active"],
        ["ipv6", "add", "address", f"interface={NAME}", f"address={TUN_IPV6}/126", "store=active"],
    ]
    lines += [
        [family, "set", "subinterface", NAME, f"mtu={mtu}", "store=active"] for family in ("ipv4", "ipv6")
    ]
    return [["netsh", "interface", *line] for line in lines]


def routes_up(settings: DeviceSettings, gateways: list[Gateway]) -> list[list[str]]:
    """Return the commands that lead into the tunnel, and around it for what is excluded."""
    inside = HALVES if settings.scope is Scope.ALL else (*settings.inside_networks, f"{NAME_SERVER}/32")
    lines = [_route("add", text, NAME, "") for text in inside]
    by_version = {6 if ":" in gateway.address else 4: gateway for gateway in gateways}
    for text in settings.outside_networks:
        gateway = by_version.get(ip_network(text).version)
        if gateway is not None:
            lines.append(_route("add", text, gateway.interface, gateway.address))
    return lines


def routes_down(settings: DeviceSettings, gateways: list[Gateway]) -> list[list[str]]:
    """Return the commands that take excluded networks' routes away; the others go with the adapter."""
    by_version = {6 if ":" in gateway.address else 4: gateway for gateway in gateways}
    return [
        _route("delete", text, gateway.interface, gateway.address)
        for text in settings.outside_networks
        if (gateway := by_version.get(ip_network(text).version)) is not None
    ]


def _route(verb: str, network: str, interface: str, gateway: str) -> list[str]:
    family = f"ipv{ip_network(network).version}"
    way = [gateway] if gateway else []
    metric = ["metric=0"] if verb == "add" else []
    return ["netsh", "interface", family, verb, "route", network, interface, *way, *metric, "store=active"]


def names_up() -> list[str]:
    """Return the command that has every name asked of the daemon."""
    return _powershell(
        f"Add-DnsClientNrptRule -Namespace '.' -NameServers '{NAME_SERVER}' -Comment '{COMMENT}'"
    )


def names_down() -> list[str]:
    """Return the command that takes it back."""
    return _powershell(
        f"Get-DnsClientNrptRule | Where-Object Comment -eq '{COMMENT}' | Remove-DnsClientNrptRule -Force"
    )


def default_routes() -> list[str]:
    """Return the command that tells where the default routes lead: one line each, next hop and interface."""
    return _powershell(
        "Get-NetRoute -DestinationPrefix '0.0.0.0/0','::/0' -ErrorAction SilentlyContinue | "
        "Sort-Object RouteMetric | ForEach-Object { $_.NextHop + ' ' + $_.ifIndex }"
    )


def gateways_in(text: str) -> list[Gateway]:
    r"""Return what `default_routes` tells, the best first for each family.

    >>> gateways_in("192.168.1.1 12\nnonsense\n")
    [Gateway(address='192.168.1.1', interface='12')]
    """
    found = []
    for line in text.splitlines():
        address, _, index = line.strip().partition(" ")
        if index.isdecimal() and (":" in address or "." in address):
            found.append(Gateway(address.partition("%")[0], index))
    return found


def _powershell(command: str) -> list[str]:
    return ["powershell.exe", "-NoProfile", "-NonInteractive", "-Command", command]
