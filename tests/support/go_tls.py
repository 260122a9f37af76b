"""A TLS server with encrypted client hellos: tests/vectors/ech/server.go, built with Go and run on loopback.

A wheel holds Go (requirements/interop-lock.txt, pinned by hash); nothing of the product needs it.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

SOURCE = Path(__file__).parents[1] / "vectors" / "ech" / "server.go"


def _go() -> str | None:
    """Return where Go is: the wheel's, else one that is installed."""
    found = importlib.util.find_spec("go")
    program = Path(found.origin).parent / "bin" / "go" if found and found.origin else None
    return str(program) if program and program.exists() else shutil.which("go")


needs_go = pytest.mark.skipif(
    _go() is None, reason="needs Go: requirements/setup.sh requirements/interop-lock.txt"
)


def build(folder: Path) -> Path:
    """Build the server, without the network; give the program."""
    program = folder / "ech-server"
    quiet = {"GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTELEMETRY": "off"}
    subprocess.run(
        [_go() or "go", "build", "-o", str(program), str(SOURCE)],
        env=({} if "HOME" in os.environ else {"GOCACHE": str(folder / "cache")}) | os.environ | quiet,
        check=True,
    )
    return program


@dataclass(frozen=True)
class EchOrigin:
    """Where it listens, its ECHConfigList, and what it says of its handshakes, one by one."""

    port: int
    configs: bytes
    output: IO[str]

    def handshake(self) -> dict[str, Any]:
        """Return the next one: the name that was asked for, whether the ECH was taken, what went wrong."""
        found: dict[str, Any] = json.loads(self.output.readline())
        return found


@contextlib.contextmanager
def ech_origin(
    program: Path, folder: Path, public_name: str, *, retries: bool = False
) -> Iterator[EchOrigin]:
    """Run the server; the folder has chain.pem and key.pem. It may ask for another hello each time."""
    command = [str(program), str(folder / "chain.pem"), str(folder / "key.pem"), public_name]
    command += ["retry"] if retries else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        facts = json.loads(server.stdout.readline())
        try:
            yield EchOrigin(facts["port"], bytes.fromhex(facts["configs"]), server.stdout)
        finally:
            server.stdin.close()
