"""Many nodes in memory on a virtual clock: who is let in."""

import asyncio
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.links import (
    OPTIONS,
    FakeLocal,
    FakeRecord,
    Node,
    Nodes,
    half_open,
    name,
    play,
)
from vigilnet.traffic.link.acceptor_io import LinkAcceptor
from vigilnet.traffic.link.dial_io import LinkUnavailableError
from vigilnet.traffic.transport.memory import MemoryCarrier


def acceptor(node: Node) -> LinkAcceptor:
    assert node.service._acceptor is not None
    return node.service._acceptor


def test_a_peer_with_an_older_record_of_ours_reaches_us_and_its_own_record_is_judged_by_its_host() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        other = await nodes.relay("other", "192.0.2.3")
        local = acceptor(relay)._local
        assert isinstance(local, FakeLocal)
        local.previous_link_key, local.link_key = local.link_key, X25519PrivateKey.generate()
        seen: list[str] = []

        def admit(encoded: bytes, host: str) -> FakeRecord:
            seen.append(host)
            return FakeRecord.admit(encoded)

        acceptor(relay)._admit = admit
        assert (await other.service.connect(name(relay))).is_open
        await asyncio.sleep(1)
        assert seen == ["192.0.2.3"]

    play(scenario)


def test_at_most_64_clients_of_one_prefix() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        clients = [nodes.client(f"198.51.100.{n}") for n in range(65)]
        links = [await client.service.connect(name(relay)) for client in clients]
        await asyncio.sleep(0.1)
        assert [link.is_open for link in links] == [True] * 64 + [False]
        elsewhere = await nodes.client("203.0.113.1").service.connect(name(relay))
        links[0].close()
        await asyncio.sleep(0.1)
        again = await nodes.client("198.51.100.99").service.connect(name(relay))
        await asyncio.sleep(0.1)
        assert elsewhere.is_open
        assert again.is_open
        for link in (*links, elsewhere, again):
            link.close()
        await asyncio.sleep(0.1)
        assert not acceptor(relay).clients
        assert not acceptor(relay).accepted

    play(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("prefixes", [1, 100, 10_000])
def test_an_honest_link_opens_beside_10000_half_open_handshakes(prefixes: int) -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        most = 0
        for n in range(10_000):  # 2000 a second
            half_open(nodes, f"10.{n % prefixes // 256}.{n % prefixes % 256}.1")
            if n % 20 == 0:
                await asyncio.sleep(0.01)
            most = max(most, len(acceptor(relay).accepted))
            if n == 9_000:
                start = nodes.clock.now()
                nodes.hub.on_pair = slow_client
                dial = client.service.dialler.dial(name(relay))
        await dial
        assert nodes.clock.now() - start < 2.0
        assert most <= 256 + 1  # and the honest one
        await asyncio.sleep(11)
        assert acceptor(relay).admission.unfinished == 0
        assert len(acceptor(relay).accepted) == 1

    def slow_client(ours: MemoryCarrier, theirs: MemoryCarrier) -> None:
        if theirs.remote_host == "198.51.100.1":
            ours.outgoing.delay_s = theirs.outgoing.delay_s = 0.02

    play(scenario)


def test_a_flooded_relay_asks_for_a_cookie_and_still_opens() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        for n in range(70):
            half_open(nodes, f"10.0.{n}.1")
        await asyncio.sleep(0.1)
        kinds: list[int] = []

        def note(octets: bytes) -> bytes:
            kinds.append(octets[2])
            return octets

        nodes.hub.on_pair = lambda ours, theirs: setattr(theirs.outgoing, "tamper", note)
        await nodes.client("198.51.100.1").service.connect(name(relay))
        assert kinds == [2, 3]

    play(scenario)


def test_when_no_place_is_left_newcomers_are_turned_away() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2", options=replace(OPTIONS, max_unfinished=2))
        for n in range(2):
            half_open(nodes, f"10.0.{n}.1")
        await asyncio.sleep(0.1)
        for ticket in acceptor(relay).admission._unfinished:
            ticket.has_proven = True
        with pytest.raises(LinkUnavailableError):
            await nodes.client("198.51.100.1").service.connect(name(relay))

    play(scenario)


def test_an_unfinished_handshake_is_dropped_after_10_s() -> None:
    async def scenario(nodes: Nodes) -> None:
        relay = await nodes.relay("relay", "192.0.2.2")
        carrier = half_open(nodes, "10.0.0.1")
        await asyncio.sleep(9.9)
        assert not carrier._has_ended
        await asyncio.sleep(0.2)
        assert carrier._has_ended
        assert not acceptor(relay).accepted

    play(scenario)
