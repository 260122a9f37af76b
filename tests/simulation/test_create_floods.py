"""Floods of CREATE and EXTEND: who pays, who waits, and that no link between relays is ever the price."""

import asyncio
from collections import Counter

import pytest

from tests.support.onion_network import OnionNetwork, OnionNode, SlowCarrier, is_open, play
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, Command, new_frame, pack_run_header
from vigilnet.traffic.circuit import create_queue, relay_io, run_queue
from vigilnet.traffic.circuit.client import CircuitClosedError, Hop
from vigilnet.traffic.circuit.handshake import CheckedCreate, ClientHandshake, RelayHandshake, fill_cell
from vigilnet.traffic.circuit.messages import DestroyReason, Refusal
from vigilnet.traffic.circuit.puzzle import Solution
from vigilnet.traffic.circuit.switch import LinkCircuits


class Flooder:
    """Sends CREATEs over one link and counts the answers."""

    def __init__(self, place: LinkCircuits, hop: Hop) -> None:
        self.place = place
        self._hop = hop
        self._body = ClientHandshake(hop.identity, hop.onion_public, hop.suite).create_body()
        self.answers: Counter[str] = Counter()
        self.ids: list[int] = []

    @classmethod
    async def start(cls, node: OnionNode, victim: OnionNode) -> "Flooder":
        return cls(await node.circuits.link_to(victim.identity), victim.hop)

    def send(self, count: int, body: bytes | None = None) -> None:
        """Send so many CREATEs, each on an id of its own."""
        for _ in range(count):
            circuit_id = self.place.new_id()
            self.ids.append(circuit_id)
            self.place.add(circuit_id, _Answers(self))
            frame = new_frame(1)
            pack_run_header(frame, RUN_AT, circuit_id, Command.CREATE, 1)
            filled = fill_cell(body or self._body, bytes)
            frame[RUN_AT + 16 : RUN_AT + 16 + len(filled)] = filled
            self.place.port.send_control(frame)

    def junk(self, number: int, seed_head: bytes = b"junk") -> bytes:
        """A CREATE body with a solution that is none."""
        handshake = ClientHandshake(self._hop.identity, self._hop.onion_public, self._hop.suite)
        return handshake.create_body(Solution(seed_head, number))


class _Answers:
    """A Side that counts."""

    def __init__(self, flooder: Flooder) -> None:
        self._flooder = flooder

    def relay(self, run: memoryview, cells: int, now: float) -> None:
        pass

    def created(self, body: memoryview) -> None:
        self._flooder.answers["created"] += 1

    def destroyed(self, refusal: Refusal) -> None:
        self._flooder.answers[refusal.reason.name.lower()] += 1

    def fault(self, error: Exception) -> None:
        raise AssertionError from error

    def link_closed(self) -> None:
        self._flooder.answers["link closed"] += 1


class SlowHandshakes:
    """Make each handshake of a relay take time on the virtual clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, network: OnionNetwork, seconds: float) -> None:
        honest = RelayHandshake.answer

        def answer(handshake: RelayHandshake, create: CheckedCreate) -> object:
            network.clock.jump(seconds)
            return honest(handshake, create)

        monkeypatch.setattr(RelayHandshake, "answer", answer)


def test_client_link_has_a_budget() -> None:
    async def scenario(network: OnionNetwork) -> None:
        flooder = await Flooder.start(network.client, network.relays[0])
        flooder.send(300)
        await network.settle(1)
        assert flooder.answers == {"created": 100, "overload": 200}
        await network.settle(4)
        flooder.send(300)
        await network.settle(1)
        assert flooder.answers["created"] == 200, "20 a second are given back, 100 at most"

    play(scenario, 1)


def test_relay_link_has_no_budget_but_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create_queue, "MAX_CIRCUITS_RELAY_LINK", 500)

    async def scenario(network: OnionNetwork) -> None:
        flooder = await Flooder.start(network.relays[1], network.relays[0])
        flooder.send(700)
        await network.settle(1)
        assert flooder.answers == {"created": 500, "overload": 200}
        network.assert_relay_links_live()

    play(scenario, 2)


def test_client_link_holds_a_bounded_number_of_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create_queue, "MAX_CIRCUITS_CLIENT_LINK", 30)

    async def scenario(network: OnionNetwork) -> None:
        flooder = await Flooder.start(network.client, network.relays[0])
        flooder.send(50)
        await network.settle(1)
        assert flooder.answers == {"created": 30, "overload": 20}
        for circuit_id in flooder.ids[:10]:
            flooder.place.destroy(circuit_id, Refusal(DestroyReason.CLOSED))
        flooder.send(50)
        await network.settle(1)
        assert flooder.answers["created"] == 40

    play(scenario, 1)


def test_circuit_given_up_before_it_was_answered_is_not_opened() -> None:
    async def scenario(network: OnionNetwork) -> None:
        flooder = await Flooder.start(network.client, network.relays[0])
        flooder.send(50)
        for circuit_id in flooder.ids:
            flooder.place.destroy(circuit_id, Refusal(DestroyReason.CLOSED))
        await network.settle(1)
        assert not network.relays[0].relay.circuits
        assert not flooder.answers

    play(scenario, 1)


def test_flood_of_one_relay_leaves_places_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handshakes of 10 ms: one link sends far more than can be answered, another little."""
    monkeypatch.setattr(create_queue, "MAX_WAITING_CREATES", 100)

    async def scenario(network: OnionNetwork) -> None:
        SlowHandshakes(monkeypatch, network, 0.01)
        victim, quiet, loud = network.relays[:3]
        flood = await Flooder.start(loud, victim)
        honest = await Flooder.start(quiet, victim)
        for _ in range(50):
            flood.send(40)
            honest.send(1)
            await network.settle(0.1)
        assert honest.answers == {"created": 50}, "a link that asks little is served round robin"
        assert flood.answers["created"] > 100
        assert flood.answers["overload"] > 500
        network.assert_relay_links_live()

    play(scenario, 3)


