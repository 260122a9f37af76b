"""Three hops over a delayed and lossy Internet (PRF-01, PRF-02): each host behind a wire of its own.

client ── 5 ms ── router ── 5 ms ── relay1, relay2, exit, target      any two hosts: 20 ms there and back
"""

import hashlib
import re
import statistics
import time
from pathlib import Path

import pytest

from tests.support.figures import note
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Wan
from tests.support.nodes import SOCKS, start_network
from tests.support.octet_server import hash_of, take

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("curl")]


def first_octet_ms(said: str) -> list[float]:
    return [float(value) * 1000 for value in re.findall(r"start=([\d.]+)", said)]


def test_three_hops_add_little_to_the_wires_own_delay(tmp_path: Path) -> None:
    with Lab() as lab:
        network = start_network(lab, tmp_path, wan=Wan(delay_s=0.005))
        url = f"http://{network.in_url}/page.txt"
        times = []
        for _ in range(9):
            said = network.curl(
                "-o", "/dev/null", "-w", "start=%{time_starttransfer}", "--socks5-hostname", SOCKS, url
            )
            times += first_octet_ms(said)
    # Four legs of 20 ms; a request is a round trip for the stream's opening and one for the page itself.
    note("first octet of a page over wires of 80 ms", statistics.median(times), "ms")
    assert min(times) < 2 * 80 + 60  # other load on this machine only adds


@pytest.mark.parametrize("wan", [Wan(delay_s=0.005), Wan(delay_s=0.005, loss=0.002)], ids=["clean", "lossy"])
def test_bulk_over_a_wan_arrives_intact_at_several_mbit(tmp_path: Path, wan: Wan) -> None:
    with Lab() as lab:
        network = start_network(lab, tmp_path, wan=wan)
        file = tmp_path / "fetched"
        said = network.curl(
            "--max-time", "60", "-o", file, "-w", "speed=%{speed_download}", "--socks5-hostname", SOCKS,
            f"http://{network.in_url}/bulk",
        )  # fmt: skip
        sent = (tmp_path / "site" / "bulk").read_bytes()
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(sent).digest()
    assert float(said.removeprefix("speed=")) * 8 > 5e6


def test_an_open_stream_answers_after_the_wires_own_delay(tmp_path: Path) -> None:
    """A key press through three hops: four legs there, four back, and little besides."""
    with Lab() as lab:
        network = start_network(lab, tmp_path, wan=Wan(delay_s=0.005))
        times = []
        with network.dial("ECHO") as connection:
            for _ in range(40):
                start = time.perf_counter()
                connection.sendall(b"k")
                assert connection.recv(1) == b"k"
                times.append(time.perf_counter() - start)
    note("a round trip over wires of 80 ms", statistics.median(times) * 1000, "ms")
    assert 80 <= min(times) * 1000 < 120  # other load on this machine only adds


def test_one_percent_of_loss_on_every_wire_loses_nothing(tmp_path: Path) -> None:
    octets = 3 << 20
    with Lab() as lab:
        network = start_network(lab, tmp_path, wan=Wan(delay_s=0.005, loss=0.01))
        start = time.perf_counter()
        with network.dial(f"SEND {octets}", timeout=60) as connection:
            assert take(connection) == (octets, hash_of(octets))
        took = time.perf_counter() - start
    note("a stream with 1 % of loss each way on every wire", octets * 8e-6 / took, "Mbit/s")
