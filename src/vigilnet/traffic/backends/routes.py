"""The routes of a protected device as lines for `ip -batch` (sans-IO; docs/spec/device.md section 5).

A table of our own, found before the system's by rules of our own; nothing that was there is changed. Packets
that bear the mark of our own or of outside traffic go on to the system's rules, those of other VPNs included.
"""

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Final

from vigilnet.traffic.backends.ruleset import (
    BYPASS,
    MARK_BOUND,
    MARK_BYPASS,
    MARK_OWN,
    MARK_TAKEN,
    TAKEN,
    WHO,
)
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.settings import (
    INTERFACE,
    NEIGHBOUR_IPV4,
    NEIGHBOUR_IPV6,
    TUN_IPV4,
    TUN_IPV6,
    DeviceSettings,
    Scope,
    bound_source,
)

TABLE: Final = 22_089
BOUND_TABLE: Final = 22_090  # of the first exit that programs are bound to; without nftables
PREFERENCE: Final = 5_620  # of our first rule; they take the following numbers
MAX_PREFERENCE: Final = 5_629
UNREACHABLE_METRIC: Final = 4_000

_FAMILIES: Final = (("-4", 4), ("-6", 6))


def interface_up(mtu: int) -> list[str]:
    """Return the lines that give the tunnel's interface its addresses."""
    return [
        f"addr add {TUN_IPV4}/32 dev {INTERFACE}",
        f"-6 addr add {TUN_IPV6}/128 dev {INTERFACE} nodad",
        f"link set dev {INTERFACE} mtu {mtu} up txqueuelen 1000",
    ]


def table_up() -> list[str]:
    """Return the lines that fill our table: the tunnel, and nowhere when there is none.

    The scope matters to others: a gateway that somebody names without its interface, as DHCP clients may, is
    looked for among routes of narrower scope, and must be found in the system's table instead of in ours.
    """
    lines = []
    for option, version in _FAMILIES:
        scope = " scope global" if version == 4 else ""
        lines.append(f"{option} route replace default dev {INTERFACE}{scope} table {TABLE}")
        lines.append(
            f"{option} route replace unreachable default metric {UNREACHABLE_METRIC}{scope} table {TABLE}"
        )
    return lines


def bindings_up(settings: DeviceSettings) -> list[str]:
    """Return the lines that give programs bound to an exit its source address, without nftables."""
    lines = []
    for number in range(len(settings.binding_ports)):
        for option, version in _FAMILIES:
            source = bound_source(number, version)
            length = "/32" if version == 4 else "/128"
            no_probe = "" if version == 4 else " nodad"
            lines.append(f"{option} addr replace {source}{length} dev {INTERFACE}{no_probe}")
            lines.append(
                f"{option} route replace default dev {INTERFACE} src {source} table {BOUND_TABLE + number}"
            )
    return lines


def rules_up(
    settings: DeviceSettings,
    capture: Capture = Capture.REDIRECT,
    doors: Iterable[str] = (),
    *,
    has_ipv6: bool = True,
) -> list[str]:
    """Return the lines that lead packets to our table.

    Args:
        settings: see there.
        capture: how TCP comes.
        doors: interfaces that lead out: what comes in by them is not carried further, as the firewall sees to
            where there is one.
        has_ipv6: whether the kernel has it.
    """
    lines: list[str] = []
    for option, version in _FAMILIES:
        if version == 6 and not has_ipv6:
            continue
        add = f"{option} rule add"
        # Answers to containers come out of the tunnel and must not go back into it.
        lines.append(f"{add} pref {PREFERENCE + 4} iif {INTERFACE} lookup main")
        lines += [
            f"{add} pref {PREFERENCE + 3} fwmark {mark:#x} lookup main" for mark in settings.underlay_marks
        ]
        if capture is Capture.INTERFACE:
            lines += [f"{add} pref {PREFERENCE + 4} iif {door} lookup main" for door in doors]
            lines += _without_firewall(add, version, settings)
        if settings.scope is Scope.ALL:
            if version == 4:  # a lease is renewed by unicast, which some clients do not bind to the interface
                lines.append(f"{add} pref {PREFERENCE + 1} ipproto udp sport 68 dport 67 lookup main")
            # Users and networks by rules, too, so that sockets get the right source address at once.
            lines += _to_main(add, version, settings)
            lines.append(
                f"{add} pref {PREFERENCE + 5} not fwmark {MARK_BYPASS:#x}/{BYPASS:#x} lookup {TABLE}"
            )
        else:
            lines.append(f"{add} pref {PREFERENCE + 5} fwmark {MARK_TAKEN:#x}/{TAKEN:#x} lookup {TABLE}")
            lines += [
                f"{add} pref {PREFERENCE + 6} uidrange {user}-{user} lookup {TABLE}"
                for user in settings.inside_users
            ]
            lines += [
                f"{add} pref {PREFERENCE + 7} to {text} lookup {TABLE}"
                for text in _of_version(settings.inside_networks, version)
            ]
    return lines


