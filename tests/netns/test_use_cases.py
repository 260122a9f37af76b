"""The use cases and tutorials of docs: each command is run as its page has it, in a world of namespaces."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.figures import note
from tests.support.needs import needs_programs
from tests.support.walkthrough import YOU, follow, steps_of
from tests.support.walkthrough_world import world

DOCS = Path(__file__).parents[2] / "docs"
USE_CASES = sorted((DOCS / "use-cases").glob("*.md"))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "curl", "bash", "setpriv")]


def test_there_are_five_use_cases_and_three_tutorials_with_recordings() -> None:
    assert len(USE_CASES) == 5
    assert len(TUTORIALS) == 3
    for page in TUTORIALS:
        typed = "".join(json.loads(line)[2] for line in cast_of(page).splitlines()[1:])
        for step in steps_of(page.read_text()):
            if step.host == YOU:
                command = step.command.partition("    # exit code")[0]
                assert command in typed.replace("\r\n> ", "\n"), (
                    "record anew: python -m tests.support.recording"
                )


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_picture_of_a_recording_is_whole_and_asks_no_other_host(page: Path) -> None:
    picture = (DOCS / "images" / f"{page.stem}.svg").read_text()
    assert ElementTree.fromstring(picture).tag.endswith("svg")  # noqa: S314 our own file
    assert "href" not in picture
    assert "url(" not in picture.replace("url(#c)", "")
    assert f"images/{page.stem}.svg" in page.read_text()


def cast_of(page: Path) -> str:
    return (DOCS / "casts" / f"{page.stem}.cast").read_text()


@pytest.mark.parametrize("page", [*USE_CASES, *TUTORIALS], ids=lambda page: page.stem)
def test_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    with world(tmp_path) as here:
        commands = list(follow(page, here.shell, here.act))
    note(f"{page.stem}: commands followed", len(commands), "")
    if os.environ.get("VIGILNET_SHOW"):
        for step, came in commands:
            print(f"[{step.host}] $ {step.command}\n{came}")  # noqa: T201 asked for
