"""A protected device on networks of IPv4 alone, of IPv6 alone, and of IPv6 with a NAT64 to relays of IPv4."""

import contextlib
import os
import socket
import sys
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from tests.support.device import RELAY_PORT, ProtectedDevice, Sniffer, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab, ip
from tests.support.nodes import SUPPORT, Network

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "curl", "dig")]

ECHO_PORT = 7777


def echoed(device: ProtectedDevice) -> bool:
    """Whether a datagram comes back, within a few tries."""
    address = device.network.address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with device.host.entered(), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.0)
        for _ in range(8):
            sent = os.urandom(100)
            with contextlib.suppress(OSError):
                sock.sendto(sent, (address, ECHO_PORT))
                if sock.recv(65_536) == sent:
                    return True
    return False


@pytest.mark.parametrize("version", [4, 6])
def test_a_network_of_one_family_alone(tmp_path: Path, version: int) -> None:
    with Lab() as lab:
        device = start_device(lab, tmp_path, v4=version == 4, v6=version == 6)
        device.start_helper()
        device.network.target.start(sys.executable, SUPPORT / "udp_echo.py", ECHO_PORT)
        before = device.state()
        device.ask("up")
        device.ask("change", fields={"dns": "overlay"})
        with device.sniff() as sniffer:
            url = f"http://{device.network.in_url}/page.txt"
            assert device.network.curl(url) == "found\n"
            assert echoed(device)
            kind = "A" if version == 4 else "AAAA"
            server = "192.0.2.53" if version == 4 else "2001:db8::53"
            said = device.host.run("dig", "+short", "+time=8", f"@{server}", "site.test", kind).stdout
            assert said.strip() == device.network.address
        assert not sniffer.leaks
        device.ask("down")
        assert device.state() == before


PREFIX = "fd77:64::"  # of the network's own: the well-known one serves no private IPv4 addresses
TAYGA = """
tun-device nat64
ipv4-addr 10.99.64.1
ipv6-addr fd77:65::1
prefix fd77:64::/96
dynamic-pool 10.99.64.0/24
data-dir {folder}
"""


class Nat64:
    """A network whose only way to IPv4 is tayga, in a host of its own, and whose name server says so."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = Path()  # the client's resolv.conf, which the system puts in place for its host

    def start(self, network: Network) -> None:
        """Take IPv4 from the client, and IPv6 from what the relays say of themselves."""
        host, client = network.others["nat64"], network.client
        ip("-n", client.name, "-4", "addr", "flush", "dev", client.interfaces[0])
        ip("-n", client.name, "-6", "route", "add", "default", "via", host.v6)
        for node in network.nodes.values():
            if "relay" in node.tables:
                node.tables["relay"]["listen"] = [f"{node.host.v4}:{RELAY_PORT}"]
        config = self._folder / "tayga.conf"
        config.write_text(TAYGA.format(folder=self._folder))
        host.run("tayga", "-c", config, "--mktun")
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            host.sysctl(key, 1)
        ip("-n", host.name, "link", "set", "nat64", "up")
        ip("-n", host.name, "route", "add", "10.99.64.0/24", "dev", "nat64")
        ip("-n", host.name, "-6", "route", "add", f"{PREFIX}/96", "dev", "nat64")
        host.run("nft", "add table ip n; add chain ip n p { type nat hook postrouting priority 100; };"
                 " add rule ip n p ip saddr 10.99.64.0/24 masquerade")  # fmt: skip
        host.start("tayga", "-c", config, "-d")
        host.start(sys.executable, SUPPORT / "dns_server.py", 53, "", host.v6, PREFIX, network.target.v4)
        self.names = Path("/etc/netns") / client.name / "resolv.conf"
        self.names.parent.mkdir(parents=True)
        self.names.write_text(f"nameserver {host.v6}\n")

    def end(self) -> None:
        if self.names.name:
            self.names.unlink()
            self.names.parent.rmdir()


@needs_programs("tayga")
def test_relays_of_ipv4_are_reached_from_a_network_of_ipv6_with_a_nat64(tmp_path: Path) -> None:
    network64 = Nat64(tmp_path)
    with Lab() as lab, contextlib.ExitStack() as ends:
        ends.callback(network64.end)
        device = start_device(lab, tmp_path, others=["nat64"], before_nodes=network64.start)
        network = device.network  # the client has a circuit, so it has reached relays of IPv4
        device.start_helper()
        before = device.state()
        device.ask("up")
        device.ask("change", fields={"dns": "overlay"})
        relays = {
            str(IPv6Address(f"{PREFIX}{node.host.v4}")) for node in network.nodes.values() if node.host.v4
        }
        switch = next(host for host in lab.namespaces if "switch" in host.name)
        with Sniffer(switch, "p1", relays) as sniffer:
            for url in (f"http://{network.target.v4}/page.txt", f"http://[{network.target.v6}]/page.txt"):
                assert network.curl(url) == "found\n"  # IPv4 works, too, where the network has none
        assert sniffer.links
        asked = f"> {network.others['nat64'].v6}:53"  # by the node: where is the NAT64?
        assert all(leak.endswith(asked) for leak in sniffer.leaks), sniffer.leaks
        device.ask("down")
        assert device.state() == before


@needs_programs("tayga")
def test_addresses_that_the_networks_nat64_makes_are_not_told_by_local_names(tmp_path: Path) -> None:
    """They mean nothing to an exit; the application is told the IPv4 address, which the tunnel carries."""
    network64 = Nat64(tmp_path)
    with Lab() as lab, contextlib.ExitStack() as ends:
        ends.callback(network64.end)
        device = start_device(lab, tmp_path, others=["nat64"], before_nodes=network64.start)
        network = device.network
        device.start_helper()

        def told(kind: str) -> str:
            return device.host.run(
                "dig", "+short", "+time=8", "@2001:db8::53", "old.test", kind
            ).stdout.strip()

        assert network.client.run("dig", "+short", "old.test", "AAAA").stdout.strip() == str(
            IPv6Address(f"{PREFIX}{network.target.v4}")
        )
        device.ask("up")  # names are local
        try:
            assert (told("AAAA"), told("A")) == ("", network.target.v4)
            assert network.curl("http://old.test/page.txt") == "found\n"
            device.ask("change", fields={"outside_domains": ["old.test"]})
            assert told("AAAA") == str(IPv6Address(f"{PREFIX}{network.target.v4}"))  # the way around needs it
        finally:
            device.ask("down")
