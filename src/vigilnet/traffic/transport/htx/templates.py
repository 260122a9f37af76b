"""What a browser's ClientHello is made of, as data (docs/spec/htx.md section 4).

A template is a JSON object; the files are beside this module, `vigilnet htx capture` makes more. Values that
a browser draws anew for each connection are described by their law, all else is kept octet for octet.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vigilnet.base.errors import ConfigurationError, LocalProtocolError
from vigilnet.traffic.transport.htx.wire import ExtensionType

FORMAT: Final = 1
OLD_AFTER_DAYS: Final = 180  # browsers change their hello a few times a year
GREASE: Final = -1  # in lists of numbers: a value drawn as the browser draws it
_DAY_S: Final = 86_400


@dataclass(frozen=True)
class Extension:
    """One extension of a template.

    `numbers` are the groups, algorithms, versions or share groups of those four extensions; `payloads` and
    `suites` the law of an ECH that only pretends (GREASE ECH); `data` what is constant in all others.
    """

    kind: int
    data: bytes = b""
    numbers: tuple[int, ...] = ()
    payloads: tuple[int, ...] = ()
    suites: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Template:
    """One browser's way to say hello.

    Args:
        name: of the file.
        browser: program, version and system as a person would say them.
        captured: day of the capture, days since 1970.
        source: how it was had.
        is_checked: whether it was compared with the real program.
        weight: how often it is drawn, relative to the others.
        record_version: in the header of the hello's record.
        is_shuffled: whether extensions are permuted, but for GREASE ones at both ends (Chromium).
        shares_x25519: whether the hybrid share uses the key of the plain one (NSS).
        suites: cipher suites.
        compressions: legacy compression methods.
        extensions: in their order.
    """

    name: str
    browser: str
    captured: int
    source: str
    is_checked: bool
    weight: float
    record_version: int
    is_shuffled: bool
    shares_x25519: bool
    suites: tuple[int, ...]
    compressions: bytes
    extensions: tuple[Extension, ...]

    def extension(self, kind: int) -> Extension | None:
        """Return the extension of this type."""
        return next((extension for extension in self.extensions if extension.kind == kind), None)

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """Protocols that the browser offers, first choice first."""
        found = self.extension(ExtensionType.ALPN)
        data = b"" if found is None else found.data[2:]
        names: list[bytes] = []
        while data:
            names.append(data[1 : 1 + data[0]])
            data = data[1 + data[0] :]
        return tuple(names)

    def age_days(self, wall: float) -> int:
        """How old the capture is."""
        return int(wall // _DAY_S) - self.captured

    def is_old(self, wall: float) -> bool:
        """Whether real browsers have probably changed since."""
        return self.age_days(wall) > OLD_AFTER_DAYS


def parse_template(text: str, name: str) -> Template:
    """Read a template's JSON.

    Raises:
        ConfigurationError: not such a file; the message names it.
    """
    try:
        values = json.loads(text)
        template = Template(
            name=name,
            browser=str(values["browser"]),
            captured=_days(_of_our_format(values)["captured"]),
            source=str(values["source"]),
            is_checked=bool(values["is_checked"]),
            weight=float(values["weight"]),
            record_version=int(values["record_version"]),
            is_shuffled=bool(values["is_shuffled"]),
            shares_x25519=bool(values["shares_x25519"]),
            suites=_numbers(values["suites"]),
            compressions=bytes.fromhex(values["compressions"]),
            extensions=tuple(_extension(value) for value in values["extensions"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"hello template {name}: not of format {FORMAT} ({error})") from error
    if template.weight < 0:
        raise ConfigurationError(f"hello template {name}: weight {template.weight}, at least 0 expected")
    return template


def _of_our_format(values: Mapping[str, Any]) -> Mapping[str, Any]:
    if values["format"] != FORMAT:
        raise ValueError(f"of format {values['format']}")
    return values


def _extension(value: Mapping[str, Any]) -> Extension:
    return Extension(
        kind=_number(value["type"]),
        data=bytes.fromhex(value.get("data", "")),
        numbers=_numbers(value.get("numbers", ())),
        payloads=tuple(int(size) for size in value.get("payloads", ())),
        suites=tuple((int(kdf), int(aead)) for kdf, aead in value.get("suites", ())),
    )


def _number(value: object) -> int:
    if value == "GREASE":
        return GREASE
    if not isinstance(value, int) or not 0 <= value < 1 << 16:
        raise ValueError(f"{value!r} is no 16-bit number")
    return value


def _numbers(values: Sequence[object]) -> tuple[int, ...]:
    return tuple(_number(value) for value in values)


def _days(text: str) -> int:
    year, month, day = (int(part) for part in text.split("-"))
    return days_from_civil(year, month, day)


def days_from_civil(year: int, month: int, day: int) -> int:
    """Return days since 1970 of a Gregorian date (Hinnant's algorithm).

    >>> days_from_civil(1970, 1, 1), days_from_civil(2000, 3, 1)
    (0, 11017)
    """
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def format_template(template: Template, captured: str) -> str:
    """Return the JSON that `parse_template` reads; `captured` is the day as YYYY-MM-DD."""

    def numbers(values: Sequence[int]) -> list[object]:
        return ["GREASE" if value == GREASE else value for value in values]

    extensions: list[dict[str, object]] = []
    for extension in template.extensions:
        value: dict[str, object] = {"type": numbers([extension.kind])[0]}
        if extension.data:
            value["data"] = extension.data.hex()
        if extension.numbers:
            value["numbers"] = numbers(extension.numbers)
        if extension.payloads:
            value |= {"payloads": list(extension.payloads), "suites": [list(s) for s in extension.suites]}
        extensions.append(value)
    head = {
        "format": FORMAT,
        "browser": template.browser,
        "captured": captured,
        "source": template.source,
        "is_checked": template.is_checked,
        "weight": template.weight,
        "record_version": template.record_version,
        "is_shuffled": template.is_shuffled,
        "shares_x25519": template.shares_x25519,
        "suites": numbers(template.suites),
        "compressions": template.compressions.hex(),
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    lines += ['  "extensions": [', ",\n".join(f"    {json.dumps(value)}" for value in extensions), "  ]"]
    return "\n".join(["{", *lines, "}"]) + "\n"


def draw(
    templates: Sequence[Template], random_bytes: Callable[[int], bytes], weights: Mapping[str, float]
) -> Template:
    """Draw a template for one connection; `weights` by name replace the templates' own.

    Raises:
        LocalProtocolError: none has a weight above 0.
    """
    shares = [(template, weights.get(template.name, template.weight)) for template in templates]
    total = sum(weight for _, weight in shares)
    if total <= 0:
        raise LocalProtocolError("hello templates: none has a weight above 0")
    at = int.from_bytes(random_bytes(7), "big") / (1 << 56) * total
    for template, weight in shares:
        at -= weight
        if at < 0:
            return template
    return next(template for template, weight in reversed(shares) if weight > 0)
