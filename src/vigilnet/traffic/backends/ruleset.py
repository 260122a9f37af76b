"""The firewall of a protected device as text for `nft -f` (sans-IO; docs/spec/device.md section 4).

One table of our own, replaced as a whole in one transaction, so that there is no moment between two rule
sets. It outlives the daemon and the helper: what is not expressly let out stays in.

Whose a packet is, is told by the top octet of its mark: ours (links, the local resolver), outside (excluded
programs, users, networks), inside (included ones, and those bound to an exit, whose number is in the rest).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Final

from vigilnet.traffic.device.settings import (
    INTERFACE,
    TUN_IPV4,
    TUN_IPV6,
    DeviceSettings,
    FirewallRule,
    Scope,
    bound_source,
)

TABLE: Final = "vigilnet"
MARK_OWN: Final = 0x5600_0000
MARK_OUTSIDE: Final = 0x5700_0000
MARK_INSIDE: Final = 0x5800_0000
MARK_BOUND: Final = 0x5900_0000  # plus the number of the exit
WHO: Final = 0xFF00_0000
MARK_BYPASS: Final = 0x5600_0000  # own or outside
BYPASS: Final = 0xFE00_0000
MARK_TAKEN: Final = 0x5800_0000  # inside or bound
TAKEN: Final = 0xFE00_0000

LAN4: Final = ("10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
LAN6: Final = ("fc00::/7", "fe80::/10")
GROUPS4: Final = ("224.0.0.0/4", "255.255.255.255/32")
GROUPS6: Final = ("ff00::/8",)

_NAMES: Final = "meta l4proto { tcp, udp } th dport 53"
_PROHIBITED: Final = "reject with icmpx admin-prohibited"
_NEIGHBOURS: Final = (
    "icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert{more} }} ip6 hoplimit 255"
)


def disabled() -> str:
    """Return what takes our tables away, whether they are there or not."""
    return "".join(
        f"table {family} {TABLE} {{ }}\ndelete table {family} {TABLE}\n" for family in ("inet", "netdev")
    )


def protected(settings: DeviceSettings, devices: Sequence[str] = (), cgroups: Sequence[str] = ()) -> str:
    """Return the whole rule set of a device that is up.

    Args:
        settings: see there.
        devices: interfaces that lead out; packet sockets are stopped there, and what comes in by them is not
            carried further.
        cgroups: only where sockets cannot be marked as they are made: lines of `cgroup_marks`.
    """
    return disabled() + _table(settings, devices, cgroups) + _egress(devices, settings)


def lockdown(settings: DeviceSettings | None, devices: Sequence[str] = ()) -> str:
    """Return the rule set that lets only links out: before the daemon runs, and after it ended."""
    settings = replace(settings or DeviceSettings(1, 1), scope=Scope.ALL)
    chains = [
        _sets(settings),
        _marks(settings, ()),
        _guard(),
        _output(settings),
        _input(settings),
        _forward(settings, devices),
    ]
    return disabled() + _block(f"table inet {TABLE}", chains) + _egress(devices, settings)


def opened(purpose: str, addresses: Iterable[str], seconds: int) -> str:
    """Return what lets addresses around the tunnel for a time; the kernel ends it."""
    lines = []
    for version, name in ((4, f"{purpose}4"), (6, f"{purpose}6")):
        ours = [address for address in addresses if (":" in address) == (version == 6)]
        if ours:
            elements = ", ".join(f"{address} timeout {seconds}s" for address in ours)
            lines.append(f"add element inet {TABLE} {name} {{ {elements} }}\n")
    return "".join(lines)


def cgroup_marks(path: str, level: int, mark: int) -> str:
    """Return the rule that marks packets of a control group (`path` as nft counts it)."""
    return f'socket cgroupv2 level {level} "{path}" meta mark set {mark:#x}'


def _table(settings: DeviceSettings, devices: Sequence[str], cgroups: Sequence[str]) -> str:
    chains = [
        _sets(settings), _marks(settings, cgroups), _capture(settings), _capture_forwarded(settings, devices),
        _wishes(settings), _guard(), _output(settings), _input(settings), _forward(settings, devices),
        _source(settings),
    ]  # fmt: skip
    return _block(f"table inet {TABLE}", chains)


def _block(head: str, lines: Iterable[str]) -> str:
    body = "\n".join(line for line in lines if line).replace("\n", "\n  ")
    return f"{head} {{\n  {body}\n}}\n"


def _chain(name: str, hook: str, rules: Iterable[str]) -> str:
    return _block(f"chain {name}", [hook, *(rule for rule in rules if rule)]).rstrip()


def _set(name: str, kind: str, flags: str, elements: Sequence[str]) -> str:
    listed = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    merge = " auto-merge;" if flags == "interval" else ""
    return f"set {name} {{ type {kind}; flags {flags};{merge}{listed} }}"


def _of_version(networks: Iterable[str], version: int) -> list[str]:
    return [text for text in networks if ip_network(text).version == version]


def _sets(settings: DeviceSettings) -> str:
    lines = []
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        lines += [
            _set(f"outside{version}", kind, "interval", _of_version(settings.outside_networks, version)),
            _set(f"inside{version}", kind, "interval", _of_version(settings.inside_networks, version)),
            _set(f"learnt{version}", kind, "timeout", ()),
            _set(f"portal{version}", kind, "timeout", ()),
        ]
    return "\n".join([*lines, *(f"counter {name} {{ }}" for name in ("own", "outside", "refused"))])


def _numbers(values: Iterable[int]) -> str:
    return "{ " + ", ".join(map(str, values)) + " }"


def _mark_outside(match: str) -> str:
    return f"{match} meta mark set {MARK_OUTSIDE:#x}"


def _marks(settings: DeviceSettings, cgroups: Sequence[str]) -> str:
    """Packets whose end or user decides are marked; the system then looks for their route again."""
    rules = [
        'oifname "lo" return',
        f"meta mark & {BYPASS:#x} == {MARK_BYPASS:#x} ct mark set meta mark return",
        *cgroups,
        f"meta mark & {BYPASS:#x} == {MARK_BYPASS:#x} ct mark set meta mark return",
        f"meta mark & {TAKEN:#x} == {MARK_TAKEN:#x} return",
        *_underlay(settings, "return"),
    ]
    for version, family in ((4, "ip"), (6, "ip6")):
        rules += [_mark_outside(f"{family} daddr @{name}{version}") for name in ("outside", "learnt")]
        rules.append(_mark_outside(f"{family} daddr @portal{version} meta l4proto tcp"))
    if settings.outside_users:
        rules.append(_mark_outside(f"meta skuid {_numbers(settings.outside_users)}"))
    rules += _marks_of_included(settings)
    rules.append(f"meta mark & {BYPASS:#x} == {MARK_BYPASS:#x} ct mark set meta mark")
    return _chain("marks", "type route hook output priority mangle; policy accept;", rules)


def _marks_of_included(settings: DeviceSettings) -> list[str]:
    """With the scope "included", whatever was not included goes outside."""
    if settings.scope is Scope.ALL:
        return []
    rules = []
    for version, family in ((4, "ip"), (6, "ip6")):
        if _of_version(settings.inside_networks, version):
            rules.append(f"{family} daddr @inside{version} meta mark set {MARK_INSIDE:#x} return")
    if settings.inside_users:
        rules.append(f"meta skuid {_numbers(settings.inside_users)} meta mark set {MARK_INSIDE:#x} return")
    return [*rules, _mark_outside("meta mark 0x0")]


def _lan(settings: DeviceSettings, verdict: str) -> list[str]:
    if not settings.allow_lan:
        return []
    return [
        f"ip daddr {{ {', '.join(LAN4 + GROUPS4)} }} {verdict}",
        f"ip6 daddr {{ {', '.join(LAN6 + GROUPS6)} }} {verdict}",
    ]


def _underlay(settings: DeviceSettings, verdict: str) -> list[str]:
    """Outer packets of other VPNs, which carry some of ours."""
    return [f"meta mark {mark:#x} {verdict}" for mark in settings.underlay_marks]


def _capture(settings: DeviceSettings) -> str:
    """TCP goes to the daemon's listener, questions for names to its resolver."""
    rules = [f"meta mark & {BYPASS:#x} == {MARK_BYPASS:#x} return"]
    # Names of what is bound to an exit are that exit's to resolve, also those asked of a stub on loopback.
    rules += [
        f"{_NAMES} meta mark {MARK_BOUND + number:#x} redirect to :{port}"
        for number, port in enumerate(settings.binding_dns_ports)
    ]
    rules += [
        f"{_NAMES} meta mark & {WHO:#x} == {MARK_BOUND:#x} return",
        'oifname "lo" return',
        *_underlay(settings, "return"),
        f"{_NAMES} redirect to :{settings.dns_port}",
        *_lan(settings, "return"),
    ]
    rules += [
        f"meta l4proto tcp meta mark {MARK_BOUND + number:#x} redirect to :{port}"
        for number, port in enumerate(settings.binding_ports)
    ]
    # What is bound to an exit that nobody serves must not leave by another: `output` refuses it.
    rules.append(f"meta mark & {WHO:#x} == {MARK_BOUND:#x} return")
    rules.append(f"meta l4proto tcp redirect to :{settings.capture_port}")
    return _chain("capture", "type nat hook output priority -100; policy accept;", rules)


