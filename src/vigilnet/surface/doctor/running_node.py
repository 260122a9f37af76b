"""What a running node says of itself, judged: relays, exits, paths, clock, what is not covered."""

from collections.abc import Iterator
from typing import Final

from vigilnet.surface.control.models import Finding, PeerDiagnosis, Protection
from vigilnet.surface.doctor.finding import NodeView, Situation, failed, noted, passed

CLOCK_FINE_S: Final = 5.0
CLOCK_BAD_S: Final = 90.0
_RESERVED: Final = {
    "one-hop": (
        "paths.one_hop", "Paths have one hop",
        "The exit knows both your address and the sites you visit, like an ordinary VPN.", "vigilnet hops 3",
    ),
    "apps-only": (
        "device.apps_only", "Only apps that use the proxy are protected",
        "Everything else goes out directly.", "sudo vigilnet up",
    ),
    "names-visible": (
        "device.names", "Your resolver sees which sites you visit",
        "This device looks names up itself.", "vigilnet dns overlay",
    ),
}  # fmt: skip


_HELP: Final = {
    "no-answer": "It is tried again by itself. If none answers: another network, or an invite to a relay on "
    "port 443 (vigilnet invite add URI).",
    "behind-router": "Its owner could let it ask its router for a port: relay.map_port.",
    "dialled-back": "Its owner could let it ask its router for a port: relay.map_port.",
    "punched": "A forwarded port on one of the two sides would make this sure: relay.map_port.",
}


def judge_peers(node: NodeView | None) -> tuple[PeerDiagnosis, ...]:
    """Say of each relay that is known how it is reached, why, who named it, and what would help."""
    if node is None:
        return ()
    return tuple(
        PeerDiagnosis(peer.peer_id, peer.name, peer.link, peer.why, peer.found_by, _HELP.get(peer.why_id, ""))
        for peer in node.peers
    )


def check_node(situation: Situation, port: int = 0) -> Iterator[Finding]:
    """Judge a running node; with a port, whether an exit accepts it."""
    node = situation.node
    if node is None:
        return
    yield passed("node.off", "A node is running")
    yield from _check_clock(node)
    yield from node.reach
    if not any(one.id == "network.sources" and one.level == "fail" for one in node.reach):
        yield from _check_relays(node)  # else it has said why none is known
    yield from _check_exits(node, port)
    shown = node.status.protection
    if shown is not None:
        yield from _check_path(node, shown)
    if node.status.restart_needed:
        yield noted(
            "settings.waiting", "Changed settings wait for a restart",
            "They were changed while the node ran.", "vigilnet restart", *node.status.restart_needed,
            repair="start the node again with them",
        )  # fmt: skip


def _check_clock(node: NodeView) -> Iterator[Finding]:
    offset = node.clock_offset_s
    if offset is None:
        return
    how = f"{abs(offset):.0f} s {'slow' if offset > 0 else 'fast'}"
    if abs(offset) > CLOCK_BAD_S:
        yield failed(
            "device.clock_offset", f"The clock is {how}", "Relays refuse a device whose clock is far off.",
            "timedatectl set-ntp true", f"neighbours say so: {offset:+.1f} s",
        )  # fmt: skip
    elif abs(offset) > CLOCK_FINE_S:
        yield noted(
            "device.clock_offset", f"The clock is {how}", f"Up to {CLOCK_BAD_S:.0f} s is fine.",
            "timedatectl set-ntp true", f"neighbours say so: {offset:+.1f} s",
        )  # fmt: skip
    else:
        yield passed("device.clock_offset", "The clock agrees with the neighbours'")


def _check_relays(node: NodeView) -> Iterator[Finding]:
    status = node.status
    if not node.peers:
        yield failed(
            "relays.none", "No relay is known",
            "Without relays there is no path.", "ask somebody for an invite: vigilnet invite add URI",
        )  # fmt: skip
        return
    if "client" in status.roles and len(node.peers) < status.hops:
        yield failed(
            "relays.few", "Too few relays are known",
            f"A path of {status.hops} hops needs as many different relays.",
            f"vigilnet hops {max(1, len(node.peers))}, or take in more invites: vigilnet invite add URI",
            f"{len(node.peers)} known",
        )  # fmt: skip
    elif not any(one.id == "network.sources" for one in node.reach):  # else that has said so
        yield passed("relays.none", f"{len(node.peers)} relays are known")
    silent = [peer.name for peer in node.peers if peer.link == "failed"]
    if silent:
        yield noted(
            "relays.silent", "A relay did not answer", "Others are used meanwhile.", "nothing", *silent
        )


def _check_exits(node: NodeView, port: int) -> Iterator[Finding]:
    if "client" not in node.status.roles or not node.peers:
        return
    exits, choice = node.exits.exits, node.exits.choice
    chosen = [
        one for one in exits if choice.country in ("", one.country) and choice.peer_id in ("", one.peer_id)
    ]
    if not exits:
        yield failed(
            "exits.none", "No exit is known", "Without one no path leads to the Internet.",
            "wait a minute, or take in an invite to an exit: vigilnet invite add URI",
        )  # fmt: skip
    elif not chosen:
        yield failed(
            "exits.choice", "No exit is as you chose",
            f"{len(exits)} exits are known, none of them in {choice.country or 'this choice'}.",
            "vigilnet exits use --anywhere",
        )  # fmt: skip
    elif port and not any(_accepts(one.ports, port) for one in chosen):
        yield failed(
            "exits.port", f"No exit accepts port {port}",
            "Connections to it are refused at once.", f"vigilnet exits --port {port}",
            *sorted({one.ports for one in chosen}),
        )  # fmt: skip
    else:
        yield passed("exits.none", f"{len(chosen)} exits can be used")


def _accepts(ports: str, port: int) -> bool:
    """Whether a text like "80,443,1024-65535" or "all but 25" holds a port."""
    if ports in ("", "all"):
        return True
    refused = ports.startswith("all but ")
    ranges = (part.partition("-") for part in ports.removeprefix("all but ").split(",") if part != "none")
    listed = any(int(low) <= port <= int(high or low) for low, _, high in ranges)
    return listed != refused


def _check_path(node: NodeView, shown: Protection) -> Iterator[Finding]:
    if shown.api == "connected":
        yield passed("paths.none", "A tested path is open")
    elif shown.id == "portal":
        yield failed(
            "network.sign-in", "This Wi-Fi wants a sign-in",
            "The network answers every request with its own page, so no relay can be reached.",
            "vigilnet portal, then sign in; without whole-device mode, open the page in a browser",
        )  # fmt: skip
    elif shown.id == "blocked":
        yield noted(
            "paths.blocked", "Lockdown lets nothing out", "VigilNet is off and lockdown is on.",
            "vigilnet connect, or: vigilnet lockdown off",
        )  # fmt: skip
    elif shown.id == "offline":
        yield noted("paths.off", "VigilNet is off", "Apps go out directly.", "vigilnet connect")
    elif node.peers:
        yield failed(
            "paths.none", "No path could be built yet",
            "Each try says why it failed; the next one takes other relays.", "vigilnet logs --level info",
            *((shown.reason,) if shown.reason else ()),
        )  # fmt: skip
    for reason in shown.reasons:
        yield noted(*_RESERVED[reason])
