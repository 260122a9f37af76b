"""Relays and clients that find each other, each a real process in a host of its own."""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.netns import Namespace
from tests.support.nodes import VIGILNETD
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Status

IGMP = 2

Tables = dict[str, dict[str, object]]


def start(host: Namespace, folder: Path, name: str, tables: Tables, *arguments: str) -> Path:
    """Start a node; return its state folder."""
    launch(host, folder, name, tables, *arguments)
    return folder / name


def launch(
    host: Namespace, folder: Path, name: str, tables: Tables, *arguments: str
) -> "subprocess.Popen[bytes]":
    """Start a node; return its process."""
    everything: Tables = {"link": {"allow_private_addresses": True}, **tables}
    node: dict[str, object] = {"state_folder": str(folder / name), "network": "netns", "work_bits": 0}
    everything["node"] = node | tables.get("node", {})
    lines = []
    for table, keys in everything.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    file = folder / f"{name}.toml"
    file.write_text("\n".join(lines) + "\n")
    with (folder / f"{name}.log").open("ab") as log:
        return host.start(VIGILNETD, "--config", file, *arguments, stdout=log)


def relay_tables(host: Namespace, **discovery: object) -> Tables:
    """Settings of a relay without proxies that listens at its host's address."""
    return {
        "relay": {"enabled": True, "listen": [f"{host.v4}:4001"]},
        "ingress": {"socks_enabled": False, "http_enabled": False},
        "discovery": {"profile": "quiet", **discovery},
    }


def wait_until(state: Path, is_so: Callable[[Status], bool], timeout: float = 60.0) -> float:
    """Wait until a node's status is as wanted; return how long it took."""
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        with contextlib.suppress(VigilnetError), ControlClient(state) as control:
            if is_so(control.status()):
                return time.monotonic() - started
        signal.sigtimedwait([], 0.05)
    raise TimeoutError(f"{state.name}: not so after {timeout} s")


def invite_of(state: Path) -> str:
    """Wait until a relay serves; return its invite."""
    wait_until(state, lambda status: bool(status.listen))
    with ControlClient(state) as control:
        return control.invite().uri
