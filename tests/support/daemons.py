"""vigilnetd as processes on loopback, without namespaces, and a web site for them to reach."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.origins import running
from tests.support.ports import free_port
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Status

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def node(
    folder: Path, name: str, environment: Mapping[str, str], **settings: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Run vigilnetd with settings by name, a dot written as two underscores."""
    common = {
        "node__state_folder": folder / name, "node__peers_folder": folder / "peers", "node__network": "lab",
        "node__work_bits": 0, "link__allow_private_addresses": "true", "ingress__socks_enabled": "false",
        "status__enabled": "false",
    }  # fmt: skip
    words = [f"{key.replace('__', '.')}={value}" for key, value in {**common, **settings}.items()]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VIGILNET_")}
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), kept.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "vigilnet.surface.daemon"]
    for word in words:
        command += ["--set", word]
    with (
        (folder / f"{name}.log").open("wb") as log,
        subprocess.Popen(command, env={**kept, **environment}, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def status_of(folder: Path, name: str) -> Status | None:
    with contextlib.suppress(VigilnetError), ControlClient(folder / name, timeout=5.0) as control:
        return control.status()
    return None


@contextlib.contextmanager
def web_site(folder: Path) -> Iterator[int]:
    """Serve a page.txt that says `found`; give the port."""
    folder.mkdir()
    (folder / "page.txt").write_text("found\n")
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with running(command, port, folder):
        yield port
