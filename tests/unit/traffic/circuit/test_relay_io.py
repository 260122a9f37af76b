"""What a relay does for others, with real circuits over real links in memory."""

import asyncio

import pytest

from tests.support.links import ListSource
from tests.support.malicious_relay import Crossing, MaliciousRelay, Once, area_of, say, say_as_client
from tests.support.onion_network import OnionNetwork, is_open, play
from vigilnet.base.errors import LocalProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, Command, new_frame, pack_run_header
from vigilnet.traffic.circuit import run_queue
from vigilnet.traffic.circuit.client import CircuitClosedError, ClientCircuit
from vigilnet.traffic.circuit.handshake import ClientHandshake
from vigilnet.traffic.circuit.messages import DestroyReason, Extend, PuzzleDemand, Refusal
from vigilnet.traffic.stream.congestion import CongestionParameters
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.wire import EndReason, MessageType


class Ends:
    """How circuits of a client ended."""

    def __init__(self, network: OnionNetwork) -> None:
        self.errors: dict[ClientCircuit, CircuitClosedError] = {}
        for client in network.clients:
            client.circuits.client.on_closed = self.errors.__setitem__

    def __getitem__(self, circuit: ClientCircuit) -> tuple[DestroyReason, int]:
        error = self.errors[circuit]
        return error.reason, error.hop


async def refused(network: OnionNetwork, hops: int = 3) -> tuple[DestroyReason, int]:
    """Build a circuit that must fail; return why and where."""
    with pytest.raises(CircuitClosedError) as caught:
        await network.build(hops)
    return caught.value.reason, caught.value.hop


# --- teardown ----------------------------------------------------------------------------------------


def test_destroy_from_the_next_hop_reaches_the_client_as_truncated() -> None:
    async def scenario(network: OnionNetwork) -> None:
        ends = Ends(network)
        circuit = await network.build(3)
        last = network.relays[2]
        link = last.relay._places[last.relay_circuit][0]
        link.destroy(last.relay_circuit.previous_id, Refusal(DestroyReason.OVERLOAD))
        await network.wait_for(lambda: not is_open(circuit))
        assert ends[circuit] == (DestroyReason.OVERLOAD, 2)

    play(scenario)


