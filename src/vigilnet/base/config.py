"""Settings in layers: frozen dataclasses filled from TOML, the environment and the command line (sans-IO).

A room describes its settings as a frozen dataclass with defaults; the tree of them is the schema. Nothing
here knows a room. Kinds of a field: bool, int, float, str, bytes (written in hex), Path, an Enum (its name
in lower case), a tuple of one of these (`tuple[str, ...]`), any of them `| None` (written as "").

    later layers win:   defaults  <  file  <  environment  <  command line
"""

import dataclasses
import difflib
import enum
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, Union, cast

from vigilnet.base.errors import ConfigurationError, LocalProtocolError

_T = TypeVar("_T")
_YES, _NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One leaf of the tree: `path` as in ("link", "keepalive_s"), the field's type and its default."""

    path: tuple[str, ...]
    kind: object
    default: object

    @property
    def dotted(self) -> str:
        """As people write it: `link.keepalive_s`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment's name for it: `VIGILNET_LINK_KEEPALIVE_S`."""
        return "_".join(("VIGILNET", *self.path)).upper()


def keys_of(options: object, path: tuple[str, ...] = ()) -> dict[str, Key]:
    """All leaves under a tree of option dataclasses, by dotted name, in the order they are declared."""
    found: dict[str, Key] = {}
    hints = typing.get_type_hints(type(options))
    for field in dataclasses.fields(cast(Any, options)):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            found |= keys_of(value, (*path, field.name))
        elif field.init:
            key = Key((*path, field.name), hints[field.name], value)
            found[key.dotted] = key
    return found


class Settings(Generic[_T]):
    """Collects the layers in order of precedence, then builds the tree.

    Keys that nobody knows become `warnings`, so that a file for a later version still starts this one; values
    of a wrong kind raise at once, because a node that runs otherwise than its owner wrote is worse than none.
    """

    def __init__(self, defaults: _T) -> None:
        self.warnings: list[str] = []
        self.origins: dict[str, str] = {}
        self._defaults = defaults
        self._keys = keys_of(defaults)
        self._values: dict[str, object] = {}

    def add_file(self, content: bytes, name: str, legacy: Mapping[str, str] | None = None) -> None:
        """Read a TOML file's content; `legacy` maps old dotted keys to what they are called now, or to ""."""
        try:
            text = content.decode()
            table = tomllib.loads(text)
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{name}: octet {error.start} is not UTF-8; save the file as UTF-8 text"
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{name}: {_toml_reason(error)}; correct that line") from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
            raise ConfigurationError(f"{name}: too large a number or too deep a list; correct it") from error
        for dotted, value in _flatten(table, ()):
            origin = f"{name}, line {_line_of(text, dotted)}"
            current = (legacy or {}).get(dotted, dotted)
            if current in self._keys:
                self._set(self._keys[current], _from_toml, value, origin)
            elif not current:
                self.warnings.append(f"{origin}: old key {dotted!r} has no effect in this version")
            else:
                self.warnings.append(
                    f"{origin}: unknown key {dotted!r}{_did_you_mean(self._near(dotted))}; ignored"
                )

    def add_environment(self, environment: Mapping[str, str], ignored: Iterable[str] = ()) -> None:
        """Read `VIGILNET_SECTION_KEY` variables; names starting with one of `ignored` are someone else's."""
        variables = {key.variable: key for key in self._keys.values()}
        for name, text in sorted(environment.items()):
            if name in variables:
                self._set(variables[name], _from_text, text, f"environment {name}")
            elif name.startswith("VIGILNET_") and not name.startswith(tuple(ignored)):
                near = difflib.get_close_matches(name, variables, 1)
                self.warnings.append(f"environment {name}: unknown name{_did_you_mean(near)}")

    def set_text(self, dotted: str, text: str, origin: str) -> None:
        """Set one key from text, as the command line does; an unknown key is an error here."""
        key = self._keys.get(dotted)
        if key is None:
            raise ConfigurationError(f"{origin}: unknown key {dotted!r}{_did_you_mean(self._near(dotted))}")
        self._set(key, _from_text, text, origin)

    def build(self) -> _T:
        """The tree with all layers applied; a room's own checks are reported with the key's origin."""
        return cast(_T, self._build(self._defaults, ()))

    def _build(self, options: object, path: tuple[str, ...]) -> object:
        changes: dict[str, object] = {}
        for field in dataclasses.fields(cast(Any, options)):
            here = (*path, field.name)
            value = getattr(options, field.name)
            if dataclasses.is_dataclass(value):
                changes[field.name] = self._build(value, here)
            elif ".".join(here) in self._values:
                changes[field.name] = self._values[".".join(here)]
        try:
            return dataclasses.replace(cast(Any, options), **changes)
        except (ConfigurationError, ValueError) as error:
            raise ConfigurationError(self._refusal(path, str(error))) from error

    def _refusal(self, path: tuple[str, ...], reason: str) -> str:
        """A room's refusal with the section before it and, if its first word is a key, where that was set."""
        section = ".".join(path)
        dotted = ".".join((*path, reason.partition(":")[0]))
        origin = f" ({self.origins[dotted]})" if dotted in self.origins else ""
        return (
            dotted + reason[reason.find(":") :] if dotted in self._keys else f"[{section}] {reason}"
        ) + origin

    def _set(self, key: Key, convert: Callable[[object, Any], object], raw: object, origin: str) -> None:
        try:
            self._values[key.dotted] = convert(key.kind, raw)
        except _WrongKindError as error:
            raise ConfigurationError(f"{key.dotted}: got {raw!r}, expected {error} ({origin})") from error
        self.origins[key.dotted] = origin

    def _near(self, dotted: str) -> list[str]:
        """The key probably meant: alike as a whole, or by a last word that no other table has."""
        leaves = [key.path[-1] for key in self._keys.values()]
        unique = {key.path[-1]: name for name, key in self._keys.items() if leaves.count(key.path[-1]) == 1}
        alike = difflib.get_close_matches(dotted, self._keys, 1, 0.8)
        return alike or [
            unique[leaf] for leaf in difflib.get_close_matches(dotted.rpartition(".")[2], unique, 1, 0.8)
        ]


