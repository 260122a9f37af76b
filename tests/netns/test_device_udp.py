"""Datagrams of real programs on a protected device: WireGuard, and flows that outlive the exit's patience.

client ─┬─ switch ─┬─ relay1, relay2, exit
(sniffer)┘          └─ target: WireGuard, UDP servers
   wire = WireGuard's interface, in a host of its own
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Namespace, ip
from tests.support.nodes import Tables
from tests.support.waiting import pause, wait_until

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft")]

WIREGUARD_PORT, SEEN_PORT = 51_820, 7200
EXIT_IDLE_S = 2.0
SEEN = """
import socket
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); sock.setsockopt(41, 26, 0); sock.bind(("::", 7200))
while True:
    _, asker = sock.recvfrom(100); sock.sendto(str(asker[1]).encode(), asker)
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedDevice]:
    tables: dict[str, Tables] = {"exit": {"exit": {"datagram_idle_s": EXIT_IDLE_S}}}
    with Lab() as lab:
        made = start_device(lab, tmp_path_factory.mktemp("device"), tables=tables)
        made.start_helper()
        made.network.target.start(sys.executable, "-c", SEEN)
        made.ask("up")
        with made.sniff() as sniffer:
            yield made
        assert not sniffer.leaks
        made.ask("down")


class Flow:
    """One socket of an application that asks the target which port it sees."""

    def __init__(self, host: Namespace, address: str) -> None:
        with host.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(3.0)
        self._socket.connect((address, SEEN_PORT))

    def port(self) -> str:
        for _ in range(3):
            self._socket.send(b"?")
            try:
                return self._socket.recv(100).decode()
            except TimeoutError:
                continue
        raise AssertionError("no answer")

    def close(self) -> None:
        self._socket.close()


def test_a_flow_in_use_keeps_its_port_and_a_forgotten_one_gets_another(device: ProtectedDevice) -> None:
    flow, other = (Flow(device.host, device.network.target.v4) for _ in range(2))
    try:
        port, others = flow.port(), other.port()
        assert port != others
        for _ in range(8):  # twice as long as the exit keeps an idle one
            pause(EXIT_IDLE_S / 4)
            assert flow.port() == port
        pause(2 * EXIT_IDLE_S)
        assert (
            other.port().isdigit()
        )  # the exit has given the old one up; the application hears nothing of it
        assert flow.port().isdigit()
    finally:
        flow.close()
        other.close()


def _keys(folder: Path, name: str) -> tuple[Path, str]:
    secret = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
    file = folder / name
    file.write_text(secret)
    public = subprocess.run(["wg", "pubkey"], input=secret, capture_output=True, text=True, check=True).stdout
    return file, public.strip()


def _start_wireguard(host: Namespace, name: str, *words: object) -> None:
    process = host.start("wireguard-go", "-f", name)
    wait_until(Path(f"/var/run/wireguard/{name}.sock").exists, "WireGuard listens")
    assert process.poll() is None
    host.run("wg", "set", name, *words)


@needs_programs("wg", "wireguard-go", "ping", "iperf3")
def test_wireguard_crosses_three_hops(device: ProtectedDevice, tmp_path: Path) -> None:
    """By its userspace implementation: 1420 octets of a tunnel are datagrams of 1452, beside small ones."""
    target, wire = device.network.target, device.lab.namespace("wire")
    ours, theirs = f"vnw{os.getpid()}", f"vnt{os.getpid()}"
    (our_key, our_public), (their_key, their_public) = _keys(tmp_path, "ours"), _keys(tmp_path, "theirs")
    _start_wireguard(
        target, theirs, "listen-port", WIREGUARD_PORT, "private-key", their_key,
        "peer", our_public, "allowed-ips", "10.98.0.1/32",
    )  # fmt: skip
    _start_wireguard(
        device.host, ours, "private-key", our_key, "peer", their_public, "allowed-ips", "10.98.0.2/32",
        "endpoint", f"{target.v4}:{WIREGUARD_PORT}", "persistent-keepalive", "5",
    )  # fmt: skip
    ip("-n", device.host.name, "link", "set", ours, "netns", wire.name)  # its socket stays with the client
    for host, name, address in ((wire, ours, "10.98.0.1/24"), (target, theirs, "10.98.0.2/24")):
        ip("-n", host.name, "link", "set", name, "mtu", 1420)
        ip("-n", host.name, "addr", "add", address, "dev", name)
        ip("-n", host.name, "link", "set", name, "up")
    fills = ("-M", "do", "-s", 1392, "10.98.0.2")
    wait_until(
        lambda: wire.run("ping", "-c1", "-W5", *fills, check=False).returncode == 0, "the tunnel is open"
    )
    said = wire.run("ping", "-c5", "-i0.3", "-W20", *fills).stdout
    assert int(said.split(" received")[0].rsplit(maxsplit=1)[-1]) >= 4

    def is_carried(*way: str) -> bool:
        words = ("iperf3", "-c", "10.98.0.2", "-n", "5M", *way)
        return "iperf Done" in wire.run(*words, check=False, timeout=240).stdout

    wait_until(is_carried, "5 MB there")
    wait_until(lambda: is_carried("-R"), "5 MB back")  # it resets who comes while it ends the run before
