"""Nothing of the program asks for what another system's Python lacks, as far as types tell."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_types_hold_on_other_systems(platform: str, tmp_path: Path) -> None:
    words = ["--platform", platform, "--cache-dir", str(tmp_path), "src"]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
