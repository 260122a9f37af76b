"""Padding of circuits: who sends what when, and what closes the circuit."""

from itertools import pairwise

import pytest

from tests.support.links import seeded_random
from tests.support.malicious_relay import area_of, say, say_as_client
from tests.support.onion_network import OnionNetwork, is_open, play
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.circuit.messages import PadNegotiate
from vigilnet.traffic.circuit.padding import (
    BURST,
    MAX_CELLS_PER_S,
    MAX_SECONDS,
    Padder,
    PaddingAllowance,
    PaddingProfile,
    check_wish,
)
from vigilnet.traffic.stream.wire import MessageType

KEEP_ALIVE = PadNegotiate(PaddingProfile.KEEP_ALIVE, 5, 600)
CONSTANT = PadNegotiate(PaddingProfile.CONSTANT, 10, 600)
OFF = PadNegotiate(PaddingProfile.OFF, 0, 0)
PADDING = area_of((MessageType.PADDING, 0, b""))


@pytest.mark.parametrize("wish", [KEEP_ALIVE, CONSTANT, OFF, PadNegotiate(2, MAX_CELLS_PER_S, MAX_SECONDS)])
def test_what_can_be_asked_for(wish: PadNegotiate) -> None:
    assert check_wish(wish) == wish.profile


@pytest.mark.parametrize(
    "wish",
    [
        PadNegotiate(3, 5, 60),
        PadNegotiate(1, 0, 60),
        PadNegotiate(1, 5, 0),
        PadNegotiate(2, MAX_CELLS_PER_S + 1, 60),
        PadNegotiate(2, 5, MAX_SECONDS + 1),
    ],
)
def test_what_cannot_be_asked_for(wish: PadNegotiate) -> None:
    with pytest.raises(RemoteProtocolError, match="pad negotiate"):
        check_wish(wish)


def test_keep_alive_pads_after_silence_only() -> None:
    padder = Padder(KEEP_ALIVE, 0.0, seeded_random("quiet"))
    gaps = []
    now = 0.0
    for _ in range(200):
        assert padder.may_send(now)
        assert not padder.wants_padding(now + 4.9)
        gaps.append(padder.next_at - now)
        now = padder.next_at
        assert padder.wants_padding(now)
        padder.sent(now)
    assert 5.0 <= min(gaps) < 6.0
    assert 14.0 < max(gaps) <= 15.0


def test_constant_sends_at_ticks_only() -> None:
    padder = Padder(CONSTANT, 0.0, seeded_random("ticks"))
    assert not padder.may_send(0.05)
    assert padder.may_send(0.1)
    padder.sent(0.13)  # late: the next tick stays where it was
    assert padder.next_at == pytest.approx(0.2)
    padder.sent(100.0)  # very late: little is made up for
    assert 99.6 < padder.next_at < 100.0
    assert not padder.is_over(599.0)
    assert padder.is_over(600.0)


def test_a_client_takes_what_it_asked_for_and_little_more() -> None:
    allowance = PaddingAllowance()
    assert not allowance.take(0.0)
    assert not allowance.take(1e6)
    allowance.ask(CONSTANT, 10.0)
    now, taken = 10.0, 0
    while allowance.take(now):
        taken += 1
    assert taken == BURST
    assert all(allowance.take(20.0 + tick / 12) for tick in range(1000))


def test_constant_padding_hides_how_much_is_sent() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        await network.settle(1.0)
        circuit.pad(CONSTANT)
        await network.settle(1.0)
        sent, received = [circuit.cells_sent], [circuit.cells_received]
        for second in range(20):
            if second == 10:
                network.open(circuit, "source-30000.test")
            await network.settle(1.0)
            sent.append(circuit.cells_sent)
            received.append(circuit.cells_received)
        for counts in (sent, received):
            assert {9, 10, 11} >= {later - earlier for earlier, later in pairwise(counts)}
        assert circuit.mux.counters.received == 30_000
        assert circuit.mux.counters.padding > 150
        circuit.pad(OFF)
        await network.settle(1.0)
        before = circuit.cells_received
        await network.settle(5.0)
        assert circuit.cells_received == before
        assert is_open(circuit)
        circuit.close()
        await network.settle(3.0)
        network.assert_nothing_left()

    play(scenario)


def test_keep_alive_pads_both_ways_and_is_asked_for_again() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(2)
        circuit.pad(PadNegotiate(PaddingProfile.KEEP_ALIVE, 1, 60))
        await network.settle(1.0)
        sent, received = circuit.cells_sent, circuit.cells_received
        await network.settle(300.0)
        assert 20 <= circuit.cells_sent - sent <= 75
        assert 20 <= circuit.cells_received - received <= 60
        assert is_open(circuit)
        circuit.close()
        await network.settle(3.0)
        network.assert_nothing_left()

    play(scenario)


@pytest.mark.parametrize("hop", [0, 1, 2])
def test_padding_from_a_hop_that_was_not_asked_closes_the_circuit(hop: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        circuit.pad(KEEP_ALIVE)
        await network.settle(0.5)
        say(network.relays[hop].relay_circuit, PADDING)
        await network.settle(0.5)
        assert is_open(circuit) == (hop == 2)

    play(scenario)


def test_more_padding_than_asked_for_closes_the_circuit() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        circuit.pad(KEEP_ALIVE)
        await network.settle(0.5)
        for _ in range(BURST + 20):
            say(network.relays[2].relay_circuit, PADDING)
        await network.settle(0.5)
        assert not is_open(circuit)

    play(scenario)


@pytest.mark.parametrize(
    ("hop", "wish"), [(3, PadNegotiate(9, 1, 1)), (3, PadNegotiate(2, 1000, 60)), (1, KEEP_ALIVE)]
)
def test_a_wish_that_cannot_be_met_ends_the_circuit(hop: int, wish: PadNegotiate) -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        say_as_client(circuit, hop, area_of((MessageType.PAD_NEGOTIATE, 0, wish.encode())))
        await network.settle(3.0)
        assert not is_open(circuit)
        network.assert_relay_links_live()

    play(scenario)


def test_padding_is_for_open_circuits() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(1)
        circuit.close()
        with pytest.raises(LocalProtocolError):
            circuit.pad(KEEP_ALIVE)

    play(scenario)