def _listed(devices: Sequence[str]) -> str:
    return ", ".join(f'"{device}"' for device in devices)


def _capture_forwarded(settings: DeviceSettings, devices: Sequence[str]) -> str:
    """What comes from containers and virtual machines behind this device is taken like its own.

    Not what comes from the network before it: a neighbour would use our circuits, and learn where they end.
    """
    if settings.scope is Scope.INCLUDED:
        return ""
    rules = [
        f"iifname {{ {_listed(('lo', INTERFACE, *devices))} }} return",
        "fib daddr type { local, broadcast, multicast } return",
        f"{_NAMES} redirect to :{settings.dns_port}",
        *_lan(settings, "return"),
        f"meta l4proto tcp redirect to :{settings.capture_port}",
    ]
    return _chain("capture_forwarded", "type nat hook prerouting priority dstnat; policy accept;", rules)


def _guard() -> str:
    """Nobody on the network may speak to the tunnel's own addresses; answers of marked packets are marked."""
    rules = [
        f'iifname != {{ "lo", "{INTERFACE}" }} ip daddr {TUN_IPV4} drop',
        f'iifname != {{ "lo", "{INTERFACE}" }} ip6 daddr {TUN_IPV6} drop',
        f"ct mark & {BYPASS:#x} == {MARK_BYPASS:#x} meta mark set ct mark",
    ]
    return _chain("guard", "type filter hook prerouting priority mangle; policy accept;", rules)


