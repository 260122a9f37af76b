"""Writes docs/options.md, the page of every option: `python -m tests.support.options_page`.

Made from the same list as the settings of the dashboard, so that neither can lack one.
"""

from itertools import groupby
from pathlib import Path

from vigilnet.node.option_list import OptionInfo, option_list
from vigilnet.surface.control.host import is_live

PAGE = Path(__file__).parents[2] / "docs" / "options.md"
HEAD = """\
# Every option

In the settings file as `[TABLE]` and `KEY = VALUE`; on the command line `--set TABLE.KEY=VALUE`; in the
environment `VIGILNET_TABLE_KEY`; of a running node `vigilnet config set TABLE.KEY VALUE`. Precedence:
defaults < file < environment < command line. *At once* options need no restart. Written by
`python -m tests.support.options_page`.
"""


def options_page() -> str:
    """The whole page."""
    parts = [HEAD]
    for table, options in groupby(option_list(), key=lambda info: info.key.rpartition(".")[0]):
        rows = list(options)
        head = "| option | kind | default | meaning |\n|---|---|---|---|\n"
        parts.append(f"\n## {table}\n\n{rows[0].table}\n\n{head}")
        parts += [_row(info) for info in rows]
    return "".join(parts)


def _row(info: OptionInfo) -> str:
    kind = "one of " + ", ".join(info.choices) if info.choices else info.kind
    kind += ", or empty" if info.optional else ""
    default = f"`{info.default}`" if info.default else "(empty)"
    meaning = info.meaning.replace("|", "\\|").replace("<", "&lt;")
    if is_live(info.key):
        meaning += ("; " if meaning else "") + "*at once*"
    return f"| `{info.key}` | {kind} | {default.replace('|', chr(92) + '|')} | {meaning} |\n"


def write() -> None:
    """Write the page anew."""
    PAGE.write_text(options_page())


if __name__ == "__main__":
    write()
