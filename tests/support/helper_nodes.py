"""Real nodes on loopback, started as people start them: `vigilnet run --dir ... --json`."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "node.network": "operators",
    "node.work_bits": "0",
    "link.allow_private_addresses": "true",
    "relay.listen": "127.0.0.1:0",
    "ingress.http_port": "0",
    "operators.rate_per_minute": "0",
    "discovery.profile": "quiet",
    "discovery.sources": "cache,invites,gossip,circuits,directories",
}
CONSENT = {"EXIT_ABUSE_EMAIL": "abuse@lab.example"}
PAGE = b"found\n"


@dataclass
class HelperNode:
    """One node; started by `with`, ended by SIGTERM."""

    folder: Path
    mode: str = "client"
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: dict[str, Any] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = None

    def __enter__(self) -> "HelperNode":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait for its line."""
        given = {
            key: value for key, value in os.environ.items() if not key.startswith(("VIGILNET_", "STEALTH_"))
        }
        paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        settings = [f"--set={key}={value}" for key, value in (SETTINGS | dict(self.settings)).items()]
        command = ["vigilnet.surface.cli.main", "run", "--dir", str(self.folder), "--helper-mode", self.mode]
        ports = ["--socks-port", "0", "--status-port", "0"]
        self.folder.mkdir(exist_ok=True)
        with (self.folder.parent / f"{self.folder.name}.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, *ports, "--json", *self.arguments, *settings],
                env={**given, "PYTHONPATH": paths, "XDG_CONFIG_HOME": str(self.folder), **self.environment},
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.folder.name} did not come up: {self.log}"
        self.ready = json.loads(line)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text()

    @property
    def url(self) -> str:
        """Where its status interface is."""
        return f"http://{self.ready['status']}"

    def stop(self) -> None:
        """End it in good order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(60) == 0, self.log
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Ask its HTTP interface; give the status and the JSON."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urlopen(Request(self.url + path, data, headers), timeout=60) as answer:  # noqa: S310 loopback
                return answer.status, json.loads(answer.read() or b"null")
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def status(self) -> dict[str, Any]:
        """Its `/status`."""
        code, value = self.ask("/status")
        assert code == 200
        return dict(value)

    def listed(self) -> dict[str, dict[str, Any]]:
        """What its directory lists, by peer id."""
        _, value = self.ask("/api/relays/by-country")
        return {relay["peer_id"]: relay for relays in value.values() for relay in relays}

    def wait_state(self, state: str, timeout: float = 60.0) -> None:
        """Wait until it says that it is so."""
        wait_until(lambda: self.status()["state"] == state, f"{self.folder.name} is {state}", timeout, 0.02)

    def fetch(self, port: int, host: str = "127.0.0.1") -> bytes:
        """Ask a target for its page through the node's SOCKS proxy; b"" if the proxy refuses."""
        at, _, socks = str(self.status()["socks_addr"]).rpartition(":")
        with socket.create_connection((at, int(socks)), 60) as connection:
            connection.sendall(b"\5\1\0")
            assert _exactly(connection, 2) == b"\5\0"
            connection.sendall(b"\5\1\0\1" + socket.inet_aton(host) + port.to_bytes(2))
            if _exactly(connection, 10)[1]:
                return b""
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            reply = b""
            while data := connection.recv(65_536):
                reply += data
        return reply.partition(b"\r\n\r\n")[2]


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return data.ljust(size, b"\xff")
        data += more
    return data


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server() -> Iterator[int]:
    """A target on loopback; gives its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class FailingDirectory(ThreadingHTTPServer):
    """An operator's directory that answers every question with 500, and counts them."""

    asked = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusal)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Refusal(BaseHTTPRequestHandler):
    server: FailingDirectory

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(500)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def failing_directory() -> Iterator[FailingDirectory]:
    """A directory on loopback that is of no use."""
    with FailingDirectory() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def exit_settings(*ports: int) -> dict[str, str]:
    """Settings of an exit to these ports of this machine."""
    rules = ",".join(f"accept *:{port}" for port in ports)
    return {"exit.allow_private_targets": "true", "exit.policy": "none", "exit.rules": rules}
