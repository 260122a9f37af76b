"""Writes docs/vigilnet.example.toml from the options' source: `python -m tests.support.example_config`.

Each key stands commented out at its default, with the words that stand beside the field in the source.
"""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from tests.support import options_page
from vigilnet.base.config import as_toml
from vigilnet.node.option_list import remarks
from vigilnet.node.options import Options

EXAMPLE = Path(__file__).parents[2] / "docs" / "vigilnet.example.toml"
HEAD = """\
# Every setting of VigilNet at its default; take the mark from the front of a line to change it.
# Precedence: defaults < this file < environment (VIGILNET_TABLE_KEY) < command line.
# The file is looked for in the platform's configuration folder unless --config names another.
"""


def example_text() -> str:
    """The whole file."""
    lines = [HEAD]
    _add_table(lines, Options(), ())
    return "\n".join(lines).rstrip("\n") + "\n"


def _add_table(lines: list[str], options: object, path: tuple[str, ...]) -> None:
    fields = dataclasses.fields(options)  # type: ignore[arg-type]  # every caller passes a dataclass
    beside = remarks(type(options))
    plain = [part.name for part in fields if not dataclasses.is_dataclass(getattr(options, part.name))]
    if plain:
        purpose = (inspect.getdoc(type(options)) or "").splitlines()[0]
        lines += [f"[{'.'.join(path)}]", f"# {purpose}"] if path else []
        values = dict(
            line.split(" = ", 1) for line in as_toml(options).split("\n[", 1)[0].splitlines() if " = " in line
        )
        lines += [f"#{name} = {values[name]}{_beside(beside.get(name))}" for name in plain if name in values]
        lines.append("")
    for part in fields:
        value: Any = getattr(options, part.name)
        if dataclasses.is_dataclass(value):
            _add_table(lines, value, (*path, part.name))


def _beside(remark: str | None) -> str:
    return f"  # {remark}" if remark else ""


if __name__ == "__main__":
    EXAMPLE.write_text(example_text())
    options_page.write()  # the same options, for readers
