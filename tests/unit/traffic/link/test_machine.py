"""Two link machines joined by hand: liveness, closing, rekeying, and what a bad neighbour can do."""

from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.links import FakeRecord, Gatherer, ListSource, make_frame, seeded_random
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.cell import RUN_AT, TAG_ROOM
from vigilnet.traffic.link.admission import Admission
from vigilnet.traffic.link.framing import FrameType, KeyLimits
from vigilnet.traffic.link.handshake import Channel, HandshakeResult, Initiator, Responder
from vigilnet.traffic.link.machine import (
    MAX_GOSSIP_WAITING,
    PROBE_SPACING_S,
    CloseReason,
    LinkMachine,
    LinkState,
)
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import RunReceiver
from vigilnet.traffic.link.wire import PacketKind, PuzzleKind, Retry, encode_packet, link_suite
from vigilnet.traffic.transport.carrier import CarrierKind

HERE = b"responder".ljust(32)
OPTIONS = Options()
CHANNEL = Channel(CarrierKind.PLAIN, bytes(32))


@dataclass
class Owner:
    """Notes what a machine tells."""

    receiver: Gatherer = field(default_factory=Gatherer)
    results: list[HandshakeResult] = field(default_factory=list)
    gossip: list[bytes] = field(default_factory=list)
    refuses: bool = False

    def link_opened(self, result: HandshakeResult) -> RunReceiver:
        if self.refuses:
            raise RemoteProtocolError("link: we have too many")
        self.results.append(result)
        return self.receiver

    def gossip_received(self, body: bytes) -> None:
        self.gossip.append(body)


@dataclass
class Side:
    """A machine, its owner, and what it received and did not use up."""

    machine: LinkMachine
    owner: Owner
    left: bytes = b""
    sent: list[bytes] = field(default_factory=list)

    def take(self, octets: bytes, now: float) -> None:
        data = self.left + octets
        buffer = memoryview(bytearray(data) + bytes(64))
        used = self.machine.receive(buffer, len(data), now)
        self.left = data[used:]

    def give(self, now: float) -> bytes:
        octets = b"".join(self.machine.data_to_send(now))
        if octets:
            self.sent.append(octets)
        return octets


class Joined:
    """An initiator and a responder; `run` carries octets until neither has any."""

    def __init__(self, options: Options = OPTIONS, *, tls: bool = False, now: float = 0.0) -> None:
        relay_key = X25519PrivateKey.generate()
        self.admission = Admission(options, HERE, "", seeded_random("machine"), now)
        ticket = self.admission.enter("192.0.2.1", now, lambda: None)
        assert ticket is not None
        initiator = Initiator(
            link_suite(2),
            X25519PrivateKey.generate(),
            b"",
            responder=HERE,
            responder_key=relay_key.public_key().public_bytes_raw(),
            channel=CHANNEL,
        )
        responder = Responder(
            HERE,
            relay_key,
            channel=CHANNEL,
            admission=self.admission,
            ticket=ticket,
            admit=FakeRecord.admit,
            wall_minus_now=1000.0,
        )
        self.client, self.relay = (self._side(end, options, tls, now) for end in (initiator, responder))
        self.now = now

    def _side(self, handshake: Initiator | Responder, options: Options, tls: bool, now: float) -> Side:
        owner = Owner()
        machine = LinkMachine(
            handshake,
            owner,
            options,
            has_tls_records=tls,
            random_bytes=seeded_random(f"{type(handshake)}"),
            now=now,
        )
        return Side(machine, owner)

    def run(self, cut: int = 1 << 30) -> None:
        while True:
            moved = False
            for sender, taker in ((self.client, self.relay), (self.relay, self.client)):
                octets = sender.give(self.now)
                moved = moved or bool(octets)
                for at in range(0, len(octets), cut):
                    taker.take(octets[at : at + cut], self.now)
            if not moved:
                return

    @classmethod
    def opened(cls, options: Options = OPTIONS, *, tls: bool = False) -> "Joined":
        joined = cls(options, tls=tls)
        joined.run()
        assert joined.client.machine.state is joined.relay.machine.state is LinkState.OPEN
        return joined


