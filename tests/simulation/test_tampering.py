"""Relays that change, drop, repeat, reorder, split or make up records (PROTOCOL 10, attack tests 1 to 5).

Whatever a relay does to a record that is not its own, the next honest hop (forward) or the client
(backward) ends that circuit, and only that one: other circuits on the same links live on.
"""

from collections.abc import Callable, Sequence
from random import Random

import pytest

from tests.support.malicious_relay import (
    Crossing,
    MaliciousRelay,
    Once,
    comes_back,
    frame_of,
    goes_on,
)
from tests.support.onion_network import OnionNetwork, is_open, play
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import CELL_SIZE, Command
from vigilnet.traffic.circuit.client import CircuitClosedError, ClientCircuit
from vigilnet.traffic.circuit.messages import DestroyReason
from vigilnet.traffic.circuit.relay import RelayCircuit

Act = Callable[[Crossing], Sequence[bytes | bytearray] | None]
HOPS = 4
BOTH_SUITES = (Suite.AES_256_GCM, Suite.CHACHA20_POLY1305)


def flip(at: int) -> Act:
    """Flip a bit of the octet `at` of V (negative: from the end)."""

    def act(crossing: Crossing) -> list[bytearray]:
        place = at % (len(crossing.run) - 16) + 16
        crossing.run[place] ^= 0x10
        return [crossing.run]

    return act


def split(crossing: Crossing) -> list[bytes]:
    """Cut a run of 7 into single cells with headers of their own."""
    run = bytes(crossing.run)
    body = run[16:]
    cells = len(run) // CELL_SIZE
    header = run[:4] + bytes((Command.RELAY, 1)) + bytes(10)
    return [
        header + body[at : at + CELL_SIZE - 16].ljust(CELL_SIZE - 16, b"\0")
        for at in range(0, 2032 * cells, 2032)
    ]


def merge(crossing: Crossing) -> list[bytes]:
    """Make a run of 7 out of a single cell."""
    run = bytes(crossing.run)
    return [run[:5] + b"\x07" + run[6:] + bytes(CELL_SIZE * 6)]


def made_up(crossing: Crossing) -> list[bytes]:
    """Put a run of random octets before the true one."""
    run = bytes(crossing.run)
    return [run[:16] + Random(5).randbytes(len(run) - 16), run]


ACTS: dict[str, Act] = {
    "flip first octet": flip(0),
    "flip ladder": flip(100),
    "flip stop block": flip(170),
    "flip middle": flip(1000),
    "flip tag": flip(-1),
    "drop": lambda crossing: [],
    "replay": lambda crossing: [crossing.run, crossing.run],
    "inject": made_up,
    "zeros": lambda crossing: [crossing.run[:16] + bytes(len(crossing.run) - 16)],
    "merge": merge,
}


class Watch:
    """Notes why and where circuits end."""

    def __init__(self, network: OnionNetwork) -> None:
        self.closed: dict[ClientCircuit, CircuitClosedError] = {}
        for client in network.clients:
            client.circuits.client.on_closed = self.closed.__setitem__


async def transfer_until_dead(network: OnionNetwork, circuit: ClientCircuit) -> None:
    """Talk on a circuit until it is closed."""
    reader = network.open(circuit, "echo.test")
    for _ in range(40):
        if not is_open(circuit):
            break
        reader.stream.write(b"x" * 4000)
        await network.settle(0.2)
    await network.settle(3.0)
    assert not is_open(circuit), "the circuit lives although a record was changed"
    assert reader.ended is not None


async def check_others(network: OnionNetwork, others: Sequence[ClientCircuit]) -> None:
    """Circuits that share the links carry on."""
    for other in others:
        assert is_open(other)
        assert await network.exchange(other, 30_000)
    network.assert_relay_links_live()


async def three_circuits(network: OnionNetwork) -> tuple[ClientCircuit, list[ClientCircuit]]:
    """Build two circuits of two clients, then a victim over the same relays."""
    others = [await network.build(HOPS), await network.build(HOPS, network.add_client())]
    victim = await network.build(HOPS)
    await network.settle()
    return victim, others


def liar_of(network: OnionNetwork, number: int) -> tuple[MaliciousRelay, RelayCircuit]:
    """The liar and the youngest circuit, the victim's, as it sees it."""
    relay = network.relays[number]
    assert isinstance(relay, MaliciousRelay)
    return relay, relay.relay.circuits[-1]


