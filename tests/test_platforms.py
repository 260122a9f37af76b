"""Nothing of the program asks for what another system's Python lacks, as far as types tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import socks_shim
from tests.support.digest_server import exchange, target

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_types_hold_on_other_systems(platform: str, tmp_path: Path) -> None:
    words = ["--platform", platform, "--cache-dir", str(tmp_path), "src"]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def as_windows(*words: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.as_windows", *words]


@pytest.mark.slow
def test_a_node_without_what_windows_lacks_carries_traffic(tmp_path: Path) -> None:
    content, folder = os.urandom(300_000), tmp_path / "net"
    words = ["testnet", "--relays", "3", "--hops", "3", "--allow-private-targets", "--dir", str(folder)]
    relays = subprocess.Popen(
        [sys.executable, "-m", "vigilnet.surface.cli.main", *words], text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with relays, target(content) as port:
        try:
            assert relays.stdout is not None
            assert relays.stdout.readline().startswith("{")
            config = tmp_path / "client.toml"
            state = str(tmp_path / "client")
            theirs = (folder / "client.toml").read_text()
            config.write_text(theirs.replace(f'"{folder / "client"}"', f'"{state}"'))
            node = subprocess.Popen(
                as_windows("vigilnet.surface.daemon", "--json", "--config", str(config)), text=True,
                cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            with node:
                assert node.stdout is not None
                assert node.stderr is not None
                line = node.stdout.readline()
                assert line.startswith("{"), node.stderr.read()
                try:
                    assert not (tmp_path / "client" / "control.sock").exists()
                    host, _, socks = json.loads(line)["socks"].rpartition(":")
                    connection, _ = socks_shim.ask((host, int(socks)), 1, "127.0.0.1", port)
                    with connection:
                        assert exchange(connection, b"there")[1] == content
                    cli = as_windows("vigilnet.surface.cli.main")
                    there = ["--state-folder", state]
                    up = subprocess.run(
                        [*cli, "up", *there], cwd=REPOSITORY, capture_output=True, text=True, check=False
                    )
                    assert (up.returncode, "SOCKS5 proxy to 127.0.0.1:" in up.stderr) == (8, True), up.stderr
                    subprocess.run([*cli, "stop", *there], cwd=REPOSITORY, capture_output=True, check=True)
                    assert node.wait(60) == 0
                finally:
                    node.kill()
        finally:
            relays.terminate()