@given(st.integers(1, 3000), st.booleans())
@settings(deadline=None, max_examples=15)
def test_a_link_opens_and_carries_runs_however_octets_are_cut(cut: int, tls: bool) -> None:
    joined = Joined(tls=tls)
    joined.run(cut)
    frames = [make_frame(circuit=n + 1, cells=7 if n % 2 else 1, fill=n) for n in range(9)]
    runs = [bytes(frame[RUN_AT:-TAG_ROOM]) for frame in frames]
    joined.client.machine.activate(ListSource(*frames))
    joined.run(cut)
    assert joined.relay.owner.receiver.runs == runs
    assert joined.client.owner.results[0].peer == HERE
    assert joined.relay.owner.results[0].peer is None


def test_frames_right_behind_message_3_are_read_in_the_same_turn() -> None:
    joined = Joined()
    joined.relay.take(joined.client.give(0.0), 0.0)
    joined.client.take(joined.relay.give(0.0), 0.0)
    joined.client.machine.activate(ListSource(make_frame(fill=3)))
    joined.relay.take(joined.client.give(0.0), 0.0)
    assert len(joined.relay.owner.receiver.runs) == 1


def test_nothing_is_sent_before_the_link_is_open() -> None:
    joined = Joined()
    machine = joined.client.machine
    assert not machine.activate(ListSource(make_frame()))
    assert not machine.send_control(make_frame())
    assert not machine.send_gossip(b"\1")
    machine.probe(0.0)
    assert len(joined.client.give(0.0)) == 3 + 4 + 1248


def test_a_handshake_that_takes_too_long_is_given_up_by_both() -> None:
    joined = Joined()
    joined.relay.take(joined.client.give(0.0), 0.0)
    for side in (joined.client, joined.relay):
        assert side.machine.deadline() == 10.0
        assert side.machine.on_deadline(9.9)
        assert not side.machine.on_deadline(10.0)
        assert side.machine.deadline() is None
        assert not side.machine.on_deadline(11.0)
        assert side.give(11.0) == b""


def test_a_puzzle_is_solved_in_slices_by_the_deadline() -> None:
    joined = Joined(replace(OPTIONS, cookie_above_unfinished=0))
    joined.admission._effort = 20_000
    joined.relay.take(joined.client.give(0.0), 0.0)
    joined.client.take(joined.relay.give(0.0), 0.0)
    slices = 0
    while not joined.client.machine.has_data_to_send:
        assert joined.client.machine.deadline() == 0.0
        assert joined.client.machine.on_deadline(0.1)
        slices += 1
    assert slices >= 1
    joined.run()
    assert joined.relay.machine.state is LinkState.OPEN


def test_a_puzzle_that_cannot_be_solved_ends_the_handshake() -> None:
    joined = Joined()
    joined.client.give(0.0)
    retry = Retry(PuzzleKind.SHA256, 65_536, bytes(16), bytes(32))
    joined.client.take(encode_packet(PacketKind.RETRY, retry.encode()), 0.0)
    joined.client.machine._handshake._solver._end = 1  # type: ignore[union-attr]  # as if it had tried long
    assert joined.client.machine.on_deadline(0.0)
    assert not joined.client.machine.on_deadline(0.0)
    assert joined.client.machine.is_closed


def test_a_neighbour_refused_after_the_handshake_is_dropped() -> None:
    joined = Joined()
    joined.relay.owner.refuses = True
    with pytest.raises(RemoteProtocolError, match="too many"):
        joined.run()
    assert joined.relay.machine.is_closed
    joined.relay.take(b"whatever", 0.0)


