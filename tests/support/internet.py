"""A little Internet out of namespaces: hosts with public addresses, and homes behind routers of a kind.

    host ── core ── host                 5.N.0.2, the core is 5.N.0.1: each host in a /16 of its own
             └── router ── home          5.N.0.2 and 192.168.N.1, 192.168.N.2

The addresses are of the open Internet, for programs treat private ones otherwise; no packet leaves the lab.
"""

from dataclasses import dataclass, field
from enum import Enum

from tests.support.netns import Lab, Namespace, ip

WAN, LAN = "wan", "lan"


class Router(Enum):
    """What a home's router does with connections,

    All let in only what answers something that went out to that very address and port.
    """

    KEEPS = "keeps ports, drops"  # one port of its own for one inside, wherever it leads
    REFUSES = "keeps ports, refuses"  # the same, but answers RST to what it does not expect
    DRAWS = "draws ports"  # another port for each connection ("symmetric")


RULES = """
table ip nat {{
  chain out {{ type nat hook postrouting priority srcnat; oifname "{wan}" {rule}; }}
}}
table ip guard {{
  chain through {{ type filter hook forward priority 0; policy accept;
    iifname "{wan}" ct state new drop; ct state invalid drop; }}
  chain to {{ type filter hook input priority 0; policy accept; {drop} }}
}}
"""
DROP = 'iifname "wan" ct state new drop;'


@dataclass
class Internet:
    """Makes hosts in a lab."""

    lab: Lab
    core: Namespace = field(init=False)
    used: int = 0

    def __post_init__(self) -> None:
        self.core = self.lab.namespace("core")
        self.core.sysctl("net.ipv4.ip_forward", 1)

    def host(self, name: str) -> Namespace:
        """A host with a public address."""
        made = self.lab.namespace(name)
        self._join(made, "eth0")
        return made

    def home(self, name: str, kind: Router | None = None) -> tuple[Namespace, Namespace]:
        """A host behind a router; returns both. Without a kind the router has no rules yet."""
        router, inside = self.lab.namespace(f"{name}gw"), self.lab.namespace(name)
        number = self._join(router, WAN)
        router.sysctl("net.ipv4.ip_forward", 1)
        ip("link", "add", LAN, "netns", router.name, "type", "veth", "peer", "name", "eth0",
           "netns", inside.name)  # fmt: skip
        give(router, LAN, f"192.168.{number}.1")
        give(inside, "eth0", f"192.168.{number}.2")
        inside.v4 = f"192.168.{number}.2"
        ip("-n", inside.name, "route", "add", "default", "via", f"192.168.{number}.1")
        if kind is not None:
            drop = "" if kind is Router.REFUSES else DROP
            rule = "masquerade fully-random" if kind is Router.DRAWS else "masquerade"
            router.run("nft", "-f", "-", stdin=RULES.format(wan=WAN, rule=rule, drop=drop))
        return router, inside

    def _join(self, host: Namespace, interface: str) -> int:
        self.used += 1
        number = self.used
        far = f"c{number}"
        ip("link", "add", interface, "netns", host.name, "type", "veth", "peer", "name", far,
           "netns", self.core.name)  # fmt: skip
        give(host, interface, f"5.{number}.0.2")
        give(self.core, far, f"5.{number}.0.1")
        host.v4 = f"5.{number}.0.2"
        ip("-n", host.name, "route", "add", "default", "via", f"5.{number}.0.1")
        return number


def give(host: Namespace, interface: str, address: str) -> None:
    """Bring an interface up with an IPv4 address."""
    host.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
    ip("-n", host.name, "link", "set", interface, "up")
    ip("-n", host.name, "addr", "add", f"{address}/24", "dev", interface)
    host.interfaces.append(interface)
