"""A node of the bare package: none of the extras is installed, nothing graphical among them (API-16)."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.helper_nodes import CONSENT, PAGE, SETTINGS, HelperNode, exit_settings, web_server
from vigilnet.surface.control.client import ControlClient

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
MODULES = {
    "acme": "acme", "dbus-fast": "dbus_fast", "josepy": "josepy", "maxminddb": "maxminddb",
    "miniupnpc": "miniupnpc", "opendht": "opendht", "qh3": "qh3", "requests": "requests",
}  # fmt: skip
HIDING = """
from importlib.machinery import PathFinder
found = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {modules!r} else found(name, path, target)
PathFinder.find_spec = find_spec
"""


def extras() -> set[str]:
    """The packages of all extras that are for users."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    ours = {name: listed[name] for name in listed if name not in ("dev", "bench", "interop", "docs")}
    return {package.partition(">")[0] for packages in ours.values() for package in packages}


def test_a_node_without_any_extra_serves_and_is_steered(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDING.format(modules={MODULES[name] for name in extras()}))
    paths = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    bare = {"PYTHONPATH": paths}
    hidden = [sys.executable, "-c", "import dbus_fast"]
    assert subprocess.run(hidden, env={**os.environ, **bare}, capture_output=True, check=False).returncode
    everything = {"discovery.sources": f"{SETTINGS['discovery.sources']},dht", "relay.map_port": "true"}
    with web_server() as target:
        settings = exit_settings(target) | everything
        arguments = ("--accept-exit-notice",)
        with HelperNode(tmp_path / "exit", "super", arguments, settings, CONSENT | bare) as relay:
            assert "vigilnet[dht]" in relay.log
            with ControlClient(relay.folder) as control:
                words = ("--invite", control.invite().uri)
            more = {"circuits.hops": "1"}
            with HelperNode(tmp_path / "client", "client", words, more, bare) as client:
                client.wait_state("connected")
                assert client.fetch(target) == PAGE
                command = [sys.executable, "-m", "vigilnet.surface.cli.main", "status", "--json"]
                shown = subprocess.run(
                    [*command, "--state-folder", str(client.folder)], env={**os.environ, **bare},
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
                assert json.loads(shown.stdout)["circuits"] >= 1, shown.stderr