@pytest.mark.parametrize("octets", ["0000", "100101", "000105", "000103", "17030300"])
def test_junk_instead_of_a_handshake_closes_silently(octets: str) -> None:
    joined = Joined()
    with pytest.raises(RemoteProtocolError):
        joined.relay.take(bytes.fromhex(octets), 0.0)
    assert joined.relay.machine.is_closed
    assert joined.relay.give(0.0) == b""


# --- liveness --------------------------------------------------------------------------------------


def test_an_idle_link_pings_every_30_s_from_one_side_only() -> None:
    joined = Joined.opened()
    pings = 0
    while joined.now < 300.0:
        deadlines = [side.machine.deadline() for side in (joined.client, joined.relay)]
        joined.now = min(deadline for deadline in deadlines if deadline is not None)
        for side in (joined.client, joined.relay):
            assert side.machine.on_deadline(joined.now)
            pings += side.machine.has_data_to_send
            joined.run()
    assert pings == 10
    assert joined.client.machine.round_trip_s == 0.0


def test_three_missed_pings_are_a_dead_link() -> None:
    joined = Joined.opened()
    machine = joined.client.machine
    times = []
    now = 0.0
    while True:
        deadline = machine.deadline()
        assert deadline is not None
        now = deadline
        times.append(now)
        if not machine.on_deadline(now):
            break
        machine.data_to_send(now)
    assert times == [30.0, 34.0, 38.0, 42.0]
    assert machine.is_closed


def test_any_octets_are_a_sign_of_life_while_a_pong_is_under_way() -> None:
    joined = Joined.opened()
    client, relay = joined.client, joined.relay
    assert client.machine.on_deadline(30.0)
    client.give(30.0)
    relay.machine.activate(ListSource(make_frame()))
    client.take(relay.give(33.0), 33.0)
    assert client.machine.on_deadline(34.0)
    assert client.machine.deadline() == 63.0
    assert not client.machine.has_data_to_send


def test_octets_behind_the_last_ping_save_a_link() -> None:
    joined = Joined.opened()
    client, relay = joined.client, joined.relay
    for now in (30.0, 34.0, 38.0):
        assert client.machine.on_deadline(now)
        client.give(now)
    relay.machine.activate(ListSource(make_frame()))
    client.take(relay.give(41.0), 41.0)
    assert client.machine.on_deadline(42.0)
    assert client.machine.deadline() == 71.0


def test_silence_after_we_spoke_is_probed_early() -> None:
    joined = Joined.opened()
    machine = joined.client.machine
    machine.activate(ListSource(make_frame()))
    joined.client.give(10.0)
    assert machine.deadline() == 13.0
    assert machine.on_deadline(13.0)
    assert joined.client.give(13.0)
    assert machine.deadline() == 17.0  # not dead at once: the answer may be slow


def test_a_pong_does_not_make_its_sender_probe() -> None:
    joined = Joined.opened()
    joined.client.machine.on_deadline(30.0)
    joined.now = 30.0
    joined.run()
    assert joined.relay.machine.deadline() == 66.0


def test_a_probe_has_one_short_chance_and_only_a_pong_counts() -> None:
    joined = Joined.opened()
    client, relay = joined.client, joined.relay
    client.machine.probe(100.0)
    client.machine.probe(100.1)
    ping = client.give(100.1)
    assert client.machine.deadline() == 103.0
    relay.machine.activate(ListSource(make_frame()))
    client.take(relay.give(100.0), 100.2)  # may have lain in the kernel since before the jump
    assert not client.machine.on_deadline(103.0)
    again = Joined.opened()
    again.now = 100.0
    again.client.machine.probe(100.0)
    again.run()
    assert again.client.machine.deadline() == 130.0
    assert ping


def test_a_probe_shortens_a_ping_under_way_and_never_exceeds_four_a_second() -> None:
    joined = Joined.opened()
    machine = joined.client.machine
    machine.on_deadline(30.0)
    joined.client.give(30.0)
    machine.probe(30.2)
    assert not machine.has_data_to_send
    assert machine.deadline() == 33.0
    busy = Joined.opened()
    sent = 0
    for n in range(200):
        busy.now = 50.0 + n * 0.01
        busy.client.machine.probe(busy.now)
        sent += busy.client.machine.has_data_to_send
        busy.run()
    assert sent == 2 / PROBE_SPACING_S


