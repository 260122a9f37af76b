"""Dump everything that each relay of a circuit has in the clear, and look for what it must not know.

Rows CIR-02 (a relay learns only its neighbours) and CIR-03, LNK-18 (keys handed over later open
nothing that was recorded).
"""

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tests.support.malicious_relay import Crossing, MaliciousRelay
from tests.support.onion_network import OnionNetwork, play
from tests.support.targets import Writer, pattern
from vigilnet.crypto.aead import Suite, new_aead, noise_nonce
from vigilnet.crypto.kdf import noise_hkdf
from vigilnet.crypto.noise import NoiseHandshake, Pattern
from vigilnet.peer.keyring import onion_key_id
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, Command
from vigilnet.traffic.circuit.handshake import CreateBody, circuit_prologue
from vigilnet.traffic.circuit.messages import Extend
from vigilnet.traffic.circuit.onion import Lane, RelayOnion

HIDDEN_NAME = "a-name-that-nobody-may-know.test"
PAYLOAD = pattern(40_000, 9)


@dataclass
class Dump:
    """What one relay had in the clear."""

    runs: list[bytes] = field(default_factory=list)  # of its links, as they cross
    opened: list[bytes] = field(default_factory=list)  # V' of every record it took a layer off
    ended: list[bytes] = field(default_factory=list)  # records that end here
    said: list[bytes] = field(default_factory=list)  # records of its own, before they were sealed
    neighbours: set[str] = field(default_factory=set)  # addresses
    identities: set[bytes] = field(default_factory=set)

    @property
    def octets(self) -> Iterator[bytes]:
        yield from self.runs
        yield from self.opened
        yield from self.ended
        yield from self.said
        yield from (address.encode() for address in self.neighbours)
        yield from self.identities

    def knows(self, what: bytes) -> bool:
        return any(what in octets for octets in self.octets)

    def knows_address(self, host: str) -> bool:
        return self.knows(host.encode()) or self.knows(ip_address(host).packed)