def test_destroy_that_meets_a_full_queue_ends_the_circuit_and_not_the_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client fills its queue at the guard to the last cell, then its exit destroys the circuit."""

    async def scenario(network: OnionNetwork) -> None:
        other = await network.build(3, network.add_client())
        circuit = await network.build(3)
        guard, last = network.relays[0], network.relays[2]
        with monkeypatch.context() as patch:
            patch.setattr(run_queue, "MAX_QUEUE_OCTETS", 0)
            middle = network.relays[1]
            link = middle.relay._places[middle.relay.circuits[-1]][0]
            link.destroy(middle.relay.circuits[-1].previous_id, Refusal(DestroyReason.CLOSED))
            await network.settle(3)
        assert len(guard.relay.circuits) == 1
        network.assert_relay_links_live()
        assert is_open(other)
        assert await network.exchange(other, 10_000)
        assert not is_open(circuit)
        assert last is not guard

    play(scenario, delay_s=0.001)


def test_lost_link_ends_all_its_circuits_even_with_full_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuits = [await network.build(3) for _ in range(4)]
        guard, middle = network.relays[0], network.relays[1]
        monkeypatch.setattr(run_queue, "MAX_QUEUE_OCTETS", 0)
        link = guard.links.get(middle.identity)
        assert link is not None
        link.close()
        await network.settle(3)
        assert not any(is_open(circuit) for circuit in circuits)
        network.assert_nothing_left()

    play(scenario)


@pytest.mark.parametrize("way", ["download", "upload"])
def test_destroy_in_the_middle_of_a_transfer_frees_everything(way: str) -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        other = await network.build(3)
        transfer = asyncio.ensure_future(getattr(network, way)(circuit, 3_000_000))
        await network.settle(0.3)
        circuit.close()
        assert not await transfer
        await network.settle(0.2)
        guard = network.relays[0]
        sent = guard.links.snapshot()[0].octets_sent
        await network.settle(3)
        assert guard.links.snapshot()[0].octets_sent - sent < 64 * CELL_SIZE, (
            "still sending what nobody wants"
        )
        assert [len(node.relay.circuits) for node in network.relays] == [1, 1, 1]
        other.close()
        await network.settle(3)
        network.assert_nothing_left()

    play(scenario, delay_s=0.02, rate=2_000_000.0)


def test_what_waits_for_a_client_that_destroyed_its_circuit_is_dropped() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(2)
        guard = network.relays[0]
        network.open(circuit, "source-2000000.test", keeps=False)
        queue = guard.relay_circuit.backward_queue
        await network.wait_for(lambda: queue.octets > 100_000)
        circuit.close()
        await network.wait_for(lambda: not guard.relay.circuits)
        assert queue.octets == 0

    # A client with a thin line: what comes faster from the exit waits at the guard.
    async def thin(network: OnionNetwork) -> None:
        network.hub.wires[frozenset(("198.51.100.1", "192.0.2.1"))] = (0.05, 50_000.0)
        await scenario(network)

    play(thin, 2, delay_s=0.01, options=MuxOptions(1 << 20, congestion=CongestionParameters(start=1024)))


def test_forward_destroy_that_a_relay_starts_goes_out_within_two_seconds_at_random() -> None:
    async def scenario(network: OnionNetwork) -> None:
        delays = []
        middle, last = network.relays[1], network.relays[2]
        for _ in range(12):
            circuit = await network.build(3)
            say_as_client(circuit, 2, area_of((MessageType.CONNECTED, 1, b"")))  # no client may say this
            start = network.loop.time()
            await network.wait_for(lambda: not middle.relay.circuits, step_s=0.001)
            await network.wait_for(lambda: not last.relay.circuits, step_s=0.001)
            delays.append(network.loop.time() - start)
            await network.settle(2)
        assert max(delays) < 2.01
        assert min(delays) < 0.7 < 1.2 < max(delays), delays

    play(scenario)


def test_draining_relay_drops_records_for_hops_that_are_gone() -> None:
    async def scenario(network: OnionNetwork) -> None:
        ends = Ends(network)
        circuit = await network.build(3)
        upload = asyncio.ensure_future(network.upload(circuit, 1_000_000))
        await network.settle(0.3)
        last, middle = network.relays[2], network.relays[1]
        link = last.relay._places[last.relay_circuit][0]
        link.destroy(last.relay_circuit.previous_id, Refusal(DestroyReason.OVERLOAD))
        await network.settle(3)
        assert ends[circuit] == (DestroyReason.OVERLOAD, 2)
        assert not await upload
        assert not middle.relay.bad_records
        assert not network.relays[0].relay.bad_records
        network.assert_relay_links_live()

    play(scenario, delay_s=0.05)


def test_draining_ends_after_the_largest_window() -> None:
    """Whoever goes on talking to hops behind a truncation loses the circuit."""

    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        await network.settle()
        middle, last = network.relays[1], network.relays[2]
        link = last.relay._places[last.relay_circuit][0]
        circuit._control = lambda *_: None  # type: ignore[method-assign]  # a client that does not listen
        link.destroy(last.relay_circuit.previous_id, Refusal(DestroyReason.OVERLOAD))
        await network.settle()
        for count in range(512):
            say_as_client(circuit, 3, area_of((MessageType.PADDING, 0, b"")), 7)
            if count % 64 == 0:
                await network.settle(0.01)
        await network.settle(0.1)
        assert middle.relay.circuits, "3584 cells are a window"
        assert middle.relay_circuit.drain_cells == 0
        say_as_client(circuit, 3, area_of((MessageType.PADDING, 0, b"")))
        await network.settle(3)
        assert middle.relay.bad_records == 1
        assert not middle.relay.circuits

    play(scenario)


def test_client_s_next_record_for_the_cut_hop_ends_the_drain() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        middle, last = network.relays[1], network.relays[2]
        circuit._control = lambda *_: None  # type: ignore[method-assign]
        link = last.relay._places[last.relay_circuit][0]
        link.destroy(last.relay_circuit.previous_id, Refusal(DestroyReason.OVERLOAD))
        await network.settle()
        assert middle.relay_circuit.drain_cells
        say_as_client(circuit, 2, area_of((MessageType.PADDING, 0, b"")))
        await network.settle()
        assert middle.relay_circuit.drain_cells == 0
        say_as_client(circuit, 3, area_of((MessageType.PADDING, 0, b"")))
        await network.settle(3)
        assert middle.relay.bad_records == 1

    play(scenario)


def test_idle_circuit_is_destroyed_after_600_s() -> None:
    async def scenario(network: OnionNetwork) -> None:
        ends = Ends(network)
        idle, used = await network.build(3), await network.build(3)
        reader = network.open(used)
        for _ in range(13):
            await network.settle(50)
            reader.stream.write(b"still here")
        assert not is_open(idle)
        assert is_open(used)
        assert ends[idle][0] is DestroyReason.CLOSED
        assert reader.octets >= 120
        assert [len(node.relay.circuits) for node in network.relays] == [1, 1, 1]

    play(scenario)


@pytest.mark.parametrize("where", ["client", "client's own", "exit"])
def test_bug_while_a_record_is_sealed_costs_the_circuit_and_not_the_link(where: str) -> None:
    """Rule (d): a counter is never tried twice."""

    async def scenario(network: OnionNetwork) -> None:
        ends = Ends(network)
        other, circuit = await network.build(3), await network.build(3)
        reader = network.open(circuit)
        await network.settle()

        def bug(*_: object) -> None:
            raise ValueError("test: a bug") if where != "client's own" else LocalProtocolError("test: a bug")

        if where == "exit":
            last = network.relays[2].relay.circuits[-1]
            assert last.end is not None
            last.end.outbox._fill_streams = bug  # type: ignore[method-assign, assignment]
        elif where == "client":
            circuit.seal = bug  # type: ignore[method-assign, assignment]
        else:
            circuit._pull_own = bug  # type: ignore[method-assign, assignment]
            circuit._send_own(1, MessageType.PADDING, b"")
        reader.stream.write(b"x")
        await network.settle(3)
        assert not is_open(circuit)
        assert reader.ended is EndReason.CLOSING
        assert circuit in ends.errors
        assert await network.exchange(other, 10_000)
        network.assert_relay_links_live()
        assert [len(node.relay.circuits) for node in network.relays] == [1, 1, 1]

    play(scenario)


def test_application_s_bug_while_it_is_asked_for_more_costs_its_circuit_alone() -> None:
    async def scenario(network: OnionNetwork) -> None:
        other, circuit = await network.build(3), await network.build(3)
        reader = network.open(circuit, "sink.test")

        def bug(event: str) -> None:
            if event == "writable":
                raise ValueError("test: a bug")

        reader.on_event = bug
        while room := reader.stream.room():
            reader.stream.write(bytes(room))
        await network.settle(3)
        assert not is_open(circuit)
        assert await network.exchange(other, 10_000)

    play(scenario)


def test_truncate_cuts_what_lies_behind_and_the_circuit_can_be_extended_again() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        await network.settle(0.1)
        heard: list[int] = []
        circuit._control = lambda kind, hop, body: heard.append(kind)  # type: ignore[method-assign]
        say_as_client(circuit, 2, area_of((MessageType.TRUNCATE, 0, b"")))
        await network.settle(3)
        assert heard == [MessageType.TRUNCATED]
        assert not network.relays[2].relay.circuits
        other = network.relays[3]
        body = ClientHandshake(other.identity, other.keys.public, Suite.AES_256_GCM).create_body()
        say_as_client(circuit, 2, area_of((MessageType.EXTEND, 0, Extend(other.identity, 0, body).encode())))
        await network.settle(1)
        assert heard == [MessageType.TRUNCATED, MessageType.EXTENDED]
        assert len(other.relay.circuits) == 1

    play(scenario, 4)


def test_refusal_that_meets_a_full_queue_ends_the_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client fills its queue, then asks to extend: the answer finds no place."""

    async def scenario(network: OnionNetwork) -> None:
        monkeypatch.setattr(run_queue, "MAX_QUEUE_OCTETS", 0)
        start = network.loop.time()
        with pytest.raises(CircuitClosedError):
            await network.build(2)
        assert network.loop.time() - start < 3
        await network.settle(3)
        assert not any(node.relay.circuits for node in network.relays)
        network.assert_relay_links_live()

    play(scenario)