def test_a_fifth_ping_in_a_second_closes_the_link() -> None:
    joined = Joined.opened()
    sealer = joined.client.machine._sealer
    assert sealer is not None
    pings = [b"".join(sealer.seal(FrameType.PING, bytes(8), 0.0)) for _ in range(9)]
    for n in range(4):
        joined.relay.take(pings[n], 1.0 + n * 0.1)
    joined.relay.take(pings[4], 2.0)  # a second after the first
    with pytest.raises(RemoteProtocolError, match="PING"):
        joined.relay.take(pings[5], 2.05)
    assert joined.relay.machine.is_closed


def test_a_pong_nobody_asked_for_is_ignored() -> None:
    joined = Joined.opened()
    sealer = joined.relay.machine._sealer
    assert sealer is not None
    joined.client.take(b"".join(sealer.seal(FrameType.PONG, bytes(8), 0.0)), 1.0)
    joined.client.machine.probe(2.0)
    joined.client.take(b"".join(sealer.seal(FrameType.PONG, bytes(8), 0.0)), 2.5)
    assert not joined.client.machine.on_deadline(5.0)


# --- closing and bad frames ------------------------------------------------------------------------


@pytest.mark.parametrize("reason", CloseReason)
def test_close_is_told_and_nothing_follows(reason: CloseReason) -> None:
    joined = Joined.opened()
    joined.client.machine.activate(ListSource(make_frame(fill=7)))
    last = b"".join(joined.client.machine.close(reason, 1.0))
    assert joined.client.machine.close(reason, 1.0) == []
    joined.relay.take(last + b"anything", 1.0)
    assert joined.relay.machine.close_reason == reason
    assert joined.relay.machine.is_closed
    assert len(joined.relay.owner.receiver.runs) == 1  # what waited went out first
    assert joined.client.give(2.0) == joined.relay.give(2.0) == b""
    assert not joined.client.machine.activate(ListSource(make_frame()))


def test_close_has_the_length_asked_for_or_is_not_said() -> None:
    joined = Joined.opened()
    last = b"".join(joined.relay.machine.close(CloseReason.IDLE, 1.0, 34))
    assert len(last) == len(b"".join(Joined.opened().relay.machine.close(CloseReason.IDLE, 1.0))) + 16
    joined.client.take(last, 1.0)
    assert joined.client.machine.close_reason == CloseReason.IDLE
    silent = Joined.opened().client.machine
    silent.activate(ListSource(make_frame(fill=7)))
    assert silent.close(CloseReason.DONE, 1.0, 0) == []
    assert silent.is_closed


def test_close_during_the_handshake_says_nothing() -> None:
    assert Joined().client.machine.close(CloseReason.DONE, 0.0) == []


@pytest.mark.parametrize(
    ("kind", "body", "what"),
    [
        (8, b"", "type 8"),
        (FrameType.PART, b"\0\0", "PART without its head"),
        (255, bytes(8), "type 255"),
        (FrameType.PING, bytes(7), "PING of 7"),
        (FrameType.PONG, b"", "PING of 0"),
        (FrameType.CLOSE, b"", "without a reason"),
        (FrameType.GOSSIP, b"", "without a kind"),
        (FrameType.UPDATE, b"\0", "UPDATE with a body"),
    ],
)
def test_bad_frames_close_without_a_word(kind: int, body: bytes, what: str) -> None:
    joined = Joined.opened()
    sealer = joined.client.machine._sealer
    assert sealer is not None
    frame = bytes(sealer._seal_one(memoryview(bytearray(6) + body + bytes(16)), kind))
    with pytest.raises(RemoteProtocolError, match=what):
        joined.relay.take(frame, 1.0)
    assert joined.relay.machine.is_closed
    assert joined.relay.give(1.0) == b""
    assert joined.relay.machine.close(CloseReason.DONE, 1.0) == []


