"""Pages whose commands are run as they stand there, and whose shown output is compared with what came.

In a page, a block ```console is a terminal: lines that begin with `$ ` are typed, `> ` goes on with the line
before, what follows up to the next one is what must be said (`...` stands for anything; blanks count as one;
none shown: it only has to succeed). A comment before the block says whose terminal it is; without one it is
yours. One of the form `<!-- lab: NAME -->` has something happen first that is not the reader's doing:

    <!-- on: friend -->
    ```console
    $ vigilnet status          # exit code 3
    ● Not protected ...
    ```
"""

import contextlib
import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

YOU = "you"
TIMEOUT_S = 90.0
LAB = "lab"
_BLOCK = re.compile(r"(?:<!-- (on|lab): ([\w-]+) -->\n)?```console\n(.*?)```", re.DOTALL)
_EXIT = re.compile(r"#.*\bexit code (\d+)\s*$")


@dataclass(frozen=True)
class Step:
    """One command of a page."""

    host: str
    command: str
    shown: str

    @property
    def exit_code(self) -> int:
        """What it has to end with."""
        found = _EXIT.search(self.command)
        return int(found[1]) if found else 0


def steps_of(text: str) -> list[Step]:
    """Every command of a page, in order."""
    steps: list[Step] = []
    for kind, name, block in _BLOCK.findall(text):
        host = name if kind == "on" else YOU
        if kind == LAB:
            steps.append(Step(LAB, name, ""))
        command, shown = "", list[str]()
        for line in [*block.splitlines(), "$ "]:
            if line.startswith("> "):
                command += f"\n{line[2:]}"
            elif line.startswith("$ "):
                if command:
                    steps.append(Step(host, command, "\n".join(shown)))
                command, shown = line[2:], []
            else:
                shown.append(line)
    return steps


def says(shown: str, came: str) -> bool:
    """Whether output is what a page shows.

    >>> says("a ... z", "a b  c z"), says("a", "b"), says("", "whatever")
    (True, False, True)
    """
    parts = [re.escape(" ".join(part.split())) for part in shown.split("...")]
    return not shown.strip() or re.search(r"\s*.*?\s*".join(parts), " ".join(came.split())) is not None


class Shell:
    """A shell that goes on from command to command, as a terminal does.

    Args:
        words: what starts it, such as `ip netns exec NAME bash`.
        environment: of all its commands.
        folder: where it begins.
    """

    def __init__(self, words: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment, cwd=folder, bufsize=0, start_new_session=True,
        )  # fmt: skip
        self._mark = f"-- {os.urandom(8).hex()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, command: str, timeout: float = TIMEOUT_S) -> tuple[str, int]:
        """Run a command; gives what it said and its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\nprintf '\\n%s %d\\n' '{self._mark}' $?\n".encode())
        end = re.compile(rf"\n{self._mark} (\d+)\n")
        said, give_up = b"", time.monotonic() + timeout
        while True:
            found = end.search(said.decode(errors="replace"))
            if found is not None:
                return said.decode(errors="replace")[: found.start()], int(found[1])
            said += self._read(max(0.0, give_up - time.monotonic()), said)

    def _read(self, patience: float, said: bytes) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        part = os.read(self._process.stdout.fileno(), 65536) if ready else b""
        if not part:
            raise AssertionError(
                f"the shell {'ended' if ready else 'waits'}: {said.decode(errors='replace')}"
            )
        return part


def follow(
    page: Path, shell_of: Callable[[str], Shell], act: Callable[[str], None]
) -> Iterator[tuple[Step, str]]:
    """Run a page's commands one after another; gives each and what it said.

    Args:
        page: the page.
        shell_of: gives the terminal of a host.
        act: has something happen that is not the reader's doing.

    Raises:
        AssertionError: a command ended otherwise than the page says, or said something else.
    """
    for step in steps_of(page.read_text()):
        if step.host == LAB:
            act(step.command)
            continue
        came, code = shell_of(step.host).run(step.command)
        assert code == step.exit_code, f"{page.name}: $ {step.command}\nexit code {code}\n{came}"
        assert says(step.shown, came), f"{page.name}: $ {step.command}\nshown:\n{step.shown}\ncame:\n{came}"
        yield step, came
