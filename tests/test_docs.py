"""What the pages say can be followed: links lead somewhere, commands exist."""

import argparse
import importlib
import json
import re
from pathlib import Path

import pytest

from tests.bench.discovery_page import markdown
from tests.support.options_page import PAGE, options_page
from vigilnet.node.option_list import option_list
from vigilnet.surface.cli.help_page import commands_of
from vigilnet.surface.cli.main import new_parser

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_relative_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


def test_make_commands_that_pages_name_are_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= targets


def test_readme_test_command_is_what_ci_runs() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    assert "steady make test" in script.splitlines()


def test_options_page_has_every_option() -> None:
    assert PAGE.read_text() == options_page(), "write it anew: python -m tests.support.options_page"
    assert all(f"| `{info.key}` |" in PAGE.read_text() for info in option_list())


def test_every_option_says_what_it_means() -> None:
    silent = [info.key for info in option_list() if not info.meaning]
    assert silent == [], "say it beside the field"


def test_the_page_of_finding_peers_is_what_its_figures_say() -> None:
    figures = json.loads((ROOT / "docs" / "benchmarks" / "discovery.json").read_text())
    page = (ROOT / "docs" / "benchmarks" / "discovery.md").read_text()
    assert page == markdown(figures), "run the benchmark again, or discovery_page.update"


def test_questions_are_at_least_twenty() -> None:
    assert (ROOT / "docs" / "faq.md").read_text().count("\n## ") >= 20


def test_every_page_is_in_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    pages = importlib.import_module("site_pages")
    docs = ROOT / "docs"
    settings = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = re.findall(r"- (?:[\w ]+: )?([\w-]+(?:\.md)?)$", settings, re.MULTILINE)
    nav = pages.on_config({"docs_dir": docs, "nav": listed})["nav"]
    assert {str(page.relative_to(docs)) for page in docs.rglob("*.md")} == set(pages.leaves(nav))


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """All options of a command and of those below it."""
    found = {text for action in parser._actions for text in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= set().union(*(options_of(below) for below in action.choices.values()))
    return found


def test_options_that_pages_show_exist() -> None:
    commands = next(a for a in new_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    unknown = []
    for page in PAGES:
        shown = re.findall(
            r"^(?:\$ |sudo |    )*(?:\.venv/bin/)?vigilnet ([a-z][a-z-]+)([^#\n|]*)",
            page.read_text(),
            re.MULTILINE,
        ) + re.findall(r"`(?:sudo )?vigilnet ([a-z][a-z-]+)([^`#|\n]*)`", page.read_text())
        for name, words in shown:
            command = commands.get(name)
            if (
                command is None or not command.add_help
            ):  # other programs' words: `vigilnet run` takes vigilnetd's
                continue
            ours = words.partition(" -- ")[0]
            known = options_of(command) | {"--state-folder", "--json"}
            unknown += [
                (page.name, name, one) for one in re.findall(r"\s(--[a-z-]+)", ours) if one not in known
            ]
    assert unknown == []


def test_commands_that_pages_show_exist() -> None:
    commands = {name.split()[0] for name, _ in commands_of(new_parser())}
    for page in PAGES:
        text = page.read_text()
        shown = re.findall(r"^(?:\$ |sudo |    )*(?:\.venv/bin/)?vigilnet ([a-z][a-z-]+)", text, re.MULTILINE)
        inline = re.findall(r"`(?:sudo )?vigilnet ([a-z][a-z-]+)[ `]", text)
        unknown = {name for name in (*shown, *inline) if name not in commands}
        assert unknown <= {"welcome", "control", "record"}, page  # of formats, not commands
