"""Real links between namespaces: one family, both, a changed address, a stopped process.

client ── w1 ── relay
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.netns import Lab, Namespace, ip
from tests.support.waiting import held

pytestmark = pytest.mark.netns
PORT = 4001
SOON_S = held(10.0)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


class Process:
    """A tests.support.link_end, and what it said so far."""

    def __init__(self, host: Namespace, role: str, address: str) -> None:
        self.process = host.start(
            sys.executable, "-m", "tests.support.link_end", role, address, PORT, stdout=subprocess.PIPE
        )
        self.said: list[str] = []
        self._left = b""

    def wait_for(self, *words: str, timeout: float = 60.0) -> float:
        """Wait until `words` were said, in this order, after the last wait; return the seconds it took."""
        start = time.monotonic()  # a test of real time
        wanted = list(words)
        assert self.process.stdout is not None
        while wanted:
            left = start + timeout - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, left))
            assert ready, f"waited {timeout} s for {wanted[0]}, heard {self.said}"
            octets = os.read(self.process.stdout.fileno(), 4096)
            assert octets, f"ended after {self.said}"
            *lines, self._left = (self._left + octets).split(b"\n")
            for line in lines:
                self.said.append(line.decode())
                if wanted and self.said[-1] == wanted[0]:
                    wanted.pop(0)
        return time.monotonic() - start


def open_link(client: Namespace, relay: Namespace, address: str) -> tuple[Process, Process]:
    server = Process(relay, "relay", address)
    server.wait_for("listening")
    user = Process(client, "client", address)
    user.wait_for("open", "echo")
    return user, server


@pytest.mark.parametrize("families", ["v4", "v6", "both"])
def test_a_link_opens_on_each_family(lab: Lab, families: str) -> None:
    client, relay = lab.namespace("client"), lab.namespace("relay")
    lab.wire(client, relay, v4=families != "v6", v6=families != "v4")
    for address in filter(None, (relay.v4, relay.v6)):
        user, server = open_link(client, relay, address)
        for end in (user, server):
            end.process.terminate()
            end.process.wait(60)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_changed_address_costs_less_than_10_s(lab: Lab, family: str) -> None:
    client, relay = lab.namespace("client"), lab.namespace("relay")
    interface, _ = lab.wire(client, relay)
    user, _ = open_link(client, relay, relay.v4 if family == "v4" else relay.v6)
    old, new = ("10.77.1.1/24", "10.77.1.33/24") if family == "v4" else ("fd77:1::1/64", "fd77:1::33/64")
    ip("-n", client.name, "addr", "del", old, "dev", interface)
    ip("-n", client.name, "addr", "add", new, "dev", interface, *(["nodad"] if family == "v6" else []))
    took = user.wait_for("closed", "open", "echo", timeout=SOON_S)
    assert took < SOON_S


def test_a_relay_that_lost_all_memory_of_us_is_back_within_10_s(lab: Lab) -> None:
    client, relay = lab.namespace("client"), lab.namespace("relay")
    lab.wire(client, relay)
    user, server = open_link(client, relay, relay.v4)
    server.process.kill()  # its kernel tells us; then it comes back
    server.process.wait()
    Process(relay, "relay", relay.v4).wait_for("listening")
    assert user.wait_for("closed", "open", "echo", timeout=SOON_S) < SOON_S


def test_a_stopped_process_goes_on_within_10_s(lab: Lab) -> None:
    client, relay = lab.namespace("client"), lab.namespace("relay")
    lab.wire(client, relay)
    user, server = open_link(client, relay, relay.v4)
    os.kill(user.process.pid, signal.SIGSTOP)
    signal.sigtimedwait([], 7.0)
    server.process.kill()  # while we sleep our link dies, and all that the relay knew with it
    server.process.wait()
    Process(relay, "relay", relay.v4).wait_for("listening")
    os.kill(user.process.pid, signal.SIGCONT)
    assert user.wait_for("closed", "open", "echo", timeout=SOON_S) < SOON_S
