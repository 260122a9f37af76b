"""Two relays behind routers of a kind each, a third that introduces them, and what became of it."""

import contextlib
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.internet import Internet, Router
from tests.support.netns import Lab, Namespace
from tests.support.relays import Tables, invite_of, start, wait_until
from tests.support.waiting import pause
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Peer

OPEN: Tables = {"link": {"allow_private_addresses": False}, "discovery": {"profile": "quiet"}}
QUIET: Tables = {"ingress": {"socks_enabled": False, "http_enabled": False}}
PATIENCE_S = 40.0
ANYBODY = "none: can be dialled"


def public(host: Namespace) -> Tables:
    """Settings of a relay that anybody can dial."""
    return {**OPEN, **QUIET, "relay": {"enabled": True, "listen": [f"{host.v4}:4001"]}}


def behind() -> Tables:
    """Settings of a relay that was told nothing, at home."""
    return {**OPEN, **QUIET, "relay": {"enabled": True, "listen": ["0.0.0.0:4001"]}}


def peer_id(state: Path) -> str:
    """Wait until a relay has an identity; return it."""
    wait_until(state, lambda status: bool(status.peer_id))
    with ControlClient(state) as control:
        return control.status().peer_id


def view_of(state: Path, wanted: str) -> Peer | None:
    """What a node says of another."""
    with contextlib.suppress(VigilnetError), ControlClient(state) as control:
        return next((peer for peer in control.peers() if peer.peer_id == wanted), None)
    return None


@dataclass
class Meeting:
    """How often two relays came to a link, and how."""

    first: str
    second: str
    tries: int
    linked: int
    how: str
    median_s: float | None  # from when both knew each other

    @classmethod
    def measure(cls, folder: Path, first: Router | None, second: Router | None, tries: int) -> "Meeting":
        """Try so often, each time with everything new; None stands for a host that can be dialled."""
        found: list[tuple[str, float]] = []
        for number in range(tries):
            place = folder / f"{number}"
            place.mkdir(parents=True)
            with Lab() as lab:
                how, seconds = _meet(Internet(lab), place, first, second)
            if how:
                found.append((how, seconds))
        ways = sorted({how for how, _ in found})
        return cls(
            first.value if first else ANYBODY,
            second.value if second else ANYBODY,
            tries,
            len(found),
            ", ".join(ways) or "-",
            round(statistics.median(seconds for _, seconds in found), 1) if found else None,
        )


def _meet(internet: Internet, folder: Path, first: Router | None, second: Router | None) -> tuple[str, float]:
    friend = internet.host("friend")
    invite = invite_of(start(friend, folder, "friend", public(friend)))
    states = []
    for name, kind in (("first", first), ("second", second)):
        host = internet.host(name) if kind is None else internet.home(name, kind)[1]
        tables = public(host) if kind is None else behind()
        states.append(start(host, folder, name, tables, "--invite", invite))
    ids = [peer_id(state) for state in states]
    known_at, begun = 0.0, time.monotonic()
    while time.monotonic() - begun < PATIENCE_S:
        seen = [view_of(state, other) for state, other in zip(states, reversed(ids), strict=True)]
        if all(seen) and not known_at:
            known_at = time.monotonic()
        linked = [peer.why_id for peer in seen if peer is not None and peer.link == "direct"]
        if linked:
            told = {"punched", "dialled-back"} & set(linked)
            how = "punched" if "punched" in told else "dialled back" if told else "dialled"
            return how, time.monotonic() - (known_at or time.monotonic())
        pause(0.1)
    return "", 0.0
