"""The shared protocol vectors, read once."""

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "vectors"


@cache
def protocol_vectors(name: str) -> list[dict[str, Any]]:
    """Return the vectors of tests/vectors/protocol/<name>.json."""
    vectors: list[dict[str, Any]] = json.loads((FOLDER / "protocol" / f"{name}.json").read_text())["vectors"]
    return vectors
