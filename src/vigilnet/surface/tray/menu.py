"""What the tray item shows of a status, and what its menu offers (sans-IO)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

from vigilnet.surface.control.models import Status
from vigilnet.surface.control.states import words as state_words

LANGUAGES: Final = ("en", "de", "fr")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the menu; one without a label is a line between others."""

    action: str = ""  # empty: nothing happens
    label: str = ""
    is_checked: bool | None = None  # None: it is no switch


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that the item shows."""

    tone: str
    title: str
    entries: tuple[Entry, ...]


def language_of(environment: Mapping[str, str]) -> str:
    """Return the language of the desktop, English where we do not speak it.

    >>> language_of({"LANG": "de_CH.UTF-8"}), language_of({"LC_ALL": "C"}), language_of({})
    ('de', 'en', 'en')
    """
    named = next(
        (environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), ""
    )
    return named[:2] if named[:2] in LANGUAGES else "en"


@lru_cache(maxsize=1)
def words() -> dict[str, dict[str, str]]:
    """The words of the menu by language."""
    content: dict[str, dict[str, str]] = json.loads(
        files(__package__).joinpath("words.json").read_text("utf-8")
    )
    return content


def picture_of(status: Status | None, language: str, trouble: str = "") -> Picture:
    """Return what is shown.

    Args:
        status: of the node; None: none answers.
        language: one of `LANGUAGES`.
        trouble: what the last action failed of, if it did.
    """

    def said(name: str) -> str:
        return words()[name][language]

    tone, title = _state(status, language)
    between = Entry()
    told = [Entry(label=title), *([Entry(label=trouble)] if trouble else [])]
    if status is None:
        entries = [*told, Entry(label=said("not-running")), between, Entry("hide", said("hide"))]
        return Picture(tone, title, tuple(entries))
    steer = []
    if status.protection is not None:
        is_off = status.protection.api == "offline"
        is_locked = any(cover.what == "lockdown" and cover.how == "on" for cover in status.coverage)
        switch = "connect" if is_off else "disconnect"
        steer = [Entry(switch, said(switch))]
        steer += [] if is_off else [Entry("new-identity", said("new-identity"))]
        steer += [Entry("lockdown-off" if is_locked else "lockdown-on", said("lockdown"), is_locked)]
    ends = [Entry("hide", said("hide")), Entry("quit", said("quit"))]
    return Picture(tone, title, (*told, between, Entry("open", said("open")), *steer, between, *ends))


def _state(status: Status | None, language: str) -> tuple[str, str]:
    if status is None:
        entry = state_words()["states"]["no-daemon"]
        return str(entry["tone"]), str(entry["title"][language])
    shown = status.protection
    if shown is None:
        return "ok", words()["serving"][language]
    return shown.tone, str(state_words()["states"][shown.id]["title"][language])
