"""The whole device where there is no nftables: TCP comes by the interface, filters stand at the doors.

    client ─┬─ switch ─┬─ relay1, relay2, exit
   (sniffer)┘          └─ target, which is the client's default router, too

Nothing but links, ARP and neighbour discovery may be seen there while the device is up.
"""

import contextlib
import os
import random
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.device import ProtectedDevice, run_probes, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab, ip
from tests.support.nodes import OCTETS_PORT
from tests.support.waiting import pause, wait_until
from vigilnet.surface.control.schema import ControlError
from vigilnet.traffic.backends import linux_io, routes
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.settings import INTERFACE, TUN_IPV4, TUN_IPV6
from vigilnet.traffic.device.translation import Translation, Verdict

SETTLE_S = 0.3
NOBODY, MOST = 65_534, 0xFFFF_FFFD

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("tc", "curl")]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedDevice]:
    with Lab() as lab:
        made = start_device(lab, tmp_path_factory.mktemp("device"))
        made.capture = "interface"
        client, target = made.host, made.network.target
        ip("-n", client.name, "route", "add", "default", "via", target.v4)
        ip("-n", client.name, "-6", "route", "add", "default", "via", target.v6)
        made.start_helper()
        yield made


@pytest.fixture
def up(device: ProtectedDevice) -> Iterator[ProtectedDevice]:
    device.ask("up")
    yield device
    device.ask("down")


def test_pages_come_through_the_exit_and_nothing_else_leaves(up: ProtectedDevice) -> None:
    with up.sniff() as sniffer:
        for host in (up.network.target.v4, f"[{up.network.target.v6}]"):
            assert up.network.curl(f"http://{host}/page.txt") == "found\n"
    assert not sniffer.leaks
    assert sniffer.links


def test_ten_megabytes_each_way_arrive_whole(up: ProtectedDevice) -> None:
    size = 10_000_000
    for address in (up.network.target.v4, up.network.target.v6):
        with up.host.entered():
            sock = socket.create_connection((address, OCTETS_PORT), timeout=20)
        with sock:
            sock.sendall(f"SEND {size}\n".encode())
            got = 0
            while got < size:
                got += len(sock.recv(1 << 20))
            assert got == size


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"outside_domains": ["site.test"]}, "excluding domains"),
        ({"firewall": ["in tcp 0.0.0.0/0 8080"]}, "letting others in by a rule"),
    ],
)
def test_what_only_nftables_can_keep_is_refused_before_anything_opens(
    device: ProtectedDevice, fields: dict[str, object], what: str
) -> None:
    before = device.state()
    device.ask("change", fields=fields)  # the device is down: nobody is asked yet
    with pytest.raises(ControlError, match=f"{what} needs nftables, which is missing here; install it"):
        device.ask("up")
    assert device.state() == before
    device.ask("change", fields={key: [] for key in fields})
    device.ask("up")
    with device.sniff() as sniffer:
        with pytest.raises(ControlError, match=what):
            device.ask("change", fields=fields)
        with pytest.raises(ControlError, match="nftables"):
            device.ask("portal", url=f"http://{device.network.target.v4}/", seconds=5)
        run_probes(device)
        assert device.network.curl(f"http://{device.network.target.v4}/page.txt") == "found\n"
        pause(SETTLE_S)
    assert not sniffer.leaks
    device.ask("down")
    assert device.state() == before


@needs_programs("setpriv")
@pytest.mark.parametrize("family", ["v4", "v6"])
def test_an_excluded_user_goes_around_and_others_do_not(up: ProtectedDevice, family: str) -> None:
    host, target = up.host, up.network.target
    up.ask("change", fields={"outside_users": [NOBODY, MOST]})
    where = target.v4 if family == "v4" else f"[{target.v6}]"

    def fetched(user: int, patience: int = 10) -> str:
        words = ("setpriv", f"--reuid={user}", "--clear-groups", "curl", "-sS", "-m", patience)
        return host.run(*words, f"http://{where}/page.txt", check=False).stdout

    try:
        for user in (NOBODY, MOST):
            with up.sniff() as sniffer:
                assert fetched(user) == "found\n"
            assert sniffer.leaks
            assert all(leak.endswith(":80") for leak in sniffer.leaks)
        with up.sniff() as sniffer:
            assert fetched(NOBODY - 1) == "found\n"
            up.ask("change", fields={"outside_users": []})
            assert fetched(NOBODY) == "found\n"
            run_probes(up)
            pause(SETTLE_S)
        assert not sniffer.leaks
        up.ask("change", fields={"outside_users": [NOBODY]})
        with up.sniff() as sniffer:
            up.stop_helper(9)
            assert fetched(NOBODY, 2) == ""  # nobody marks what it opens now
            pause(SETTLE_S)
        assert not sniffer.leaks
    finally:
        up.stop_helper()
        up.start_helper()
        up.ask("up")
        up.ask("change", fields={"outside_users": []})


def test_down_leaves_the_device_as_it_was(device: ProtectedDevice) -> None:
    before = device.state()
    assert device.ask("up").is_up
    assert device.state() != before
    assert not device.ask("down").is_up
    assert device.state() == before