class Instruments:
    """Record all that the relays of a network see."""

    def __init__(self, network: OnionNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network = network
        self.dumps = [Dump() for _ in network.relays]
        self._by_onion: dict[RelayOnion, Dump] = {}
        for node, dump in zip(network.relays, self.dumps, strict=True):
            assert isinstance(node, MaliciousRelay)
            node.hook = self._recorder(dump)
        honest_open, honest_say = RelayOnion.open_forward, RelayOnion.originate_backward

        def open_forward(onion: RelayOnion, run: memoryview, frame: memoryview, *, is_last: bool) -> bool:
            is_here = honest_open(onion, run, frame, is_last=is_last)
            dump = self._dump_of(onion)
            (dump.ended if is_here else dump.opened).append(bytes(frame[RUN_AT:]))
            return is_here

        def originate_backward(onion: RelayOnion, frame: memoryview, size: int) -> memoryview:
            self._dump_of(onion).said.append(bytes(frame))
            return honest_say(onion, frame, size)

        monkeypatch.setattr(RelayOnion, "open_forward", open_forward)
        monkeypatch.setattr(RelayOnion, "originate_backward", originate_backward)

    @staticmethod
    def _recorder(dump: Dump):  # type: ignore[no-untyped-def]  # noqa: ANN205  # a hook
        def record(crossing: Crossing) -> None:
            dump.runs.append(bytes(crossing.run))

        return record

    def _dump_of(self, onion: RelayOnion) -> Dump:
        if onion not in self._by_onion:
            for node, dump in zip(self.network.relays, self.dumps, strict=True):
                self._by_onion.update(
                    (circuit._onion, dump) for circuit in node.relay.circuits if circuit._onion
                )
        return self._by_onion[onion]

    def close(self) -> None:
        """Note whose links each relay has."""
        for node, dump in zip(self.network.relays, self.dumps, strict=True):
            for link in node.links._table.all():
                dump.neighbours.add(link.remote_host)
                if link.peer is not None:
                    dump.identities.add(link.peer)


async def talk(network: OnionNetwork, hops: int) -> None:
    """Open a circuit, ask for the secret name, send and get the payload."""
    circuit = await network.build(hops)
    reader = network.open(circuit, HIDDEN_NAME)
    reader.stream.write(PAYLOAD)
    echo = network.open(circuit, "echo.test")
    Writer(echo, PAYLOAD)
    await network.wait_for(lambda: echo.has_eof)
    assert bytes(echo.data) == PAYLOAD
    await network.settle(1)


@pytest.mark.parametrize("hops", [2, 3, 5])
def test_relays_know_their_neighbours_and_nothing_else(hops: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        instruments = Instruments(network, monkeypatch)
        await talk(network, hops)
        instruments.close()
        client = network.client.host
        *carriers, last = instruments.dumps
        pieces = [PAYLOAD[at : at + 16] for at in range(0, len(PAYLOAD), 500)]
        for number, dump in enumerate(carriers):
            assert dump.opened, "it carried the circuit"
            assert dump.knows_address(client) == (number == 0), number
            assert not dump.knows(HIDDEN_NAME.encode())
            assert not dump.knows(b"echo.test")
            assert not any(dump.knows(piece) for piece in pieces)
        assert last.knows(HIDDEN_NAME.encode())
        assert all(last.knows(piece) for piece in pieces)
        assert not last.knows_address(client)
        for number, dump in enumerate(instruments.dumps):
            for other, node in enumerate(network.relays):
                if abs(number - other) > 1:
                    assert not dump.knows(node.identity), f"relay {number} knows relay {other}"
                    assert not dump.knows_address(node.host)

    play(scenario, hops, liars=dict.fromkeys(range(hops), MaliciousRelay))


def test_each_relay_removes_exactly_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a relay sends on is what it opened, and the next one received: nothing lies deeper."""

    async def scenario(network: OnionNetwork) -> None:
        instruments = Instruments(network, monkeypatch)
        await talk(network, 3)
        for sender, receiver in zip(instruments.dumps, instruments.dumps[1:], strict=False):
            received = {run[16:] for run in receiver.runs if run[4] == Command.RELAY}
            for opened in sender.opened:
                size = len(opened) // CELL_SIZE * CELL_SIZE
                assert opened[16:size] in received
        first, *_ = instruments.dumps
        outer = {run[16:] for run in first.runs if run[4] == Command.RELAY}
        inner = {run[16:] for run in instruments.dumps[2].runs if run[4] == Command.RELAY}
        assert not outer & inner

    play(scenario, 3, liars=dict.fromkeys(range(3), MaliciousRelay))


def test_all_runs_are_of_two_sizes_whatever_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        instruments = Instruments(network, monkeypatch)
        await talk(network, 3)
        sizes = {len(run) for dump in instruments.dumps for run in dump.runs}
        assert sizes == {CELL_SIZE, 7 * CELL_SIZE}

    play(scenario, 3, liars=dict.fromkeys(range(3), MaliciousRelay))


# --- keys that are stolen later ----------------------------------------------------------------------


class Thief:
    """Holds every long-lived secret, afterwards, and tries all that can be made of them."""

    def __init__(self, network: OnionNetwork) -> None:
        self.secrets: list[X25519PrivateKey] = []
        for node in network.relays:
            assert node.local is not None
            self.secrets += [node.keys.secret, node.local.link_key]

    def shared(self, publics: Iterable[bytes]) -> Iterator[bytes]:
        """Every Diffie-Hellman value of a stolen secret and a recorded key."""
        for public in publics:
            for secret in self.secrets:
                yield secret.exchange(X25519PublicKey.from_public_bytes(public))
        yield bytes(32)

    def chains(self, ck: bytes, publics: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """(ck, k) after one or two more mixes of what the thief can compute."""
        values = list(self.shared(publics))
        for first in values:
            once, key = noise_hkdf(ck, first, 2)
            yield once, key
            for second in values:
                twice, key = noise_hkdf(once, second, 2)
                yield twice, key


def opens(suite: Suite, key: bytes, nonce: bytes, sealed: bytes, additional: bytes) -> bool:
    try:
        new_aead(suite, key).decrypt(nonce, sealed, additional)
    except InvalidTag:
        return False
    return True


def test_onion_keys_stolen_later_open_nothing_of_a_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thief even has the plaintext of all links."""

    async def scenario(network: OnionNetwork) -> None:
        instruments = Instruments(network, monkeypatch)
        await talk(network, 3)
        thief = Thief(network)
        for node, dump in zip(network.relays, instruments.dumps, strict=True):
            create = next(run for run in dump.runs if run[4] == Command.CREATE)  # from the hop before
            created = next(run for run in dump.runs if run[4] == Command.CREATED)
            records = [run for run in dump.runs if run[4] == Command.RELAY]
            body = CreateBody.decode(create[16:])
            suite = Suite(body.suite)
            key_id = onion_key_id(node.keys.public)
            assert body.key_id == key_id
            handshake = NoiseHandshake(
                Pattern.NK_HFS,
                suite,
                initiator=False,
                prologue=circuit_prologue(suite, node.identity, key_id),
                local_static=node.keys.secret,
            )
            assert handshake.read_message(body.message1) == b"\x01\x02\x00\x1c", "CM is not forward secret"
            state = handshake._state
            message2 = created[18 : 18 + int.from_bytes(created[16:18], "big")]
            state.mix_hash(message2[:32])
            publics = (body.message1[:32], message2[:32])
            tried = 0
            for ck, key in thief.chains(state.ck, publics):
                tried += 1
                assert not opens(suite, key, noise_nonce(suite, 0), message2[32 : 32 + 1104], state.h)
                for layer in noise_hkdf(ck, b"", 2):
                    for record in (records[0], records[-1]):
                        for additional in (b"\0", b"\1"):
                            assert not opens(suite, layer, bytes(12), bytes(16) + record[16:], additional)
            assert tried > 100

    play(scenario, 3, liars=dict.fromkeys(range(3), MaliciousRelay), suites=tuple(Suite))


def test_link_keys_stolen_later_open_nothing_of_a_link() -> None:
    async def scenario(network: OnionNetwork) -> None:
        wires: dict[tuple[str, str], bytearray] = {}

        def record(source: str, remote: str):  # type: ignore[no-untyped-def]  # noqa: ANN202  # a tamper
            wire = wires.setdefault((source, remote), bytearray())

            def tamper(data: bytes) -> bytes:
                wire.extend(data)
                return data

            return tamper

        connect = network.hub.connect

        def tapped(source: str, host: str, port: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
            ours = connect(source, host, port)
            theirs = network.hub.pairs[-1][1]
            ours.outgoing.tamper = record(source, host)
            theirs.outgoing.tamper = record(host, source)
            return ours

        network.hub.connect = tapped  # type: ignore[method-assign]
        await talk(network, 2)
        everything = b"".join(bytes(wire) for wire in wires.values())
        assert len(everything) > 2 * len(PAYLOAD)
        assert not any(PAYLOAD[at : at + 12] in everything for at in range(0, len(PAYLOAD), 500))
        assert HIDDEN_NAME.encode() not in everything

        guard = network.relays[0]
        assert guard.local is not None
        up = bytes(wires[network.client.host, guard.host])
        down = bytes(wires[guard.host, network.client.host])
        message1, rest_up = packet(up)
        message2, rest_down = packet(down)
        message3, frames_up = packet(rest_up)
        hello, noise1 = message1[:4], message1[4:]
        assert hello[2:] == b"\0\0", "no cookie, no solution"
        suite = Suite(hello[1])
        prologue = (
            (16).to_bytes(2, "big") + b"vigilnet v1 link" + (4).to_bytes(2, "big") + hello
            + b"\0" + bytes(32) + guard.identity
        )  # fmt: skip
        handshake = NoiseHandshake(
            Pattern.XK_HFS, suite, initiator=False, prologue=prologue, local_static=guard.local.link_key
        )
        assert handshake.read_message(noise1) == b"", "the first message is not forward secret, and empty"
        state = handshake._state
        state.mix_hash(message2[:32])
        thief = Thief(network)
        tried = 0
        for ck, key in thief.chains(state.ck, (noise1[:32], message2[:32])):
            tried += 1
            assert not opens(suite, key, noise_nonce(suite, 0), message2[32 : 32 + 1104], state.h)
            assert not opens(suite, key, noise_nonce(suite, 0), message3[:48], state.h)
            for link_key in noise_hkdf(ck, b"", 2):
                for frames in (frames_up, rest_down):
                    size = int.from_bytes(frames[:2], "big")
                    frame = frames[2 : 2 + size]
                    assert not opens(suite, link_key, noise_nonce(suite, 0), frame, frames[:2])
        assert tried > 50

    play(scenario, 2)


def packet(wire: bytes) -> tuple[bytes, bytes]:
    """Cut one handshake packet off: (body, rest)."""
    size = int.from_bytes(wire[:2], "big")
    return wire[3 : 2 + size], wire[2 + size :]


def test_attempt_of_the_thief_is_right_in_form() -> None:
    """With the ephemeral key as well the same attempt succeeds: the test above tries the right octets."""
    static = X25519PrivateKey.generate()
    suite = Suite.AES_256_GCM
    public = static.public_key().public_bytes_raw()
    client = NoiseHandshake(Pattern.NK_HFS, suite, initiator=True, prologue=b"p", remote_static=public)
    relay = NoiseHandshake(Pattern.NK_HFS, suite, initiator=False, prologue=b"p", local_static=static)
    thief = NoiseHandshake(Pattern.NK_HFS, suite, initiator=False, prologue=b"p", local_static=static)
    message1 = client.write_message(b"CM")
    thief.read_message(message1)
    relay.read_message(message1)
    message2 = relay.write_message(b"SM")
    state = thief._state
    state.mix_hash(message2[:32])
    assert client._e is not None
    stolen = client._e.exchange(X25519PublicKey.from_public_bytes(message2[:32]))
    _, key = noise_hkdf(state.ck, stolen, 2)
    assert opens(suite, key, noise_nonce(suite, 0), message2[32 : 32 + 1104], state.h)


def living_handshakes() -> list[NoiseHandshake]:
    return [thing for thing in gc.get_objects() if isinstance(thing, NoiseHandshake)]


def test_keys_of_hops_are_gone_after_teardown() -> None:
    others = living_handshakes()  # of tests before this one, kept alive here so that no id is used twice

    async def scenario(network: OnionNetwork) -> None:
        circuit = await network.build(3)
        assert await network.exchange(circuit, 1000)
        gc.collect()
        assert living_lanes() == 12
        handshakes = [ours for ours in living_handshakes() if not any(ours is other for other in others)]
        assert all(handshake._e is None and not handshake._state.ck for handshake in handshakes)
        circuit.close()
        await network.settle(3)
        gc.collect()
        assert living_lanes() == 0

    play(scenario)


def living_lanes() -> int:
    return sum(isinstance(thing, Lane) for thing in gc.get_objects())


def test_extend_names_the_next_hop_and_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(network: OnionNetwork) -> None:
        instruments = Instruments(network, monkeypatch)
        await talk(network, 3)
        (record,) = [ended for ended in instruments.dumps[1].ended if ended[192] == 16]
        extend = Extend.decode(record[200 : 200 + int.from_bytes(record[196:198], "big")])
        assert extend.identity == network.relays[2].identity
        assert extend.least_sequence == 0
        for node in network.relays:
            assert node.host.encode() not in record
            assert ip_address(node.host).packed not in record

    play(scenario, 3, liars=dict.fromkeys(range(3), MaliciousRelay))
