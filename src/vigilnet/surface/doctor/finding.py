"""Findings, and what they are found from."""

from dataclasses import dataclass, field
from pathlib import Path

from vigilnet.node.options import Loaded
from vigilnet.surface.control.models import Exits, Finding, Peer, Status


@dataclass(frozen=True)
class Situation:
    """What is looked at.

    Attributes:
        loaded: the settings; None if they cannot be read.
        refusal: why they cannot be read.
        file: the settings file.
        folder: the state folder.
        node: what the running node says; None if there is none.
    """

    loaded: Loaded | None
    refusal: str
    file: Path
    folder: Path
    node: "NodeView | None" = None


@dataclass(frozen=True)
class NodeView:
    """What a running node says of itself."""

    status: Status
    peers: tuple[Peer, ...] = ()
    exits: Exits = field(default_factory=Exits)
    clock_offset_s: float | None = None  # theirs minus ours, as neighbours say
    reach: tuple[Finding, ...] = ()  # how it is connected, as it judges itself


def failed(
    identifier: str, title: str, meaning: str, next_step: str, *evidence: str, repair: str = ""
) -> Finding:
    """Return a problem; the group is the first part of its id."""
    return Finding(identifier, "fail", _group(identifier), title, meaning, next_step, repair, evidence)


def noted(
    identifier: str, title: str, meaning: str, next_step: str, *evidence: str, repair: str = ""
) -> Finding:
    """Return what one should know, and what need not be changed."""
    return Finding(identifier, "note", _group(identifier), title, meaning, next_step, repair, evidence)


def passed(identifier: str, title: str) -> Finding:
    """Return a check that found nothing."""
    return Finding(identifier, "pass", _group(identifier), title)


def _group(identifier: str) -> str:
    return identifier.partition(".")[0]
