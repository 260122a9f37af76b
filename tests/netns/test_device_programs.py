"""Programs that know nothing of us, on a protected device.

 client ─┬─ switch ─┬─ relay1, relay2, exit
(sniffer)┘          └─ target: web (HTTP/1.1, 2 and 3), ssh, git, WireGuard, DNS and iperf3 servers
"""

import contextlib
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.figures import note
from tests.support.needs import needs_programs
from tests.support.netns import Lab, wait_for_port
from tests.support.nodes import BULK, SUPPORT
from tests.support.target_programs import NAME, Https, start_https

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft")]

SSH_PORT = 22
COPIED_MB = int(os.environ.get("VIGILNET_TEST_BULK_MIB", "32")) // 2 or 1


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedDevice]:
    with Lab() as lab:
        made = start_device(lab, tmp_path_factory.mktemp("device"))
        made.start_helper()
        made.ask("up")
        made.ask("change", fields={"dns": "overlay"})
        with made.sniff() as sniffer:
            yield made
        assert not sniffer.leaks
        made.ask("down")


@pytest.fixture(scope="module")
def ssh(device: ProtectedDevice) -> list[object]:
    """An ssh server at the target; the options that log in there."""
    keys = device.network.folder / "ssh"
    keys.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
    (keys / "authorized").write_text((keys / "user.pub").read_text())
    (keys / "sshd_config").write_text(
        f"HostKey {keys}/host\nAuthorizedKeysFile {keys}/authorized\nStrictModes no\nUsePAM no\n"
        "PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    target = device.network.target
    sshd = target.run("sh", "-c", "command -v sshd || echo /usr/sbin/sshd").stdout.strip()
    with contextlib.suppress(AssertionError):
        target.run(sshd, "-f", keys / "sshd_config")
    wait_for_port(target, target.v4, SSH_PORT)
    return [
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
        "-i", keys / "user",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def https(device: ProtectedDevice) -> Https:
    return start_https(device.network)


def by_name(device: ProtectedDevice, *words: object, timeout: float = 60.0) -> str:
    """Run a program in the client's host, where /etc/resolv.conf names a server that is none."""
    names = device.network.folder / "resolv.conf"
    names.write_text("nameserver 192.0.2.53\n")
    line = f"mount --bind {names} /etc/resolv.conf && exec {shlex.join(map(str, words))}"
    return device.host.run("sh", "-c", line, timeout=timeout).stdout


@needs_programs("curl")
@pytest.mark.parametrize("option", ["--http1.0", "--http1.1"])
def test_curl(device: ProtectedDevice, option: str) -> None:
    file = device.network.folder / "fetched"
    device.network.curl(option, "-o", file, f"http://{device.network.target.v4}/bulk")
    sent = hashlib.sha256((device.network.folder / "site" / "bulk").read_bytes()).hexdigest()
    assert len(file.read_bytes()) == BULK
    assert hashlib.sha256(file.read_bytes()).hexdigest() == sent


@needs_programs("curl", "nginx", "fcgiwrap")
@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl_by_tls(device: ProtectedDevice, https: Https, option: str, version: str) -> None:
    file = device.network.folder / "fetched"
    words = ("curl", "-sS", "--cacert", https.root, option, "-o", file, "-w", "%{http_version}")
    assert by_name(device, *words, f"https://{NAME}/bulk") == version
    assert file.read_bytes() == (device.network.folder / "site" / "bulk").read_bytes()


@needs_programs("nginx", "fcgiwrap")
def test_curl_by_http3(device: ProtectedDevice, https: Https) -> None:
    words = (sys.executable, SUPPORT / "curl_http3.py", f"https://{NAME}/bulk", https.root)
    said = json.loads(by_name(device, *words, timeout=90))
    assert (said["version"], said["status"]) == (30, 200)  # 30: HTTP/3
    assert (
        said["sha256"] == hashlib.sha256((device.network.folder / "site" / "bulk").read_bytes()).hexdigest()
    )
    note("HTTP/3 through 3 hops by curl", said["octets"] / said["seconds"] / 1e6, "MB/s")


@needs_programs("chromium", "nginx", "fcgiwrap", "openssl")
@pytest.mark.parametrize("protocol", ["h2", "h3"])
def test_chromium_loads_a_site(device: ProtectedDevice, https: Https, protocol: str, tmp_path: Path) -> None:
    quic = (
        ["--enable-quic", f"--origin-to-force-quic-on={NAME}:443"] if protocol == "h3" else ["--disable-quic"]
    )
    said = by_name(
        device, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
        f"--ignore-certificate-errors-spki-list={https.key_hash}", *quic, "--virtual-time-budget=20000",
        "--dump-dom", f"https://{NAME}/page.html",
    )  # fmt: skip
    assert "script found" in said  # the page's own script fetched a second file


@needs_programs("ssh", "sshd", "scp", "ssh-keygen")
def test_ssh_and_scp(device: ProtectedDevice, ssh: list[object]) -> None:
    where = f"root@{device.network.target.v4}"
    said = device.host.run("ssh", *ssh, where, "cat; echo end", stdin="x" * 300_000)
    assert said.stdout == "x" * 300_000 + "end\n"
    sent, copied = device.network.folder / "sent", device.network.folder / "copied"
    sent.write_bytes(os.urandom(COPIED_MB << 20))
    device.host.run("scp", *ssh, sent, f"{where}:{copied}", timeout=180)
    assert hashlib.sha256(copied.read_bytes()).digest() == hashlib.sha256(sent.read_bytes()).digest()


def source_of_git(device: ProtectedDevice) -> Path:
    """A bare repository at the target."""
    folder = device.network.folder
    source = folder / "site" / "source.git"
    if not source.exists():
        work = folder / "work"
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(work)]
        subprocess.run(["git", "init", "-q", str(work)], check=True)
        (work / "file").write_bytes(os.urandom(1_000_000))
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
        subprocess.run(["git", "clone", "-q", "--bare", str(work), str(source)], check=True)
        subprocess.run(["git", "-C", str(source), "update-server-info"], check=True)
    return source


@needs_programs("git", "ssh", "sshd", "ssh-keygen", "nginx", "fcgiwrap")
@pytest.mark.parametrize("way", ["http", "https", "ssh"])
def test_git_clones(device: ProtectedDevice, ssh: list[object], https: Https, way: str) -> None:
    source = source_of_git(device)
    target, clone = device.network.target, device.network.folder / f"clone-{way}"
    url = {
        "http": f"http://{target.v4}/source.git",
        "https": f"https://{NAME}/git/source.git",
        "ssh": f"root@{target.v4}:{source}",
    }[way]
    settings = [f"GIT_SSH_COMMAND=ssh {' '.join(map(str, ssh))}", f"GIT_SSL_CAINFO={https.root}"]
    by_name(device, "env", *settings, "git", "clone", "-q", url, clone)
    assert (clone / "file").read_bytes() == (device.network.folder / "work" / "file").read_bytes()


@needs_programs("iperf3")
@pytest.mark.parametrize("way", [[], ["-R"]], ids=["up", "down"])
def test_iperf3_by_tcp(device: ProtectedDevice, way: list[str]) -> None:
    words = ("iperf3", "-J", "-t", "2", "-c", device.network.target.v4, *way)
    said = device.host.run(*words, timeout=60).stdout
    assert json.loads(said)["end"]["sum_received"]["bytes"] > 1_000_000


@needs_programs("iperf3")
def test_iperf3_by_udp(device: ProtectedDevice) -> None:
    words = ("iperf3", "-J", "-u", "-b", "20M", "-l", "1350", "-t", "2", "-c", device.network.target.v4)
    end = json.loads(device.host.run(*words, timeout=60).stdout)["end"]["sum"]
    assert end["packets"] > 1_000
    assert end["lost_percent"] < 30  # of a loaded machine; tests/bench/bench_device.py measures it


@needs_programs("dig")
@pytest.mark.parametrize("option", [[], ["+tcp"], ["+noedns"]])
def test_dig(device: ProtectedDevice, option: list[str]) -> None:
    said = device.host.run("dig", *option, "@192.0.2.53", "site.test", "AAAA").stdout
    assert "status: NOERROR" in said
    assert device.network.target.v6 in said
    missing = device.host.run("dig", *option, "@192.0.2.53", "none.example").stdout
    assert "status: NXDOMAIN" in missing


@needs_programs("ping")
@pytest.mark.parametrize("size", [56, 1372, 4000, 8000])
def test_ping(device: ProtectedDevice, size: int) -> None:
    for address in (device.network.target.v4, device.network.target.v6):
        said = device.host.run("ping", "-c5", "-i0.2", "-W5", "-s", size, address).stdout
        assert "5 received" in said


@needs_programs("traceroute")
@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("kind", ["", "-I", "-T", "-U"])
def test_traceroute_says_what_it_can(device: ProtectedDevice, kind: str, family: str) -> None:
    """The tunnel is one hop and what is behind it another; TCP and port 53 are answered on this machine."""
    address, router = device.network.target.v4, "198.18.86.2"
    if family == "v6":
        address, router = device.network.target.v6, "fd56:4e45:5400::2"
    words = ("traceroute", *([kind] if kind else []), "-n", "-w3", "-m5", "-q1", address)
    hops = [line.split()[1] for line in device.host.run(*words).stdout.splitlines()[1:]]
    assert hops == ([address] if kind in ("-T", "-U") else [router, address])
