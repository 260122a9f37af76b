"""Breaking a real network on purpose: whoever is left must work again within ten seconds (LNK-19).

client, relay1, relay2, ..., exit, exit2, ..., target ── switch
"""

import os
import re
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.capture import Capture
from tests.support.needs import needs_programs
from tests.support.netns import Lab, ip
from tests.support.nodes import SOCKS, Network, start_network
from tests.support.waiting import held, wait_until

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("curl")]

MIB = 1 << 20
SOON_S = held(10.0)
ASLEEP_S = 60.0
IMPATIENT: dict[str, object] = {"ping_after_s": 1.0, "ping_timeout_s": 1.0, "pings_missed": 2}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def read_some(connection: socket.socket, octets: int) -> None:
    while octets > 0:
        piece = connection.recv(1 << 18)
        assert piece
        octets -= len(piece)


def wait_broken(connection: socket.socket) -> None:
    """Wait until a connection was reset: an end of file would pass for the whole of what was sent."""
    connection.settimeout(SOON_S)
    with pytest.raises(ConnectionResetError):
        read_some(connection, 1 << 62)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["guard", "middle", "exit"])
def test_a_relay_that_dies_in_mid_transfer_costs_less_than_10_s(lab: Lab, tmp_path: Path, place: int) -> None:
    network = start_network(lab, tmp_path, relays=3, exits=2)
    with network.dial(f"SEND {1024 * MIB}") as connection:
        read_some(connection, 4 * MIB)
        victim = network.path_of_stream()[place]
        victim.kill()
        wait_broken(connection)
        assert network.fetch(SOON_S) == "found\n"
    with network.dial("DRIP") as connection:
        read_some(connection, 1)
        assert victim not in network.path_of_stream()


def test_a_target_that_breaks_off_is_seen_to(lab: Lab, tmp_path: Path) -> None:
    network = start_network(lab, tmp_path)
    with network.dial(f"RESET {2 * MIB}") as connection:
        wait_broken(connection)
    assert network.fetch() == "found\n"


def test_an_application_that_breaks_off_leaves_no_stream_behind(lab: Lab, tmp_path: Path) -> None:
    network = start_network(lab, tmp_path)
    for words in ("DRIP", "ECHO", f"SEND {64 * MIB}", "SINK"):
        connection = network.dial(words)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(bytes(10_000))
        connection.close()
        wait_until(lambda: not network.user.streams(), f"{words} is over", timeout=SOON_S)


@pytest.mark.parametrize("place", [0, 1], ids=["guard", "middle"])
def test_a_relay_that_hangs_costs_a_request_some_20_s(lab: Lab, tmp_path: Path, place: int) -> None:
    """Its kernel still acknowledges everything; only its silence tells: after 15 s, and a path is built."""
    network = start_network(lab, tmp_path, relays=3, exits=1)
    with network.dial("DRIP") as connection:
        read_some(connection, 1)
        victim = network.path_of_stream()[place]
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            assert network.fetch(held(25.0)) == "found\n"  # 18 to 21 s where nothing else runs
        finally:
            os.kill(victim.pid, signal.SIGCONT)


def test_a_client_that_slept_works_10_s_after_it_woke(lab: Lab, tmp_path: Path) -> None:
    """A minute, with the settings that everybody has: meanwhile the guard has given up on it."""
    network = start_network(lab, tmp_path)
    guard = network.nodes_of(network.user.circuits()[0])[0]

    def links_of_guard() -> int:
        status = guard.status()
        return status.links if status is not None else 0

    before = links_of_guard()
    slept_at = time.monotonic()
    os.kill(network.user.pid, signal.SIGSTOP)
    wait_until(lambda: time.monotonic() - slept_at > ASLEEP_S, "a minute is over", 2 * ASLEEP_S, 0.5)
    wait_until(lambda: links_of_guard() < before, "the guard has given up on us")
    os.kill(network.user.pid, signal.SIGCONT)
    assert network.fetch(SOON_S) == "found\n"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_another_address_of_the_client_costs_less_than_10_s(lab: Lab, tmp_path: Path, family: str) -> None:
    network = start_network(lab, tmp_path, v4=family == "ipv4", v6=family == "ipv6")
    client, interface = network.client, network.client.interfaces[0]
    with network.dial("DRIP") as connection:
        read_some(connection, 1)
        if family == "ipv4":
            old, new = f"{client.v4}/24", "10.77.1.77/24"
        else:
            old, new = f"{client.v6}/64", "fd77:1::77/64"
        ip("-n", client.name, "addr", "del", old, "dev", interface)
        ip("-n", client.name, "addr", "add", new, "dev", interface, *(["nodad"] if family == "ipv6" else []))
        assert network.can_fetch(SOON_S)


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_a_relay_that_moved_to_another_port_is_found_again(
    lab: Lab, tmp_path: Path, says_goodbye: bool
) -> None:
    network = start_network(lab, tmp_path)  # every path needs every relay
    relay = network.nodes["relay1"]
    if says_goodbye:
        assert relay.stop() == 0
    else:
        relay.kill()
    relay.tables["relay"]["listen"] = [f"{relay.host.v4}:4999", f"[{relay.host.v6}]:4999"]
    relay.start()
    relay.wait_ready()
    assert network.fetch(SOON_S) == "found\n"


