"""The table of promises is true: every row is there once, and every proof that it names exists."""

import ast
import importlib.util
import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "requirements.md"
ROW = re.compile(r"^\| ([A-Z]{3}-\d\d) \| ([^|]+?) \|([^|]*)\|([^|]*)\|$", re.MULTILINE)
ROWS = {
    "CIR": [*range(1, 9), 13, 14],
    "LNK": range(1, 23),
    "EXT": [*range(1, 6), 17, 20],
    "SEC": range(2, 9),
    "TRU": [9, 15, 16],
    "API": range(1, 17),
    "DIS": range(1, 19),
    "NAM": [1],
    "MOD": range(1, 23),
    "TUN": range(1, 15),
    "GUI": range(1, 11),
    "OBF": range(1, 7),
    "PRF": range(1, 9),
    "DOC": range(1, 11),
    "PKG": [15],
    "ASK": [*range(1, 15), 23, 24, 28, 30],
}


@cache
def names_in(file: Path) -> frozenset[str]:
    return frozenset(
        node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)
    )


def is_there(proof: str, file: str) -> bool:
    """Whether a proof exists; `::test_x` is a test of `file`, which was named before."""
    if proof.startswith("python -m "):
        return importlib.util.find_spec(proof.split()[2]) is not None
    if not proof.startswith(("tests/", "::")):
        return True  # a command of make or of ours: test_docs looks after those
    path, _, name = (file + proof if proof.startswith("::") else proof).partition("::")
    return (ROOT / path).is_file() and (not name or name in names_in(ROOT / path))


def test_every_row_is_there_once() -> None:
    found = Counter(match[1] for match in ROW.finditer(PAGE.read_text()))
    assert found == Counter(f"{wing}-{number:02}" for wing, numbers in ROWS.items() for number in numbers)


def test_every_proof_that_is_named_exists() -> None:
    missing, file = [], ""
    for row, _, proofs, _ in ROW.findall(PAGE.read_text()):
        for proof in re.findall(r"`([^`]+)`", proofs):
            if proof.startswith("tests/"):
                file = proof.partition("::")[0]
            if not is_there(proof, file):
                missing.append((row, proof))
    assert missing == []


def test_a_row_without_a_proof_says_so() -> None:
    silent = [
        row
        for row, _, proofs, rest in ROW.findall(PAGE.read_text())
        if not proofs.strip() and not rest.strip()
    ]
    assert silent == []
