"""The firewall of a protected Mac as text for `pfctl -a ANCHOR -f -` (sans-IO; docs/spec/device.md 14).

The anchor lies below com.apple/*, which the system's own pf.conf evaluates. The first rule that matches
decides (`quick`). Our own traffic is told by the group that the daemon runs in, since pf sees no marks.

Not tried on a real machine: written after pf.conf(5).
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from typing import Final

from vigilnet.traffic.backends.ruleset import GROUPS4, GROUPS6, LAN4, LAN6
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule, Scope

ANCHOR: Final = "com.apple/250.vigilnet"
GROUP: Final = "_vigilnet"


def protected(settings: DeviceSettings, interface: str) -> str:
    """Return the rules of a device that is up.

    Args:
        settings: see there; users, programs and marks are not for pf.
        interface: the tunnel's.
    """
    rules = ["pass quick on lo0 all"]
    rules += list(_wishes(settings.rules))
    rules += [f"pass quick on {interface} all", *_always()]
    if settings.outside_networks:
        rules.append(f"pass out quick to {_listed(settings.outside_networks)} keep state")
    if settings.allow_lan:
        rules += [
            f"block return out quick proto {{ tcp, udp }} to {_listed((*LAN4, *LAN6))} port 53",
            f"pass quick to {_listed((*LAN4, *GROUPS4, *LAN6, *GROUPS6))} keep state",
            f"pass in quick from {_listed((*LAN4, *LAN6))} keep state",
        ]
    rules += [_let_in(rule) for rule in settings.rules if rule.direction == "in"]
    if settings.open_ports:
        ports = ", ".join(map(str, settings.open_ports))
        rules.append(f"pass in quick proto tcp to port {{ {ports} }} keep state")
    if settings.scope is Scope.INCLUDED:
        return _text(rules)
    return _text([*rules, *_closed()])


def lockdown() -> str:
    """Return the rules that let only links out."""
    return _text(["pass quick on lo0 all", *_always(), *_closed()])


def _text(rules: Iterable[str]) -> str:
    return "".join(f"{rule}\n" for rule in rules)


def _listed(networks: Sequence[str]) -> str:
    return "{ " + ", ".join(networks) + " }"


def _always() -> list[str]:
    """Our own traffic, and what keeps this machine's address and neighbours."""
    talk = "neighbrsol, neighbradv"
    return [
        f"pass out quick proto {{ tcp, udp }} group {GROUP} keep state",
        f"pass out quick inet proto udp from any port 68 to {_listed((*LAN4, '255.255.255.255'))} port 67",
        "pass in quick inet proto udp from any port 67 to any port 68",
        "pass out quick inet6 proto udp from any port 546 to { fe80::/10, ff02::1:2 } port 547",
        "pass in quick inet6 proto udp from any port 547 to any port 546",
        f"pass out quick inet6 proto icmp6 all icmp6-type {{ routersol, {talk} }}",
        f"pass in quick inet6 proto icmp6 all icmp6-type {{ routeradv, {talk} }}",
    ]


def _closed() -> list[str]:
    return ["block return out quick all", "block drop in quick all"]


def _wishes(rules: Iterable[FirewallRule]) -> Iterable[str]:
    """What the user will not have carried at all; our own links are not meant."""
    refused = [rule for rule in rules if rule.direction == "out"]
    if refused:
        yield f"pass out quick proto {{ tcp, udp }} group {GROUP} keep state"
    for rule in refused:
        yield f"block return out quick {_match(rule, 'to')}"


def _let_in(rule: FirewallRule) -> str:
    return f"pass in quick {_match(rule, 'from')} keep state"


def _match(rule: FirewallRule, side: str) -> str:
    network = ip_network(rule.network)
    family = "inet" if network.version == 4 else "inet6"
    protocol = "" if rule.protocol == "any" else f" proto {rule.protocol}"
    near = f"from any to {network}" if side == "to" else f"from {network} to any"
    port = f" port {rule.port}" if rule.port else ""
    return f"{family}{protocol} {near}{port}"
