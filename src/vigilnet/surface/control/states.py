"""Which of the twelve states a node is in, and its words (sans-IO; the words are in states.json).

Green needs all three: a tested path of two or more hops, the whole device, names at the exit. "Waits" is
only said where nothing can go out beside VigilNet; elsewhere the busy states say so and are red.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from vigilnet.surface.control.models import Button, Cover, Protection, SentencePart, Step

STATE_IDS: Final = (
    "connected", "names-visible", "one-hop", "apps-only", "mesh", "calibrating", "portal", "connecting",
    "reconnecting", "blocked", "offline", "no-daemon",
)  # fmt: skip
RESERVATIONS: Final = ("one-hop", "apps-only", "names-visible")
"""The gravest first."""
_BUSY: Final = ("calibrating", "connecting", "reconnecting")
SLOW_AFTER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the state follows from."""

    is_on: bool = False  # serves applications, or tries to
    hops: int = 3
    has_path: bool = False  # an open circuit: its last hop has answered through all the others
    had_path: bool = False
    enough_relays: bool = False  # known ones suffice for a path
    relays: int = 0
    waiting: int = 0  # sources that have not answered
    sources: int = 0
    hop: int = 0  # that is being asked
    country: str = ""  # of the exit in use
    proxy: str = ""
    whole_device: bool = False
    names: str = "local"  # local, exit or custom
    lockdown: bool = False
    is_held: bool = False  # nothing can leave this device beside VigilNet
    exceptions: tuple[str, ...] = ()  # apps and ranges that were let out
    portal: bool = False
    nearby: int = 0  # devices of the local mesh when there is no Internet
    broken: str = ""  # entry, middle, exit
    reason: str = ""  # why the last try failed
    since_s: float = 0.0
    steps: tuple[Step, ...] = ()


@lru_cache(maxsize=1)
def words() -> dict[str, Any]:
    """The content of states.json."""
    content: dict[str, Any] = json.loads(files(__package__).joinpath("states.json").read_text("utf-8"))
    return content


@lru_cache(maxsize=1)
def _countries() -> dict[str, str]:
    content: dict[str, str] = json.loads(files(__package__).joinpath("countries.json").read_text("utf-8"))
    return content


def country_name(code: str) -> str:
    """Return the English name of a country.

    >>> country_name("SE"), country_name("XX"), country_name("")
    ('Sweden', 'XX', '')
    """
    return _countries().get(code, code)


def state_of(facts: Facts) -> str:
    """Return the state's id."""
    if not facts.is_on:
        return "blocked" if facts.lockdown else "offline"
    if facts.has_path:
        return next(iter(reservations(facts)), "connected")
    if facts.portal:
        return "portal"
    if facts.nearby:
        return "mesh"
    if not facts.enough_relays:
        return "calibrating"
    return "reconnecting" if facts.had_path else "connecting"


def reservations(facts: Facts) -> tuple[str, ...]:
    """Return why a connected node is not green, the gravest first."""
    is_so = {
        "one-hop": facts.hops == 1,
        "apps-only": not facts.whole_device,
        "names-visible": facts.whole_device and facts.names != "exit",
    }
    return tuple(name for name in RESERVATIONS if is_so[name])


def protection_of(facts: Facts, language: str = "en") -> Protection:
    """Return the state in words."""
    state = state_of(facts)
    entry = words()["states"][state]
    values = {
        "hops": facts.hops, "hop": facts.hop, "country": country_name(facts.country), "proxy": facts.proxy,
        "waiting": facts.waiting, "sources": facts.sources, "nearby": facts.nearby,
    }  # fmt: skip
    reasons = reservations(facts) if facts.has_path and facts.is_on else ()
    parts = [
        SentencePart(f"{state}.{part}", _text(entry["parts"][part], language).format(**values))
        for part in _parts(state, facts)
    ]
    parts += [
        SentencePart(f"also.{other}", _text(words()["also"][other], language).format(**values))
        for other in reasons[1:]
    ]
    if state in _BUSY and facts.reason and facts.since_s >= SLOW_AFTER_S:
        parts.append(SentencePart("slow", _text(words()["slow"], language).format(reason=facts.reason)))
    tone = entry["tone"] if state not in _BUSY or facts.is_held else "bad"
    return Protection(
        id=state,
        api=entry["api"],
        tone=tone,
        icon=entry["icon"],
        title=_text(entry["title"], language),
        sentence=" ".join(part.text for part in parts),
        parts=tuple(parts),
        buttons=tuple(
            Button(button["action"], _text(button["label"], language)) for button in entry["buttons"]
        ),
        reasons=reasons,
        hops=facts.hops,
        country=facts.country,
        proxy=facts.proxy,
        hop=facts.hop,
        broken=facts.broken,
        nearby=facts.nearby,
        waiting=facts.waiting,
        sources=facts.sources,
        since_s=round(facts.since_s, 1),
        reason=facts.reason,
        steps=facts.steps,
    )


def _text(translations: dict[str, str], language: str) -> str:
    return translations.get(language, translations["en"])


def _parts(state: str, facts: Facts) -> list[str]:
    """Return which of a state's sentences are said."""
    where = "country" if facts.country else "somewhere"
    meanwhile = "waits" if facts.is_held else "direct"
    said = {
        "connected": ["hops", where, "nobody"],
        "one-hop": ["chosen", where],
        "apps-only": ["proxy", "held" if facts.is_held else "rest"],
        "portal": ["page", "window" if facts.is_held else "direct"],
        "calibrating": [_looking(facts), meanwhile],
        "connecting": ["hop", meanwhile],
        "reconnecting": [facts.broken or "path", meanwhile],
    }
    return said.get(state) or list(words()["states"][state]["parts"])


def _looking(facts: Facts) -> str:
    if facts.sources:
        return "sources"
    return "few" if facts.relays else "none"


def coverage_of(facts: Facts, language: str = "en") -> tuple[Cover, ...]:
    """Return what is covered, line by line."""
    lines = [
        *zip(("device", "names", "ipv6"), _covered(facts), strict=True),
        ("lockdown", ("on", "ok") if facts.lockdown else ("off", "choice")),
        ("exceptions", ("list", "choice") if facts.exceptions else ("none", "ok")),
    ]
    said = words()["coverage"]
    return tuple(
        Cover(what, how, level, ", ".join(facts.exceptions) if how == "list" else _text(said[how], language))
        for what, (how, level) in lines
    )


def _covered(facts: Facts) -> tuple[tuple[str, str], ...]:
    """Return how the device, its names and IPv6 go out."""
    if not facts.is_on:
        if facts.lockdown:
            return (("blocked", "ok"),) * 3
        return ("direct", "open"), ("provider", "open"), ("direct", "open")
    if not facts.whole_device:
        direct = ("blocked", "ok") if facts.is_held else ("direct", "open")
        return ("proxy", "open"), ("proxy", "open"), direct
    if not facts.has_path:
        return (("waits", "ok"),) * 3
    names = ("exit", "ok") if facts.names == "exit" else ("provider", "open")
    return ("all", "ok"), names, ("path", "ok")