class _WrongKindError(Exception):
    """Says what was expected; `Settings` adds what was got and where."""


def _did_you_mean(near: list[str]) -> str:
    return f", did you mean {near[0]!r}?" if near else ""


def _flatten(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterable[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, (*path, name))
        elif not isinstance(value, dict):
            yield ".".join((*path, name)), value


def _toml_reason(error: tomllib.TOMLDecodeError) -> str:
    """`line 3, column 9: invalid value` from tomllib's `Invalid value (at line 3, column 9)`."""
    found = re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", str(error))
    return f"{found[2]}: {found[1][:1].lower()}{found[1][1:]}" if found else str(error)


def _line_of(text: str, dotted: str) -> int | str:
    """The line a key stands on: a scan that knows headers and plain keys, which is what people write."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = header[1].replace(" ", "").replace('"', "") + "."
        elif found := re.match(r"""\s*([\w."'-]+)\s*=""", line):
            key = table + found[1].replace('"', "").replace("'", "")
            if dotted == key or dotted.startswith(key + "."):
                return number
    return "?"


def _from_toml(kind: object, value: object) -> object:
    """A TOML value as the field's kind."""
    optional, kind = _strip_optional(kind)
    if optional and value == "":
        return None
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _WrongKindError(f"a list of {_expected(typing.get_args(kind)[0])}")
        return tuple(_from_toml(typing.get_args(kind)[0], item) for item in value)
    if kind is float and type(value) is int:
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise _WrongKindError(_expected(kind))
    if kind in (bool, int, float, str) and type(value) is kind:
        return value
    if isinstance(value, str) and kind not in (bool, int, float, str):
        return _from_text(kind, value)
    raise _WrongKindError(_expected(kind))


def _from_text(kind: object, text: str) -> object:
    """Text of an environment variable or an argument as the field's kind; lists are separated by commas."""
    optional, kind = _strip_optional(kind)
    if optional and text == "":
        return None
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return tuple(_from_text(item, part.strip()) for part in text.split(",") if part.strip())
    try:
        return _parse(kind, text)
    except (ValueError, KeyError) as error:
        raise _WrongKindError(_expected(kind)) from error


def _parse(kind: object, text: str) -> object:
    if kind is bool:
        lowered = text.strip().lower()
        if lowered not in _YES | _NO:
            raise ValueError(text)
        return lowered in _YES
    if kind is float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    if kind is bytes:
        return bytes.fromhex(text)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind[text.upper().replace("-", "_")]
    if kind is int or kind is str or kind is Path:
        return kind(text)
    raise LocalProtocolError(f"option kind: {kind} is not one that settings know")


def _strip_optional(kind: object) -> tuple[bool, object]:
    if typing.get_origin(kind) in (Union, types.UnionType):
        rest = [part for part in typing.get_args(kind) if part is not type(None)]
        if len(rest) == 1:
            return True, rest[0]
    return False, kind


def _expected(kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(member.name.lower() for member in kind)
    names: dict[object, str] = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text in quotes",
    }
    names |= {bytes: "octets in hex", Path: "a path in quotes"}
    return names.get(kind, str(kind))


def as_toml(options: object) -> str:
    """The tree as TOML text with every key, in the order of declaration."""
    lines: list[str] = []
    section: tuple[str, ...] | None = None
    for key in keys_of(options).values():
        if key.path[:-1] != section:
            section = key.path[:-1]
            lines += ([""] if lines else []) + ([f"[{'.'.join(section)}]"] if section else [])
        lines.append(f"{key.path[-1]} = {_toml_value(key.default)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    match value:
        case None:
            return '""'
        case bool():
            return "true" if value else "false"
        case enum.Enum():
            return f'"{value.name.lower()}"'
        case int() | float():
            return repr(value)
        case bytes():
            return f'"{value.hex()}"'
        case tuple():
            return "[" + ", ".join(_toml_value(item) for item in value) + "]"
        case _:
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