def test_message_1_that_is_junk_is_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        flood = await Flooder.start(network.relays[1], network.relays[0])
        body = bytearray(flood._body)
        body[60] ^= 1
        flood.send(20, bytes(body))
        flood.send(5)
        await network.settle(1)
        assert flood.answers == {"protocol": 20, "created": 5}
        network.assert_relay_links_live()

    play(scenario, 2)


def test_link_that_closes_forgets_what_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        SlowHandshakes(monkeypatch, network, 0.01)
        victim = network.relays[0]
        flood = await Flooder.start(network.relays[1], victim)
        flood.send(100)
        await network.wait_for(lambda: victim.relay._creates.waiting > 10)
        flood.place.port.close()
        await network.settle(3)
        assert victim.relay._creates.waiting == 0
        assert not victim.relay.circuits
        assert is_open(await network.build(1))

    play(scenario, 2)


def test_bug_in_a_handshake_costs_that_create_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        honest = RelayHandshake.answer
        calls = 0

        def answer(handshake: RelayHandshake, create: CheckedCreate) -> object:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise ValueError("test: a bug")
            return honest(handshake, create)

        monkeypatch.setattr(RelayHandshake, "answer", answer)
        flood = await Flooder.start(network.relays[1], network.relays[0])
        flood.send(10)
        await network.settle(1)
        assert flood.answers == {"created": 9, "protocol": 1}

    play(scenario, 2)


def test_creates_that_waited_too_long_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        SlowHandshakes(monkeypatch, network, 0.1)
        flood = await Flooder.start(network.relays[1], network.relays[0])
        flood.send(100)
        await network.settle(5)
        assert 15 <= flood.answers["created"] <= 25, "two seconds' worth"
        assert sum(flood.answers.values()) == 100

    play(scenario, 2)


def test_flood_raises_the_effort_within_30_s_and_it_falls_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        SlowHandshakes(monkeypatch, network, 0.05)
        victim = network.relays[0]
        flood = await Flooder.start(network.relays[1], victim)
        for _ in range(300):
            flood.send(12)  # far more than 20 a second, which can be answered
            await network.settle(0.1)
        assert victim.relay.gate.effort >= 8
        assert flood.answers["puzzle"] > 100
        circuit = await network.build(1)
        assert is_open(circuit), "an honest client solves the puzzle and is served"
        for _ in range(12):
            await network.settle(10)
        assert victim.relay.gate.effort == 0
        network.assert_relay_links_live()

    play(scenario, 2)


def test_fourth_junk_solution_within_a_minute_closes_a_client_s_link() -> None:
    async def scenario(network: OnionNetwork) -> None:
        gate = network.relays[0].relay.gate
        gate.set_effort(64)
        gate.set_effort(64)
        flood = await Flooder.start(network.client, network.relays[0])
        for number in range(3):
            flood.send(1, flood.junk(number))
            await network.settle(1)
        flood.send(10)  # without any solution: every honest client's first try
        await network.settle(62)
        gate.set_effort(64)  # meanwhile the relay had found itself idle
        gate.set_effort(64)
        assert flood.answers == {"puzzle": 13}
        for number in range(3):
            flood.send(1, flood.junk(number))
        await network.settle(1)
        assert not flood.place.is_closed
        assert flood.answers["puzzle"] == 16, "the first three are more than a minute ago"
        flood.send(1, flood.junk(9))
        await network.settle(1)
        assert flood.place.is_closed

    play(scenario, 1)


def test_junk_solutions_never_close_a_link_between_relays() -> None:
    async def scenario(network: OnionNetwork) -> None:
        other = await network.build(3, network.add_client())
        gate = network.relays[1].relay.gate
        gate.set_effort(64)
        gate.set_effort(64)
        flood = await Flooder.start(network.relays[0], network.relays[1])
        for number in range(200):
            flood.send(1, flood.junk(number))
        await network.settle(3)
        assert flood.answers == {"puzzle": 200}
        network.assert_relay_links_live()
        assert await network.exchange(other, 10_000)

    play(scenario)


