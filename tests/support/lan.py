"""Two relays on a bridge that were told nothing of each other, and how soon they are linked."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns import Lab, Namespace
from tests.support.relays import Tables, start, wait_until

NO_MDNS = "table inet t {\nchain i {\ntype filter hook input priority 0\nudp dport 5353 drop\n}\n}\n"


def relay_on_lan(host: Namespace, **discovery: object) -> Tables:
    """Settings of a relay that may dial what it hears of on its LAN, and no other private address."""
    return {
        "relay": {"enabled": True, "listen": [f"{host.v4}:4001"]},
        "ingress": {"socks_enabled": False, "http_enabled": False},
        "link": {"allow_private_addresses": False},
        "discovery": discovery,
    }


@dataclass
class Lan:
    """How soon, in seconds from when the last process was started."""

    source: str
    tries: int
    median_s: float
    longest_s: float

    @classmethod
    def measure(cls, folder: Path, *, has_mdns: bool, tries: int) -> "Lan":
        """With mDNS alone; or with mDNS dropped, so that only the beacon is heard."""
        sources = ["mdns", "gossip"] if has_mdns else ["mdns", "beacon", "gossip"]
        took = []
        for number in range(tries):
            place = folder / f"{has_mdns}{number}"
            place.mkdir(parents=True)
            with Lab() as lab:
                took.append(_linked_after(lab, place, sources, has_mdns=has_mdns))
        return cls(
            "mDNS alone" if has_mdns else "the beacon, 5353 dropped",
            tries,
            round(statistics.median(took), 2),
            round(max(took), 2),
        )


def _linked_after(lab: Lab, folder: Path, sources: list[str], *, has_mdns: bool) -> float:
    hosts = [lab.namespace("r0"), lab.namespace("r1")]
    lab.switch(*hosts)
    if not has_mdns:
        for host in hosts:
            host.run("nft", "-f", "-", stdin=NO_MDNS)
    states = []
    for host in hosts:
        started = time.monotonic()
        states.append(start(host, folder, host.name, relay_on_lan(host, sources=sources)))
    for state in states:
        wait_until(state, lambda status: status.links > 0)
    return time.monotonic() - started
