"""A protected device among other things: containers, other tunnels, odd networks, and again and again.

inner ── client ─┬─ switch ─┬─ relay1, relay2, exit
        (sniffer)┘          └─ target: web, DNS, octets, UDP echo
"""

import contextlib
import dataclasses
import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, Sniffer, run_probes, start_device, where_of
from tests.support.figures import note
from tests.support.leak_probes import PROBES
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Namespace, ip, wait_for_port
from tests.support.nodes import SUPPORT
from tests.support.waiting import held, pause, wait_until
from vigilnet.traffic.device.backend import Capture

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "curl", "dig", "ping")]

ECHO_PORT = 7777
RESUMED_S = held(10.0)  # the bar
ASLEEP_S = 6.0


DOCKER = (  # its rules, as it writes them for its own bridge
    "add table ip docker; add chain ip docker post { type nat hook postrouting priority srcnat; };"
    'add rule ip docker post ip saddr 172.30.0.0/24 oifname != "c0" masquerade;'
    "add chain ip docker forward { type filter hook forward priority filter; };"
    'add rule ip docker forward iifname "c0" accept'
)


def start(lab: Lab, folder: Path, *, v4: bool = True, v6: bool = True) -> ProtectedDevice:
    made = start_device(lab, folder, v4=v4, v6=v6)
    made.start_helper()
    made.network.target.start(sys.executable, SUPPORT / "udp_echo.py", ECHO_PORT)
    return made


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedDevice]:
    with Lab() as lab:
        made = start(lab, tmp_path_factory.mktemp("device"))
        set_routes(made)
        yield made


def set_routes(device: ProtectedDevice) -> None:
    """Have the client's default routes lead to the target; they go when its interface does."""
    client, target = device.host, device.network.target
    ip("-n", client.name, "route", "replace", "default", "via", target.v4)
    ip("-n", client.name, "-6", "route", "replace", "default", "via", target.v6)


def open_files(device: ProtectedDevice) -> int:
    """How many descriptors the daemon has."""
    return len(list(Path(f"/proc/{device.network.user.pid}/fd").iterdir()))


