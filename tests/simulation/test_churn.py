"""Many circuits of many clients while everything breaks: nothing leaks, nothing fails unexpectedly.

Each seed is one history of building, talking, closing, dying links, silent wires, relays that lie,
records that vanish and keys that change. Afterwards every table of every node must be empty again.
"""

import asyncio
from random import Random

import pytest

from tests.support.links import OPTIONS
from tests.support.malicious_relay import Crossing, MaliciousRelay, area_of, say, say_as_client
from tests.support.onion_network import OnionNetwork, OnionNode, is_open, play
from tests.support.targets import FlowReader, Reader, Writer, pattern
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.circuit.client import CircuitClosedError, ClientCircuit
from vigilnet.traffic.circuit.messages import DestroyReason, Refusal
from vigilnet.traffic.stream.messages import Resolve, Target
from vigilnet.traffic.stream.wire import EndReason, MessageType

RELAYS = 6
CLIENTS = 3
STEPS = 250
HOSTS = (
    "echo.test",
    "sink.test",
    "source-200000.test",
    "stall.test",
    "silent.test",
    "refused.test",
    "reset.test",
)


class Churn:
    """One history."""

    def __init__(self, network: OnionNetwork, seed: int) -> None:
        self.network = network
        self.dice = Random(seed)
        self.circuits: list[ClientCircuit] = []
        self.readers: list[Reader] = []
        self.builds: list[asyncio.Task[None]] = []
        self.whole = 0
        self.acts = [
            (self.build, 20),
            (self.open_stream, 40),
            (self.talk, 40),
            (self.read, 10),
            (self.end_stream, 10),
            (self.close_circuit, 3),
            (self.datagrams, 4),
            (self.look_up, 4),
            (self.destroy_somewhere, 2),
            (self.cut_link, 2),
            (self.silence, 1),
            (self.lie, 1),
            (self.lie_as_client, 1),
            (self.change_keys, 1),
            (self.forget_records, 2),
            (self.raise_effort, 1),
        ]

    async def run(self) -> None:
        names = [act for act, _ in self.acts]
        weights = [weight for _, weight in self.acts]
        for _ in range(STEPS):
            self.dice.choices(names, weights)[0]()
            await asyncio.sleep(self.dice.choice((0.0, 0.001, 0.02, 0.3)))
            self.circuits = [circuit for circuit in self.circuits if is_open(circuit)]
        for build in self.builds:
            await build

    def circuit(self) -> ClientCircuit | None:
        return self.dice.choice(self.circuits) if self.circuits else None

    def relay(self) -> OnionNode:
        return self.dice.choice(self.network.relays)

    def build(self) -> None:
        client = self.dice.choice(self.network.clients)
        path = self.dice.sample(range(RELAYS), self.dice.randint(1, 5))
        self.builds.append(asyncio.ensure_future(self._build(path, client)))

    async def _build(self, path: list[int], client: OnionNode) -> None:
        try:
            self.circuits.append(await self.network.build(path, client))
        except CircuitClosedError:
            return

    def open_stream(self) -> None:
        circuit = self.circuit()
        if circuit is not None and circuit.mux.can_open:
            host = self.dice.choice(HOSTS)
            early = pattern(self.dice.choice((0, 0, 10, 5000)))
            stream = circuit.mux.open_stream(Target(host, 80), early)
            reader = Reader(stream, takes=self.dice.random() < 0.8, keeps=False)
            stream.set_consumer(reader)
            self.readers.append(reader)

    def talk(self) -> None:
        if self.readers:
            reader = self.dice.choice(self.readers)
            if not reader.stream.fin_queued and reader.ended is None and not reader.stream._close_when_sent:
                Writer(
                    reader,
                    pattern(self.dice.choice((1, 500, 20_000, 300_000))),
                    ends=self.dice.random() < 0.3,
                )

    def read(self) -> None:
        if self.readers:
            self.dice.choice(self.readers).take(self.dice.choice((None, 1000)))

    def end_stream(self) -> None:
        if self.readers:
            reader = self.dice.choice(self.readers)
            if self.dice.random() < 0.5:
                reader.on_event = lambda _: None
                reader.stream.close(self.dice.choice(list(EndReason)))
            else:
                reader.on_event = lambda _: None
                reader.stream.write_eof()

    def close_circuit(self) -> None:
        circuit = self.circuit()
        if circuit is not None:
            circuit.close()

    def datagrams(self) -> None:
        circuit = self.circuit()
        if circuit is not None and circuit.mux.can_open:
            flow = circuit.mux.open_datagrams(Target("", 0, 17))
            flow.set_consumer(FlowReader())
            for _ in range(self.dice.randint(0, 20)):
                flow.send("203.0.113.9", 53, bytes(self.dice.choice((10, 1400, 9000))))
            if self.dice.random() < 0.5:
                flow.close()

    def look_up(self) -> None:
        circuit = self.circuit()
        if circuit is not None and circuit.mux.can_open:
            number = circuit.mux.resolve(Resolve("name.test", 1), lambda _: None)
            if self.dice.random() < 0.3:
                circuit.mux.abandon(number)

    def destroy_somewhere(self) -> None:
        relay = self.relay().relay
        if relay.circuits:
            circuit = self.dice.choice(relay.circuits)
            reason = Refusal(self.dice.choice((DestroyReason.OVERLOAD, DestroyReason.CLOSED)))
            relay.drop(
                circuit, reason, at_once=self.dice.random() < 0.5, tell_previous=self.dice.random() < 0.9
            )

    def cut_link(self) -> None:
        pairs = [pair for pair in self.network.hub.pairs if not pair[0].is_closed]
        if pairs:
            self.dice.choice(self.dice.choice(pairs)).cut()

    def silence(self) -> None:
        pairs = [pair for pair in self.network.hub.pairs if not pair[0].is_closed]
        if pairs:
            for end in self.dice.choice(pairs):
                end.outgoing.is_silent = True

    def lie(self) -> None:
        relay = self.network.relays[0]
        assert isinstance(relay, MaliciousRelay)
        chance = Random(self.dice.random())

        def mangle(crossing: Crossing) -> list[bytes] | None:
            if not crossing.is_relay or chance.random() < 0.98:
                return None
            run = bytearray(crossing.run)
            run[chance.randrange(16, len(run))] ^= 1
            return chance.choice(([], [bytes(run)], [bytes(crossing.run)] * 2))

        relay.hook = mangle
        self.network.loop.call_later(0.5, setattr, relay, "hook", lambda _: None)
        if relay.relay.circuits and self.dice.random() < 0.5:
            circuit = self.dice.choice(relay.relay.circuits)
            kind = self.dice.choice((MessageType.EXTENDED, MessageType.CONNECTED, MessageType.PADDING))
            if circuit._onion is not None:
                say(circuit, area_of((kind, self.dice.choice((0, 1)), bytes(3))))

    def lie_as_client(self) -> None:
        circuit = self.circuit()
        if circuit is not None:
            hop = self.dice.randint(1, len(circuit.hops))
            kind = self.dice.choice(
                (MessageType.EXTEND, MessageType.SENDME, MessageType.TRUNCATE, MessageType.RECORD)
            )
            say_as_client(circuit, hop, area_of((kind, 0, bytes(self.dice.choice((0, 20, 42))))))

    def change_keys(self) -> None:
        keys = self.relay().keys
        if keys.accepted:
            accepted, keys.accepted = keys.accepted, {}
            self.network.loop.call_later(0.5, setattr, keys, "accepted", accepted)

    def forget_records(self) -> None:
        self.relay().keeper.unknown.add(self.relay().identity)

    def raise_effort(self) -> None:
        self.relay().relay.gate.set_effort(self.dice.choice((0, 8)))


