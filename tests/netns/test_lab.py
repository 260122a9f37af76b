"""The harness itself: what it joins is joined, what it delays is delayed, and nothing stays behind.

a ── w1 ── b        plain, or with a WAN process in a namespace between them
"""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.needs import needs_programs
from tests.support.netns import PREFIX, RUN_NETNS, Lab, Wan, ip, sweep, wait_for_port

pytestmark = pytest.mark.netns


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def ours() -> list[str]:
    return [entry.name for entry in RUN_NETNS.iterdir() if entry.name.startswith(f"{PREFIX}{os.getpid()}-")]


def least_ping_ms(lab: Lab, wan: Wan | None, count: int = 10) -> float:
    """Return the best of several: other load on this machine only adds."""
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.wire(a, b, wan=wan)
    report = a.run("ping", "-c", count, "-i", "0.2", b.v4).stdout
    return min(float(time) for time in re.findall(r"time=([\d.]+)", report))


@needs_programs("ping")
def test_a_plain_wire_joins_two_hosts_on_both_families(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.wire(a, b)
    a.run("ping", "-c1", b.v4)
    a.run("ping", "-c1", b.v6)


@needs_programs("ping")
def test_a_wire_can_be_of_one_family_only(lab: Lab) -> None:
    a, b, c = (lab.namespace(name) for name in "abc")
    lab.wire(a, b, v4=False)
    lab.wire(b, c, v6=False)
    assert (a.v4, a.v6 != "", c.v6) == ("", True, "")
    a.run("ping", "-c1", "fd77:1::2")
    c.run("ping", "-c1", "10.77.2.1")
    assert "inet6" not in ip("-n", c.name, "addr", "show", "dev", "w2b")


@needs_programs("ping")
def test_a_switch_joins_many(lab: Lab) -> None:
    hosts = [lab.namespace(f"h{number}") for number in range(4)]
    lab.switch(*hosts)
    hosts[0].run("ping", "-c1", "-W5", hosts[3].v6)
    hosts[2].run("ping", "-c1", "-W5", hosts[1].v4)


@needs_programs("ping")
def test_a_star_joins_many_over_wires_with_delay(lab: Lab) -> None:
    hosts = [lab.namespace(f"h{number}") for number in range(3)]
    lab.star(*hosts, wan=Wan(delay_s=0.005))
    for address in (hosts[2].v4, hosts[1].v6):
        report = hosts[0].run("ping", "-c10", "-i0.2", "-W5", address).stdout
        times = sorted(float(time) for time in re.findall(r"time=([\d.]+)", report))
        assert 20 <= times[0] < 38


@needs_programs("ping")
def test_delay_is_given_each_way(lab: Lab) -> None:
    assert 40 <= least_ping_ms(lab, Wan(delay_s=0.02)) < 75


@needs_programs("ping")
@pytest.mark.slow
def test_loss_is_what_was_asked_for(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.wire(a, b, wan=Wan(loss=0.2))
    report = a.run("ping", "-q", "-c", 500, "-i", "0.002", b.v4, check=False).stdout
    received = re.search(r"(\d+) received", report)
    assert received is not None
    assert 0.5 < int(received[1]) / 500 < 0.78  # 0.64 both ways


@needs_programs("iperf3")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("wan", "least_mbps", "most_mbps"),
    [
        (Wan(delay_s=0.005, rate_bps=50e6), 30, 50),
        (Wan(delay_s=0.002), 300, 1e6),
        (Wan(loss=0.001), 100, 1e6),
    ],
)
def test_bulk_passes_the_wan_process(lab: Lab, wan: Wan, least_mbps: float, most_mbps: float) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.wire(a, b, wan=wan)
    b.start("iperf3", "-s")
    wait_for_port(b, b.v4, 5201)
    report = json.loads(a.run("iperf3", "-J", "-t", "2", "-c", b.v4).stdout)
    assert least_mbps < report["end"]["sum_received"]["bits_per_second"] / 1e6 < most_mbps


def test_sockets_made_inside_belong_to_the_host(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.wire(a, b)
    with b.entered():
        listener = socket.create_server((b.v4, 0))
    with pytest.raises(OSError, match="assign requested address"):
        socket.create_server((b.v4, 0))
    with listener, a.entered(), socket.create_connection(listener.getsockname(), 5) as client:
        assert client.getsockname()[0] == a.v4


def test_nothing_stays_behind_after_a_failure() -> None:
    def use_and_fail() -> "subprocess.Popen[bytes]":
        with Lab() as lab:
            a, b = lab.namespace("a"), lab.namespace("b")
            lab.wire(a, b, wan=Wan(delay_s=0.01))
            process = a.start("sleep", "600")
            raise KeyError(process.pid)

    with pytest.raises(KeyError) as failed:
        use_and_fail()
    assert ours() == []
    with pytest.raises(ProcessLookupError):
        os.kill(failed.value.args[0], 0)


def test_leftovers_of_dead_runs_are_swept() -> None:
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    name = f"{PREFIX}{int(ended.stdout)}-old"
    ip("netns", "add", name)
    sweep()
    assert not (RUN_NETNS / name).exists()


def test_a_command_that_fails_shows_what_it_said(lab: Lab) -> None:
    a = lab.namespace("a")
    with pytest.raises(AssertionError, match="exit 2"):
        a.run("sh", "-c", "echo no >&2; exit 2")
    assert json.loads(a.run("ip", "-j", "link").stdout)[0]["ifname"] == "lo"
