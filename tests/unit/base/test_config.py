"""Settings in layers: what wins, what is refused and how it is said."""

import contextlib
import enum
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.config import Settings, as_toml, keys_of
from vigilnet.base.errors import ConfigurationError, LocalProtocolError


class Colour(enum.Enum):
    RED = 1
    DARK_BLUE = 2


@dataclass(frozen=True)
class Inner:
    limit: int = 4

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit: got {self.limit}, expected at least 1")


@dataclass(frozen=True)
class Room:
    keepalive_s: float = 2.5
    is_quick: bool = True
    colour: Colour = Colour.RED
    listen: tuple[str, ...] = ("127.0.0.1:1",)
    ports: tuple[int, ...] = ()
    key: bytes = b"\x01\xff"
    folder: Path | None = None
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Tree:
    name: str = "x"
    room: Room = field(default_factory=Room)


def load(text: str, environment: dict[str, str] | None = None, **pairs: str) -> tuple[Tree, Settings[Tree]]:
    settings = Settings(Tree())
    settings.add_file(text.encode(), "n.toml", {"old.limit": "room.inner.limit"})
    settings.add_environment(environment or {}, ["VIGILNET_TEST_"])
    for dotted, value in pairs.items():
        settings.set_text(dotted.replace("__", "."), value, "command line")
    return settings.build(), settings


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return str(caught.value)


def test_no_layers_are_the_defaults() -> None:
    assert load("")[0] == Tree()


def test_every_kind_is_read_from_a_file() -> None:
    tree, settings = load("""
name = "n"
[room]
keepalive_s = 3
is_quick = false
colour = "dark-blue"
listen = ["[::1]:2", "a:3"]
ports = [1, 2]
key = "0a0b"
folder = "/x"
[room.inner]
limit = 9
""")
    assert tree == Tree(
        "n", Room(3.0, False, Colour.DARK_BLUE, ("[::1]:2", "a:3"), (1, 2), b"\n\x0b", Path("/x"), Inner(9))
    )
    assert settings.warnings == []


def test_later_layers_win() -> None:
    text = "[room]\nkeepalive_s = 1\nis_quick = false\nports = [1]\n[room.inner]\nlimit = 2"
    environment = {
        "VIGILNET_ROOM_KEEPALIVE_S": "7",
        "VIGILNET_ROOM_PORTS": "8, 9",
        "VIGILNET_ROOM_INNER_LIMIT": "3",
    }
    tree, settings = load(text, environment, room__keepalive_s="11")
    assert tree.room == Room(keepalive_s=11.0, is_quick=False, ports=(8, 9), inner=Inner(3))
    assert settings.origins["room.keepalive_s"] == "command line"
    assert settings.origins["room.ports"] == "environment VIGILNET_ROOM_PORTS"
    assert settings.origins["room.is_quick"] == "n.toml, line 3"


def test_the_empty_string_is_no_value_where_none_is_allowed() -> None:
    assert load('[room]\nfolder = "x"', {"VIGILNET_ROOM_FOLDER": ""})[0].room.folder is None
    assert load('[room]\nfolder = ""')[0].room.folder is None


def test_unknown_keys_are_named_with_line_and_a_guess() -> None:
    _, settings = load('# c\n[room]\nkeep_alive_s = 1\n[rom.inner]\nlimit = 1\n[zz]\nqqq="1"')
    assert settings.warnings == [
        "n.toml, line 3: unknown key 'room.keep_alive_s', did you mean 'room.keepalive_s'?; ignored",
        "n.toml, line 5: unknown key 'rom.inner.limit', did you mean 'room.inner.limit'?; ignored",
        "n.toml, line 7: unknown key 'zz.qqq'; ignored",
    ]


def test_a_guess_never_leads_to_one_of_several_tables() -> None:
    @dataclass(frozen=True)
    class Switch:
        enabled: bool = False

    @dataclass(frozen=True)
    class Two:
        exit: Switch = field(default_factory=Switch)
        relay: Switch = field(default_factory=Switch)

    settings = Settings(Two())
    settings.add_file(b"[other]\nenabled = true\n[old]\nkey = 1", "n.toml", {"old.key": ""})
    assert settings.warnings == [
        "n.toml, line 2: unknown key 'other.enabled'; ignored",
        "n.toml, line 4: old key 'old.key' has no effect in this version",
    ]


def test_unknown_environment_names_are_named() -> None:
    _, settings = load("", {"VIGILNET_ROOM_PORT": "1", "VIGILNET_TEST_X": "1", "HOME": "/"})
    assert settings.warnings == [
        "environment VIGILNET_ROOM_PORT: unknown name, did you mean 'VIGILNET_ROOM_PORTS'?"
    ]


