"""Relays that nobody can dial: their neighbours introduce them, they dial back, or both dial at once.

p0 p1 p2 client ── core ── router ── home
                     └──── router ── other
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.behind_routers import OPEN, behind, peer_id, public, view_of
from tests.support.internet import Internet, Router
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Namespace
from tests.support.nodes import EXIT_CONSENT
from tests.support.relays import Tables, invite_of, start, wait_until
from tests.support.waiting import wait_until as wait_for
from vigilnet.routing.discovery.port_control import Given, UnsupportedError
from vigilnet.routing.discovery.port_control_io import PortControl
from vigilnet.surface.control.client import ControlClient

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft")]


@pytest.fixture
def internet() -> Iterator[Internet]:
    with Lab() as lab:
        yield Internet(lab)


def start_public(internet: Internet, folder: Path, count: int) -> list[str]:
    """Relays that anybody can dial and that know each other; returns their invites."""
    invites: list[str] = []
    for number in range(count):
        host = internet.host(f"p{number}")
        given = [part for uri in invites[:1] for part in ("--invite", uri)]
        invites.append(invite_of(start(host, folder, f"p{number}", public(host), *given)))
    for number in range(count):
        wait_until(folder / f"p{number}", lambda status: status.peers == count - 1)
    return invites


def is_introduced(state: Path, wanted: str) -> bool:
    peer = view_of(state, wanted)
    return peer is not None and bool(peer.introducers) and peer.is_reached


def test_a_relay_behind_a_router_is_introduced_and_carries_circuits(
    internet: Internet, tmp_path: Path
) -> None:
    invites = start_public(internet, tmp_path, 3)
    _, home = internet.home("home", Router.KEEPS)
    tables = behind() | {"exit": {"enabled": True, "policy": "open", **EXIT_CONSENT}}
    state = start(home, tmp_path, "home", tables, "--invite", invites[0])
    wanted = peer_id(state)
    for number in range(3):
        wait_for(partial(is_introduced, tmp_path / f"p{number}", wanted), "reached", 40)
    client = internet.host("client")
    proxies: Tables = {**OPEN, "ingress": {"socks_port": 1080, "http_enabled": False}}
    user = start(client, tmp_path, "client", proxies, "--invite", invites[1])
    wait_until(user, lambda status: status.first_circuit_ms is not None, 40)
    with ControlClient(user) as control:
        paths = [path for path in control.circuits() if path.state == "open"]
    assert paths
    assert all(path.hops[-1].peer_id == wanted for path in paths), (
        "the only exit is the one behind the router"
    )
    assert all(len(path.hops) == 3 for path in paths)


@pytest.mark.parametrize(
    ("first", "second", "is_linked"),
    [
        (Router.KEEPS, Router.KEEPS, True),
        (Router.DRAWS, Router.DRAWS, False),
    ],
)
def test_two_relays_behind_routers_dial_at_once(
    internet: Internet, tmp_path: Path, first: Router, second: Router, is_linked: bool
) -> None:
    invites = start_public(internet, tmp_path, 1)
    states = []
    for name, kind in (("home", first), ("other", second)):
        _, host = internet.home(name, kind)
        states.append(start(host, tmp_path, name, behind(), "--invite", invites[0]))
    ids = [peer_id(state) for state in states]
    for state, other in zip(states, reversed(ids), strict=True):
        wait_for(partial(view_of, state, other), "each knows the other", 40)

    def link_of(state: Path, other: str) -> str:
        peer = view_of(state, other)
        return peer.link if peer is not None else ""

    def tried() -> bool:
        with ControlClient(states[0]) as control:
            found = {finding.id: finding for finding in control.reachability()}
        return "network.punch" in found

    if is_linked:
        wait_for(lambda: link_of(states[0], ids[1]) == "direct", "linked", 120)  # it tries again
    else:
        wait_for(tried, "they have tried", 40)
        assert link_of(states[0], ids[1]) != "direct"


MINIUPNPD = """
table inet filter {
  chain forward { type filter hook forward priority 0; policy accept;
    jump miniupnpd
    iifname "wan" ct state new drop; }
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority 100; policy accept;
    jump postrouting_miniupnpd
    oifname "wan" masquerade; }
}
"""
SETTINGS = """
ext_ifname=wan
listening_ip=lan
enable_natpmp={control}
enable_upnp={upnp}
secure_mode=yes
upnp_table_name=filter
upnp_nat_table_name=filter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
uuid=00000000-0000-0000-0000-000000000001
allow 1024-65535 192.168.0.0/16 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def start_miniupnpd(router: Namespace, folder: Path, control: str, upnp: str) -> None:
    router.run("nft", "-f", "-", stdin=MINIUPNPD)
    settings = folder / "miniupnpd.conf"
    settings.write_text(SETTINGS.format(control=control, upnp=upnp))
    with (folder / "miniupnpd.log").open("wb") as log:
        router.start("miniupnpd", "-d", "-f", settings, "-P", folder / "miniupnpd.pid", stdout=log)
    port = ":5351" if control == "yes" else ":1900"
    wait_for(lambda: port in router.run("ss", "-lun").stdout, "it runs")


@needs_programs("miniupnpd")
def test_the_same_router_understands_our_nat_pmp(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_pcp(*_: object) -> Given:
        raise UnsupportedError("not now")

    monkeypatch.setattr(PortControl, "_by_pcp", no_pcp)
    router, home = internet.home("home")
    start_miniupnpd(router, tmp_path, "yes", "no")

    async def main() -> None:
        control = PortControl(home.v4.rpartition(".")[0] + ".1", 4001, os.urandom)
        given = await control.map(600)
        assert (given.host, given.port, control.protocol) == (router.v4, 4001, "NAT-PMP")
        assert "dport 4001" in router.run("nft", "list", "ruleset").stdout
        await control.unmap()
        assert "dport 4001" not in router.run("nft", "list", "ruleset").stdout

    with home.entered():
        asyncio.run(main())


@needs_programs("miniupnpd")
@pytest.mark.parametrize(("how", "control", "upnp"), [("PCP", "yes", "no"), ("UPnP", "no", "yes")])
def test_a_real_router_gives_a_port_and_takes_it_back(
    internet: Internet, tmp_path: Path, how: str, control: str, upnp: str
) -> None:
    """miniupnpd with nftables: what many home routers run."""
    invites = start_public(internet, tmp_path, 1)
    router, home = internet.home("home")
    start_miniupnpd(router, tmp_path, control, upnp)
    tables = behind()
    tables["relay"]["map_port"] = True
    state = start(home, tmp_path, "home", tables, "--invite", invites[0])
    wanted = peer_id(state)
    friend = tmp_path / "p0"

    def is_seen() -> bool:
        peer = view_of(friend, wanted)
        return peer is not None and peer.is_reached and f"TCP {router.v4}:4001" in peer.addresses

    wait_for(is_seen, "the friend has dialled the router's port", 40)
    assert "dport 4001" in router.run("nft", "list", "ruleset").stdout
    assert f"how={how}" in (tmp_path / "home.log").read_text()
    for pid in home.pids():
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: "dport 4001" not in router.run("nft", "list", "ruleset").stdout, "given back", 60)
