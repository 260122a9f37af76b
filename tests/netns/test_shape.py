"""A burst of traffic does not show on a link of constant rate (OBF-03): counted where the packets pass.

one namespace, loopback:  client ── HTX, shaped ── relay (an exit, with nginx behind it) ── target
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.capture import TCP, Tap, parse
from tests.support.figures import note
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Namespace
from tests.support.nodes import VIGILNETD
from tests.support.sockets import IS_OPEN, tcp_sockets
from tests.support.waiting import pause, wait_until
from vigilnet.surface.control.client import ControlClient

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nginx", "curl")]

WATCHED_S = 5.0
BURST = 150_000  # three seconds of the rate
SETTLED_S = 4.0  # the beginning of a connection is a page's visit


class Counter(Tap):
    """Counts the octets of one connection, each way."""

    def __init__(self, host: Namespace, ports: tuple[int, int]) -> None:
        super().__init__(host, socket.SOCK_DGRAM, "lo")
        self.octets = [0, 0]
        self._ports = ports

    def packet_read(self, octets: bytes, interface: str, kind: int, *, is_sent: bool) -> None:
        packet = parse(octets, is_sent=is_sent) if is_sent else None  # loopback shows each one twice
        if packet is None or packet.protocol != TCP:
            return
        ports = (packet.source_port, packet.target_port)
        header = (packet.octets[0] & 15) * 4
        payload = len(octets) - header - (packet.octets[header + 12] >> 4) * 4
        if ports in (self._ports, self._ports[::-1]):
            self.octets[ports != self._ports] += payload


@pytest.fixture(scope="module")
def host() -> Iterator[Namespace]:
    with Lab() as lab:
        yield lab.namespace("host")


def client_of_shape(host: Namespace, net: Path, folder: Path, shape: str) -> tuple[int, str]:
    """Start a client of the network with links of this shape; its process and its proxy."""
    theirs = (net / "client.toml").read_text().replace(f'"{net / "client"}"', f'"{folder}"')
    assert "[htx]\n" in theirs
    config = folder.with_suffix(".toml")
    config.write_text(theirs.replace("[htx]\n", f'[htx]\nshaping = "{shape}"\nconstant_octets_s = 50000\n'))
    words = ("--config", config, "--set", "status.port=0", "--json")
    node = host.start(VIGILNETD, *words, stdout=subprocess.PIPE)
    assert node.stdout is not None
    return node.pid, str(json.loads(node.stdout.readline())["socks"])


def watch(host: Namespace, ports: tuple[int, int]) -> list[int]:
    """The octets of a connection in some seconds, each way."""
    with Counter(host, ports) as counter:
        pause(WATCHED_S)
    return counter.octets


def test_a_burst_does_not_show_where_the_rate_is_constant(host: Namespace, tmp_path: Path) -> None:
    net = tmp_path / "net"
    words = ("testnet", "--transport", "htx", "--relays", 1, "--exits", 1, "--hops", 1)
    command = (sys.executable, "-m", "vigilnet.surface.cli.main", *words)
    testnet = host.start(*command, "--allow-private-targets", "--dir", net, "--json", stdout=subprocess.PIPE)
    assert testnet.stdout is not None
    assert testnet.stdout.readline().startswith(b"{")
    (tmp_path / "bulk").write_bytes(bytes(BURST))
    host.start(sys.executable, "-m", "http.server", 8000, "--bind", "127.0.0.1", "--directory", tmp_path)
    with ControlClient(net / "relay1") as control:
        guard = int(control.status().listen[0].rpartition(":")[2])
    shares = {}
    for shape in ("constant", "off"):
        pid, socks = client_of_shape(host, net, tmp_path / shape, shape)

        def carrying(pid: int = pid) -> list[int]:
            open_now = [each for each in tcp_sockets(pid) if each.state == IS_OPEN]
            return [each.port for each in open_now if each.remote_port == guard]

        def has_circuit(folder: Path = tmp_path / shape) -> bool:
            with ControlClient(folder) as control:
                return control.status().first_circuit_ms is not None

        wait_until(has_circuit, "the visit that the link begins with is over, and a circuit stands")
        (port,) = carrying()
        pause(SETTLED_S)
        idle = watch(host, (port, guard))
        fetch = host.start(
            "curl", "-sS", "-o", "/dev/null", "--retry", 5, "--retry-all-errors", "--socks5-hostname", socks,
            "http://127.0.0.1:8000/bulk", stdout=subprocess.PIPE,
        )  # fmt: skip
        busy = watch(host, (port, guard))
        assert fetch.wait(60) == 0
        assert carrying() == [port], "still the same connection"
        shares[shape] = busy[1] / max(idle[1], 1)
        note(f"{shape}: octets down while busy, times those while idle", shares[shape], "")
    assert 0.5 < shares["constant"] < 2.0
    assert shares["off"] > 5
