"""The rows of docs/requirements.md: `python -m tests.support.promises LNK-19 DIS-04` runs the tests of some.

Without rows it names those that are not whole. Tests in tests/netns need root.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "requirements.md"
_ROW = re.compile(r"^\| ([A-Z]{3}-\d\d) \| ([^|]+?) \|([^|]*)\|([^|]*)\|$", re.MULTILINE)


@dataclass(frozen=True)
class Promise:
    """One row."""

    row: str
    text: str
    proofs: tuple[str, ...]  # tests by their whole names, and commands
    remark: str

    @property
    def is_whole(self) -> bool:
        """Whether nothing lacks."""
        return "**Partly**" not in self.remark and "**Missing**" not in self.remark

    @property
    def tests(self) -> list[str]:
        """What pytest can run of it."""
        return [proof for proof in self.proofs if proof.startswith("tests/")]


def promises() -> list[Promise]:
    """Every row of the page, in order; `::test_x` is completed with the file named before."""
    found = []
    for row, text, proofs, remark in _ROW.findall(PAGE.read_text()):
        named: list[str] = []
        file = ""
        for proof in re.findall(r"`([^`]+)`", proofs):
            named.append(file + proof if proof.startswith("::") else proof)
            file = named[-1].partition("::")[0]
        found.append(Promise(row, text, tuple(named), remark.strip()))
    return found


def main(arguments: list[str]) -> int:
    """Run the tests of the rows named, or name the rows that are not whole."""
    if not arguments:
        for promise in promises():
            if not promise.is_whole:
                print(f"{promise.row}  {promise.text}: {promise.remark}")  # noqa: T201 what was asked for
        return 0
    tests = [test for promise in promises() if promise.row in arguments for test in promise.tests]
    if not tests:
        print(f"promises: no tests of {', '.join(arguments)}", file=sys.stderr)  # noqa: T201
        return 2
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", *tests], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
