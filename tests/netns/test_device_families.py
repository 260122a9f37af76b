"""A protected device on networks of IPv4 alone and of IPv6 alone."""

import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.nodes import SUPPORT

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
