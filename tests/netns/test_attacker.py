"""Someone on the wire between client and guard who edits what passes.

client ─┐
relay1 ─┤
relay2 ─┼─ switch          relays are reached through `attacker` alone: that is what their records say
exit   ─┤
target ─┤
attacker┘
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.editing_proxy import Edit, EditingProxy, Passing, honest
from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.nodes import Network, start_network
from tests.support.octet_server import stream_of
from tests.support.waiting import held, wait_until

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("curl")]

MIB = 1 << 20
SOON_S = held(10.0)
ATTACKER, FIRST_PORT = "10.77.1.6", 5001
RELAYS = {"relay1": "10.77.1.2", "relay2": "10.77.1.3", "exit": "10.77.1.4"}


@dataclass
class Attacked:
    """A network and the attacker in it."""

    network: Network
    proxy: EditingProxy


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    ports = {name: FIRST_PORT + number for number, name in enumerate(RELAYS)}
    proxies: list[EditingProxy] = []

    def set_up(network: Network) -> None:
        proxies.append(EditingProxy(network.others["attacker"], network.client.v4))
        for name, port in ports.items():
            proxies[0].forward(port, (RELAYS[name], 4001))

    with Lab() as lab:
        network = start_network(
            lab,
            tmp_path_factory.mktemp("attacker"),
            v6=False,
            tables={name: {"relay": {"advertise": [f"{ATTACKER}:{ports[name]}"]}} for name in RELAYS},
            others=["attacker"],
            before_nodes=set_up,
        )
        yield Attacked(network, proxies[0])
        proxies[0].close()


class Once:
    """Edits the first large enough piece of one direction, and nothing more."""

    def __init__(self, change: Callable[[bytes], bytes], *, from_client: bool, least: int = 4000) -> None:
        self.is_done = False
        self._change = change
        self._from_client = from_client
        self._least = least

    def __call__(self, passing: Passing) -> bytes:
        if self.is_done or passing.is_from_client != self._from_client or len(passing.octets) < self._least:
            return passing.octets
        self.is_done = True
        return self._change(passing.octets)


def flipped(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 0x10]) + octets[at + 1 :]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda octets: flipped(octets, len(octets) // 2),
    "flip a length": lambda octets: flipped(octets, 0),
    "cut out": lambda octets: octets[:1000] + octets[1100:],
    "cut out a whole": lambda _: b"",
    "replay": lambda octets: octets + octets,
    "insert": lambda octets: octets[:2000] + bytes(50) + octets[2000:],
}


def received_until_broken(connection: socket.socket, sent: bytes) -> bytes:
    """Send and receive until the connection is reset: an orderly end would pass for the whole."""
    received = bytearray()
    connection.settimeout(40)
    try:
        connection.sendall(sent)
        while piece := connection.recv(1 << 18):
            received += piece
    except ConnectionResetError:
        return bytes(received)
    raise AssertionError("an orderly end")


@pytest.mark.parametrize("from_client", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("change", CHANGES)
def test_an_edited_link_ends_and_nothing_false_arrives(
    attacked: Attacked, change: str, from_client: bool
) -> None:
    network, proxy = attacked.network, attacked.proxy
    network.restart_user()  # links that were cut again and again are not dialled at once
    octets = 64 * MIB
    right = b"".join(stream_of(8 * MIB))
    with network.dial("ECHO" if from_client else f"SEND {octets}") as connection:
        attack = Once(CHANGES[change], from_client=from_client)
        proxy.edit = attack
        received = received_until_broken(connection, right if from_client else b"")
        assert attack.is_done
    assert len(received) < octets
    assert received[: 8 * MIB] == right[: len(received)]
    proxy.edit = honest
    assert network.fetch(SOON_S) == "found\n"


def at(offset: int, *, from_client: bool, change: Callable[[int], int]) -> Edit:
    """An edit of one octet at a place of every connection."""

    def edit(passing: Passing) -> bytes:
        index = offset - passing.offset
        if passing.is_from_client != from_client or not 0 <= index < len(passing.octets):
            return passing.octets
        octets = passing.octets
        return octets[:index] + bytes([change(octets[index])]) + octets[index + 1 :]

    return edit


HANDSHAKES: dict[str, Edit] = {
    "version": at(3, from_client=True, change=lambda octet: octet + 1),
    "downgrade to classical": at(4, from_client=True, change=lambda octet: octet | 0x80),
    "another cipher": at(4, from_client=True, change=lambda octet: octet ^ 3),
    "first ephemeral key": at(20, from_client=True, change=lambda octet: octet ^ 1),
    "the relay's ephemeral key": at(20, from_client=False, change=lambda octet: octet ^ 1),
    "the relay's clock": at(1150, from_client=False, change=lambda octet: octet ^ 1),
    "third message": at(1300, from_client=True, change=lambda octet: octet ^ 1),
}


@pytest.mark.parametrize("place", HANDSHAKES)
def test_no_link_comes_of_an_edited_handshake(attacked: Attacked, place: str) -> None:
    network, proxy = attacked.network, attacked.proxy
    network.user.kill()
    proxy.edit, proxy.edited, proxy.connections = HANDSHAKES[place], 0, 0
    network.user.start()
    wait_until(lambda: proxy.edited >= 2, "two handshakes are edited")
    status = wait_until(network.user.status, "the client answers")
    assert status is not None
    # Who dialled thinks that he has a link until the relay has refused the third message.
    assert (status.circuits, status.first_circuit_ms) == (0, None)
    assert proxy.connections <= 8
    proxy.edit = honest
    network.user.wait_ready(SOON_S)
    assert network.fetch(SOON_S) == "found\n"