def _without_firewall(add: str, version: int, settings: DeviceSettings) -> list[str]:
    """Return what nftables would do by marks and redirects."""
    neighbour = NEIGHBOUR_IPV4 if version == 4 else NEIGHBOUR_IPV6
    lines = [f"{add} pref {PREFERENCE + 8} to {neighbour} lookup {TABLE}"]  # answers of our listeners
    refusals = [rule for rule in settings.rules if rule.direction == "out"]
    if refusals:
        lines.append(f"{add} pref {PREFERENCE} fwmark {MARK_OWN:#x}/{WHO:#x} goto {PREFERENCE + 4}")
    for rule in refusals:
        if ip_network(rule.network).version == version:
            what = "" if rule.protocol == "any" else f" ipproto {rule.protocol}"
            what += f" dport {rule.port}" if rule.port else ""
            lines.append(f"{add} pref {PREFERENCE} to {rule.network}{what} prohibit")
    lines += [
        f"{add} pref {PREFERENCE + 4} fwmark {MARK_BOUND + number:#x} lookup {BOUND_TABLE + number}"
        for number in range(len(settings.binding_ports))
    ]
    lines.append(f"{add} pref {PREFERENCE + 4} fwmark {MARK_BOUND:#x}/{WHO:#x} prohibit")
    if settings.allow_lan and settings.scope is Scope.ALL:  # names are asked of the daemon all the same
        lines += [  # what is bound to an exit asks there, and reaches nothing beside it
            f"{add} pref {PREFERENCE + 2} fwmark {mark} goto {PREFERENCE + 4}"
            for mark in (f"{MARK_BYPASS:#x}/{BYPASS:#x}", f"{MARK_BOUND:#x}/{WHO:#x}")
        ]
        lines += [
            f"{add} pref {PREFERENCE + 2} ipproto {protocol} dport 53 lookup {TABLE}"
            for protocol in ("udp", "tcp")
        ]
    return lines


def _to_main(add: str, version: int, settings: DeviceSettings) -> list[str]:
    lines = [f"{add} pref {PREFERENCE} uidrange {user}-{user} lookup main" for user in settings.outside_users]
    lines += [
        f"{add} pref {PREFERENCE + 1} to {text} lookup main"
        for text in _of_version(settings.outside_networks, version)
    ]
    if settings.allow_lan:
        lines.append(f"{add} pref {PREFERENCE + 2} lookup main suppress_prefixlength 0")
    return lines


def _of_version(networks: Iterable[str], version: int) -> list[str]:
    return [text for text in networks if ip_network(text).version == version]


def rules_down(listed: str, option: str) -> list[str]:
    """Return the lines that delete those of the rules in `ip rule show` that are ours, by their numbers."""
    lines = []
    for line in listed.splitlines():
        preference = line.partition(":")[0].strip()
        if preference.isdecimal() and PREFERENCE <= int(preference) <= MAX_PREFERENCE:
            lines.append(f"{option} rule del pref {preference}")
    return lines


def table_down() -> list[str]:
    """Return the lines that empty our table."""
    return [f"{option} route flush table {TABLE}" for option, _ in _FAMILIES]