def test_unknown_key_on_the_command_line_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"^command line: unknown key 'room.port', did you mean"):
        load("", room__port="1")


def test_old_names_are_read_as_the_new_ones() -> None:
    tree, settings = load("[old]\nlimit = 6")
    assert tree.room.inner.limit == 6
    assert settings.origins["room.inner.limit"] == "n.toml, line 2"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('keepalive_s = "fast"', "room.keepalive_s: got 'fast', expected a number (n.toml, line 2)"),
        ("keepalive_s = nan", "room.keepalive_s: got nan, expected a number (n.toml, line 2)"),
        ("keepalive_s = true", "room.keepalive_s: got True, expected a number (n.toml, line 2)"),
        ("is_quick = 1", "room.is_quick: got 1, expected true or false (n.toml, line 2)"),
        ("ports = 1", "room.ports: got 1, expected a list of a whole number (n.toml, line 2)"),
        ("ports = [1.5]", "room.ports: got [1.5], expected a whole number (n.toml, line 2)"),
        ('colour = "pink"', "room.colour: got 'pink', expected one of red, dark_blue (n.toml, line 2)"),
        ('key = "xy"', "room.key: got 'xy', expected octets in hex (n.toml, line 2)"),
        ("folder = 3", "room.folder: got 3, expected a path in quotes (n.toml, line 2)"),
        ("listen = [3]", "room.listen: got [3], expected text in quotes (n.toml, line 2)"),
        ("inner.limit = 0", "room.inner.limit: got 0, expected at least 1 (n.toml, line 2)"),
    ],
)
def test_wrong_values_name_key_got_expected_and_line(line: str, expected: str) -> None:
    assert refusal("[room]\n" + line) == expected


@pytest.mark.parametrize("value", ["maybe", ""])
def test_environment_values_of_a_wrong_kind_are_refused(value: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"room.is_quick: got '.*', expected true or false \(environ"
    ):
        load("", {"VIGILNET_ROOM_IS_QUICK": value})
    with pytest.raises(ConfigurationError, match=r"room.keepalive_s: got 'inf', expected a number"):
        load("", {"VIGILNET_ROOM_KEEPALIVE_S": "inf"})


def test_malformed_toml_says_file_line_and_what_to_do() -> None:
    assert refusal("a = 1\nb = = 2") == "n.toml: line 2, column 5: invalid value; correct that line"
    assert refusal("[room\n").startswith("n.toml: line 1, column 6: expected")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_a_file_that_exhausts_the_parser_is_refused(value: str) -> None:
    assert refusal(f"a = {value}") == "n.toml: too large a number or too deep a list; correct it"


def test_a_file_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"n.toml: octet 1 is not UTF-8; save the file as UTF-8 text"
    ):
        Settings(Tree()).add_file(b"a\xff", "n.toml")


def test_a_kind_that_settings_do_not_know_is_our_own_bug() -> None:
    @dataclass(frozen=True)
    class Odd:
        when: complex = 1j

    with pytest.raises(LocalProtocolError):
        Settings(Odd()).set_text("when", "1", "command line")


def test_as_toml_reads_back_as_the_same_tree() -> None:
    tree = Tree('a"\\b', Room(1.5, False, Colour.DARK_BLUE, (), (3, 4), b"", Path("/y")))
    settings = Settings(Tree())
    settings.add_file(as_toml(tree).encode(), "n.toml")
    assert settings.build() == tree
    assert settings.warnings == []


def test_empty_tables_and_odd_spellings_of_keys_do_no_harm() -> None:
    _, settings = load('[room]\n[empty]\n["a.b"]\n"c d" = 1')
    assert settings.warnings == ["n.toml, line ?: unknown key 'a.b.c d'; ignored"]


def test_an_optional_value_is_read_as_its_kind() -> None:
    @dataclass(frozen=True)
    class Optional:
        number: int | None = None
        either: int | str = 1

    settings = Settings(Optional())
    settings.set_text("number", "5", "command line")
    assert settings.build() == Optional(5)
    with pytest.raises(LocalProtocolError):
        settings.set_text("either", "5", "command line")


def test_keys_carry_their_names() -> None:
    key = keys_of(Tree())["room.inner.limit"]
    assert (key.dotted, key.variable, key.default) == ("room.inner.limit", "VIGILNET_ROOM_INNER_LIMIT", 4)


@given(st.binary(max_size=80))
def test_any_octets_load_or_are_refused_as_configuration(content: bytes) -> None:
    settings = Settings(Tree())
    with contextlib.suppress(ConfigurationError):
        settings.add_file(content, "n.toml")
        settings.build()
