"""`vigilnet run --phase`: what a node opens grows from phase to phase, and each is of use alone (DIS-04)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.helper_nodes import CONSENT, PAGE, HelperNode, exit_settings, web_server
from tests.support.sockets import LISTENS, descriptors, tcp_sockets
from tests.support.waiting import wait_until
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Status
from vigilnet.surface.control.schema import ControlError

pytestmark = pytest.mark.slow  # each starts some processes


def listening(node: HelperNode) -> set[int]:
    """The TCP ports that a node's process listens on."""
    assert node.process is not None
    return {each.port for each in tcp_sockets(node.process.pid) if each.state == LISTENS}


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def status_of(node: HelperNode) -> Status:
    with ControlClient(node.folder) as control:
        return control.status()


@pytest.fixture
def exit_node(tmp_path: Path) -> Iterator[tuple[HelperNode, int, str]]:
    """An exit, the port of a site that it reaches, and its invite."""
    with (
        web_server() as target,
        HelperNode(
            tmp_path / "exit", "exit", ("--accept-exit-notice",), exit_settings(target), CONSENT
        ) as node,
    ):
        with ControlClient(node.folder) as control:
            invite = control.invite().uri
        yield node, target, invite


@pytest.mark.parametrize("mode", ["client", "relay"])
def test_discovering_hears_of_relays_and_opens_nothing(
    tmp_path: Path, exit_node: tuple[HelperNode, int, str], mode: str
) -> None:
    words = ("--phase", "discover", "--invite", exit_node[2])
    with HelperNode(tmp_path / "node", mode, words) as node:
        status = wait_until(lambda: (found := status_of(node)).peers == 1 and found, "it knows the exit")
        assert status
        assert (status.phase, status.socks, status.http_proxy, status.listen) == ("discover", "", "", ())
        assert (status.links, status.circuits) == (0, 0)
        assert listening(node) == {port_of(node.ready["status"])}
        assert_no_device(node)


def test_the_mesh_relays_and_gossips_and_serves_no_application(
    tmp_path: Path, exit_node: tuple[HelperNode, int, str]
) -> None:
    words = ("--phase", "mesh", "--invite", exit_node[2])
    with HelperNode(tmp_path / "node", "relay", words) as node:
        wait_until(lambda: status_of(node).links >= 1, "it has a link")
        wait_until(lambda: status_of(exit_node[0]).peers == 1, "the exit has heard of it by gossip")
        status = status_of(node)
        assert (status.phase, status.socks, status.http_proxy) == ("mesh", "", "")
        assert status.circuits == 0
        assert listening(node) == {port_of(node.ready["status"]), port_of(status.listen[0])}
        assert_no_device(node)


def test_the_whole_serves_applications(tmp_path: Path, exit_node: tuple[HelperNode, int, str]) -> None:
    words = ("--phase", "full", "--invite", exit_node[2])
    with HelperNode(tmp_path / "node", "client", words, {"circuits.hops": "1"}) as node:
        node.wait_state("connected")
        status = status_of(node)
        assert status.phase == "full"
        assert listening(node) == {
            port_of(node.ready["status"]), port_of(status.socks), port_of(status.http_proxy),
        }  # fmt: skip
        assert node.fetch(exit_node[1]) == PAGE


def assert_no_device(node: HelperNode) -> None:
    """Neither is there a tunnel's interface nor can one be asked for."""
    assert node.process is not None
    assert "/dev/net/tun" not in descriptors(node.process.pid)
    with ControlClient(node.folder) as control, pytest.raises(ControlError):
        control.call("up")
