"""A newcomer who has the readme and nothing else: a fresh clone, its first command, then the others."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.figures import note
from tests.support.needs import needs_programs
from tests.support.walkthrough import YOU, follow
from tests.support.walkthrough_world import world

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BAR_S = 90.0  # told; held with room for a loaded machine and for packages that have to be fetched
PATIENCE_S = 600.0
pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("git", "make", "nft", "curl", "bash")]


@pytest.mark.timeout(900)
def test_from_a_fresh_clone_to_knowing_why_nothing_connects(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIGILNET_")}
    environment.pop("PYTHONPATH", None)
    clone = tmp_path / "vigilnet"
    started = time.monotonic()
    fetch(clone, environment)
    assert "make demo" in README.read_text()
    done = subprocess.run(
        ["make", "demo", "DEMO=--once"], cwd=clone, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    took = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    assert "You came here through three onion hops." in done.stdout
    note(f"fresh clone to a page through three hops (bar {BAR_S:.0f} s)", took, "s")
    with world(tmp_path / "world") as here:
        here.shell(YOU).run(f"cd {clone} && unset PYTHONPATH")
        followed = list(follow(README, here.shell, here.act))
    note("commands of the readme followed", len(followed), "")
    assert len(followed) >= 7


def fetch(clone: Path, environment: dict[str, str]) -> None:
    """Clone the repository; where this is only its files, copy them."""
    if not (ROOT / ".git").exists():
        made = shutil.ignore_patterns(
            ".venv", "node_modules", "build", ".*_cache", "__pycache__", ".hypothesis"
        )
        shutil.copytree(ROOT, clone, ignore=made)
        return
    settings = clone.with_name("gitconfig")
    settings.write_text("[safe]\n\tdirectory = *\n")  # it may be another user's than ours
    command = ["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(clone)]
    subprocess.run(command, check=True, env={**environment, "GIT_CONFIG_GLOBAL": str(settings)})