def test_client_that_extends_with_junk_loses_its_circuit_at_the_third() -> None:
    async def scenario(network: OnionNetwork) -> None:
        other = await network.build(3, network.add_client())
        gate = network.relays[1].relay.gate
        gate.set_effort(4096)
        gate.set_effort(4096)
        tries = 0

        class Junk:
            def step(self) -> Solution:
                nonlocal tries
                tries += 1
                return Solution(gate.demand(network.loop.time()).seed[:4], tries)

        solve = network.client.circuits.client.client_solve
        network.client.circuits.client.client_solve = (  # type: ignore[method-assign]
            lambda circuit, solver: solve(circuit, Junk())  # type: ignore[arg-type]  # a solver that lies
        )
        for _ in range(10):
            with pytest.raises(CircuitClosedError) as caught:
                await network.build(3)
            assert caught.value.reason is DestroyReason.PUZZLE
        assert tries <= 20
        await network.settle(3)
        assert not network.client.circuits.client.circuits
        assert [len(node.relay.circuits) for node in network.relays] == [1, 1, 1]
        network.assert_relay_links_live()
        assert await network.exchange(other, 10_000)

    play(scenario)


def test_extends_to_relays_that_do_not_answer_leave_other_circuits_alone() -> None:
    async def scenario(network: OnionNetwork) -> None:
        other = await network.build((0, 1), network.add_client())
        network.hub.unreachable.add(network.relays[2].host)
        builds = [network.build((0, 2)) for _ in range(100)]
        results = await asyncio.gather(*builds, return_exceptions=True)
        assert all(isinstance(result, CircuitClosedError) for result in results)
        assert sum(host == network.relays[2].host for host, _ in network.hub.dials) <= 5
        assert await network.exchange(other, 10_000)
        network.assert_relay_links_live()

    play(scenario)


def test_queues_of_a_client_that_reads_nothing_cost_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """All queues together are full: whose have waited longest go, also those of circuits already gone."""
    monkeypatch.setattr(relay_io, "MAX_QUEUED_OCTETS", 1_000_000)
    monkeypatch.setattr(run_queue, "MAX_QUEUE_OCTETS", 400_000)

    async def scenario(network: OnionNetwork) -> None:
        sniper = network.add_client()
        guard = network.relays[0]
        circuits = [await network.build(2, sniper) for _ in range(12)]
        assert all(is_open(circuit) for circuit in circuits)
        for pair in network.hub.pairs:
            for end in pair:
                if end.remote_host == sniper.host:
                    assert isinstance(end, SlowCarrier)
                    end.rate = 1.0  # from now on it reads nothing
        for relayed in guard.relay.circuits:
            for _ in range(60):  # what its accomplice at the exit would send without any window
                frame = new_frame(7)
                pack_run_header(frame, RUN_AT, relayed.previous_id, Command.RELAY, 7)
                if relayed in guard.relay._places:
                    try:
                        relayed.backward_queue.push(frame, 7)
                    except run_queue.QueueFullError as error:
                        guard.relay.fault(relayed, error)
            await network.settle(0.1)
            assert guard.relay.queues.used <= 1_000_000 + 12 * CELL_SIZE
        honest = await network.build(2)
        assert await network.exchange(honest, 300_000)
        assert is_open(honest)

    play(scenario, 2, delay_s=0.005)


def test_queues_are_relieved_a_tenth_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many small holders one look must free more than one run, or each further run costs a look."""
    monkeypatch.setattr(relay_io, "MAX_QUEUED_OCTETS", 200 * CELL_SIZE)

    async def scenario(network: OnionNetwork) -> None:
        guard = network.relays[0]
        circuits = [await network.build(1) for _ in range(100)]
        looks = 0
        honest = guard.relay.queues.relieve

        def count() -> None:
            nonlocal looks
            looks += 1
            honest()

        guard.relay.queues.relieve = count
        for pair in network.hub.pairs:
            for end in pair:
                assert isinstance(end, SlowCarrier)
                end.rate = 1.0
                end._line_free = network.loop.time() + 1e6
                end.write([bytes(1)])  # the kernel is full: nothing leaves
        await network.settle(0.1)
        for _ in range(4):
            for relayed in guard.relay.circuits:
                frame = new_frame(1)
                pack_run_header(frame, RUN_AT, relayed.previous_id, Command.RELAY, 1)
                relayed.backward_queue.push(frame, 1)
        assert guard.relay.queues.used <= 200 * CELL_SIZE
        assert 1 <= looks <= 8
        assert len(circuits) > len(guard.relay.circuits) > 30

    play(scenario, 1)