def test_padding_frames_are_ignored() -> None:
    joined = Joined.opened()
    sealer = joined.client.machine._sealer
    assert sealer is not None
    joined.relay.take(b"".join(sealer.seal(FrameType.PADDING, bytes(500), 0.0)), 1.0)
    assert not joined.relay.machine.has_data_to_send


def test_a_receiver_that_blames_the_neighbour_closes_the_link() -> None:
    class Strict(Gatherer):
        def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
            raise RemoteProtocolError("cell: wrong top bit")

    joined = Joined.opened()
    joined.relay.machine.set_receiver(Strict())
    joined.client.machine.activate(ListSource(make_frame()))
    with pytest.raises(RemoteProtocolError, match="top bit"):
        joined.run()
    assert joined.relay.machine.is_closed


def test_a_receiver_that_closes_the_link_gets_no_further_frame() -> None:
    joined = Joined.opened()
    machine = joined.relay.machine

    class Closing(Gatherer):
        def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
            super().run_received(buffer, at, cells)
            machine.close(CloseReason.DONE, 0.0)

    receiver = Closing()
    machine.set_receiver(receiver)
    joined.client.machine.activate(ListSource(*(make_frame(cells=7) for _ in range(5))))
    joined.relay.take(joined.client.give(0.0), 0.0)
    assert len(receiver.runs) == 1


def test_a_reflected_frame_is_refused() -> None:
    joined = Joined.opened()
    joined.client.machine.activate(ListSource(make_frame()))
    frame = joined.client.give(0.0)
    with pytest.raises(RemoteProtocolError, match="tag"):
        joined.client.take(frame, 0.0)


# --- gossip, rekey ---------------------------------------------------------------------------------


def test_gossip_goes_behind_circuits_is_bounded_and_not_starved() -> None:
    joined = Joined.opened()
    machine = joined.client.machine
    assert all(machine.send_gossip(bytes((1, n))) for n in range(MAX_GOSSIP_WAITING))
    assert not machine.send_gossip(b"\1more")
    with pytest.raises(LocalProtocolError):
        machine.send_gossip(bytes(16_385))
    machine.activate(ListSource(*(make_frame(cells=7) for _ in range(20))))
    first = joined.client.give(0.0)
    assert len(first) > 100_000
    joined.relay.take(first, 0.0)
    assert joined.relay.owner.gossip == [b"\1\0"]
    joined.run()
    assert joined.relay.owner.gossip == [bytes((1, n)) for n in range(MAX_GOSSIP_WAITING)]


@pytest.mark.parametrize("tls", [False, True])
def test_a_transfer_over_many_key_updates_loses_nothing(tls: bool) -> None:
    options = replace(OPTIONS, key_limits=KeyLimits(frames=20, octets=200_000, seconds=50.0))
    joined = Joined.opened(options, tls=tls)
    frames = [make_frame(circuit=n + 1, cells=7 if n % 3 else 1, fill=n % 251) for n in range(200)]
    runs = [bytes(frame[RUN_AT:-TAG_ROOM]) for frame in frames]
    joined.client.machine.activate(ListSource(*frames[:100]))
    joined.relay.machine.activate(ListSource(*(make_frame(fill=n) for n in range(200))))
    joined.run()
    joined.now = 60.0
    joined.client.machine.activate(ListSource(*frames[100:]))
    joined.run()
    assert joined.relay.owner.receiver.runs == runs
    assert len(joined.client.owner.receiver.runs) == 200
    assert joined.client.machine.updates[0] >= 5
    assert joined.client.machine.updates == joined.relay.machine.updates[::-1]


def test_an_owner_may_not_be_asked_for_a_machine_that_has_no_keys() -> None:
    assert Joined().client.machine.updates == (0, 0)
    assert Joined().client.machine.spoke_at < 0
