"""Real programs through real nodes, each in a host of its own, on IPv4 only, IPv6 only and both.

    client ─┐
    relay1 ─┤
    relay2 ─┼─ switch      one bridge; the exit reaches the target over it too
    exit   ─┤
    target ─┘              web, echo, ssh, DNS and iperf3 servers

The records travel through a shared folder. Nothing but the exit may ever speak to the target.
"""

import contextlib
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from tests.support.netns import Lab, wait_for_port
from tests.support.nodes import DNS_PORT, HTTP_PROXY, SOCKS, WEB_PORT, Network, start_network

pytestmark = [pytest.mark.netns, pytest.mark.slow]

SSH_PORT = 22


@pytest.fixture(scope="module", params=["ipv4", "ipv6", "both"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp(str(request.param))
    with Lab() as lab:
        yield start_network(lab, folder, v4=request.param != "ipv6", v6=request.param != "ipv4")


@needs_programs("curl")
def test_curl_fetches_by_address_through_socks(network: Network) -> None:
    assert network.curl("--socks5-hostname", SOCKS, f"http://{network.in_url}/page.txt") == "found\n"


@needs_programs("curl")
def test_curl_fetches_by_a_name_that_only_the_exit_can_resolve(network: Network) -> None:
    assert network.curl("--socks5-hostname", SOCKS, "http://site.test/page.txt") == "found\n"


@needs_programs("curl")
@pytest.mark.parametrize("option", [[], ["--proxytunnel"]])
def test_curl_fetches_through_the_http_proxy(network: Network, option: list[str]) -> None:
    assert network.curl(*option, "--proxy", f"http://{HTTP_PROXY}", "http://site.test/page.txt") == "found\n"


@needs_programs("curl")
def test_bulk_arrives_intact(network: Network) -> None:
    file = network.folder / "fetched"
    network.curl("--socks5-hostname", SOCKS, "-o", file, f"http://{network.in_url}/bulk")
    sent = hashlib.sha256((network.folder / "site" / "bulk").read_bytes()).hexdigest()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == sent


@needs_programs("curl")
def test_what_cannot_be_reached_is_told_apart(network: Network) -> None:
    said = network.client.run(
        "curl",
        "-sS",
        "--max-time",
        "20",
        "--socks5-hostname",
        SOCKS,
        f"http://{network.in_url}:9/",
        check=False,
    )
    assert said.returncode == 97  # SOCKS handshake refused; 5 is "connection refused" (RFC 1928)
    assert re.search(r"\(5\)", said.stderr)
    unknown = network.client.run(
        "curl", "-sS", "--max-time", "20", "--socks5-hostname", SOCKS, "http://no-such.test/", check=False
    )
    assert re.search(r"\(4\)", unknown.stderr)


def test_python_requests_fetches_through_socks(network: Network) -> None:
    proxies = {"http": f"socks5h://{SOCKS}"}
    script = (
        f"import requests; print(requests.get('http://site.test/page.txt', proxies={proxies}).text, end='')"
    )
    assert network.client.run(sys.executable, "-c", script).stdout == "found\n"


@needs_programs("nc")
def test_netcat_talks_through_socks(network: Network) -> None:
    request = "GET /page.txt HTTP/1.0\r\n\r\n"
    said = network.client.run(
        "nc", "-X", "5", "-x", SOCKS, "-w", "10", network.address, WEB_PORT, stdin=request, check=False
    )
    assert said.stdout.endswith("found\n")


@needs_programs("ssh", "sshd", "ssh-keygen", "nc")
def test_ssh_logs_in_and_copies_both_ways(network: Network) -> None:
    keys = network.folder / "ssh"
    keys.mkdir(exist_ok=True)
    for name in ("host", "user"):
        if not (keys / name).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
    (keys / "authorized").write_text((keys / "user.pub").read_text())
    (keys / "sshd_config").write_text(
        f"HostKey {keys}/host\nAuthorizedKeysFile {keys}/authorized\nStrictModes no\nUsePAM no\n"
        f"PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = network.target.run("sh", "-c", "command -v sshd || echo /usr/sbin/sshd").stdout.strip()
    with contextlib.suppress(AssertionError):
        network.target.run(sshd, "-f", keys / "sshd_config")
    wait_for_port(network.target, network.address, SSH_PORT)
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
               "-i", keys / "user", "-o", f"ProxyCommand=nc -X 5 -x {SOCKS} %h %p"]  # fmt: skip
    text = "x" * 300_000
    said = network.client.run("ssh", *options, f"root@{network.address}", "cat; echo end", stdin=text)
    assert said.stdout == text + "end\n"
    bulk = network.folder / "site" / "bulk"
    command = shlex.join(map(str, ("ssh", *options, f"root@{network.address}", "sha256sum")))
    said = network.client.run("sh", "-c", f"{command} < {bulk}")
    assert said.stdout.split()[0] == hashlib.sha256(bulk.read_bytes()).hexdigest()


@needs_programs("iperf3")
@pytest.mark.parametrize("way", [[], ["-R"]], ids=["up", "down"])
def test_iperf3_measures_through_socks(network: Network, way: list[str]) -> None:
    with network.shim("tcp", 5201, 5201):
        said = network.client.run("iperf3", "-J", "-t", "2", "-c", "127.0.0.1", *way, timeout=40).stdout
    assert json.loads(said)["end"]["sum_received"]["bits_per_second"] > 20e6


@needs_programs("dig")
def test_dig_asks_over_udp_associate(network: Network) -> None:
    kind = "A" if network.target.v4 else "AAAA"
    with network.shim("udp", 5353, DNS_PORT):
        said = network.client.run(
            "dig", "@127.0.0.1", "-p", "5353", "+short", "+tries=5", "+time=3", "site.test", kind
        )
    assert said.stdout.strip() == network.address


@needs_programs("nft", "curl")
def test_only_the_exit_speaks_to_the_target(network: Network) -> None:
    """Count what arrives at the target from each host while a page is fetched."""
    rules = ["add table inet count", "add chain inet count in { type filter hook input priority 0; }"]
    hosts = {
        "client": network.client,
        "relay1": network.relays[0],
        "relay2": network.relays[1],
        "exit": network.exit,
    }
    for name, host in hosts.items():
        address = f"ip saddr {host.v4}" if host.v4 else f"ip6 saddr {host.v6}"
        rules.append(f"add rule inet count in tcp dport {WEB_PORT} {address} counter comment {name}")
    network.target.run("nft", "-f", "-", stdin="\n".join(rules))
    assert network.curl("--socks5-hostname", SOCKS, f"http://{network.in_url}/page.txt") == "found\n"
    said = network.target.run("nft", "list", "chain", "inet", "count", "in").stdout
    packets = {
        name: int(count) for count, name in re.findall(r"packets (\d+) bytes \d+ comment \"(\w+)\"", said)
    }
    assert packets.pop("exit") > 0
    assert packets == {"client": 0, "relay1": 0, "relay2": 0}
