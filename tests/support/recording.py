"""Terminal recordings of the tutorials: `python -m tests.support.recording` makes them anew (as root).

Runs the commands of docs/tutorials/*.md in the pages' small world, in a terminal, and writes
docs/casts/NAME.cast (asciinema, version 2) and docs/images/NAME.svg, which plays by itself in every browser,
asks no other host and holds still for who wants no motion. Times between commands are set, those of answers
are as they were, up to a second and a half.
"""

import json
import os
import pty
import re
import select
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from tests.support.walkthrough import LAB, YOU, Step, says, steps_of
from tests.support.walkthrough_world import PREPARE, World, world

DOCS = Path(__file__).parents[2] / "docs"
COLUMNS, ROWS = 100, 28
KEY_S, THINK_S, LONGEST_S, READ_S = 0.03, 0.7, 1.5, 1.6
TIMEOUT_S = 90.0
_PROMPT = "\x1b[32m$\x1b[0m "
_COLOURS = {
    "31": "#f57474",
    "32": "#6fdaa3",
    "33": "#f4bb70",
    "34": "#9db5ff",
    "2": "#8f9aaa",
    "1": "#ffffff",
}
_SGR = re.compile(r"\x1b\[([\d;]*)m")
_OTHERS = re.compile(
    r"\x1b\[[\d;?]*[A-Za-ln-z]|[\x00-\x09\x0b-\x1a\x1c-\x1f]"
)  # what a picture has no use for


