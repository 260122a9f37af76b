"""Puts whole folders into the site's navigation, and what nobody listed, so that no page is left out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDERS = {
    "TUTORIALS": "tutorials",
    "USE-CASES": "use-cases",
    "SPEC": "spec",
    "DECISIONS": "decisions",
    "BENCHMARKS": "benchmarks",
}
REST = "REST"


def on_config(config: Any) -> Any:  # noqa: ANN401 mkdocs gives no types
    """Fill in the folders; called by mkdocs."""
    docs = Path(config["docs_dir"])
    nav = filled(config["nav"], docs)
    listed = set(leaves(nav))
    rest = [page for page in sorted(docs.rglob("*.md")) if str(page.relative_to(docs)) not in listed]
    config["nav"] = without_empty(filled(nav, docs, [str(page.relative_to(docs)) for page in rest]))
    return config


def filled(nav: Any, docs: Path, rest: list[str] | None = None) -> Any:  # noqa: ANN401 a tree of lists, mappings and texts
    """Return the navigation with each mark replaced by its pages."""
    if isinstance(nav, list):
        return [filled(entry, docs, rest) for entry in nav]
    if isinstance(nav, dict):
        return {title: filled(entry, docs, rest) for title, entry in nav.items()}
    if nav in FOLDERS:
        return [str(page.relative_to(docs)) for page in sorted((docs / FOLDERS[nav]).glob("*.md"))]
    return rest if nav == REST and rest is not None else nav


def leaves(nav: Any) -> Iterator[str]:  # noqa: ANN401
    """Give every page that is listed."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from leaves(entry)


def without_empty(nav: list[Any]) -> list[Any]:
    """Return the navigation without sections that have no page."""
    return [entry for entry in nav if not (isinstance(entry, dict) and list(entry.values()) == [[]])]