def _housekeeping() -> list[str]:
    """What keeps this machine's address and neighbours: DHCP and neighbour discovery."""
    return [
        f"ip daddr {{ {', '.join((*LAN4, '255.255.255.255'))} }} udp sport 68 udp dport 67 accept",
        "ip6 daddr { fe80::/10, ff02::1:2 } udp sport 546 udp dport 547 accept",
        _NEIGHBOURS.format(more="") + " accept",
    ]


def _own_rules(rules: Iterable[FirewallRule], direction: str, verdict: str) -> list[str]:
    lines = []
    for rule in rules:
        if rule.direction != direction:
            continue
        network = ip_network(rule.network)
        side = "daddr" if direction == "out" else "saddr"
        match = f"{'ip' if network.version == 4 else 'ip6'} {side} {network}"
        if rule.protocol != "any":
            match += f" {rule.protocol} dport {rule.port}" if rule.port else f" meta l4proto {rule.protocol}"
        lines.append(f"{match} {verdict}")
    return lines


def _wishes(settings: DeviceSettings) -> str:
    """What the user will not have carried at all; judged before the redirect hides where it was going."""
    refusals = _own_rules(settings.rules, "out", f"counter name refused {_PROHIBITED}")
    if not refusals:
        return ""
    rules = [f"meta mark & {WHO:#x} == {MARK_OWN:#x} return", *refusals]
    return _chain("wishes", "type filter hook output priority -110; policy accept;", rules)


