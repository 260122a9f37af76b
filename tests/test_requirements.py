"""The table of promises is true: every row is there once, and every proof that it names exists."""

import ast
import importlib.util
from collections import Counter
from functools import cache
from pathlib import Path

from tests.support.promises import ROOT, promises

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


def is_there(proof: str) -> bool:
    """Whether a proof exists."""
    if proof.startswith("python -m "):
        return importlib.util.find_spec(proof.split()[2]) is not None
    if not proof.startswith("tests/"):
        return True  # a command of make or of ours: test_docs looks after those
    path, _, name = proof.partition("::")
    return (ROOT / path).is_file() and (not name or name in names_in(ROOT / path))


def test_every_row_is_there_once() -> None:
    found = Counter(promise.row for promise in promises())
    assert found == Counter(f"{wing}-{number:02}" for wing, numbers in ROWS.items() for number in numbers)


def test_every_proof_that_is_named_exists() -> None:
    named = [(promise.row, proof) for promise in promises() for proof in promise.proofs]
    assert len(named) > 300
    assert [(row, proof) for row, proof in named if not is_there(proof)] == []


def test_a_row_without_a_proof_says_why() -> None:
    assert [promise.row for promise in promises() if not promise.proofs and not promise.remark] == []
