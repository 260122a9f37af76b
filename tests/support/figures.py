"""Figures that a test measures beside what it asserts: shown by `pytest -s` or `pytest -rP`."""


def note(what: str, value: float, unit: str) -> None:
    """Say what was measured."""
    print(f"figure: {what}: {value:.4g} {unit}")  # noqa: T201  # that is its purpose