# --- extending ---------------------------------------------------------------------------------------


def test_dead_middle_hop_fails_the_build_within_ten_seconds() -> None:
    async def scenario(network: OnionNetwork) -> None:
        dead = network.relays[1]
        network.hub.unreachable.add(dead.host)
        start = network.loop.time()
        reason, hop = await refused(network)
        assert (reason, hop) == (DestroyReason.CONNECT_FAILED, 2)
        assert network.loop.time() - start < 10.1

    play(scenario)


def test_silent_middle_hop_fails_the_build_within_ten_seconds() -> None:
    async def scenario(network: OnionNetwork) -> None:
        first = await network.build(2)  # opens the link, which then goes dead
        for pair in network.hub.pairs:
            for end in pair:
                if end.remote_host == network.relays[1].host:
                    end.outgoing.is_silent = True
        start = network.loop.time()
        reason, hop = await refused(network)
        assert reason in (DestroyReason.TIMEOUT, DestroyReason.CLOSED)
        assert hop == 2
        assert network.loop.time() - start < 10.1
        first.close()
        await network.settle(20)
        assert not network.relays[0].relay.circuits

    play(scenario)


def test_relay_refuses_to_extend_to_itself_and_back() -> None:
    async def scenario(network: OnionNetwork) -> None:
        hops = network.path(3)
        for path in ([hops[0], hops[0]], [hops[0], hops[1], hops[0]]):
            with pytest.raises(CircuitClosedError) as caught:
                await network.client.circuits.build(path)
            assert caught.value.reason is DestroyReason.PROTOCOL
            assert caught.value.hop == len(path)

    play(scenario)


def test_relay_without_the_record_asks_for_it() -> None:
    async def scenario(network: OnionNetwork) -> None:
        network.relays[0].keeper.unknown.add(network.relays[1].identity)
        circuit = await network.build(3)
        assert is_open(circuit)
        assert network.relays[0].keeper.offered == [network.relays[1].hop.encoded_record]
        assert network.relays[0].keeper.origins == ["198.51.100.0/24"]
        assert await network.exchange(circuit, 1000)

    play(scenario)


def test_relay_that_does_not_take_the_record_fails_the_build() -> None:
    async def scenario(network: OnionNetwork) -> None:
        keeper = network.relays[0].keeper
        keeper.unknown.add(network.relays[1].identity)
        keeper.offer_record = lambda encoded, origin: None  # type: ignore[method-assign]
        assert await refused(network) == (DestroyReason.NEED_RECORD, 2)

    play(scenario)


def test_unknown_onion_key_travels_back() -> None:
    async def scenario(network: OnionNetwork) -> None:
        network.relays[2].keys.accepted.clear()
        assert await refused(network) == (DestroyReason.UNKNOWN_KEY, 3)
        network.relays[0].keys.accepted.clear()
        assert await refused(network) == (DestroyReason.UNKNOWN_KEY, 1)
        await network.settle(3)
        network.assert_nothing_left()

    play(scenario)


def test_node_that_is_no_relay_refuses_create() -> None:
    async def scenario(network: OnionNetwork) -> None:
        network.relays[0].circuits.relay = None
        assert await refused(network) == (DestroyReason.POLICY, 1)

    play(scenario)


def test_second_extend_ends_the_circuit() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(2)
        guard = network.relays[0]
        body = b"r" * 32 + bytes(8) + b"\x00\x01\x00"
        say_as_client(circuit, 1, area_of((MessageType.EXTEND, 0, body)))
        await network.settle(3)
        assert not is_open(circuit)
        assert not guard.relay.circuits
        network.assert_relay_links_live()

    play(scenario)


def test_destroy_right_behind_created_does_not_leave_the_client_waiting() -> None:
    """Both arrive in one batch, before the relay had its turn to go on."""

    async def scenario(network: OnionNetwork) -> None:
        liar = network.relays[1]
        assert isinstance(liar, MaliciousRelay)

        def destroy_too(crossing: Crossing) -> list[bytes]:
            destroy = crossing.run[:4] + bytes((Command.DESTROY, 1)) + bytes(CELL_SIZE - 6)
            destroy[16] = DestroyReason.OVERLOAD
            return [bytes(crossing.run), bytes(destroy)]

        liar.hook = Once(destroy_too, lambda c: c.is_outgoing and c.command == Command.CREATED)
        start = network.loop.time()
        assert await refused(network) == (DestroyReason.OVERLOAD, 2)
        assert network.loop.time() - start < 1.0
        await network.settle(3)
        assert not network.relays[0].relay.circuits

    play(scenario, liars={1: MaliciousRelay})


def test_malformed_created_fails_the_build_and_leaves_the_link() -> None:
    async def scenario(network: OnionNetwork) -> None:
        other = await network.build((0, 1, 2))
        liar = network.relays[1]
        assert isinstance(liar, MaliciousRelay)
        for act in (
            lambda c: [c.run[:16] + b"\xff\xff" + c.run[18:]],  # a length beyond the cell
            lambda c: [c.run[:16] + bytes(2032)],
            lambda c: [c.run[:100] + bytes((c.run[100] ^ 1,)) + c.run[101:]],  # a wrong tag
        ):
            liar.hook = Once(act, lambda c: c.is_outgoing and c.command == Command.CREATED)
            reason, _ = await refused(network, 2)
            assert reason is DestroyReason.PROTOCOL
        await network.settle(12)
        assert is_open(other)
        assert await network.exchange(other, 1000)
        network.assert_relay_links_live()

    play(scenario, liars={1: MaliciousRelay})


def test_created_that_nobody_waits_for_changes_nothing() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        liar = network.relays[1]
        assert isinstance(liar, MaliciousRelay)
        frame = new_frame(1)
        pack_run_header(frame, RUN_AT, liar.relay_circuit.previous_id, Command.CREATED, 1)
        liar.relay_circuit.previous.send_control(frame)
        await network.settle()
        assert is_open(circuit)
        assert await network.exchange(circuit, 1000)

    play(scenario, liars={1: MaliciousRelay})


def test_extended_that_was_not_asked_for_closes_the_circuit() -> None:
    async def scenario(network: OnionNetwork) -> None:
        for hop in (0, 1, 2):
            circuit = await network.build(3)
            body = b"\x04\x80" + bytes(1152)
            say(network.relays[hop].relay.circuits[-1], area_of((MessageType.EXTENDED, 0, body)))
            await network.settle(3)
            assert not is_open(circuit), hop
        network.assert_nothing_left()

    play(scenario)


# --- puzzles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hop", [0, 1, 2])
def test_puzzle_is_solved_and_the_build_goes_on(hop: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        network.relays[hop].relay.gate.set_effort(8)
        network.relays[hop].relay.gate.set_effort(8)
        circuit = await network.build(3)
        assert await network.exchange(circuit, 1000)
        circuit.close()
        await network.settle(3)
        network.assert_nothing_left()

    play(scenario)


def test_relay_that_always_asks_for_another_puzzle_is_given_up() -> None:
    async def scenario(network: OnionNetwork) -> None:
        liar = network.relays[1]
        assert isinstance(liar, MaliciousRelay)

        def ask_again(crossing: Crossing) -> list[bytes] | None:
            if crossing.is_outgoing or crossing.command != Command.CREATE:
                return None
            refusal = Refusal(DestroyReason.PUZZLE, PuzzleDemand(b"s" * 16, 1)).encode()
            run = crossing.run[:4] + bytes((Command.DESTROY, 1)) + bytes(10) + refusal
            source = ListSource()
            frame = new_frame(1)
            frame[RUN_AT : RUN_AT + len(run)] = run
            source.frames.append(frame)
            crossing.port.activate(source)
            return []

        liar.hook = ask_again
        reason, hop = await refused(network)
        assert (reason, hop) == (DestroyReason.PUZZLE, 2)
        network.assert_relay_links_live()

    play(scenario, liars={1: MaliciousRelay})


def test_puzzle_beyond_what_an_honest_client_spends_is_a_refusal() -> None:
    async def scenario(network: OnionNetwork) -> None:
        gate = network.relays[1].relay.gate
        gate._effort = gate._effort_before = 4097
        start = network.loop.time()
        assert await refused(network) == (DestroyReason.PUZZLE, 2)
        assert network.loop.time() - start < 1

    play(scenario)