def curl_refused(network: Network, url: str, timeout: float) -> int:
    """The code of the SOCKS reply with which a request was refused."""
    said = network.client.run(
        "curl", "-sS", "--max-time", timeout, "--socks5-hostname", SOCKS, url,
        check=False, timeout=timeout + 5,
    )  # fmt: skip
    assert said.returncode == 97, said.stderr  # refused by the proxy
    return int(re.findall(r"\((\d+)\)", said.stderr)[-1])  # behind curl's own number


@pytest.mark.parametrize("silence", ["refuses", "drops"])
def test_a_dead_name_server_is_an_error_in_time(lab: Lab, tmp_path: Path, silence: str) -> None:
    resolvers = ["10.77.1.4:9"] if silence == "refuses" else ["10.77.1.250"]  # the exit itself; nobody
    network = start_network(
        lab, tmp_path, v6=False, tables={"exit": {"exit": {"resolvers": resolvers, "resolve_timeout_s": 2.0}}}
    )
    start = time.monotonic()
    assert curl_refused(network, "http://site.test/page.txt", 20) == 4  # host unreachable
    assert time.monotonic() - start < SOON_S
    assert network.fetch() == "found\n"  # by address it still works, on the same circuit


def mounted_small(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs", folder], check=True)
    return folder


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError:
            pass


def test_a_full_disk_stops_no_relay(lab: Lab, tmp_path: Path) -> None:
    state = mounted_small(tmp_path / "exit")
    try:
        network = start_network(lab, tmp_path)
        fill(state)
        assert network.fetch() == "found\n"
        last = network.nodes["exit"]
        assert last.stop() == 0
        warnings = [line for line in last.log.splitlines() if " warning " in line]
        complaints = [line for line in warnings if "exit-notice" not in line]
        assert len(complaints) == 1, last.log
        assert "space" in complaints[0]
        last.start()
        assert last.process is not None
        assert last.process.wait(60) != 0
        final = last.log.splitlines()[-1]
        assert "space" in final
        assert "Traceback" not in last.log
        (state / "filler").unlink()
        last.start()
        last.wait_ready()
        assert network.can_fetch(SOON_S)
    finally:
        subprocess.run(["umount", "-l", state], check=True)


@pytest.mark.parametrize("silence", ["refuses", "drops"])
def test_with_no_relay_in_reach_few_dials_are_made_and_the_application_is_told(
    lab: Lab, tmp_path: Path, silence: str
) -> None:
    impatient = {"client": {"link": {**IMPATIENT, "handshake_timeout_s": 3.0}}}
    network = start_network(lab, tmp_path, v6=False, relays=3, exits=2, tables=impatient)
    relays = [node for node in network.nodes.values() if node is not network.user]
    with Capture(network.client) as capture:
        for relay in relays:
            if silence == "drops":
                ip("-n", relay.host.name, "link", "set", relay.host.interfaces[0], "down")
            relay.kill()
        start = time.monotonic()
        while time.monotonic() - start < 15:
            assert curl_refused(network, f"http://{network.in_url}/page.txt", 60) == 1  # no network
        seconds = time.monotonic() - start
    attempts = [packet for packet in capture.packets if packet.is_sent and packet.is_syn]
    assert 2 <= len(attempts) < seconds, "dials back off"
    assert len(network.user.log.splitlines()) < 30, network.user.log
    for relay in relays:
        if silence == "drops":
            ip("-n", relay.host.name, "link", "set", relay.host.interfaces[0], "up")
        relay.start()
    for relay in relays:
        relay.wait_ready()
    wait_until(lambda: network.can_fetch(20), "the network is used again", timeout=60)  # 15 s between tries
