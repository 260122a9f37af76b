"""Every option with what there is to say about it: read from the options' own source.

The words are those that stand beside the field; the example file, the settings page of the dashboard and
the options page of the documentation are all made from this list.
"""

import dataclasses
import enum
import inspect
import io
import tokenize
import types
import typing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Union

from vigilnet.base.config import Key, keys_of
from vigilnet.node.options import Options

_KINDS: dict[object, str] = {
    bool: "bool", int: "int", float: "float", str: "text", bytes: "octets", Path: "path",
}  # fmt: skip
_CHOICES = {
    "exit.policy": ("web", "common", "open", "none"),
    "log.level": ("error", "warning", "info", "debug"),
}  # options that are texts and take only these
_MEANINGS = {
    "relay.listen": "where links come in, host:port each",
    "link.handshake_timeout_s": "a link that is not open after so many seconds is given up",
    "link.retry_first_s": "seconds between the first failed dial of a relay and the next; doubles from there",
    "link.transports": "by which transports relays are dialled, in this order",
    "link.cookie_above_unfinished": "so many unfinished handshakes, and newcomers must show a cookie",
    "link.batch_frames": "frames that are sealed and written at once, at most",
    "link.key_limits.frames": "frames that one key may seal",
    "streams.congestion.start": "cells of the first window",
    "streams.congestion.minimum": "cells of the smallest window",
    "streams.congestion.maximum": "cells of the largest window",
    "streams.congestion.ewma_slow_start": "round trips that the mean looks back on while it starts",
    "ingress.socks_enabled": "serve apps by SOCKS5",
    "ingress.socks_host": "address that the SOCKS5 proxy listens on",
    "ingress.http_enabled": "serve apps by HTTP CONNECT and plain HTTP",
    "ingress.http_host": "address that the HTTP proxy listens on",
    "ingress.max_connections": "connections of apps at a time",
    "device.inside_users": "user ids whose programs go through the tunnel when scope is included",
    "exit.resolve_timeout_s": "a name that is not resolved after so many seconds is given up",
    "exit.connect_timeout_s": "a site that does not answer after so many seconds is given up",
    "status.enabled": "serve the status interface, the control API and the dashboard on loopback",
    "log.show_sensitive": "write targets and addresses into the log; think before you share such lines",
}  # of those that are short of words beside their fields


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One option."""

    key: str
    kind: str  # bool, int, float, text, octets, path, choice or list
    default: str  # as one writes it with --set
    meaning: str
    table: str
    choices: tuple[str, ...] = ()
    optional: bool = False
    variable: str = ""


def remarks(kind: type) -> dict[str, str]:
    """What the source says beside each field of a dataclass; nothing where there is no source."""
    try:
        source = inspect.getsource(kind)
    except OSError:
        return {}
    found: dict[str, str] = {}
    name = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.start[1] == 4:
            name = token.string
        elif token.type == tokenize.COMMENT:
            found.setdefault(name, token.string.removeprefix("#").strip())
    return found


def text_of(value: object) -> str:
    """Return a value as one writes it with --set.

    >>> text_of(True), text_of(None), text_of(("a", "b")), text_of(0.5)
    ('true', '', 'a,b', '0.5')
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case enum.Enum():
            return value.name.lower()
        case bytes():
            return value.hex()
        case tuple():
            return ",".join(text_of(item) for item in value)
        case _:
            return str(value)


@lru_cache(maxsize=1)
def option_list() -> tuple[OptionInfo, ...]:
    """Every option, in the order of the file."""
    defaults = Options()
    about = _about(defaults, ())
    return tuple(_info(key, *about[key.path[:-1]]) for key in keys_of(defaults).values())


def values_of(options: object, table: str = "") -> dict[str, str]:
    """Return every option's value as text, by key; kinds are not looked at, since that takes long."""
    found: dict[str, str] = {}
    for part in dataclasses.fields(options):  # type: ignore[arg-type]  # every caller passes a dataclass
        value = getattr(options, part.name)
        if dataclasses.is_dataclass(value):
            found |= values_of(value, f"{table}{part.name}.")
        elif part.init:
            found[table + part.name] = text_of(value)
    return found


def _about(options: object, path: tuple[str, ...]) -> dict[tuple[str, ...], tuple[str, dict[str, str]]]:
    """Return for each table its purpose and the words beside its fields."""
    purpose = (inspect.getdoc(type(options)) or "").partition("\n")[0]
    found = {path: (purpose, remarks(type(options)))}
    for part in dataclasses.fields(options):  # type: ignore[arg-type]  # every caller passes a dataclass
        value: Any = getattr(options, part.name)
        if dataclasses.is_dataclass(value):
            found |= _about(value, (*path, part.name))
    return found


def _info(key: Key, purpose: str, words: dict[str, str]) -> OptionInfo:
    kind, optional = key.kind, False
    if typing.get_origin(kind) in (Union, types.UnionType):
        optional = True
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    choices: tuple[str, ...] = _CHOICES.get(key.dotted, ())
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        choices = tuple(member.name.lower() for member in kind)
    name = "list" if typing.get_origin(kind) is tuple else _KINDS.get(kind, "text")
    return OptionInfo(
        key=key.dotted,
        kind="choice" if choices else name,
        default=text_of(key.default),
        meaning=words.get(key.path[-1]) or _MEANINGS.get(key.dotted, ""),
        table=purpose,
        choices=choices,
        optional=optional,
        variable=key.variable,
    )
