"""The states that need a whole device, a dead network or a sign-in page, each reached for real.

client ── switch ─┬─ relay1, relay2, exit
                  └─ target: web, DNS, and the sign-in page

tests/test_steering.py reaches apps-only, one-hop, offline and reconnecting without rights; the page's own
no-daemon is in web/e2e. `mesh` waits for the local mesh.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import ProtectedDevice, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab, wait_for_port
from tests.support.waiting import wait_until
from tests.support.walkthrough_world import SIGN_IN
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Protection
from vigilnet.surface.exits import ExitCode

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "curl")]
PATIENCE = 40.0
PORTAL_PORT = 8080


@pytest.fixture
def device(tmp_path: Path) -> Iterator[ProtectedDevice]:
    with Lab() as lab:
        # nobody is asked whether there is a sign-in page, but where a test says so
        made = start_device(lab, tmp_path, tables={"client": {"device": {"portal_probe": ""}}})
        made.start_helper()
        yield made


def shown(device: ProtectedDevice) -> Protection:
    with ControlClient(device.network.user.state, PATIENCE) as control:
        protection = control.status().protection
    assert protection is not None
    return protection


def wait_state(device: ProtectedDevice, state: str) -> Protection:
    wait_until(lambda: shown(device).id == state, f"{state}, not {shown(device).id}", PATIENCE, 0.2)
    return shown(device)


def ask(device: ProtectedDevice, operation: str, **params: object) -> None:
    with ControlClient(device.network.user.state, PATIENCE) as control:
        control.call(operation, params)


def exit_code(device: ProtectedDevice) -> int:
    """What `vigilnet status` says to programs."""
    words = [sys.executable, "-m", "vigilnet.surface.cli.main", "status"]
    folder = str(device.network.user.state)
    return device.host.run(*words, "--state-folder", folder, check=False).returncode


def stop_relays(device: ProtectedDevice) -> None:
    for name, node in device.network.nodes.items():
        if name != "client":
            node.kill()


def test_protected_and_what_is_short_of_it(device: ProtectedDevice) -> None:
    assert wait_state(device, "apps-only").tone == "warn"
    ask(device, "device", action="up")
    assert "your provider sees which sites you visit" in wait_state(device, "names-visible").sentence
    assert exit_code(device) == ExitCode.RESERVATION
    ask(device, "device", action="change", fields={"dns": "overlay"})
    assert wait_state(device, "connected").tone == "ok"
    assert exit_code(device) == ExitCode.OK
    ask(device, "set-hops", hops=1, keep=False)
    assert wait_state(device, "one-hop").tone == "warn"


def test_lockdown_while_off_is_blocked_and_connecting_leads_out_again(device: ProtectedDevice) -> None:
    ask(device, "device", action="change", fields={"dns": "overlay"})
    ask(device, "device", action="up")
    wait_state(device, "connected")
    ask(device, "device", action="lockdown", is_on=True)
    ask(device, "disconnect")
    blocked = wait_state(device, "blocked")
    assert (blocked.tone, blocked.api) == ("hold", "offline")
    assert [button.action for button in blocked.buttons] == ["connect", "lockdown-off"]
    assert exit_code(device) == ExitCode.BLOCKED
    with device.sniff() as sniffer:
        assert not device.network.can_fetch(2.0)
        device.host.run(
            "curl", "-sS", "--max-time", "2", f"http://{device.network.target.v4}/page.txt", check=False
        )
    assert not sniffer.leaks
    ask(device, "connect")  # what was protected is again, or lockdown would keep our own links in
    wait_state(device, "connected")
    ask(device, "disconnect")
    wait_state(device, "blocked")
    ask(device, "device", action="lockdown", is_on=False)
    offline = wait_state(device, "offline")
    assert (offline.tone, exit_code(device)) == ("bad", ExitCode.OFF)


def test_dead_network_is_told_from_none_and_traffic_is_held(device: ProtectedDevice) -> None:
    user = device.network.user
    ask(device, "device", action="up")
    wait_state(device, "names-visible")
    stop_relays(device)
    held = wait_state(device, "reconnecting")
    assert held.tone == "busy"
    assert "nothing goes out unprotected" in held.sentence
    user.stop()
    user.start()  # knows the relays, and none answers
    wait_until(user.status, "the client", PATIENCE)
    assert "goes out directly meanwhile" in wait_state(device, "connecting").sentence
    assert exit_code(device) == ExitCode.CONNECTING
    user.stop()
    for record in [*(user.folder / "peers").iterdir(), user.state / "peers"]:
        record.unlink()  # and now it knows nobody
    user.start()
    wait_until(user.status, "the client", PATIENCE)
    assert wait_state(device, "calibrating").api == "calibrating"


def test_network_that_wants_a_sign_in_is_said_to(device: ProtectedDevice) -> None:
    target, user = device.network.target, device.network.user
    target.start(sys.executable, "-c", SIGN_IN)
    wait_for_port(target, target.v4, PORTAL_PORT)
    user.stop()
    user.tables["device"]["portal_probe"] = f"http://{target.v4}:{PORTAL_PORT}/success.txt"
    user.start()
    user.wait_ready()
    ask(device, "device", action="up")
    stop_relays(device)
    portal = wait_state(device, "portal")
    assert (portal.tone, portal.api) == ("warn", "calibrating")
    assert "Only the sign-in window may bypass VigilNet" in portal.sentence
    found = device.ask("portal", seconds=30)
    assert found.portal == f"http://{target.v4}:{PORTAL_PORT}/login"
    assert device.network.curl(found.portal) == "sign in\n"
    with ControlClient(user.state, PATIENCE) as control:
        findings = {finding["id"]: finding["level"] for finding in control.call("doctor")["findings"]}
    assert findings["network.sign-in"] == "fail"
    for name, node in device.network.nodes.items():
        if name != "client":
            node.start()
    wait_state(device, "names-visible")
