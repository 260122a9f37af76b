"""Two rules of the house as tests: each label has one use, and secrets are compared in constant time."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vigilnet.crypto.labels import Label

SOURCE = Path(__file__).parents[1] / "src" / "vigilnet"
SECRET_WORDS = {
    "authenticator",
    "cookie",
    "hmac",
    "mac",
    "passphrase",
    "password",
    "private",
    "psk",
    "secret",
    "tag",
    "token",
}


def nodes_where(pattern: str) -> Iterator[tuple[str, ast.AST]]:
    """Each module's path and each node of it, of those modules whose text has the pattern."""
    for path in sorted(SOURCE.rglob("*.py")):
        if re.search(pattern, text := path.read_text()):
            yield from ((str(path.relative_to(SOURCE)), node) for node in ast.walk(ast.parse(text)))


def test_each_label_is_used_at_one_place() -> None:
    uses: Counter[str] = Counter()
    for _, node in nodes_where(r"\bLabel\."):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Label":
            uses[node.attr] += 1
    assert set(uses) <= set(Label.__members__)
    assert {name: count for name, count in uses.items() if count > 1} == {}


def test_labels_are_written_nowhere_else() -> None:
    literal = re.compile(r"vigilnet v1 ")
    elsewhere = [
        f"{path}:{node.lineno}"
        for path, node in nodes_where("vigilnet v1 ")
        if not path.endswith("labels.py")
        and isinstance(node, ast.Constant)
        and isinstance(node.value, str | bytes)
        and literal.match(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    ]
    assert elsewhere == []


def test_labels_differ_from_each_other() -> None:
    assert len(set(Label)) == len(Label.__members__)


def words_of(node: ast.expr) -> set[str]:
    """The words of the name that an expression ends in."""
    if isinstance(node, ast.Call):
        return words_of(node.func)
    if isinstance(node, ast.Subscript):
        return words_of(node.value)
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return set() if name.isupper() else set(name.split("_"))  # a constant is no secret


def compares_secrets(node: ast.Compare) -> bool:
    """Whether == or != has a secret on a side, and no constant on the other."""
    sides = [node.left, *node.comparators]
    if not any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
        return False
    return not any(isinstance(side, ast.Constant) for side in sides) and any(
        words_of(side) & SECRET_WORDS for side in sides
    )


def test_secrets_are_not_compared_by_equality() -> None:
    """`crypto.kdf.is_equal` takes the same time wherever they differ."""
    words = "|".join(SECRET_WORDS)
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, node in nodes_where(rf"[=!]=[^;]{{0,200}}({words})|({words})[^;]{{0,200}}[=!]=")
        if isinstance(node, ast.Compare) and compares_secrets(node)
    ]
    assert found == []


def test_the_lint_sees_what_it_should() -> None:
    def is_found(text: str) -> bool:
        node = ast.parse(text, mode="eval").body
        assert isinstance(node, ast.Compare)
        return compares_secrets(node)

    assert is_found("tag == expected")
    assert is_found("self.cookie_secret != other")
    assert is_found("expected == hmac_sha256(key, data)[:16]")
    assert is_found("self.psk() == x")
    assert not is_found("token == 'e'")
    assert not is_found("tag is None")
    assert not is_found("stage == other")
