"""Whether others can reach this node, why not, and what would help (sans-IO; discovery.md section 10).

Facts come from the rooms that know them; each check looks at them and says one thing. No packet is sent to
find out: a node that asked a server for its address would tell that server that it is a node.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Final

from vigilnet.peer import special_addresses

UNDIALLED_S: Final = 1800.0  # a relay with neighbours hears of somebody within this, if it can be dialled
PATIENCE_S: Final = 60.0
_SHARED: Final = ip_network("100.64.0.0/10")  # of providers that put many customers behind one address


class Mapping(Enum):
    """What became of asking the router for a port."""

    OFF = "not asked"
    MISSING = "the package is not installed"
    NO_ROUTER = "no router answered"
    REFUSED = "the router refused"
    MAPPED = "mapped"


@dataclass(frozen=True)
class ReachFacts:
    """What is known of how this node is connected.

    Attributes:
        is_relay: others should reach it.
        uptime_s: since its start.
        local: addresses of this machine that lead outward; empty without a network.
        advertised: addresses in our record.
        mapping: what became of asking the router.
        external: the router's own address outward, "" if not known.
        known: relays whose record is current.
        expired_only: relays were known, and all records are over.
        has_sources: invites, lists, directories or the LAN: anything that could tell of relays.
        linked: links now.
        dialled: dials of ours that worked since the start.
        failed: dials of ours that failed since the start.
        was_dialled: somebody reached us since the start.
        introducers: neighbours that tell us who wants a link.
        punches: tries to open a connection from both ends at once.
        punched: those that worked.
        has_cover: a transport that passes for something else is known for some relay.
        dht: "" if it runs or is not wanted, else why not.
        lan: "" if it runs or is not wanted, else why not.
    """

    is_relay: bool = False
    uptime_s: float = 0.0
    local: tuple[str, ...] = ()
    advertised: tuple[str, ...] = ()
    mapping: Mapping = Mapping.OFF
    external: str = ""
    known: int = 0
    expired_only: bool = False
    has_sources: bool = True
    linked: int = 0
    dialled: int = 0
    failed: int = 0
    was_dialled: bool = False
    introducers: int = 0
    punches: int = 0
    punched: int = 0
    has_cover: bool = False
    dht: str = ""
    lan: str = ""


@dataclass(frozen=True)
class ReachFinding:
    """One thing found; `level` is "fail", "note" or "pass"."""

    id: str
    level: str
    title: str
    meaning: str = ""
    next: str = ""


def is_public(host: str) -> bool:
    """Whether an address can be dialled from the open Internet; names are believed."""
    found = special_addresses.is_public(host)
    return bool(host) if found is None else found


def judge(facts: ReachFacts) -> list[ReachFinding]:
    """Return what there is to say, the gravest first."""
    found = [finding for check in _CHECKS for finding in check(facts)]
    order = {"fail": 0, "note": 1, "pass": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def _network(facts: ReachFacts) -> Iterator[ReachFinding]:
    if not any(facts.local):
        yield ReachFinding(
            "network.none", "fail", "This machine has no way to the Internet",
            "No address of it leads outward.", "connect it to a network; vigilnet goes on by itself",
        )  # fmt: skip
    else:
        yield ReachFinding("network.none", "pass", "This machine has a way outward")


def _sources(facts: ReachFacts) -> Iterator[ReachFinding]:
    if facts.known:
        yield ReachFinding("network.sources", "pass", f"{facts.known} relays are known")
    elif facts.expired_only:
        yield ReachFinding(
            "network.sources", "fail", "All known relays' records are over",
            "Records last a day or two; this node was off for longer.",
            "ask somebody for a new invite: vigilnet invite add URI",
        )  # fmt: skip
    elif not facts.has_sources:
        yield ReachFinding(
            "network.sources", "fail", "Nothing can tell this node of relays",
            "It has no invite, list or directory, and does not look around on its LAN.",
            "vigilnet invite add URI, or take mdns out of discovery.without",
        )  # fmt: skip
    elif facts.uptime_s >= PATIENCE_S:
        yield ReachFinding(
            "network.sources", "fail", "No source has told of any relay",
            "Its sources were asked, and know none.", "ask somebody for an invite: vigilnet invite add URI",
        )  # fmt: skip


def _outward(facts: ReachFacts) -> Iterator[ReachFinding]:
    if facts.linked or facts.dialled:
        yield ReachFinding("network.outward", "pass", "Relays can be reached from here")
    elif facts.failed >= 3 and any(facts.local):
        yield ReachFinding(
            "network.outward", "fail", "No relay can be reached from here",
            f"{facts.failed} tries failed. A firewall here, or somebody on the way, stops them.",
            "try another network, or relays under other transports" if facts.has_cover
            else "take in an invite of a relay that passes for a web site (htx)",
        )  # fmt: skip


def _inward(facts: ReachFacts) -> Iterator[ReachFinding]:
    if not facts.is_relay:
        return
    public = [host for host in facts.advertised if is_public(host)]
    if not public and facts.introducers:
        yield from _introduced(facts)
    elif not public:
        yield from _behind_a_router(facts)
    elif facts.was_dialled:
        yield ReachFinding("network.inward", "pass", "Others reach this relay")
    elif facts.linked and facts.uptime_s >= UNDIALLED_S:
        yield ReachFinding(
            "network.inward", "fail", "Nobody has reached this relay yet",
            "It has links of its own, but nobody else opened one to it: a firewall drops them, or the "
            "advertised address is not this machine's.",
            "open its port in the firewall, and see relay.advertise",
        )  # fmt: skip


def _introduced(facts: ReachFacts) -> Iterator[ReachFinding]:
    yield ReachFinding(
        "network.inward", "note", "Nobody can dial this relay; neighbours introduce it",
        f"{facts.introducers} neighbours tell it who wants a link, and it dials them. It is a middle or an "
        f"exit of paths, and no entry. Asking the router for a port: {facts.mapping.value}.",
        "set relay.map_port, or forward its port in the router and set relay.advertise: then it is an entry",
    )  # fmt: skip
    if facts.punched:
        yield ReachFinding(
            "network.punch", "pass", f"{facts.punched} links to relays behind other routers were opened"
        )
    elif facts.punches:
        yield ReachFinding(
            "network.punch", "note", "Relays behind other routers cannot be linked from here",
            f"{facts.punches} tries to connect from both ends at once failed: one of the two routers draws "
            "another port for each connection, or drops what it should let in.",
            "nothing: paths go around it. A forwarded port would help",
        )  # fmt: skip


def _behind_a_router(facts: ReachFacts) -> Iterator[ReachFinding]:
    if facts.mapping is Mapping.MAPPED and not is_public(facts.external):
        shared = bool(facts.external) and ip_address(facts.external) in _SHARED
        yield ReachFinding(
            "network.inward", "fail", "This relay is behind two routers",
            "The router's own address is not public" + (": the provider shares it." if shared else "."),
            "ask the provider for an address of your own, or use IPv6; until then it serves its LAN",
        )  # fmt: skip
        return
    hints = {
        Mapping.OFF: "set relay.map_port = true, or forward the port and set relay.advertise",
        Mapping.MISSING: "pip install 'vigilnet[nat]', or forward the port and set relay.advertise",
        Mapping.NO_ROUTER: "forward the port in the router by hand and set relay.advertise",
        Mapping.REFUSED: "allow UPnP or PCP in the router, or forward the port by hand: relay.advertise",
    }
    yield ReachFinding(
        "network.inward", "fail", "Others cannot reach this relay",
        f"It has no public address. Asking the router for a port: {facts.mapping.value}.",
        hints.get(facts.mapping, "forward the port by hand and set relay.advertise"),
    )  # fmt: skip


def _parts(facts: ReachFacts) -> Iterator[ReachFinding]:
    if facts.dht:
        yield ReachFinding(
            "network.dht", "note", "This relay is not in the DHT", facts.dht,
            "pip install 'vigilnet[dht]', or free the UDP port of its number",
        )  # fmt: skip
    if facts.lan:
        yield ReachFinding(
            "network.lan", "note", "Nodes on this LAN cannot find each other here", facts.lan,
            "allow multicast in the firewall (UDP 5353 and 4747)",
        )  # fmt: skip


_CHECKS: Final[tuple[Callable[[ReachFacts], Iterator[ReachFinding]], ...]] = (
    _network, _sources, _outward, _inward, _parts,
)  # fmt: skip
