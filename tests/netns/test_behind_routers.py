"""Relays that nobody can dial: their neighbours introduce them, they dial back, or both dial at once.

p0 p1 p2 client ── core ── router ── home
                     └──── router ── other
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.internet import Internet, Router
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Namespace
from tests.support.nodes import EXIT_CONSENT
from tests.support.relays import Tables, invite_of, start, wait_until
from tests.support.waiting import wait_until as wait_for
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Peer

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft")]

OPEN: Tables = {"link": {"allow_private_addresses": False}, "discovery": {"profile": "quiet"}}
QUIET: Tables = {"ingress": {"socks_enabled": False, "http_enabled": False}}


@pytest.fixture
def internet() -> Iterator[Internet]:
    with Lab() as lab:
        yield Internet(lab)


def public(host: Namespace) -> Tables:
    return {**OPEN, **QUIET, "relay": {"enabled": True, "listen": [f"{host.v4}:4001"]}}


def behind() -> Tables:
    return {**OPEN, **QUIET, "relay": {"enabled": True, "listen": ["0.0.0.0:4001"]}}


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


def peer_id(state: Path) -> str:
    wait_until(state, lambda status: bool(status.peer_id))
    with ControlClient(state) as control:
        return control.status().peer_id


def view_of(state: Path, wanted: str) -> Peer | None:
    with contextlib.suppress(VigilnetError), ControlClient(state) as control:
        return next((peer for peer in control.peers() if peer.peer_id == wanted), None)
    return None


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
        (Router.KEEPS, Router.REFUSES, True),
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
        wait_for(lambda: link_of(states[0], ids[1]) == "direct", "linked", 40)
    else:
        wait_for(tried, "they have tried", 40)
        assert link_of(states[0], ids[1]) != "direct"
