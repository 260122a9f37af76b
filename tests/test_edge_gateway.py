"""The edge gateway of old, as processes: its own certificate by environment, CONNECT through it."""

import asyncio
import json
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.daemons import node, status_of, web_site
from tests.support.needs import needs_programs
from tests.support.ports import free_port
from tests.support.stream_reader import Reader
from tests.support.waiting import wait_until
from vigilnet.node.assembly import Node
from vigilnet.node.options import NodeOptions, Options, StatusOptions
from vigilnet.routing.circuits.pool import Options as CircuitsOptions
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.traffic.exit.prelude import HOST as PRELUDE_HOST
from vigilnet.traffic.ingress.options import Options as IngressOptions
from vigilnet.traffic.ingress.ports import OnionUnavailableError
from vigilnet.traffic.link.options import Options as LinkOptions
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.transport.htx.options import Options as HtxOptions

pytestmark = [pytest.mark.slow, needs_programs("nginx", "openssl", "curl")]
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


def test_curl_connects_through_a_gateway_with_a_self_signed_pair(tmp_path: Path) -> None:
    make_pair(tmp_path)
    port, proxy = free_port(), free_port()
    files = {"HTX_TLS_CERT": "chain.pem", "HTX_TLS_KEY": "key.pem", "HTX_TRUST_PEM": "chain.pem"}
    environment = {name: str(tmp_path / file) for name, file in files.items()}
    with (
        web_site(tmp_path / "target") as target,
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
    assert json.dumps(HOST)[1:-1] not in (tmp_path / "client.log").read_text()


async def asked_for_nothing(pool: CircuitPool) -> Stream:
    """Open a stream that will say inside itself where it goes, once the gateway's record is found."""
    async with asyncio.timeout(90):
        while True:
            try:
                return await pool.open_stream(Target(PRELUDE_HOST, 0), "old")
            except OnionUnavailableError:
                await asyncio.sleep(0.1)


def test_the_prelude_of_old_clients_is_taken_inside_a_link_over_htx(tmp_path: Path) -> None:
    """EXT-05 from end to end: a client in this process, the gateway in another."""
    make_pair(tmp_path)
    files = {"HTX_TLS_CERT": "chain.pem", "HTX_TLS_KEY": "key.pem", "HTX_TRUST_PEM": "chain.pem"}
    environment = {name: str(tmp_path / file) for name, file in files.items()}
    bind = f"127.0.0.1:{free_port()}"
    served = node(
        tmp_path, "gateway", {**environment, "BIND": bind}, exit__allow_private_targets="true",
        exit__policy="open", ingress__http_enabled="false", exit__accept_notice="true",
        exit__abuse_contact="abuse@example.test",
    )  # fmt: skip

    async def scenario(target: int) -> None:
        client = Node(
            Options(
                node=NodeOptions(
                    state_folder=tmp_path / "client",
                    peers_folder=tmp_path / "peers",
                    network="lab",
                    work_bits=0,
                ),
                link=LinkOptions(allow_private_addresses=True),
                htx=HtxOptions(trust_anchors=tmp_path / "chain.pem"),
                circuits=CircuitsOptions(hops=1),
                ingress=IngressOptions(socks_port=free_port(), http_enabled=False),
                status=StatusOptions(enabled=False),
            )
        )
        await client.start()
        try:
            assert client._pool is not None
            stream = await asked_for_nothing(client._pool)
            reader = Reader(stream)
            stream.write(
                b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (target, target)
                + b"GET /page.txt HTTP/1.0\r\n\r\n"
            )
            stream.write_eof()
            answer = await reader.wait_end()
            assert answer.startswith(b"HTTP/1.1 200 Connection Established\r\n\r\nHTTP/1.0 200 OK")
            assert answer.endswith(b"found\n")
            gateway = status_of(tmp_path, "gateway")
            assert gateway is not None
            assert gateway.listen == (bind,)  # over HTX and not otherwise
        finally:
            await client.stop()

    with web_site(tmp_path / "target") as target, served:
        asyncio.run(scenario(target))
