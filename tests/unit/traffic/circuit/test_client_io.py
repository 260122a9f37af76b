"""Building circuits of ours over real links in memory: time, cancellation, lost links."""

import asyncio

import pytest

from tests.support.onion_network import OnionNetwork, is_open, play
from vigilnet.traffic.circuit.client import CircuitClosedError, ClientCircuit
from vigilnet.traffic.circuit.messages import DestroyReason


async def failure(network: OnionNetwork, hops: int = 3) -> CircuitClosedError:
    with pytest.raises(CircuitClosedError) as caught:
        await network.build(hops)
    return caught.value


def test_guard_that_cannot_be_reached_is_named() -> None:
    async def scenario(network: OnionNetwork) -> None:
        network.hub.unreachable.add(network.relays[0].host)
        error = await failure(network)
        assert (error.reason, error.hop) == (DestroyReason.CONNECT_FAILED, 1)
        assert network.relays[0].host not in str(error)

    play(scenario)


def test_guard_whose_link_never_opens_is_given_up_in_time() -> None:
    async def scenario(network: OnionNetwork) -> None:
        async def never(identity: bytes) -> object:
            await asyncio.sleep(3600)
            raise AssertionError

        network.client.circuits.client._links.link_to = never  # type: ignore[method-assign, assignment]
        start = network.loop.time()
        error = await failure(network)
        assert (error.reason, error.hop) == (DestroyReason.TIMEOUT, 1)
        assert network.loop.time() - start == pytest.approx(10, abs=0.1)

    play(scenario)


def test_link_that_is_lost_as_soon_as_it_is_open_fails_the_build_at_once() -> None:
    async def scenario(network: OnionNetwork) -> None:
        connect = network.client.links.connect

        async def connect_and_lose(identity: bytes) -> object:
            link = await connect(identity)
            link.close()
            return link

        network.client.links.connect = connect_and_lose  # type: ignore[method-assign, assignment]
        start = network.loop.time()
        error = await failure(network)
        assert (error.reason, error.hop) == (DestroyReason.CONNECT_FAILED, 1)
        assert network.loop.time() - start < 1
        assert not network.client.circuits._places

    play(scenario)


def test_cancelled_build_leaves_nothing_anywhere() -> None:
    async def scenario(network: OnionNetwork) -> None:
        for pause in (0.0, 0.005, 0.012, 0.022, 0.035, 0.05, 0.07, 0.1):
            building = asyncio.ensure_future(network.build(3))
            await asyncio.sleep(pause)
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
            assert not network.client.circuits.client.circuits or building.done()
            await network.settle(15)
            for circuit in network.client.circuits.client.circuits:
                circuit.close()
            await network.settle(3)
            network.assert_nothing_left()

    play(scenario, delay_s=0.005)


def test_lost_link_ends_the_circuits_over_it_and_tells_why() -> None:
    async def scenario(network: OnionNetwork) -> None:
        told: list[tuple[ClientCircuit, CircuitClosedError]] = []
        network.client.circuits.client.on_closed = lambda circuit, error: told.append((circuit, error))
        here, there = await network.build((0, 1)), await network.build((1, 2))
        link = network.client.links.get(network.relays[0].identity)
        assert link is not None
        link.close()
        assert not is_open(here)
        assert is_open(there)
        ((circuit, error),) = told
        assert circuit is here
        assert error.hop == 1
        await network.settle(3)
        assert [len(node.relay.circuits) for node in network.relays] == [0, 1, 1]

    play(scenario)


def test_closing_the_service_closes_every_circuit_and_task() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuits = [await network.build(3) for _ in range(3)]
        readers = [network.open(circuit, "stall.test") for circuit in circuits]
        await network.settle()
        await network.client.circuits.close()
        assert not any(is_open(circuit) for circuit in circuits)
        assert all(reader.ended for reader in readers)
        await network.settle(3)
        network.assert_nothing_left()

    play(scenario)


def test_puzzle_under_way_ends_with_its_circuit() -> None:
    async def scenario(network: OnionNetwork) -> None:
        gate = network.relays[0].relay.gate
        gate.set_effort(4096)
        gate.set_effort(4096)
        tries = 0

        def slow(executor: object, step: object, *args: object) -> "asyncio.Future[None]":
            nonlocal tries
            tries += 1
            nothing: asyncio.Future[None] = network.loop.create_future()
            network.loop.call_later(1.0, nothing.set_result, None)
            return nothing

        network.loop.run_in_executor = slow  # type: ignore[method-assign, assignment]
        error = await failure(network)
        assert (error.reason, error.hop) == (DestroyReason.TIMEOUT, 1)
        assert tries <= 11
        await network.settle(3)
        assert not len(network.client.circuits.client._tasks)

    play(scenario)