def echoed(host: Namespace, address: str, size: int = 100) -> bool:
    """Whether a datagram from this host comes back, within a few tries."""
    with (
        host.entered(),
        socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.settimeout(1.0)
        for _ in range(8):
            sent = os.urandom(size)
            with contextlib.suppress(OSError):
                sock.sendto(sent, (address, ECHO_PORT))
                if sock.recv(65_536) == sent:
                    return True
    return False


@pytest.mark.parametrize(("times", "capture"), [(100, Capture.REDIRECT), (20, Capture.INTERFACE)])
def test_a_hundred_times_up_and_down_leave_nothing_behind(
    device: ProtectedDevice, times: int, capture: Capture
) -> None:
    """Routes, rules, nft, filters, resolver, groups; processes, files, descriptors, the system's settings."""
    device.stop_helper()
    device.capture = capture
    device.start_helper()
    device.ask("status")  # the session with the helper
    before, traces = device.state(), device.traces()
    files = open_files(device)
    device.ask("up")
    start_at = time.monotonic()
    for _ in range(times - 1):
        assert not device.ask("down").is_up
        assert device.ask("up").is_up
    taken = (time.monotonic() - start_at) / (times - 1)
    device.ask("down")
    assert device.state() == before
    for what, found in device.traces().items():
        assert found == traces[what], what
    assert open_files(device) <= files + 2  # links to relays may come and go
    note(f"up and down, capture by {capture}", taken, "s each time")
    assert taken < held(3.0)
    device.stop_helper()
    device.capture = ""
    device.start_helper()


def test_containers_behind_the_device_are_taken_along(device: ProtectedDevice) -> None:
    lab, client, target = device.lab, device.host, device.network.target
    inner = lab.namespace("inner")
    ip("-n", client.name, "link", "add", "c0", "type", "bridge", "forward_delay", 0)  # as Docker has one
    ip("link", "add", "v0", "netns", client.name, "type", "veth", "peer", "name", "eth0", "netns", inner.name)
    ip("-n", client.name, "link", "set", "v0", "master", "c0", "up")
    client.run("nft", DOCKER)
    for host, name, v4, v6 in (
        (client, "c0", "172.30.0.1/24", "fd30::1/64"),
        (inner, "eth0", "172.30.0.2/24", "fd30::2/64"),
    ):
        ip("-n", host.name, "addr", "add", v4, "dev", name)
        ip("-n", host.name, "addr", "add", v6, "dev", name, "nodad")
        ip("-n", host.name, "link", "set", name, "up")
    ip("-n", inner.name, "route", "add", "default", "via", "172.30.0.1")
    ip("-n", inner.name, "-6", "route", "add", "default", "via", "fd30::1")
    client.sysctl("net.ipv4.ip_forward", 1)
    client.sysctl("net.ipv6.conf.all.forwarding", 1)
    device.ask("up")
    device.ask("change", fields={"dns": "overlay"})
    try:
        with device.sniff() as sniffer:
            for url in (f"http://{target.v4}/page.txt", f"http://[{target.v6}]/page.txt"):
                assert inner.run("curl", "-sS", "-m", "15", url).stdout == "found\n"
            for address in (target.v4, target.v6):
                assert echoed(inner, address)
            assert "1 received" in inner.run("ping", "-c1", "-W5", target.v4).stdout
            said = inner.run("dig", "+short", "+time=8", "+tries=1", "@192.0.2.53", "site.test").stdout
            assert said.strip() == target.v4
        assert not sniffer.leaks
        with device.sniff() as sniffer:  # and nothing of theirs when nobody carries it
            device.network.user.kill()
            inner.run("curl", "-m2", f"http://{target.v4}/", check=False)
            inner.run("ping", "-c1", "-W1", target.v4, check=False)
            pause(0.2)
        assert not sniffer.leaks
    finally:
        device.network.user.start()
        wait_until(lambda: device.network.user.status() is not None, "the client answers")
        device.ask("up")
        device.ask("down")
        client.run("nft", "delete table ip docker")
        client.sysctl("net.ipv4.ip_forward", 0)
        client.sysctl("net.ipv6.conf.all.forwarding", 0)


@pytest.mark.parametrize("capture", Capture)
@pytest.mark.parametrize("forwards", [0, 1])
def test_a_neighbour_on_the_network_is_not_carried(
    device: ProtectedDevice, forwards: int, capture: Capture
) -> None:
    """It could use this device's circuits, and learn by which exit they leave."""
    host, target = device.host, device.network.target
    neighbour = device.network.nodes["relay1"].host
    device.stop_helper()
    device.capture = capture
    device.start_helper()
    device.ask("up")
    device.ask("change", fields={"dns": "overlay"})
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        host.sysctl(name, forwards)
    for address, near in ((target.v4, host.v4), (target.v6, host.v6), ("192.0.2.53", host.v4)):
        ip("-n", neighbour.name, "route", "add", address, "via", near)
    try:
        with device.sniff() as sniffer:
            for where in (target.v4, f"[{target.v6}]"):
                words = ("curl", "-sS", "-m", "2", f"http://{where}/page.txt")
                assert neighbour.run(*words, check=False).stdout == ""
            said = neighbour.run("ping", "-c1", "-W1", target.v4, check=False).stdout
            assert "0 received" in said
            asking = ("dig", "+short", "+time=1", "+tries=1", "@192.0.2.53", "site.test")
            assert target.v4 not in neighbour.run(*asking, check=False).stdout
            assert device.network.curl(f"http://{target.v4}/page.txt") == "found\n"
        assert not sniffer.leaks
    finally:
        for address in (target.v4, target.v6, "192.0.2.53"):
            ip("-n", neighbour.name, "route", "del", address)
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            host.sysctl(name, 0)
        set_routes(device)  # forwarding takes some of them away
        device.ask("change", fields={"dns": "local"})
        device.ask("down")
        device.stop_helper()
        device.capture = ""
        device.start_helper()


def set_wires(device: ProtectedDevice, mtu: int) -> None:
    """All wires of the network take packets of so many octets."""
    for host in device.lab.namespaces:
        for line in host.run("ip", "-br", "link").stdout.splitlines():
            name = line.split()[0].partition("@")[0]
            if name.startswith(("w1p", "p")) and name[-1].isdigit():
                ip("-n", host.name, "link", "set", name, "mtu", mtu)


@pytest.mark.parametrize("wire", [1280, 1500, 9000])
@pytest.mark.parametrize("mtu", [1280, 9000])
def test_nothing_is_too_large_whatever_the_mtu(device: ProtectedDevice, mtu: int, wire: int) -> None:
    network = device.network
    set_wires(device, wire)
    device.ask("up")
    device.ask("change", fields={"mtu": mtu})
    try:
        with device.sniff() as sniffer:
            file = network.folder / "fetched"
            network.curl("-o", file, f"http://{network.target.v4}/bulk")
            sent = hashlib.sha256((network.folder / "site" / "bulk").read_bytes()).hexdigest()
            assert hashlib.sha256(file.read_bytes()).hexdigest() == sent
            for address in (network.target.v4, network.target.v6):
                assert echoed(device.host, address, mtu - 48)
            words = ("ping", "-Mdo", "-c5", "-i0.2", "-W5", "-s", min(mtu - 60, 4000), network.target.v4)
            assert "bytes from" in device.host.run(*words, check=False).stdout
        assert not sniffer.leaks
    finally:
        device.ask("change", fields={"mtu": 1500})
        device.ask("down")
        set_wires(device, 1500)


def test_another_tunnels_routes_and_rules_are_left_alone(device: ProtectedDevice) -> None:
    host = device.host
    host.run("ip", "tuntap", "add", "other0", "mode", "tun")
    host.run("ip", "addr", "add", "10.66.0.2/24", "dev", "other0")
    host.run("ip", "link", "set", "other0", "up")
    host.run("ip", "rule", "add", "pref", "32764", "not", "fwmark", "51820", "lookup", "51820")
    host.run("ip", "route", "add", "10.67.0.0/16", "dev", "other0", "table", "51820")
    host.run("nft", "add", "table", "inet", "somebodys")
    try:
        before = device.state()
        device.ask("up")
        device.ask("change", fields={"underlay_marks": [51_820]})
        with device.sniff() as sniffer:
            assert device.network.curl(f"http://{device.network.target.v4}/page.txt") == "found\n"
        assert not sniffer.leaks
        device.ask("change", fields={"underlay_marks": []})
        device.ask("down")
        assert device.state() == before
    finally:
        host.run("nft", "delete", "table", "inet", "somebodys")
        host.run("ip", "rule", "del", "pref", "32764")
        host.run("ip", "link", "del", "other0")


def test_a_new_address_breaks_nothing_for_long(device: ProtectedDevice) -> None:
    host, target = device.host, device.network.target
    interface = host.interfaces[0]
    host.sysctl("net.ipv4.conf.all.promote_secondaries", 1)
    device.ask("up")
    try:
        url = f"http://{target.v4}/page.txt"
        assert device.network.curl(url) == "found\n"
        with device.sniff() as sniffer:
            ip("-n", host.name, "addr", "add", "10.77.1.77/24", "dev", interface)
            ip("-n", host.name, "addr", "del", f"{host.v4}/24", "dev", interface)
            changed_at = time.monotonic()
            wait_until(
                lambda: host.run("curl", "-sS", "-m", "2", url, check=False).stdout == "found\n",
                "the page again",
                timeout=30,
            )
            assert time.monotonic() - changed_at < RESUMED_S
        assert not sniffer.leaks
    finally:
        ip("-n", host.name, "addr", "add", f"{host.v4}/24", "dev", interface)
        ip("-n", host.name, "addr", "del", "10.77.1.77/24", "dev", interface)
        set_routes(device)
        device.ask("down")


def test_an_interface_that_comes_later_is_closed_at_once(device: ProtectedDevice) -> None:
    """The helper hears of it from the kernel; packet sockets passed there before."""
    host, other = device.host, device.lab.namespace("later")
    device.ask("up")
    try:
        ip(
            "link",
            "add",
            "late0",
            "netns",
            host.name,
            "type",
            "veth",
            "peer",
            "name",
            "p1",
            "netns",
            other.name,
        )
        ip("-n", other.name, "link", "set", "p1", "up")
        ip("-n", host.name, "addr", "add", "10.99.9.1/24", "dev", "late0")
        ip("-n", host.name, "link", "set", "late0", "up")
        ip("-n", host.name, "route", "add", "default", "via", "10.99.9.2", "metric", "9")
        wait_until(
            lambda: "late0" in host.run("nft", "list", "table", "netdev", "vigilnet").stdout, "it is closed"
        )
        with Sniffer(other, "p1", set()) as sniffer:
            where = dataclasses.replace(where_of(device), interface="late0")
            with host.entered():
                for name in (
                    name for name in PROBES if "packet socket" in name or "bound to the interface" in name
                ):
                    with contextlib.suppress(OSError):
                        PROBES[name](where)
            pause(0.3)
        assert not sniffer.leaks
    finally:
        ip("-n", host.name, "link", "del", "late0")
        device.ask("down")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same network", "another network"])
def test_after_a_suspend_traffic_resumes_within_ten_seconds(device: ProtectedDevice, elsewhere: bool) -> None:
    """All of ours stand still while the network goes away; they wake where they were, or elsewhere.

    Unlike in a real suspend the kernel's time goes on; connections are cut as they would be.
    """
    host, network = device.host, device.network
    interface = host.interfaces[0]
    url = f"http://{network.target.v4}/page.txt"
    host.sysctl("net.ipv4.conf.all.promote_secondaries", 1)
    device.ask("up")
    try:
        assert network.curl(url) == "found\n"
        ours = [pid for pid in host.pids() if b"vigilnet" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        with device.sniff() as sniffer:
            for pid in ours:
                os.kill(pid, signal.SIGSTOP)
            ip("-n", host.name, "link", "set", interface, "down")
            run_probes(device)
            pause(ASLEEP_S)
            if elsewhere:
                ip("-n", host.name, "addr", "add", "10.77.1.78/24", "dev", interface)
                ip("-n", host.name, "addr", "del", f"{host.v4}/24", "dev", interface)
            ip("-n", host.name, "link", "set", interface, "up")
            ip("-n", host.name, "addr", "replace", f"{host.v6}/64", "dev", interface, "nodad")
            set_routes(device)
            run_probes(device)
            for pid in ours:
                os.kill(pid, signal.SIGCONT)
            awake_at = time.monotonic()
            words = ("curl", "-sS", "-m", "1", url)
            wait_until(
                lambda: host.run(*words, check=False).stdout == "found\n", "the page again", timeout=30
            )
            resumed_s = time.monotonic() - awake_at
            pause(0.3)
        assert not sniffer.leaks
        note("resumed after a suspend", resumed_s, "s")
        assert resumed_s < RESUMED_S
    finally:
        if elsewhere:
            ip("-n", host.name, "addr", "replace", f"{host.v4}/24", "dev", interface)
            ip("-n", host.name, "addr", "del", "10.77.1.78/24", "dev", interface)
        set_routes(device)
        device.ask("down")


def test_the_sign_in_page_alone_is_reached(device: ProtectedDevice) -> None:
    script = (
        "import http.server as h\n"
        "class P(h.BaseHTTPRequestHandler):\n"
        " def do_GET(s):\n"
        "  s.send_response(302 if s.path!='/login' else 200)\n"
        f"  s.send_header('Location','http://{device.network.target.v4}:8080/login');s.end_headers()\n"
        "  s.wfile.write(b'sign in')\n"
        "h.HTTPServer(('',8080),P).serve_forever()\n"
    )
    device.network.target.start(sys.executable, "-c", script)
    wait_for_port(device.network.target, device.network.target.v4, 8080)
    probe = f"http://{device.network.target.v4}:8080/success.txt"
    device.network.user.stop()
    device.network.user.tables["device"]["portal_probe"] = probe
    device.network.user.start()
    device.network.user.wait_ready()
    device.ask("up")
    try:
        found = device.ask("portal", seconds=8)
        assert found.portal == f"http://{device.network.target.v4}:8080/login"
        with device.sniff() as sniffer:
            assert device.network.curl(found.portal) == "sign in"
            assert echoed(device.host, device.network.target.v4)
        assert {leak.rpartition(":")[2] for leak in sniffer.leaks} == {"8080"}
        pause(8.5)
        with device.sniff() as sniffer:
            assert device.network.curl(found.portal) == "sign in"  # by the exit
        assert not sniffer.leaks
    finally:
        device.ask("down")