@pytest.mark.parametrize("liar", range(HOPS - 1))
@pytest.mark.parametrize("name", ACTS)
def test_forward_change_is_found_by_the_next_honest_hop(name: str, liar: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        watch = Watch(network)
        victim, others = await three_circuits(network)
        relay, circuit = liar_of(network, liar)
        relay.hook = hook = Once(ACTS[name], goes_on(circuit))
        await transfer_until_dead(network, victim)
        assert hook.is_done
        found = [index for index, node in enumerate(network.relays) if node.relay.bad_records]
        assert found == [liar + 1], "found by another than the next honest hop"
        assert watch.closed[victim].reason is DestroyReason.BAD_RECORD
        assert watch.closed[victim].hop == liar + 2
        await check_others(network, others)

    play(scenario, HOPS, liars={liar: MaliciousRelay}, delay_s=0.005, suites=BOTH_SUITES)


@pytest.mark.parametrize("liar", range(HOPS))
@pytest.mark.parametrize("name", ACTS)
def test_backward_change_is_found_by_the_client(name: str, liar: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        watch = Watch(network)
        victim, others = await three_circuits(network)
        relay, circuit = liar_of(network, liar)
        relay.hook = hook = Once(ACTS[name], comes_back(circuit))
        await transfer_until_dead(network, victim)
        assert hook.is_done
        assert watch.closed[victim].reason is DestroyReason.BAD_RECORD
        assert not any(node.relay.bad_records for node in network.relays)
        await check_others(network, others)

    play(scenario, HOPS, liars={liar: MaliciousRelay}, delay_s=0.005, suites=BOTH_SUITES)


class Reorder:
    """Hold one run back until the next one has passed."""

    def __init__(self, fits: Callable[[Crossing], bool]) -> None:
        self._fits = fits
        self._held: bytearray | None = None
        self.is_done = False

    def __call__(self, crossing: Crossing) -> list[bytearray] | None:
        if self.is_done or not self._fits(crossing):
            return None
        if self._held is None:
            self._held = crossing.run
            return []
        self.is_done = True
        return [crossing.run, self._held]


@pytest.mark.parametrize("is_forward", [True, False])
@pytest.mark.parametrize("liar", range(HOPS - 1))
def test_reordered_records_end_the_circuit(liar: int, is_forward: bool) -> None:
    async def scenario(network: OnionNetwork) -> None:
        victim, others = await three_circuits(network)
        relay, circuit = liar_of(network, liar)
        relay.hook = hook = Reorder(goes_on(circuit) if is_forward else comes_back(circuit))
        await transfer_until_dead(network, victim)
        assert hook.is_done
        assert [node.relay.bad_records for node in network.relays] == [
            int(is_forward and index == liar + 1) for index in range(HOPS)
        ]
        await check_others(network, others)

    play(scenario, HOPS, liars={liar: MaliciousRelay}, delay_s=0.005)


@pytest.mark.parametrize("is_forward", [True, False])
def test_bulk_run_cut_into_cells_ends_the_circuit(is_forward: bool) -> None:
    async def scenario(network: OnionNetwork) -> None:
        victim, others = await three_circuits(network)
        relay, circuit = liar_of(network, 1)
        fits = goes_on(circuit) if is_forward else comes_back(circuit)
        relay.hook = hook = Once(split, lambda crossing: fits(crossing) and len(crossing.run) > CELL_SIZE)
        assert not await (network.upload if is_forward else network.download)(victim, 100_000)
        assert hook.is_done
        assert not is_open(victim)
        await check_others(network, others)

    play(scenario, HOPS, liars={1: MaliciousRelay}, delay_s=0.005)


@pytest.mark.parametrize("is_forward", [True, False])
def test_records_of_one_circuit_mean_nothing_on_another(is_forward: bool) -> None:
    async def scenario(network: OnionNetwork) -> None:
        victim, others = await three_circuits(network)
        relay, circuit = liar_of(network, 1)
        donor = relay.relay.circuits[0]
        taken: list[bytes] = []

        def graft(crossing: Crossing) -> list[bytes] | None:
            fits = goes_on if is_forward else comes_back
            if fits(donor)(crossing):
                taken.append(bytes(crossing.run[16:]))
            if fits(circuit)(crossing) and taken:
                return [bytes(crossing.run[:16]) + taken.pop()]
            return None

        relay.hook = graft
        assert await network.exchange(others[0], 3_000)
        await transfer_until_dead(network, victim)
        relay.hook = lambda crossing: None
        await check_others(network, others)

    play(scenario, HOPS, liars={1: MaliciousRelay}, delay_s=0.005)


@pytest.mark.parametrize("liar", range(HOPS - 1))
def test_forward_record_sent_back_ends_the_circuit(liar: int) -> None:
    """Reflection: what the client sealed for the way out comes back to it."""

    async def scenario(network: OnionNetwork) -> None:
        victim, others = await three_circuits(network)
        relay, circuit = liar_of(network, liar)
        fits = goes_on(circuit)

        def reflect(crossing: Crossing) -> list[bytes] | None:
            if fits(crossing):
                frame = frame_of(circuit.previous_id.to_bytes(4, "big") + bytes(crossing.run[4:]))
                circuit.backward_queue.push(frame, len(crossing.run) // CELL_SIZE)
                return []
            return None

        relay.hook = reflect
        await transfer_until_dead(network, victim)
        relay.hook = lambda crossing: None
        await check_others(network, others)

    play(scenario, HOPS, liars={liar: MaliciousRelay}, delay_s=0.005)


@pytest.mark.parametrize("is_forward", [True, False])
@pytest.mark.parametrize("liar", range(HOPS - 1))
def test_delayed_records_harm_nothing(liar: int, is_forward: bool) -> None:
    async def scenario(network: OnionNetwork) -> None:
        victim, _ = await three_circuits(network)
        relay, circuit = liar_of(network, liar)
        fits = goes_on(circuit) if is_forward else comes_back(circuit)
        queue = circuit.forward_queue if is_forward else circuit.backward_queue
        assert queue is not None
        passed: set[bytes] = set()

        def delay(crossing: Crossing) -> list[bytes] | None:
            if not fits(crossing) or bytes(crossing.run[16:48]) in passed:
                return None
            run = bytes(crossing.run)
            passed.add(run[16:48])
            network.loop.call_later(1.0, crossing.port.send_control, frame_of(run))
            return []

        relay.hook = delay
        assert await network.exchange(victim, 5_000)
        assert is_open(victim)

    play(scenario, HOPS, liars={liar: MaliciousRelay}, delay_s=0.005)
