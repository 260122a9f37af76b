"""Who can see what on a path, and why it is as it is, in words (sans-IO)."""

from collections.abc import Sequence

from vigilnet.node.status import PathHopStatus, PathStatus
from vigilnet.surface.control.models import Path, PathHop, WhoSees

_SEES = {
    "entry": ("your address and the relay after it", "which sites you visit"),
    "middle": ("the relay before it and the one after it", "your address; which sites you visit"),
    "exit": ("which sites are visited", "your address"),
    "only": ("your address and which sites you visit", "what is said where the site encrypts"),
}


def path_of(path: PathStatus, *, whole_device: bool, names: str) -> Path:
    """Return a path with its words.

    Args:
        path: the node's snapshot.
        whole_device: whether all apps are captured.
        names: who is asked for names, if they are: local, exit or custom.
    """
    return Path(
        id=path.id,
        label=path.label,
        is_ready=path.is_ready,
        is_retired=path.is_retired,
        is_kept=path.is_kept,
        age_s=path.age_s,
        streams=path.streams,
        ms=path.ms,
        hops=tuple(_hop(hop, len(path.hops)) for hop in path.hops),
        who_sees=_who_sees(path.hops, network_sees_names=whole_device and names == "local"),
        why=_why(path),
    )


def _hop(hop: PathHopStatus, count: int) -> PathHop:
    sees, sees_not = _SEES["only" if count == 1 else hop.role]
    return PathHop(
        role=hop.role,
        peer_id=hop.peer_id,
        name=hop.name,
        country=hop.country,
        ms=hop.ms,
        transport=hop.transport,
        address=hop.address,
        sees=sees,
        sees_not=sees_not,
    )


def _who_sees(hops: Sequence[PathHopStatus], *, network_sees_names: bool) -> tuple[WhoSees, ...]:
    """One row each: your network, every station, the site."""
    rows = [
        WhoSees(
            "network",
            address="full",
            sites="full" if network_sees_names else "none",
            words="Your network sees that you use an entry"
            + (", and the names you ask its resolver for." if network_sees_names else ", not which sites."),
            is_both=network_sees_names,
        )
    ]
    only = len(hops) == 1
    rows += [
        WhoSees(
            hop.role,
            hop.name,
            hop.country,
            address="full" if hop.role == "entry" or only else "none",
            sites="full" if hop.role == "exit" else "none",
            content="half" if hop.role == "exit" else "none",
            words=_words(hop, only=only),
            is_both=only,
        )
        for hop in hops
    ]
    rows.append(
        WhoSees(
            "site",
            address="none",
            sites="full",
            content="full",
            words="The site sees the exit's address, and whatever you tell it yourself.",
        )
    )
    return tuple(rows)


def _words(hop: PathHopStatus, *, only: bool) -> str:
    if only:
        return "Knows both your address and the sites you visit, like an ordinary VPN."
    return {
        "entry": "Knows your address, not where you go.",
        "middle": "Knows neither you nor where you go.",
        "exit": "Knows which sites are visited, not by whom; reads along where a site does not encrypt.",
    }[hop.role]


def _why(path: PathStatus) -> tuple[str, ...]:
    reasons = []
    if len(path.hops) > 1:
        reasons.append("The entry is one of few that are kept; it stays when you ask for a new path.")
    if len(path.hops) > 2:
        reasons.append(
            "The others were drawn by lot among relays that have no operator or network in common."
        )
    if path.is_ready:
        reasons.append("Built ahead, so that the next app need not wait.")
    elif path.is_kept:
        reasons.append(
            "You wanted to stay on it; the longer it is used, the more its exit sees of one person."
        )
    elif path.label:
        reasons.append("One app or login, one path: nothing else shares it.")
    return tuple(reasons)
