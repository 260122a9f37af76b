"""The circuit room of a node as a whole: who may extend, and what lies over a link."""

import pytest

from tests.support.onion_network import OnionNetwork, play
from vigilnet.base.errors import VigilnetError
from vigilnet.traffic.circuit.messages import DestroyReason


def test_client_extends_for_nobody_and_takes_no_records() -> None:
    async def scenario(network: OnionNetwork) -> None:
        client = network.client.circuits
        assert client.may_extend(network.relays[0].identity, 0) is DestroyReason.POLICY
        link = await network.client.links.connect(network.relays[0].identity)
        client.offer_record(b"record", link)
        place = await client.link_to(network.relays[0].identity)
        client.create_cancelled(place, 5)

    play(scenario, 1)


def test_circuits_over_a_link_are_counted_at_both_ends() -> None:
    async def scenario(network: OnionNetwork) -> None:
        for _ in range(3):
            await network.build(2)
        guard, last = network.relays
        between = guard.links.get(last.identity)
        assert between is not None
        assert guard.circuits.circuits_over(between) == 3
        link = network.client.links.get(guard.identity)
        assert link is not None
        assert network.client.circuits.circuits_over(link) == 3
        link.close()
        assert network.client.circuits.circuits_over(link) == 0

    play(scenario, 2)


def test_link_that_nobody_attached_is_refused() -> None:
    async def scenario(network: OnionNetwork) -> None:
        client = network.client.circuits
        await network.client.links.connect(network.relays[0].identity)
        client._places.clear()
        with pytest.raises(VigilnetError, match="lost"):
            await client.link_to(network.relays[0].identity)

    play(scenario, 1)


def test_one_relay_is_client_relay_and_exit_at_once() -> None:
    async def scenario(network: OnionNetwork) -> None:
        middle = network.relays[1]
        through = await network.build(3)
        own = await middle.circuits.build([network.relays[0].hop, network.relays[2].hop])
        ending = await network.build(2)
        for circuit in (through, own, ending):
            assert await network.exchange(circuit, 20_000)
        await middle.circuits.close()
        await network.settle(3)
        assert not middle.relay.circuits
        assert not middle.circuits.client.circuits

    play(scenario)
