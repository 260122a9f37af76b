"""The edge gateway of old, as processes: its own certificate by environment, CONNECT through it."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from tests.support.origins import free_port
from tests.support.waiting import wait_until
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Status

pytestmark = [pytest.mark.slow, needs_programs("nginx", "openssl", "curl")]
ROOT = Path(__file__).parents[1]
HOST = "gateway.example.test"


def make_pair(folder: Path) -> None:
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "chain.pem"), "-days", "30",
            "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
        ],
        check=True, capture_output=True,
    )  # fmt: skip


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


def test_curl_connects_through_a_gateway_with_a_self_signed_pair(tmp_path: Path) -> None:
    make_pair(tmp_path)
    port, proxy, target = free_port(), free_port(), free_port()
    site = tmp_path / "target"
    site.mkdir()
    (site / "page.txt").write_text("found\n")
    files = {"HTX_TLS_CERT": "chain.pem", "HTX_TLS_KEY": "key.pem", "HTX_TRUST_PEM": "chain.pem"}
    environment = {name: str(tmp_path / file) for name, file in files.items()}
    server = [
        sys.executable,
        "-m",
        "http.server",
        str(target),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(site),
    ]
    with (
        subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as web,
        node(
            tmp_path, "gateway", {**environment, "BIND": f"127.0.0.1:{port}"},
            exit__allow_private_targets="true", exit__policy="open", ingress__http_enabled="false",
            exit__accept_notice="true", exit__abuse_contact="abuse@example.test",
        ),
        node(
            tmp_path, "client", {"HTX_TRUST_PEM": environment["HTX_TRUST_PEM"]},
            circuits__hops=1, ingress__http_port=proxy,
        ),
    ):  # fmt: skip
        try:
            wait_until(
                lambda: (found := status_of(tmp_path, "client")) and found.first_circuit_ms, "a circuit", 90
            )
            gateway = status_of(tmp_path, "gateway")
            assert gateway is not None
            assert gateway.listen == (f"127.0.0.1:{port}",)
            assert set(gateway.roles) == {"relay", "exit"}
            wait_until(
                lambda: (found := status_of(tmp_path, "gateway")) and found.origin == "up", "its origin", 60
            )
            curl = ["curl", "-sS", "--fail", "--max-time", "60", "--proxytunnel"]
            curl += ["--proxy", f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{target}/page.txt"]
            assert subprocess.run(curl, capture_output=True, check=True).stdout == b"found\n"
            context = ssl.create_default_context(cafile=environment["HTX_TRUST_PEM"])
            context.check_hostname = False  # the name is in no DNS
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/", context=context, timeout=30) as page:
                assert b"An ordinary page" in page.read()  # what everybody else sees
            with socket.create_connection(("127.0.0.1", port), 30) as probe:
                probe.sendall(b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\n")
                assert probe.recv(100).startswith(b"HTTP/1.1 400")  # nginx: not outside the link
        finally:
            web.terminate()
    assert json.dumps(HOST)[1:-1] not in (tmp_path / "client.log").read_text()
