"""The node as Windows' own Python runs it (in Wine): a whole network of such processes, and real traffic.

Skipped where there is no Wine or no such Python; tests/support/windows_python.py says how to get both.
"""

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import tomlkit

from tests.support import socks_shim, windows_python
from tests.support.digest_server import exchange, target
from tests.support.needs import needs_programs

PYTHON: Final = Path(os.environ.get(windows_python.VARIABLE, ""))
PATIENCE_S: Final = 240  # Wine makes its machine at the first start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        windows_python.wine() is None or not (PYTHON / "cp311").is_dir(),
        reason=f"only on request: {windows_python.VARIABLE} says where (tests/support/windows_python.py)",
    ),
]


class Machine:
    """One Wine, and programs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = windows_python.environment(folder / "prefix")

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            windows_python.command(PYTHON, *words), env=self._environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def end(self) -> None:
        """End Wine with all that still runs in it."""
        server = Path(windows_python.wine() or "").with_name("wineserver")
        subprocess.run([server, "-k"], env=self._environment, check=False, capture_output=True)

    def run(self, *words: str) -> tuple[int, str]:
        """Return the exit code of a `vigilnet` command, and what it said."""
        with self.start("-m", "vigilnet.surface.cli.main", *words) as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE_S)
            return process.returncode, left_in(process)


def left_in(process: "subprocess.Popen[str]") -> str:
    """Return what an ended process has said; no more, for a node that it started has the pipe too."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    said = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(process.stdout.fileno(), 1 << 16):
            said += part
    return said.decode(errors="replace").replace("\r\n", "\n")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(tmp_path_factory.mktemp("windows"))
    with made.start("-c", "print()") as first:  # Wine makes its machine, and says so
        first.communicate(timeout=PATIENCE_S)
    yield made
    made.end()


@contextlib.contextmanager
def network_of(machine: Machine, *words: str) -> Iterator[dict[str, Any]]:
    """Run a network of Windows processes; gives what it says of itself."""
    process = machine.start(
        "-m", "vigilnet.surface.cli.main", "testnet", "--allow-private-targets", "--duration", "600", *words
    )
    try:
        said = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith("{"):
                break
        else:
            pytest.fail(f"the network did not start: {said}")
        yield json.loads(said[-1])
    finally:
        folder = windows_python.windows_path(machine.folder / "net" / "client")
        machine.run("stop", "--state-folder", folder)
        process.wait(PATIENCE_S)
        left_in(process)
        process.__exit__(None, None, None)


def test_three_hops_of_windows_processes_carry_traffic(machine: Machine) -> None:
    sent, content = os.urandom(2_000_000), os.urandom(2_000_000)
    net = windows_python.windows_path(machine.folder / "net")
    with target(content) as port, network_of(machine, "--relays", "3", "--hops", "3", "--dir", net) as facts:
        host, _, socks = facts["socks"].rpartition(":")
        connection, _ = socks_shim.ask((host, int(socks)), 1, "127.0.0.1", port)
        with connection:
            assert exchange(connection, sent) == (hashlib.sha256(sent).digest(), content)
        host, _, proxy = facts["http_proxy"].rpartition(":")
        with socket.create_connection((host, int(proxy)), PATIENCE_S) as connection:
            connection.sendall(
                f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += socks_shim.receive(connection, 1)
            assert b" 200 " in head.partition(b"\r\n")[0]
            assert exchange(connection, sent[:70_000])[1] == content

        folder = windows_python.windows_path(machine.folder / "net" / "client")
        code, said = machine.run("circuits", "--state-folder", folder, "--json")
        assert code == 0, said
        assert any(len(one["hops"]) == 3 for one in json.loads(said)["circuits"]), said


@needs_programs("nginx")
def test_a_windows_client_uses_relays_of_linux_over_htx(machine: Machine) -> None:
    folder, content = machine.folder / "htx", os.urandom(500_000)
    words = ["--transport", "htx", "--relays", "3", "--hops", "3", "--allow-private-targets"]
    relays = subprocess.Popen(
        [sys.executable, "-m", "vigilnet.surface.cli.main", "testnet", *words, "--dir", folder], text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with relays, target(content) as port:
        assert relays.stdout is not None
        assert relays.stdout.readline().startswith("{")
        config, ours = machine.folder / "htx.toml", windows_python.windows_path(machine.folder / "htx-client")
        theirs = tomlkit.parse((folder / "client.toml").read_text())
        node, htx = theirs["node"], theirs["htx"]
        assert isinstance(node, dict)
        assert isinstance(htx, dict)
        node["state_folder"] = ours
        node["peers_folder"] = windows_python.windows_path(folder / "records")
        htx["trust_anchors"] = windows_python.windows_path(folder / "site" / "root.pem")
        config.write_text(tomlkit.dumps(theirs))
        client = machine.start(
            "-m", "vigilnet.surface.daemon", "--json", "--config", windows_python.windows_path(config)
        )
        try:
            facts = json.loads(next(line for line in client.stdout or () if line.startswith("{")))
            host, _, socks = facts["socks"].rpartition(":")
            connection, _ = socks_shim.ask((host, int(socks)), 1, "127.0.0.1", port)
            with connection:
                assert exchange(connection, b"x" * 100_000) == (
                    hashlib.sha256(b"x" * 100_000).digest(),
                    content,
                )
            code, said = machine.run("peers", "--state-folder", ours)
            assert (code, "Answers over HTX" in said) == (0, True), said
        finally:
            machine.run("stop", "--state-folder", ours)
            client.wait(PATIENCE_S)
            left_in(client)
            client.__exit__(None, None, None)
            relays.terminate()


def test_up_says_what_to_set_and_ends_with_8(machine: Machine) -> None:
    folder = windows_python.windows_path(machine.folder / "one")
    config = machine.folder / "one.toml"
    config.write_text(
        "[ingress]\nsocks_port = 0\nhttp_port = 0\n[status]\nport = 0\n[discovery]\nmdns = false\n"
    )
    where = ("--state-folder", folder, "--config", windows_python.windows_path(config))
    try:
        code, said = machine.run("up", *where)
        assert code == 8, said
        assert "the whole device is not protected, only apps that are set to use the proxy" in said
        assert "SOCKS5 proxy to 127.0.0.1:" in said
        second, said = machine.run("run", "--dir", folder, "--config", windows_python.windows_path(config))
        assert second == 1, said
        assert "in use by process" in said
    finally:
        assert machine.run("stop", "--state-folder", folder)[0] == 0


def test_state_is_kept_and_wiped(machine: Machine) -> None:
    folder = windows_python.windows_path(machine.folder / "keys")
    code, made = machine.run("keys", "generate", "--state-folder", folder)
    assert code == 0, made
    assert machine.run("keys", "show", "--state-folder", folder) == (0, made)
    code, said = machine.run("wipe", "--yes", "--state-folder", folder)
    assert code == 0, said
    code, other = machine.run("keys", "generate", "--state-folder", folder)
    assert (code, other != made) == (0, True), other