@dataclass
class Cast:
    """What a terminal said, and when."""

    events: list[tuple[float, str]] = field(default_factory=list)
    now: float = 0.0

    def say(self, text: str, after: float) -> None:
        """Add output."""
        self.now = round(self.now + after, 3)
        self.events.append((self.now, text))

    def type(self, command: str) -> None:
        """Add a command as it is typed."""
        self.say(_PROMPT, 0.1)
        for number, character in enumerate(command):
            self.say("\r\n> " if character == "\n" else character, THINK_S if number == 0 else KEY_S)
        self.say("\r\n", 0.2)

    def encode(self) -> str:
        """As asciinema has it."""
        head = {"version": 2, "width": COLUMNS, "height": ROWS, "env": {"TERM": "xterm-256color"}}
        lines = [head, *([at, "o", text] for at, text in self.events)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


class Terminal:
    """A shell with a terminal of its own, whose commands are run one by one."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self._pid, self._handle = pty.fork()
        if not self._pid:
            os.chdir(folder)
            os.execvpe(words[0], list(words), environment)  # noqa: S606 the shell
        self._mark = f"-- {os.urandom(8).hex()}"
        size = f"stty rows {ROWS} cols {COLUMNS} -echo"
        self._read_to_mark(f"PS1= PS2=; {size}")

    def run(self, command: str) -> tuple[list[tuple[float, str]], int]:
        """Run a command; gives what it said, piece by piece with the time between, and its exit code."""
        return self._read_to_mark(command)

    def close(self) -> None:
        """End it."""
        os.close(self._handle)
        os.waitpid(self._pid, 0)

    def _read_to_mark(self, command: str) -> tuple[list[tuple[float, str]], int]:
        os.write(self._handle, f"{command}\nprintf '\\n%s %d\\n' '{self._mark}' $?\n".encode())
        end = re.compile(rf"\r?\n{self._mark} (\d+)\r?\n")
        pieces: list[tuple[float, str]] = []
        before = time.monotonic()
        give_up = before + TIMEOUT_S
        while True:
            whole = "".join(text for _, text in pieces)
            found = end.search(whole)
            if found is not None:
                return _cut(pieces, found.start()), int(found[1])
            ready, _, _ = select.select([self._handle], [], [], max(0.0, give_up - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{command}: {whole}")
            text = os.read(self._handle, 65536).decode(errors="replace")
            now = time.monotonic()
            pieces.append((now - before, text))
            before = now


def _cut(pieces: list[tuple[float, str]], size: int) -> list[tuple[float, str]]:
    kept = []
    for after, text in pieces:
        kept.append((after, text[:size]))
        size -= len(text)
        if size <= 0:
            break
    return kept


def record(page: Path, here: World) -> Cast:
    """Run a page's commands in a terminal; gives what one saw."""
    cast = Cast()
    home = here.folder / f"home-{YOU}"
    home.mkdir()
    environment = {**here.environment(home), "TERM": "xterm-256color", "PS1": "", "PS2": ""}
    terminal = Terminal(
        here.hosts[YOU].command("bash", "--norc", "--noprofile", "--noediting"), environment, home
    )
    prepare = PREPARE.format(resolver=here.folder / "resolv.conf").strip().replace("\n", " && ")
    assert terminal.run(prepare)[1] == 0
    for step in steps_of(page.read_text()):
        if step.host == LAB:
            here.act(step.command)
            continue
        _record_step(cast, step, terminal, page, home)
    cast.say(_PROMPT, 0.1)
    cast.say("", 3.0)
    terminal.close()
    return cast


def _record_step(cast: Cast, step: Step, terminal: Terminal, page: Path, home: Path) -> None:
    pieces, code = terminal.run(step.command)
    came = "".join(text for _, text in pieces)
    assert code == step.exit_code, f"{page.name}: $ {step.command}\nexit code {code}\n{came}"
    assert says(step.shown, _SGR.sub("", came)), f"{page.name}: $ {step.command}\n{came}"
    cast.type(re.sub(r"\s+# exit code \d+$", "", step.command))
    for after, text in pieces:
        cast.say(text.replace(str(home), "~"), min(after, LONGEST_S))
    if not came.endswith("\n"):
        cast.say("\r\n", 0.0)
    cast.now += READ_S


# --- the picture ---------------------------------------------------------------------------------


@dataclass
class Line:
    """One line of the screen's history."""

    text: str = ""
    at: float = 0.0


def lines_of(cast: Cast) -> list[Line]:
    """Return each line as it was when it was whole, and when that was; a rewritten line counts once."""
    lines = [Line()]
    for at, text in cast.events:
        for piece in re.split(r"(\r\n|\n|\r\x1b\[K)", text):
            if piece in ("\r\n", "\n"):
                lines.append(Line("", at))
            elif piece == "\r\x1b[K":
                lines[-1].text = ""
            elif piece:
                lines[-1].text += piece
                lines[-1].at = at
    return lines


def spans(text: str) -> Iterator[tuple[str, str]]:
    """Give a line's parts with their colours."""
    text, colour, at = _OTHERS.sub("", text), "", 0
    for found in _SGR.finditer(text):
        yield colour, text[at : found.start()]
        colour, at = _COLOURS.get(found[1], ""), found.end()
    yield colour, text[at:]


def picture(cast: Cast, title: str) -> str:
    """Return an SVG that shows the lines as they came; the last screen for who wants no motion."""
    lines = lines_of(cast)
    height, width, top = 18, 8.0, 26
    whole = cast.now
    loop = f"{whole:.2f}s steps(1,end) infinite"
    style = [
        "text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#e9edf3;white-space:pre}",
        f"@media (prefers-reduced-motion:no-preference){{.l{{opacity:0;animation:s {loop}}}",
        f"#r{{animation:r {loop}}}",
    ]
    body, scroll = [], [(0.0, 0)]
    for number, line in enumerate(lines):
        parts = "".join(
            f'<tspan fill="{colour}">{escape(part)}</tspan>' if colour else escape(part)
            for colour, part in spans(line.text)
            if part
        )
        if parts:
            share, name, y = min(99.99, line.at / whole * 100), f"k{number}", top + (number + 1) * height
            style.append(f"@keyframes {name}{{0%{{opacity:0}}{share:.2f}%{{opacity:1}}}}")
            style.append(f"#l{number}{{animation-name:{name}}}")
            body.append(f'<text id="l{number}" class="l" x="14" y="{y}">{parts}</text>')
        if number >= ROWS:
            scroll.append((min(99.99, line.at / whole * 100), (number - ROWS + 1) * height))
    frames = "".join(f"{at:.2f}%{{transform:translateY(-{by}px)}}" for at, by in scroll)
    style.append(f"@keyframes r{{{frames}}}}}")
    last = max(0, len(lines) - ROWS) * height
    style.append(f"@media (prefers-reduced-motion:reduce){{#r{{transform:translateY(-{last}px)}}}}")
    w, h = int(COLUMNS * width + 28), (ROWS + 1) * height + top
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" role="img">'
        f"<title>{escape(title)}</title><style>{''.join(style)}</style>"
        f'<rect width="{w}" height="{h}" rx="10" fill="#0b0e12"/>'
        f'<clipPath id="c"><rect x="0" y="{top}" width="{w}" height="{h - top - 6}"/></clipPath>'
        '<circle cx="18" cy="14" r="5" fill="#454f5e"/><circle cx="34" cy="14" r="5" fill="#454f5e"/>'
        '<circle cx="50" cy="14" r="5" fill="#454f5e"/>'
        f'<g clip-path="url(#c)"><g id="r">{"".join(body)}</g></g></svg>\n'
    )


def main(folder: Path = DOCS) -> int:
    """Record all tutorials."""
    (folder / "casts").mkdir(exist_ok=True)
    for page in sorted((DOCS / "tutorials").glob("*.md")):
        title = page.read_text().partition("\n")[0].removeprefix("# ")
        with tempfile.TemporaryDirectory(prefix="vigilnet-cast-") as place, world(Path(place)) as here:
            cast = record(page, here)
        (folder / "casts" / f"{page.stem}.cast").write_text(cast.encode())
        (folder / "images" / f"{page.stem}.svg").write_text(picture(cast, f"Recording: {title}"))
        sys.stdout.write(f"{page.stem}: {len(cast.events)} events, {cast.now:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
