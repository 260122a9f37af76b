"""Writes handshakes.json: PYTHONPATH=. GO=/path/to/go python tests/vectors/ech/generate.py > handshakes.json

Runs our client against server.go (crypto/tls of Go 1.24 or later) and keeps what was said.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.ech import NAME, fixed_keys, fixed_offer
from tests.support.origins import make_certificates
from vigilnet.traffic.transport.htx.ech import decode_configs
from vigilnet.traffic.transport.htx.tls13 import TlsClient, TlsState

HERE = Path(__file__).parent
PUBLIC_NAME = "public.example.test"


def handshake(template: str, port: int, configs: bytes, kind: str = "") -> dict[str, Any]:
    """Run one handshake, and keep it."""
    (config,) = decode_configs(configs)
    outer, inner = fixed_offer(template, config)
    client = TlsClient(outer, lambda _: None, inner)
    said = b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(client.data_to_send())
        while client.state is not TlsState.OPEN:
            data = sock.recv(65_536)
            if not data:
                raise ConnectionResetError(f"{template}: the server closed")
            said += data
            client.receive(data)
            sock.sendall(client.data_to_send())
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        sock.sendall(client.data_to_send())
        page = b""
        while not page:
            data = sock.recv(65_536)
            said += data
            client.receive(data)
            page += client.data_received()
        client.close()
        sock.sendall(client.data_to_send())
    return {
        "template": template,
        "kind": kind,
        "configs": configs.hex(),
        "outer": outer.hello.encode().hex(),
        "server": said.hex(),
    }


def handshakes(folder: str, *kind: str) -> list[dict[str, Any]]:
    """Run one handshake with each template."""
    files = [str(Path(folder) / name) for name in ("chain.pem", "key.pem")]
    command = [os.environ.get("GO", "go"), "run", str(HERE / "server.go"), *files, PUBLIC_NAME, *kind]
    vectors = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        facts = json.loads(server.stdout.readline())
        for template in ("chromium", "firefox"):
            with fixed_keys():
                vectors.append(handshake(template, facts["port"], bytes.fromhex(facts["configs"]), *kind))
            heard = json.loads(server.stdout.readline())
            assert heard == {"name": NAME, "accepted": True, "error": ""}, heard
        assert server.stdin is not None
        server.stdin.close()
    return vectors


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder), NAME, days=36_500)
        vectors = [*handshakes(folder), *handshakes(folder, "retry")]
    json.dump({"vectors": vectors}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
