"""Programs that are remembered by their path: confined whenever they start, children and restarts included.

    client ─┬─ switch ─┬─ relay1, relay2, exit
   (sniffer)┘          └─ target: web, DNS, octets

What was excluded is seen by the sniffer at the target, and nothing else is.
"""

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "tc", "curl")]


@pytest.fixture(scope="module", params=["redirect", "interface"])
def device(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProtectedDevice]:
    with Lab() as lab:
        made = start_device(lab, tmp_path_factory.mktemp("device"))
        made.capture = request.param
        made.start_helper()
        made.ask("up")
        yield made


@pytest.fixture
def mycurl(device: ProtectedDevice) -> Iterator[str]:
    """A copy of curl under a path of its own, remembered as excluded."""
    path = str(device.run_folder / "mycurl")
    shutil.copy(shutil.which("curl") or "/usr/bin/curl", path)
    assert f"outside {path}" in device.cli("split", "add", "--app", path)
    yield path
    device.cli("split", "remove", "--app", path)


def page(device: ProtectedDevice, *words: object) -> str:
    return device.host.run(*words, "-sS", "-m", "10", f"http://{device.network.target.v4}/page.txt").stdout


def assert_directly(device: ProtectedDevice, *words: object) -> None:
    with device.sniff() as sniffer:
        assert page(device, *words) == "found\n"
    assert sniffer.leaks
    assert all(leak.endswith(":80") for leak in sniffer.leaks), sniffer.leaks


def test_it_goes_around_from_its_first_packet_and_others_do_not(device: ProtectedDevice, mycurl: str) -> None:
    for _ in range(5):
        assert_directly(device, mycurl)
    with device.sniff() as sniffer:
        assert page(device, "curl") == "found\n"
    assert not sniffer.leaks


def test_what_it_starts_follows_it(device: ProtectedDevice) -> None:
    script = device.run_folder / "script"
    script.write_text('#!/bin/sh\nsh -c "curl $*"\n')
    script.chmod(0o755)
    device.cli("split", "add", "--app", script)
    try:
        assert_directly(device, script)
    finally:
        device.cli("split", "remove", "--app", script)
    with device.sniff() as sniffer:
        assert page(device, script) == "found\n"
    assert not sniffer.leaks


def test_it_is_remembered_after_a_restart_of_both(device: ProtectedDevice, mycurl: str) -> None:
    user = device.network.user
    kept = tomllib.loads(Path(user.folder / f"{user.name}.toml").read_text())["device"]
    assert kept["outside_programs"] == [mycurl]
    user.stop()
    device.stop_helper()
    device.start_helper()
    user.tables["device"] = {**kept, "up": True}
    user.start()
    wait_until(lambda: user.status() is not None, "the node answers")
    wait_until(lambda: device.ask("status").is_up, "the device is up again")
    assert_directly(device, mycurl)


def test_a_program_bound_to_an_exit_leaves_by_it_alone(device: ProtectedDevice) -> None:
    script = device.run_folder / "bound"
    script.write_text('#!/bin/sh\ngrep 0:: /proc/self/cgroup; curl "$@"\n')
    script.chmod(0o755)
    path = str(script)
    exit_ = next(node for name, node in device.network.nodes.items() if name.startswith("exit"))
    status = exit_.status()
    assert status is not None
    said = device.cli("split", "add", "--exit", status.peer_id, "--app", path)
    assert f"exit {status.peer_id} {path}" in said
    with device.sniff() as sniffer:
        assert re.fullmatch(r"0::/\S*/exit0\nfound\n", page(device, path))
    assert not sniffer.leaks
    device.cli("split", "remove", "--app", path)
    assert device.cli("split", "list") == "no programs are remembered\n"


def test_what_the_helper_needs_is_refused_in_one_line(device: ProtectedDevice) -> None:
    words = ("split", "add", "--app", shutil.which("nft") or "/usr/sbin/nft")
    assert device.cli(*words, check=False) == ""
    assert device.cli("split", "list") == "no programs are remembered\n"


def test_what_was_bound_by_a_node_before_leaves_by_no_other_exit(device: ProtectedDevice) -> None:
    user, run = device.network.user, device.run_folder
    status = next(node for name, node in device.network.nodes.items() if name.startswith("exit")).status()
    assert status is not None
    url = f"http://{device.network.target.v4}/page.txt"
    waits = (
        f"while [ ! -e {run}/go ]; do sleep 0.05; done; curl -sS -m 10 {url} >{run}/said; touch {run}/over"
    )
    program = device.host.start("sh", "-c", waits)
    device.ask("join", pid=program.pid, group=f"exit {status.peer_id}")
    user.stop()
    user.tables["device"] = {**user.tables["device"], "up": True}
    user.start()
    wait_until(lambda: user.status() is not None, "the node answers")
    wait_until(lambda: device.ask("status").is_up, "the device is up again")
    (run / "go").touch()
    wait_until((run / "over").exists, "the program has ended")
    for name in ("go", "over"):
        (run / name).unlink()
    assert (run / "said").read_text() == ""