@pytest.mark.parametrize("seed", range(8))
def test_churn_leaves_nothing_behind(seed: int) -> None:
    async def scenario(network: OnionNetwork) -> None:
        for _ in range(CLIENTS - 1):
            network.add_client()
        churn = Churn(network, seed)
        await churn.run()
        for client in network.clients:
            for circuit in client.circuits.client.circuits:
                circuit.close()
        await network.settle(60)  # silent links are found dead, random delays pass
        await network.settle(700)  # whoever heard nothing forgets idle circuits
        network.assert_nothing_left()
        for reader in churn.readers:
            assert reader.ended is not None
        for node in network.relays:
            relay = node.relay
            assert relay.queues.used == 0
            assert relay._creates.waiting == 0
            assert not relay._ending or all(not queue.octets for queue in relay._ending.values())
            assert relay.stream_memory.waiting == 0
            assert relay.stream_memory.windows == 0
            assert not relay._puzzle_refusals
        for client in network.clients:
            assert client.circuits.client._memory.waiting == 0
            assert client.circuits.client._memory.windows == 0

    play(
        scenario,
        RELAYS,
        liars={0: MaliciousRelay},
        delay_s=0.01,
        rate=3_000_000.0,
        suites=tuple(Suite),
        link_options=OPTIONS,
    )