def test_nothing_leaks_while_up_nor_when_daemon_and_helper_are_killed(device: ProtectedDevice) -> None:
    before = device.state()
    device.ask("up")
    with device.sniff() as sniffer:
        for mode in ("local", "overlay"):
            device.ask("change", fields={"dns": mode})
            run_probes(device)
        device.network.user.kill()
        run_probes(device)
        device.stop_helper(9)
        run_probes(device)
        pause(SETTLE_S)
    assert not sniffer.leaks
    device.repair()
    assert device.state() == before
    device.start_helper()
    device.network.user.start()
    device.network.user.wait_ready()


@pytest.mark.parametrize("capture", ["interface", "redirect"])
def test_an_interface_that_appears_while_up_is_closed_to_packet_sockets_too(
    device: ProtectedDevice, capture: str
) -> None:
    host = device.host
    device.stop_helper()
    device.capture = capture
    device.start_helper()
    device.ask("up")
    try:
        host.run("ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
        for name in ("late0", "late1"):
            host.run("ip", "link", "set", name, "up")
        with host.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as far:
            far.bind(("late1", 3))
            far.settimeout(0.2)
            assert _gets_through(far)
            host.run("ip", "route", "add", "default", "dev", "late0", "metric", "9000")
            wait_until(lambda: not _gets_through(far), "the interface is closed")
    finally:
        host.run("ip", "link", "del", "late0", check=False)
        device.ask("down")
        device.stop_helper()
        device.capture = "interface"
        device.start_helper()


def _gets_through(far: socket.socket) -> bool:
    mark = os.urandom(16)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as near:
        near.bind(("late0", 0))
        with contextlib.suppress(OSError):  # the filter drops it, and says so
            near.send(b"\xff" * 6 + bytes(6) + b"\x88\xb5" + mark * 3)
    with contextlib.suppress(TimeoutError):
        while True:
            if mark in far.recv(2000):
                return True
    return False


class LossyPump(threading.Thread):
    """Stands in for the daemon: readdresses, but loses one packet in fifty and lets others overtake one."""

    def __init__(self, tunnel: int, listener: int) -> None:
        super().__init__(daemon=True)
        self._tunnel = tunnel
        self.is_over = False
        self.translation = Translation(lambda *_: listener, lambda _: True, 100)
        self._dice = random.Random(7)
        self._held: bytes | None = None

    def run(self) -> None:
        buffer = bytearray(70_000)
        while not self.is_over:
            if not select.select([self._tunnel], [], [], 0.2)[0]:
                continue
            size = os.readv(self._tunnel, [buffer])
            verdict = self.translation.translate(buffer, size, time.monotonic())
            if verdict is Verdict.WRITE:
                self._pass(bytes(buffer[:size]))

    def _pass(self, packet: bytes) -> None:
        draw = self._dice.random()
        if draw < 0.02:
            return
        if draw < 0.04 and self._held is None:
            self._held = packet
            return
        os.write(self._tunnel, packet)
        if self._held is not None:
            held, self._held = self._held, None
            os.write(self._tunnel, held)


def _exchange(near: socket.socket, far: socket.socket, sent: bytes) -> tuple[bytes, bytes]:
    """Send the same both ways at once; return what came, at the far and at the near end."""
    came: dict[socket.socket, bytes] = {}

    def send(sock: socket.socket) -> None:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)

    def receive(sock: socket.socket) -> None:
        parts = []
        while part := sock.recv(1 << 16):
            parts.append(part)
        came[sock] = b"".join(parts)

    works = [(what, sock) for what in (send, receive) for sock in (near, far)]
    threads = [threading.Thread(target=what, args=(sock,)) for what, sock in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return came[far], came[near]


@pytest.mark.parametrize(("target", "ours"), [("192.0.2.1", TUN_IPV4), ("2001:db8::1", TUN_IPV6)])
def test_the_kernels_tcp_on_both_ends_gets_over_loss_and_reordering(target: str, ours: str) -> None:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with Lab() as lab:
        host = lab.namespace("alone")
        with host.entered():
            tunnel = linux_io._open_tun(Capture.INTERFACE)
            host.run("ip", "link", "set", "lo", "up")
            for line in (*routes.interface_up(1500), f"route add default dev {INTERFACE}"):
                host.run("ip", *line.split())
            host.run("ip", "-6", "route", "add", "default", "dev", INTERFACE)
            listener = socket.create_server((ours, 0), family=family)
            near = socket.socket(family)
        pump = LossyPump(tunnel, listener.getsockname()[1])
        pump.start()
        try:
            with listener, near:
                near.settimeout(60)
                near.connect((target, 80))
                far, (neighbour, number, *_) = listener.accept()
                with far:
                    assert pump.translation.accept(neighbour, number) == (target, 80)
                    sent = os.urandom(3_000_000)
                    assert _exchange(near, far, sent) == (sent, sent)
        finally:
            pump.is_over = True
            pump.join()
            os.close(tunnel)
