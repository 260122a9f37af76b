"""Every sentence that the node says and the dashboard shows is there in German and French, in one file."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from vigilnet.node.option_list import option_list

ROOT = Path(__file__).parents[1]
SAID = ROOT / "web" / "dashboard" / "public" / "said.json"
SENTENCES: dict[str, dict[str, str]] = json.loads(SAID.read_text())
SOURCES = [
    *(ROOT / "src/vigilnet/surface/doctor").glob("*.py"),
    ROOT / "src/vigilnet/routing/discovery/reachability.py",
]
STEERING = [
    ROOT / "src/vigilnet/surface" / name
    for name in ("control/steering.py", "control/device.py", "host.py", "idle_device.py")
]
# What is typed or taken over as it is, and stays so in every language.
COMMAND = re.compile(r"(sudo |vigilnet |timedatectl |ulimit |chmod )[\w.{}@: /=-]*")


def test_every_option_and_table_is_translated() -> None:
    wanted = {text for info in option_list() for text in (info.meaning, info.table) if text}
    assert sorted(wanted - SENTENCES.keys()) == [], f"add them to {SAID.name}, and copy it: make web"


def test_every_finding_is_translated() -> None:
    wanted = {text for source in SOURCES for text in findings_of(source) if not COMMAND.fullmatch(text)}
    assert len(wanted) > 100
    assert sorted(wanted - SENTENCES.keys()) == [], f"add them to {SAID.name}, and copy it: make web"


def test_what_changes_say_is_translated() -> None:
    wanted = {text for source in STEERING for text in outcomes_of(source) if not COMMAND.fullmatch(text)}
    assert len(wanted) > 15
    assert sorted(wanted - SENTENCES.keys()) == [], f"add them to {SAID.name}, and copy it: make web"


def test_translations_are_whole_and_keep_their_values() -> None:
    for text, said in SENTENCES.items():
        for language in ("de", "fr"):
            assert said[language], text
            assert set(re.findall(r"{\d}", said[language])) == set(re.findall(r"{\d}", text)), text


def test_page_has_them_as_they_are() -> None:
    assert (ROOT / "src/vigilnet/surface/dashboard/said.json").read_bytes() == SAID.read_bytes()


def outcomes_of(source: Path) -> Iterator[str]:
    """Give what a module says of changes that a person asked for, done or refused."""
    for node in ast.walk(ast.parse(source.read_text())):
        name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and name == "Changed":
            said = node.args[1]
            both = [said.body, said.orelse] if isinstance(said, ast.IfExp) else [said]
            yield from filter(None, map(template, both))
        elif isinstance(node, ast.Call) and name == "ControlError" and not is_for_programs(node.args[0]):
            yield from filter(None, map(template, node.args[1:]))


def is_for_programs(code: ast.expr) -> bool:
    """Whether an error is of a program that asks wrongly, and no person at a button."""
    return getattr(code, "attr", "") in ("BAD_REQUEST", "UNKNOWN_METHOD", "FORBIDDEN", "UNSUPPORTED_VERSION")


def findings_of(source: Path) -> Iterator[str]:
    """Give title, meaning, next step and repair of each finding that a module makes, values as {0}, {1}..."""
    for node in ast.walk(ast.parse(source.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", "")
        first = {"failed": 1, "noted": 1, "passed": 1, "ReachFinding": 2}.get(name)
        if first is not None:
            texts = node.args[first : first + (1 if name == "passed" else 3)]
            texts += [keyword.value for keyword in node.keywords if keyword.arg == "repair"]
            yield from filter(None, map(template, texts))


def template(node: ast.expr) -> str:
    """Return a text as said.json has it; empty where it is made otherwise."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts, number = [], 0
        for value in node.values:
            if isinstance(value, ast.Constant):
                parts.append(str(value.value))
            else:
                parts.append(f"{{{number}}}")
                number += 1
        return "".join(parts)
    return ""
