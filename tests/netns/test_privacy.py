"""What each host sees on its wires (CIR-02, EXT-02) and writes down (API-13); IPv4, IPv6 and both.

client ─┐
guard  ─┤
middle ─┼─ switch      all packets of client, guard, middle and exit are noted while a page is fetched
exit   ─┤
target ─┘
"""

import contextlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.capture import TCP, UDP, Capture
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Namespace
from tests.support.nodes import DNS_PORT, SOCKS, WEB_PORT, Network, Tables, start_network

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("curl")]

MARK = "this-page-is-nobody's-business-"


@dataclass
class Seen:
    """A fetch by name, and what crossed everybody's wires meanwhile."""

    network: Network
    hosts: dict[str, Namespace]  # by place: guard, middle, exit
    captures: dict[str, Capture]  # the same, and client

    def addresses_of(self, place: str) -> set[str]:
        host = {"client": self.network.client, "target": self.network.target, **self.hosts}[place]
        return {address for address in (host.v4, host.v6) if address}


@pytest.fixture(scope="module", params=["ipv4", "ipv6", "both"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp(f"privacy-{request.param}")
    with Lab() as lab:
        talkative: Tables = {"log": {"level": "debug"}}
        network = start_network(
            lab, folder, v4=request.param != "ipv6", v6=request.param != "ipv4",
            tables={"relays": talkative, "client": talkative},
        )  # fmt: skip
        (folder / "site" / "secret.txt").write_text(MARK * 1000)
        guard, middle, last = network.nodes_of(network.user.circuits()[0])
        places = {"guard": guard.host, "middle": middle.host, "exit": last.host}
        with contextlib.ExitStack() as stack:
            captures = {
                place: stack.enter_context(Capture(host))
                for place, host in {"client": network.client, **places}.items()
            }
            said = network.curl("--socks5-hostname", SOCKS, "http://site.test/secret.txt")
        assert said == MARK * 1000
        yield Seen(network, places, captures)


def test_the_client_speaks_to_its_guard_alone(seen: Seen) -> None:
    allowed = seen.addresses_of("client") | seen.addresses_of("guard")
    assert seen.captures["client"].packets
    assert seen.captures["client"].addresses() <= allowed
    assert {packet.protocol for packet in seen.captures["client"].packets} == {TCP}


def test_no_name_is_asked_for_but_by_the_exit(seen: Seen) -> None:
    for place, capture in seen.captures.items():
        asked = [
            packet
            for packet in capture.packets
            if DNS_PORT in (packet.source_port, packet.target_port) or packet.protocol == UDP
        ]
        assert bool(asked) == (place == "exit"), place


def test_the_middle_meets_neither_client_nor_target(seen: Seen) -> None:
    met = seen.captures["middle"].addresses()
    assert met & seen.addresses_of("guard")
    assert met & seen.addresses_of("exit")
    assert not met & (seen.addresses_of("client") | seen.addresses_of("target"))


def test_the_guard_does_not_meet_the_target_nor_the_exit_the_client(seen: Seen) -> None:
    assert not seen.captures["guard"].addresses() & seen.addresses_of("target")
    assert not seen.captures["exit"].addresses() & seen.addresses_of("client")
    assert seen.captures["exit"].addresses() & seen.addresses_of("target")


def test_page_name_and_target_cross_no_wire_readably_but_the_last(seen: Seen) -> None:
    secrets = [MARK[:-1].encode(), b"site.test", b"secret.txt", b"\x04site\x04test"]
    for address in seen.addresses_of("target"):
        secrets += [address.encode(), f":{WEB_PORT}".encode()] if ":" not in address else [address.encode()]
        if ":" in address:  # four octets of IPv4 would be met by chance
            secrets.append(ipaddress.ip_address(address).packed)
    for place in ("client", "guard", "middle"):
        crossed = seen.captures[place].payload()
        assert len(crossed) > 30_000
        for secret in secrets[:1] + [secret for secret in secrets if len(secret) > 4]:
            assert secret not in crossed, (place, secret)
    assert secrets[0] in seen.captures["exit"].payload()


def test_no_log_names_site_or_target_nor_a_relays_the_client(seen: Seen) -> None:
    """At the most talkative level, also of what goes wrong."""
    network = seen.network
    for url in (f"http://{network.in_url}:81/closed.txt", "http://nowhere.test/lost.txt"):
        said = network.client.run("curl", "-sS", "--socks5-hostname", SOCKS, url, check=False)
        assert said.returncode == 97, said
    private = {MARK, "site.test", "nowhere.test", "secret.txt", "closed.txt", "lost.txt"}
    for name, node in network.nodes.items():
        log = node.log
        assert "node is up" in log, name
        unsaid = private | seen.addresses_of("target")
        if name != "client":
            unsaid |= seen.addresses_of("client")
        assert not [text for text in unsaid if text in log], name