def _output(settings: DeviceSettings) -> str:
    refuse = "counter name refused"
    rules = [
        *(
            f'meta mark {MARK_BOUND + number:#x} oifname "{INTERFACE}" accept'
            for number in range(len(settings.binding_ports))
        ),
        # What is bound to an exit that is not served now must not leave by another.
        f'meta mark & {WHO:#x} == {MARK_BOUND:#x} oifname != "lo" {refuse} {_PROHIBITED}',
        f"meta mark & {WHO:#x} == {MARK_BOUND:#x} {_NAMES} {refuse} {_PROHIBITED}",
        f'oifname {{ "lo", "{INTERFACE}" }} accept',
        f"meta mark & {WHO:#x} == {MARK_OWN:#x} counter name own accept",
        f"meta mark & {WHO:#x} == {MARK_OUTSIDE:#x} counter name outside accept",
        *_underlay(settings, "accept"),
        *_housekeeping(),
        *_lan(settings, "accept"),
        f"{refuse} meta l4proto tcp reject with tcp reset",
        _PROHIBITED,
    ]
    return _chain("output", "type filter hook output priority filter; policy drop;", rules)


def _input(settings: DeviceSettings) -> str:
    ports = (
        settings.capture_port, settings.dns_port, *settings.binding_ports, *settings.binding_dns_ports
    )  # fmt: skip
    rules = [
        f'iifname {{ "lo", "{INTERFACE}" }} accept',
        f"meta l4proto {{ tcp, udp }} th dport {_numbers(ports)} ct status & dnat == 0x0 drop",
        "ct state established,related accept",
        "ct status dnat accept",
        "udp sport 67 udp dport 68 accept",
        "udp sport 547 udp dport 546 accept",
        _NEIGHBOURS.format(more=", nd-router-advert") + " accept",
        *_own_rules(settings.rules, "in", "accept"),
    ]
    if settings.open_ports:
        rules.append(f"tcp dport {_numbers(settings.open_ports)} accept")
    if settings.allow_lan:
        rules += [f"ip saddr {{ {', '.join(LAN4)} }} accept", f"ip6 saddr {{ {', '.join(LAN6)} }} accept"]
    if settings.scope is Scope.INCLUDED:
        rules.append("accept")
    return _chain("input", "type filter hook input priority filter; policy drop;", rules)


def _forward(settings: DeviceSettings, devices: Sequence[str]) -> str:
    rules = [
        f'iifname {{ {_listed(devices)} }} oifname "{INTERFACE}" drop' if devices else "",
        f'oifname "{INTERFACE}" accept',
        f'iifname "{INTERFACE}" ct state established,related accept',
        "accept" if settings.scope is Scope.INCLUDED else "",
    ]
    return _chain("forward", "type filter hook forward priority filter; policy drop;", rules)


def _source(settings: DeviceSettings) -> str:
    """Packets that were sent outside after their source was chosen for the tunnel get another.

    At the tunnel the source tells the daemon which exit a program is bound to: it sees no marks there.
    """
    rules = [
        f'oifname "{INTERFACE}" meta mark {MARK_BOUND + number:#x} meta nfproto ipv{version} '
        f"snat {family} to {bound_source(number, version)}"
        for number in range(len(settings.binding_ports))
        for version, family in ((4, "ip"), (6, "ip6"))
    ]
    rules += [
        f"meta mark & {WHO:#x} == {MARK_OUTSIDE:#x} ip saddr {TUN_IPV4} masquerade",
        f"meta mark & {WHO:#x} == {MARK_OUTSIDE:#x} ip6 saddr {TUN_IPV6} masquerade",
        f'oifname "{INTERFACE}" ip saddr != {TUN_IPV4} masquerade',
        f'oifname "{INTERFACE}" ip6 saddr != {TUN_IPV6} masquerade',
    ]
    return _chain("source", "type nat hook postrouting priority srcnat; policy accept;", rules)


def _egress(devices: Sequence[str], settings: DeviceSettings) -> str:
    """The last door: also for packet sockets, which no other hook sees."""
    if not devices or settings.scope is Scope.INCLUDED:
        return ""
    rules = [
        f"meta mark & {BYPASS:#x} == {MARK_BYPASS:#x} accept",
        "ether type { arp, 0x888e } accept",  # 0x888e: the login of WLANs
        *_underlay(settings, "accept"),
        *_housekeeping(),
        *_lan(settings, "accept"),
    ]
    hook = f"type filter hook egress devices = {{ {_listed(devices)} }} priority filter; policy drop;"
    return _block(f"table netdev {TABLE}", [_chain("egress", hook, rules)])
