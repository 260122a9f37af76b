"""A client and a relay, as processes, whose link goes through somebody else's Shadowsocks server."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import node, status_of, web_site
from tests.support.needs import needs_programs
from tests.support.ports import free_port
from tests.support.shadowsocks_libev import ss_local, ss_server
from tests.support.sing_box import needs_sing_box, shadowsocks_server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, needs_programs("curl")]
KEY_OF_2022 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # any 32 octets


@contextmanager
def server(folder: Path, method: str, password: str) -> Iterator[int]:
    """Run Debian's server, or for the methods of 2022 sing-box."""
    if method.startswith("2022"):
        with shadowsocks_server(folder, method, password) as port:
            yield port
    else:
        with ss_server(method, password) as port:
            yield port


RELAY = {
    "relay__enabled": "true", "relay__listen": "", "exit__enabled": "true", "exit__policy": "open",
    "exit__allow_private_targets": "true", "exit__accept_notice": "true",
    "exit__abuse_contact": "abuse@example.test", "ingress__http_enabled": "false",
}  # fmt: skip


def fetch(folder: Path, proxy: int, target: int) -> None:
    """Wait for a circuit of the client's, and fetch the page over it."""
    wait_until(lambda: (found := status_of(folder, "client")) and found.first_circuit_ms, "a circuit", 90)
    curl = ["curl", "-sS", "--fail", "--max-time", "60", "--proxytunnel"]
    curl += ["--proxy", f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{target}/page.txt"]
    assert subprocess.run(curl, capture_output=True, check=True).stdout == b"found\n"


@pytest.mark.parametrize(
    ("method", "password"),
    [
        pytest.param("chacha20-ietf-poly1305", "a password", marks=needs_programs("ss-server")),
        pytest.param("2022-blake3-aes-256-gcm", KEY_OF_2022, marks=needs_sing_box),
    ],
)
def test_a_page_comes_over_a_link_through_another_server(tmp_path: Path, method: str, password: str) -> None:
    proxy, behind = free_port(), free_port()
    with (
        web_site(tmp_path / "target") as target,
        server(tmp_path, method, password) as port,
        node(
            tmp_path, "relay", {}, **RELAY,
            shadowsocks__behind=f"127.0.0.1:{behind}", shadowsocks__advertise=f"127.0.0.1:{port}",
            shadowsocks__method=method, shadowsocks__password=password,
        ),
        node(
            tmp_path, "client", {}, circuits__hops=1, ingress__http_port=proxy,
            link__transports="shadowsocks",
        ),
    ):  # fmt: skip
        fetch(tmp_path, proxy, target)


@needs_programs("ss-local")
def test_a_page_comes_over_a_link_that_begins_in_debians_client(tmp_path: Path) -> None:
    method, password, proxy, port = "chacha20-ietf-poly1305", "a password", free_port(), free_port()
    with (
        web_site(tmp_path / "target") as target,
        ss_local(method, password, port) as local,
        node(
            tmp_path, "relay", {}, **RELAY, shadowsocks__listen=f"127.0.0.1:{port}",
            shadowsocks__method=method, shadowsocks__password=password,
        ),
        node(
            tmp_path, "client", {}, circuits__hops=1, ingress__http_port=proxy,
            link__transports="shadowsocks", shadowsocks__clients=f"127.0.0.1:{port}=socks5://127.0.0.1:{local}",
        ),
    ):  # fmt: skip
        fetch(tmp_path, proxy, target)
