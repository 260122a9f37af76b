import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.sick import NOW, diagnose, found, situation
from vigilnet.surface.control.socket_path import reachable, socket_of
from vigilnet.surface.doctor import this_machine
from vigilnet.surface.doctor.service import repair
from vigilnet.surface.doctor.this_machine import Machine

NOBODY = 65_534


def test_clock_from_before_this_program(tmp_path: Path) -> None:
    finding = found(diagnose(situation(tmp_path), Machine(lambda: 86_400.0)), "device.clock")
    assert finding.level == "fail"
    assert found(diagnose(situation(tmp_path)), "device.clock").level == "pass"


def test_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    where = replace(situation(tmp_path), folder=tmp_path / "file" / "state")
    assert found(diagnose(where), "device.folder").level == "fail"


def test_state_folder_of_someone_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become someone else")
    where = situation(tmp_path)
    program = (
        "import os, sys; from pathlib import Path; from tests.support.sick import *\n"
        "from vigilnet.surface.doctor.this_machine import _check_folder\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"print([one.id for one in _check_folder(Path('{where.folder}'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert "device.rights" in done.stdout


def test_folder_that_others_may_read_is_closed_by_repair(tmp_path: Path) -> None:
    where = situation(tmp_path)
    where.folder.chmod(0o755)
    diagnosis = diagnose(where)
    assert found(diagnosis, "device.open").evidence == ("mode 755",)
    assert "close it to other users" in repair(where, diagnosis)
    assert stat.S_IMODE(where.folder.stat().st_mode) == 0o700


@pytest.mark.netns
def test_full_disk(tmp_path: Path) -> None:
    where = situation(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M,mode=700", "tmpfs", where.folder], check=True)
    try:
        (where.folder / "fill").write_bytes(bytes(1024 * 1024))
        assert found(diagnose(where), "device.disk").level == "fail"
    finally:
        subprocess.run(["umount", where.folder], check=True)


def test_no_node_a_dead_one_and_a_hung_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(this_machine, "HUNG_S", 0.2)
    where = situation(tmp_path)
    assert found(diagnose(where), "node.off").level == "note"
    with socket.socket(socket.AF_UNIX) as left, reachable(socket_of(where.folder)) as name:
        left.bind(name)
        left.listen()
        assert found(diagnose(where), "node.hung").level == "fail"
    diagnosis = diagnose(where)
    assert found(diagnosis, "node.stale").level == "fail"
    assert repair(where, diagnosis) == ("remove the socket that nobody serves",)
    assert found(diagnose(where), "node.off").level == "note"


@pytest.mark.parametrize(
    ("text", "key"),
    [("[ingress]\nsocks_port = {0}\nhttp_port = 0\n[status]\nport = 0\n", "ingress.socks_port"),
     ("[ingress]\nsocks_port = 0\nhttp_port = {0}\n[status]\nport = 0\n", "ingress.http_port"),
     ("[ingress]\nsocks_port = 0\nhttp_port = 0\n[status]\nport = {0}\n", "status.port"),
     ('[status]\nport = 0\n[relay]\nenabled = true\nlisten = ["127.0.0.1:{0}"]\n', "relay.listen")],
)  # fmt: skip
def test_port_of_another_program(tmp_path: Path, text: str, key: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        where = situation(tmp_path)
        where.file.write_text(text.format(port))
        from vigilnet.node.options import load_options

        where = replace(where, loaded=load_options(where.file, {}))
        taken = [one for one in diagnose(where).findings if one.id == "device.port" and one.level == "fail"]
        assert any(f"{key} = 127.0.0.1:{port}" in one.evidence[0] for one in taken)


@pytest.mark.netns
def test_port_that_needs_rights() -> None:
    program = (
        "import os; from vigilnet.surface.doctor.this_machine import _unbindable\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "print([one.id for one in _unbindable([('relay.listen_htx', '127.0.0.1', 443)])])"
    )
    words = [
        "unshare",
        "--net",
        "sh",
        "-c",
        'ip link set lo up && exec "$0" -c "$1"',
        sys.executable,
        program,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "device.low_port" in done.stdout


def test_few_files(tmp_path: Path) -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "from vigilnet.surface.doctor.this_machine import _check_limits\n"
        "print([(one.id, one.level) for one in _check_limits()])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "('device.files', 'fail')" in done.stdout


def test_programs_and_helper_for_the_whole_device(tmp_path: Path) -> None:
    machine = Machine(
        lambda: NOW, which=lambda _: None, has_rights=lambda: False, helper=tmp_path / "none.sock"
    )
    diagnosis = diagnose(situation(tmp_path), machine)
    assert found(diagnosis, "device.programs").level == "note"
    assert found(diagnosis, "device.helper").next == "sudo vigilnet up"


@pytest.mark.parametrize(("release", "level"), [("4.19.0-21", "note"), ("5.4.0", "pass"), ("6.12.3", "pass")])
def test_old_kernel(tmp_path: Path, release: str, level: str) -> None:
    machine = Machine(lambda: NOW, release=lambda: release)
    assert found(diagnose(situation(tmp_path), machine), "device.kernel").level == level


IN_A_NAMESPACE = """
from pathlib import Path
from tests.support.sick import *
where = situation(Path({folder!r}))
print([(one.id, one.level) for one in diagnose(where).findings])
"""


def in_a_namespace(tmp_path: Path, *commands: str) -> str:
    """What the doctor says inside a network of its own, made so by commands."""
    program = IN_A_NAMESPACE.format(folder=str(tmp_path))
    script = " && ".join([*commands, 'exec "$0" -c "$1"'])
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script, sys.executable, program],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    return done.stdout


@pytest.mark.netns
def test_no_network_at_all(tmp_path: Path) -> None:
    assert "('network.none', 'fail')" in in_a_namespace(tmp_path, "ip link set lo up")


@pytest.mark.netns
def test_another_vpn_that_takes_everything(tmp_path: Path) -> None:
    said = in_a_namespace(
        tmp_path, "mount -t sysfs sysfs /sys", "ip link set lo up", "ip tuntap add tun9 mode tun",
        "ip addr add 10.9.0.2/24 dev tun9", "ip link set tun9 up", "ip route add default dev tun9",
    )  # fmt: skip
    assert "('device.vpn', 'note')" in said
    assert "('network.none', 'pass')" in said


@pytest.mark.netns
def test_firewall_that_a_killed_helper_left(tmp_path: Path) -> None:
    said = in_a_namespace(tmp_path, "ip link set lo up", "nft add table inet vigilnet")
    assert "('device.leftover', 'fail')" in said


def test_helper_that_was_killed_is_told_from_one_that_runs(tmp_path: Path) -> None:
    """Its socket is still there; the doctor took that for a helper, and had nothing to repair."""
    path = tmp_path / "helper.sock"
    (tmp_path / "doors.json").write_text('["eth0"]')
    machine = Machine(lambda: NOW, which=lambda name: f"/{name}", has_rights=lambda: True, helper=path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(1)
        assert "device.leftover" not in {one.id for one in diagnose(situation(tmp_path), machine).findings}
    assert found(diagnose(situation(tmp_path), machine), "device.leftover").level == "fail"
