"""Programs that know nothing of us, on a protected device.

 client ─┬─ switch ─┬─ relay1, relay2, exit
(sniffer)┘          └─ target: web, ssh, git, DNS and iperf3 servers
"""

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab, wait_for_port
from tests.support.nodes import BULK

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


@needs_programs("curl")
@pytest.mark.parametrize("option", ["--http1.0", "--http1.1"])
def test_curl(device: ProtectedDevice, option: str) -> None:
    file = device.network.folder / "fetched"
    device.network.curl(option, "-o", file, f"http://{device.network.target.v4}/bulk")
    sent = hashlib.sha256((device.network.folder / "site" / "bulk").read_bytes()).hexdigest()
    assert len(file.read_bytes()) == BULK
    assert hashlib.sha256(file.read_bytes()).hexdigest() == sent


@needs_programs("ssh", "sshd", "scp", "ssh-keygen")
def test_ssh_and_scp(device: ProtectedDevice, ssh: list[object]) -> None:
    where = f"root@{device.network.target.v4}"
    said = device.host.run("ssh", *ssh, where, "cat; echo end", stdin="x" * 300_000)
    assert said.stdout == "x" * 300_000 + "end\n"
    sent, copied = device.network.folder / "sent", device.network.folder / "copied"
    sent.write_bytes(os.urandom(COPIED_MB << 20))
    device.host.run("scp", *ssh, sent, f"{where}:{copied}", timeout=120)
    assert hashlib.sha256(copied.read_bytes()).digest() == hashlib.sha256(sent.read_bytes()).digest()


@needs_programs("git", "ssh", "sshd", "ssh-keygen")
@pytest.mark.parametrize("way", ["http", "ssh"])
def test_git_clones(device: ProtectedDevice, ssh: list[object], way: str) -> None:
    folder, target = device.network.folder, device.network.target
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
    clone = folder / f"clone-{way}"
    url = f"http://{target.v4}/source.git" if way == "http" else f"root@{target.v4}:{source}"
    options = " ".join(map(str, ssh))
    device.host.run("env", f"GIT_SSH_COMMAND=ssh {options}", "git", "clone", "-q", url, clone, timeout=60)
    assert (clone / "file").read_bytes() == (folder / "work" / "file").read_bytes()


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
