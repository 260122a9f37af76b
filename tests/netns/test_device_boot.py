"""The systemd units at work, in a machine that systemd boots: closed before the network, least rights.

machine ─┬─ switch ─┬─ relay1, relay2, exit
(sniffer)┘          └─ target
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.machine import SOURCE, UNITS, Machine
from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.nodes import VIGILNETD, Tables, write_config
from tests.support.waiting import pause, wait_until

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "systemd-nspawn", "systemd-analyze")]

MOST_EXPOSURE = 5.0  # of 10, by systemd's own reckoning
# As a network manager is ordered: from the first moment in which anything may be sent it sends.
LEAKER = """
[Unit]
DefaultDependencies=no
Wants=network-pre.target
After=network-pre.target
[Service]
ExecStart={python} -c "{script}"
"""
SCRIPT = (
    "import socket,time\\n"
    "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\\n"
    "while True:\\n"
    " try: s.sendto(b'leak',('{address}',4000))\\n"
    " except OSError: pass\\n"
    " time.sleep(0.005)\\n"
)
DAEMON = """
[Service]
Environment=PYTHONPATH={source}
ExecStart={vigilnetd} --config {config}
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[ProtectedDevice]:
    with Lab() as lab:
        tables: dict[str, Tables] = {"client": {"device": {"helper": "/run/vigilnet/helper.sock"}}}
        made = start_device(lab, tmp_path, tables=tables)
        made.network.user.stop()
        yield made


@contextlib.contextmanager
def machine_of(device: ProtectedDevice) -> Iterator[Machine]:
    """The client's host as a machine that leaks as soon as it may, and starts its node."""
    script = SCRIPT.format(address=device.network.target.v4)
    user = device.network.user
    config = write_config(user.folder, user.name, user.tables)
    units = {
        "leaker.service": LEAKER.format(python=sys.executable, script=script),
        "node.service": DAEMON.format(source=SOURCE, vigilnetd=VIGILNETD, config=config),
    }
    with Machine(user.folder, device.host, units) as machine:
        yield machine


def in_machine(machine: Machine, device: ProtectedDevice, *words: object) -> str:
    return machine.run("vigilnet", *words, "--state-folder", device.network.user.state).stdout


def wait_for_node(machine: Machine, device: ProtectedDevice) -> None:
    words = ("vigilnet", "device", "--state-folder", device.network.user.state)
    try:
        wait_until(lambda: machine.run(*words, check=False).returncode == 0, "the node answers", timeout=60)
    except TimeoutError as error:
        status = machine.run("systemctl", "status", "--no-pager", "-l", "node.service", check=False).stdout
        raise AssertionError(f"{status}\n{machine.run(*words, check=False).stderr}") from error


@needs_programs("curl")
def test_boot_with_lockdown_lets_nothing_out_and_without_it_does(device: ProtectedDevice) -> None:
    with machine_of(device) as machine:
        with device.sniff() as sniffer:
            machine.boot()
            wait_until(lambda: sniffer.leaks, "the probe is seen without lockdown")
        wait_for_node(machine, device)
        in_machine(machine, device, "lockdown", "on")
        machine.switch_off()
        device.host.run("nft", "flush", "ruleset")  # as power going off would
        with device.sniff() as sniffer:
            machine.boot()
            assert machine.state_of("vigilnet-lockdown.service") == "active", machine.said
            assert machine.state_of("leaker.service") == "active"
            wait_for_node(machine, device)
            in_machine(machine, device, "up")
            url = f"http://{device.network.target.v4}/page.txt"
            assert machine.run("curl", "-sS", "-m", "20", url).stdout == "found\n"
            in_machine(machine, device, "down")
            pause(0.3)
        assert not sniffer.leaks
        assert sniffer.links
        in_machine(machine, device, "lockdown", "off")
        with device.sniff() as sniffer:
            wait_until(lambda: sniffer.leaks, "the probe is seen again")


@needs_programs("curl")
def test_the_hardened_helper_does_all_that_it_must(device: ProtectedDevice) -> None:
    url = f"http://{device.network.target.v4}/page.txt"
    with machine_of(device) as machine:
        machine.boot()
        wait_for_node(machine, device)
        before = device.host.run("nft", "list", "ruleset").stdout + device.host.run("ip", "rule").stdout
        said = in_machine(machine, device, "up")
        assert "all traffic goes through the network" in said
        with device.sniff() as sniffer:
            assert machine.run("curl", "-sS", "-m", "20", url).stdout == "found\n"
            assert "1 received" in machine.run("ping", "-c1", "-W5", device.network.target.v4).stdout
        assert not sniffer.leaks
        with device.sniff() as sniffer:  # a program that is excluded, by its control group
            words = (
                "exec",
                "--outside",
                "--state-folder",
                device.network.user.state,
                "--",
                "curl",
                "-sS",
                url,
            )
            assert machine.run("vigilnet", *words).stdout == "found\n"
        assert {leak.rpartition(":")[2] for leak in sniffer.leaks} == {"80"}
        with device.sniff() as sniffer:
            machine.run("systemctl", "kill", "-s", "KILL", "node.service")
            machine.run("systemctl", "kill", "-s", "KILL", "vigilnet-helper.service")
            pause(0.3)
        assert not sniffer.leaks
        wait_until(lambda: machine.state_of("vigilnet-helper.service") == "active", "systemd starts it again")
        machine.run("systemctl", "start", "node.service")
        wait_for_node(machine, device)
        in_machine(machine, device, "up")
        in_machine(machine, device, "down")
        after = device.host.run("nft", "list", "ruleset").stdout + device.host.run("ip", "rule").stdout
        assert after == before


@pytest.mark.parametrize("unit", ["vigilnet-helper.service", "vigilnet-lockdown.service"])
def test_systemd_finds_no_fault_in_the_units(unit: str, tmp_path: Path) -> None:
    text = (
        (UNITS / unit).read_text().replace("/usr/bin/vigilnet", "/bin/true")
    )  # whether it is installed or not
    (tmp_path / unit).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit)], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if unit in line] == []
    words = ["systemd-analyze", "security", "--offline=true", f"--threshold={int(MOST_EXPOSURE * 10)}"]
    rated = subprocess.run([*words, str(tmp_path / unit)], capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout
