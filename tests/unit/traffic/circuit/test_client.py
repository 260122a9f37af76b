"""What a client takes from each hop of its circuit, and what closes it (rule 4 (f))."""

from collections.abc import Callable

import pytest

from tests.support.links import ListSource
from tests.support.malicious_relay import (
    Crossing,
    MaliciousRelay,
    Once,
    area_of,
    frame_of,
    say,
    say_as_client,
)
from tests.support.onion_network import OnionNetwork, is_open, play
from vigilnet.base.errors import LocalProtocolError
from vigilnet.crypto.aead import Suite, big_endian_nonce
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, Command, pack_run_header
from vigilnet.traffic.circuit import client as client_module
from vigilnet.traffic.circuit.client import CircuitClosedError, CircuitState, ClientCircuit
from vigilnet.traffic.circuit.handshake import ClientHandshake
from vigilnet.traffic.circuit.messages import DestroyReason, Extend, PuzzleDemand, Refusal
from vigilnet.traffic.circuit.onion import ClientOnion, Lane, _ladder_columns
from vigilnet.traffic.stream.messages import (
    Datagram,
    Echo,
    Resolve,
    Resolved,
    Sendme,
    Target,
    encode_credit,
)
from vigilnet.traffic.stream.wire import AREA_AT, EndReason, MessageType

EXTENDED_BODY = b"\x04\x80" + bytes(1152)
STREAM_MESSAGES = {
    "begin": area_of((MessageType.BEGIN, 1, Target("name.test", 80).encode())),
    "connected": area_of((MessageType.CONNECTED, 1, b"")),
    "data": area_of((MessageType.DATA, 1, b"octets")),
    "end": area_of((MessageType.END, 1, bytes((EndReason.DONE,)))),
    "fin": area_of((MessageType.FIN, 1, b"")),
    "credit": area_of((MessageType.CREDIT, 1, encode_credit(1 << 30))),
    "circuit credit": area_of((MessageType.CREDIT, 0, encode_credit(1 << 30))),
    "resolve": area_of((MessageType.RESOLVE, 1, Resolve("name.test", 1).encode())),
    "resolved": area_of((MessageType.RESOLVED, 1, Resolved(0).encode())),
    "datagram": area_of((MessageType.DATAGRAM, 1, Datagram("192.0.2.9", 53, b"x").encode())),
    "echo": area_of((MessageType.ECHO, 1, Echo(True, 1, 1, b"").encode())),
    "sendme": area_of((MessageType.SENDME, 0, Sendme(28, bytes(16)).encode())),
}
CONTROL_MESSAGES = {
    "extend": area_of((MessageType.EXTEND, 0, Extend(bytes(32), 0, b"").encode())),
    "extended": area_of((MessageType.EXTENDED, 0, EXTENDED_BODY)),
    "truncate": area_of((MessageType.TRUNCATE, 0, b"")),
    "bad truncated": area_of((MessageType.TRUNCATED, 0, b"\xff\x00")),
    "truncated on a stream": area_of((MessageType.TRUNCATED, 1, Refusal(DestroyReason.CLOSED).encode())),
    "two truncated": 2 * area_of((MessageType.TRUNCATED, 0, Refusal(DestroyReason.CLOSED).encode())),
    "truncated behind data": area_of(
        (MessageType.DATA, 1, b"x"), (MessageType.TRUNCATED, 0, Refusal(DestroyReason.CLOSED).encode())
    ),
    "padding": area_of((MessageType.PADDING, 0, bytes(100))),
    "pad negotiate": area_of((MessageType.PAD_NEGOTIATE, 0, bytes(5))),
    "record": area_of((MessageType.RECORD, 0, b"record")),
    "nothing": b"",
    "unknown type": area_of((200, 0, b"")),
    "multipath": area_of((MessageType.MP_LINK, 0, bytes(32))),
    "introduction": area_of((MessageType.INTRODUCE2, 0, bytes(32))),
    "wrong constant": b"\x13\x00\x00\x00\x00\x02\x56\x4f\x01\x00",
    "octets behind the end": bytes(8) + b"x",
}
TRUNCATED = area_of((MessageType.TRUNCATED, 0, Refusal(DestroyReason.OVERLOAD).encode()))


async def says(
    network: OnionNetwork, hop: int, area: bytes
) -> tuple[ClientCircuit, CircuitClosedError | None]:
    """Let hop `hop` (0 is the guard) of an open circuit with one stream say `area`; how it ended."""
    errors: dict[ClientCircuit, CircuitClosedError] = {}
    network.client.circuits.client.on_closed = errors.__setitem__
    circuit = await network.build(3)
    network.open(circuit, "stall.test", takes=False)
    await network.settle(0.1)
    say(network.relays[hop].relay_circuit, area)
    await network.settle(0.1)
    return circuit, errors.get(circuit)


@pytest.mark.parametrize("hop", [0, 1, 2])
@pytest.mark.parametrize("name", CONTROL_MESSAGES)
def test_control_that_nobody_asked_for_closes_the_circuit(name: str, hop: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        _, error = await says(network, hop, CONTROL_MESSAGES[name])
        assert error is not None
        assert error.reason is DestroyReason.PROTOCOL
        await network.settle(3)
        network.assert_nothing_left()
        network.assert_relay_links_live()

    play(scenario)


@pytest.mark.parametrize("hop", [0, 1])
@pytest.mark.parametrize("name", STREAM_MESSAGES)
def test_middle_that_poses_as_the_exit_closes_the_circuit(name: str, hop: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        _, error = await says(network, hop, STREAM_MESSAGES[name])
        assert error is not None
        assert error.reason is DestroyReason.PROTOCOL

    play(scenario)


@pytest.mark.parametrize("name", STREAM_MESSAGES)
def test_exit_s_messages_are_judged_by_the_mux(name: str) -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit, _ = await says(network, 2, STREAM_MESSAGES[name])
        assert is_open(circuit) == (name in ("data", "end", "fin", "credit", "circuit credit"))

    play(scenario)


@pytest.mark.parametrize("hop", [0, 1, 2])
def test_truncated_from_any_hop_closes_the_circuit_for_its_reason(hop: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        _, error = await says(network, hop, TRUNCATED)
        assert error is not None
        assert (error.reason, error.hop) == (DestroyReason.OVERLOAD, hop + 1)

    play(scenario)


def growing_credit(number: int) -> bytes:
    """Something that an exit may say at any time, and that counts for no window."""
    return area_of((MessageType.CREDIT, 1, encode_credit((1 << 20) + number)))


def test_more_changes_of_length_than_relays_allow_close_the_circuit() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        network.open(circuit, "stall.test")
        await network.settle(0.1)
        last = network.relays[2].relay_circuit
        for relay in network.relays:  # colluders that do not delay
            queue = relay.relay_circuit.backward_queue
            queue._budget._burst = queue._budget._tokens = 1000.0
        for number in range(16):
            say(last, growing_credit(number), 1 if number % 2 else 7)
        await network.settle(0.1)
        assert is_open(circuit), "four times the budget: queues bunch"
        say(last, growing_credit(16), 7)
        await network.settle(0.1)
        assert not is_open(circuit)

    play(scenario)


def test_honest_relays_delay_changes_of_length_instead() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        reader = network.open(circuit, "stall.test")
        await network.settle(0.1)
        start = network.loop.time()
        for number in range(24):
            say(network.relays[2].relay_circuit, growing_credit(number), 1 if number % 2 else 7)
        await network.wait_for(lambda: reader.stream.send_credit.limit == (1 << 20) + 23)
        assert network.loop.time() - start > 18, "four at once, then one a second"
        assert is_open(circuit)

    play(scenario)


@pytest.mark.parametrize("length", [1, 10])
def test_circuits_of_one_and_ten_hops(length: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(length)
        assert await network.exchange(circuit, 100_000)
        assert [len(node.relay.circuits) for node in network.relays] == [1] * length

    play(scenario, length, suites=tuple(Suite))


@pytest.mark.parametrize("length", [0, 11])
def test_circuits_of_other_lengths_are_our_own_bug(length: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        hops = network.path(3)
        place = await network.client.circuits.link_to(hops[0].identity)
        with pytest.raises(LocalProtocolError):
            ClientCircuit(
                network.client.circuits.client, (hops * 4)[:length], place.port, 1, network.options,
                network.clock.now, bytes,
            )  # fmt: skip

    play(scenario)


def test_eleventh_hop_is_out_of_reach() -> None:
    """A rogue client extends a circuit of ten hops once more: the ladder lies on the stop block there."""

    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(10)
        await network.settle(0.1)
        extra = network.relays[10]
        handshake = ClientHandshake(extra.identity, extra.keys.public, Suite.AES_256_GCM)
        answers: list[bytes] = []
        circuit._control = lambda kind, hop, body: answers.append(bytes(body))  # type: ignore[method-assign]
        extend = Extend(extra.identity, 0, handshake.create_body()).encode()
        say_as_client(circuit, 10, area_of((MessageType.EXTEND, 0, extend)))
        await network.settle(0.1)
        keys, _ = handshake.finish(answers[0])
        circuit._onion._forward.append(Lane(keys.suite, keys.forward))
        area = area_of((MessageType.BEGIN, 1, Target("echo.test", 80).encode()))
        circuit.port.activate(ListSource(rogue_record(circuit._onion, circuit.circuit_id, area)))
        await network.settle(0.1)
        assert extra.relay.bad_records == 1
        assert not extra.targets.requests
        assert not any(node.relay.bad_records for node in network.relays[:10])

    play(scenario, 11)


def rogue_record(onion: ClientOnion, circuit_id: int, area: bytes) -> memoryview:
    """Seal a record for hop 11 as the construction would have it."""
    lanes = onion._forward
    hops = len(lanes)
    record = memoryview(bytearray(RUN_AT + CELL_SIZE + 16 * hops))
    columns = _ladder_columns(lanes, 1)
    ladder = b"".join(columns[index][:16] for index in reversed(range(hops)))
    record[RUN_AT : RUN_AT + len(ladder)] = ladder
    record[AREA_AT : AREA_AT + len(area)] = area
    at = RUN_AT
    for index in range(hops - 1, -1, -1):
        lane = lanes[index]
        additional = b"\x01" if index == hops - 1 else b"\x00"
        lane.encrypt_into(
            big_endian_nonce(lane.counter),
            record[at : at + CELL_SIZE - 16],
            additional,
            record[at : at + CELL_SIZE],
        )
        assert record[at : at + 16] == bytes(16), "the ladder is right"
        at += 16
        lane.step()
    frame = record[16 * (hops - 1) :]
    pack_run_header(frame, RUN_AT, circuit_id, Command.RELAY, 1)
    return frame


# --- while it is built -------------------------------------------------------------------------------

BUILDING_ACTS: dict[str, Callable[[], bytes]] = {
    "sendme": lambda: STREAM_MESSAGES["sendme"],
    "data": lambda: STREAM_MESSAGES["data"],
    "connected": lambda: STREAM_MESSAGES["connected"],
    "padding": lambda: CONTROL_MESSAGES["padding"],
    "extended of junk": lambda: CONTROL_MESSAGES["extended"],
    "nothing": lambda: b"",
    "two truncated": lambda: CONTROL_MESSAGES["two truncated"],
}


@pytest.mark.parametrize("name", BUILDING_ACTS)
@pytest.mark.parametrize("hop", [0, 1])
def test_hop_that_says_something_else_while_it_is_asked_to_extend(name: str, hop: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        relay = network.relays[hop].relay
        relay.relay_extend = lambda circuit, _: say(circuit, BUILDING_ACTS[name]())  # type: ignore[method-assign, assignment]
        with pytest.raises(CircuitClosedError) as caught:
            await network.build(3)
        assert caught.value.reason is DestroyReason.PROTOCOL
        await network.settle(3)
        network.assert_nothing_left()

    play(scenario)


def test_puzzle_that_is_asked_twice_for_one_request_closes_the_circuit() -> None:
    """The second one answers nothing: the first one's solution is not even sent."""

    async def scenario(network: OnionNetwork) -> None:
        refusal = Refusal(DestroyReason.PUZZLE, PuzzleDemand(b"s" * 16, 1))
        area = area_of((MessageType.TRUNCATED, 0, refusal.encode()))

        def ask_twice(circuit: object, _: object) -> None:
            relayed = network.relays[0].relay_circuit
            say(relayed, area)
            say(relayed, area)

        network.relays[0].relay.relay_extend = ask_twice  # type: ignore[method-assign, assignment]
        with pytest.raises(CircuitClosedError) as caught:
            await network.build(3)
        assert caught.value.reason is DestroyReason.PROTOCOL

    play(scenario)


@pytest.mark.parametrize("hop", [0, 1, 2])
def test_retry_uses_fresh_keys(hop: int) -> None:
    """After a refusal for a puzzle or a missing record, message 1 is another one."""

    async def scenario(network: OnionNetwork) -> None:
        seen: list[bytes] = []
        relay = network.relays[hop]
        assert isinstance(relay, MaliciousRelay)

        def watch(crossing: Crossing) -> None:
            if crossing.command == Command.CREATE and not crossing.is_outgoing:
                at = 16 + 2 + 8 + 1 + crossing.run[26] + 2
                seen.append(bytes(crossing.run[at : at + 32]))

        relay.hook = watch
        relay.relay.gate.set_effort(8)
        relay.relay.gate.set_effort(8)
        await network.build(3)
        assert len(set(seen)) == 2

    play(scenario, liars={hop: MaliciousRelay})


def test_client_spends_one_puzzle_for_one_hop() -> None:
    assert client_module.MAX_PUZZLE_TRIES == 1


def test_guard_that_never_answers_is_given_up_after_ten_seconds() -> None:
    async def scenario(network: OnionNetwork) -> None:
        liar = network.relays[0]
        assert isinstance(liar, MaliciousRelay)
        liar.hook = lambda crossing: [] if crossing.is_outgoing else None
        start = network.loop.time()
        with pytest.raises(CircuitClosedError) as caught:
            await network.build(3)
        assert (caught.value.reason, caught.value.hop) == (DestroyReason.TIMEOUT, 1)
        assert network.loop.time() - start == pytest.approx(10, abs=0.1)

    play(scenario, liars={0: MaliciousRelay})


def test_guard_that_sends_created_twice_closes_the_circuit() -> None:
    async def scenario(network: OnionNetwork) -> None:
        liar = network.relays[0]
        assert isinstance(liar, MaliciousRelay)
        liar.hook = Once(
            lambda crossing: [crossing.run, crossing.run],
            lambda crossing: crossing.is_outgoing and crossing.command == Command.CREATED,
        )
        with pytest.raises(CircuitClosedError) as caught:
            await network.build(3)
        assert caught.value.reason is DestroyReason.PROTOCOL

    play(scenario, liars={0: MaliciousRelay})


def test_what_comes_for_a_closed_circuit_is_dropped() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(1)
        circuit.close()
        circuit.close()
        assert circuit.state is CircuitState.CLOSED
        circuit.receive(memoryview(bytearray(CELL_SIZE)), 1, 0.0)
        circuit.wake()
        circuit.solved(None)
        circuit.on_deadline(1e9)
        assert circuit.pull(0.0) is None
        assert circuit.deadline() is None

    play(scenario)


def test_random_octets_from_the_guard_close_the_circuit_and_not_the_link() -> None:
    async def scenario(network: OnionNetwork) -> None:
        other = await network.build(3)
        circuit = await network.build(3)
        await network.settle(0.1)
        victim = network.relays[0].relay.circuits[-1]
        header = victim.previous_id.to_bytes(4, "big") + bytes((Command.RELAY, 1)) + bytes(10)
        victim.backward_queue.push(frame_of(header + b"\xa5" * 2032), 1)
        await network.settle(0.1)
        assert not is_open(circuit)
        assert is_open(other)
        assert await network.exchange(other, 1000)

    play(scenario)
