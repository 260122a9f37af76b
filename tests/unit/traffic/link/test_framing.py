"""Frames: byte for byte as the vectors, opened in place, refused when anything is off."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.links import Gatherer, make_frame
from tests.support.vectors import protocol_vectors
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import Suite, new_aead
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, TAG_ROOM
from vigilnet.traffic.link import framing
from vigilnet.traffic.link.framing import (
    MAX_LENGTH,
    MAX_PLAINTEXT,
    MIN_LENGTH,
    FrameOpener,
    FrameSealer,
    FrameType,
    KeyLimits,
    updated_key,
)

VECTORS = protocol_vectors("link")


def vector_sealer(vector: dict[str, Any], *, tls: bool) -> FrameSealer:
    key = bytes.fromhex(vector["key_initiator_to_responder"])
    return FrameSealer(Suite(vector["suite"] & 3), key, has_tls_records=tls, limits=KeyLimits(), now=0.0)


def vector_opener(vector: dict[str, Any], *, tls: bool) -> FrameOpener:
    key = bytes.fromhex(vector["key_initiator_to_responder"])
    return FrameOpener(Suite(vector["suite"] & 3), key, has_tls_records=tls, limits=KeyLimits())


def vector_frames(vector: dict[str, Any], *, tls: bool) -> list[dict[str, Any]]:
    return [frame for frame in vector["frames_initiator_to_responder"] if frame["tls_shape"] == tls]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_frames_are_sealed_as_the_vectors_over_two_updates(vector: dict[str, Any], tls: bool) -> None:
    sealer = vector_sealer(vector, tls=tls)
    for frame in vector_frames(vector, tls=tls):
        if frame["type"] == FrameType.UPDATE:
            sealed = sealer._seal_update(0.0)
        else:
            (sealed,) = sealer.seal(FrameType(frame["type"]), bytes.fromhex(frame["body"]), 0.0)
        assert bytes(sealed).hex() == frame["frame"], frame["n"]
    assert sealer.updates == 2


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_frames_of_the_vectors_open_over_two_updates(vector: dict[str, Any], tls: bool) -> None:
    opener = vector_opener(vector, tls=tls)
    for frame in vector_frames(vector, tls=tls):
        octets = memoryview(bytearray.fromhex(frame["frame"]))
        body = bytes.fromhex(frame["body"])
        seen: list[tuple[int, bytes]] = []

        def control(kind: int, octets: memoryview, seen: list[tuple[int, bytes]] = seen) -> None:
            seen.append((kind, bytes(octets)))

        if len(body) == CELL_SIZE:  # random octets: they open, and then they are no cell
            with pytest.raises(RemoteProtocolError, match="cell header"):
                opener.open_frames(octets, 0, len(octets), Gatherer(), control)
        else:
            assert opener.open_frames(octets, 0, len(octets), Gatherer(), control) == len(octets)
        header = 5 if tls else 2
        assert bytes(octets[header:-16]) == bytes((frame["type"],)) + body
        if frame["type"] not in (FrameType.RUNS, FrameType.UPDATE):
            assert seen == [(frame["type"], body)]
    assert opener.updates == 2


NO_LIMITS = KeyLimits(1 << 62, 1 << 62, 1e12)


class Wire:
    """A sealer and an opener of one direction, and what the opener delivered."""

    def __init__(
        self,
        suite: Suite = Suite.AES_256_GCM,
        *,
        tls: bool = False,
        limits: KeyLimits = NO_LIMITS,
        receiver_limits: KeyLimits | None = None,
    ) -> None:
        key = bytes(range(32))
        self.sealer = FrameSealer(suite, key, has_tls_records=tls, limits=limits, now=0.0)
        self.opener = FrameOpener(suite, key, has_tls_records=tls, limits=receiver_limits or limits)
        self.receiver = Gatherer()
        self.control: list[tuple[int, bytes]] = []

    def seal(self, *frames: memoryview, now: float = 0.0) -> bytes:
        return b"".join(self.sealer.seal_runs(frames, now))

    def seal_control(self, kind: FrameType, body: bytes = b"", now: float = 0.0) -> bytes:
        return b"".join(self.sealer.seal(kind, body, now))

    def open(self, octets: bytes) -> int:
        buffer = memoryview(bytearray(octets))
        return self.opener.open_frames(
            buffer, 0, len(buffer), self.receiver, lambda kind, body: self.control.append((kind, bytes(body)))
        )

    def seal_raw(self, plaintext: bytes) -> bytes:
        """Seal any plaintext as one frame, also a wrong one."""
        frame = memoryview(bytearray(5) + plaintext + bytes(16))
        return bytes(self.sealer._seal_one(frame, plaintext[0]))


def run_octets(frame: memoryview) -> bytes:
    return bytes(frame[RUN_AT:-TAG_ROOM])


@given(
    st.sampled_from(Suite),
    st.booleans(),
    st.lists(st.sampled_from([1, 1, 1, 7]), max_size=30),
    st.integers(1, 50_000),
)
@settings(deadline=None, max_examples=40)
def test_runs_arrive_as_they_were_however_they_are_cut(
    suite: Suite, tls: bool, cells: list[int], cut: int
) -> None:
    wire = Wire(suite, tls=tls)
    frames = [make_frame(circuit=n + 1, cells=c, fill=n) for n, c in enumerate(cells)]
    expected = [run_octets(frame) for frame in frames]
    stream = wire.seal(*frames)
    left = b""
    for at in range(0, len(stream), cut):
        left += stream[at : at + cut]
        left = left[wire.open(left) :]
    assert left == b""
    assert wire.receiver.runs == expected


def test_single_cells_in_a_row_share_frames_of_eight() -> None:
    wire = Wire()
    parts = wire.sealer.seal_runs([make_frame(fill=n) for n in range(19)], 0.0)
    assert [len(part) for part in parts] == [2 + 1 + 8 * 2048 + 16] * 2 + [2 + 1 + 3 * 2048 + 16]
    assert len(parts[0]) - 2 == MAX_LENGTH
    wire.open(b"".join(parts))
    assert [run[20] for run in wire.receiver.runs] == list(range(19))


def test_a_run_between_cells_keeps_its_place_and_its_own_frame() -> None:
    wire = Wire()
    frames = [make_frame(fill=1), make_frame(cells=7, fill=2), make_frame(fill=3), make_frame(fill=4)]
    assert len(wire.sealer.seal_runs(frames, 0.0)) == 3


def test_control_frames_keep_their_octets_and_padding_is_handed_on() -> None:
    wire = Wire()
    for kind in (FrameType.PADDING, FrameType.PING, FrameType.PONG, FrameType.CLOSE, FrameType.GOSSIP):
        wire.open(wire.seal_control(kind, b"\1" * 8 + bytes(20)))
    assert wire.control == [(kind, b"\1" * 8 + bytes(20)) for kind in (0, 2, 3, 4, 6)]


def test_padding_behind_runs_is_ignored() -> None:
    wire = Wire()
    run = run_octets(make_frame(fill=5))
    wire.open(wire.seal_raw(b"\1" + run + b"\xff" * 2047))  # less than a cell
    wire.open(wire.seal_raw(b"\1" + run + bytes(2048) + run))  # behind a header of cmd 0
    wire.open(wire.seal_raw(b"\1" + b"\xff" * 2047))
    assert wire.receiver.runs == [run, run]


@pytest.mark.parametrize("tls", [False, True])
def test_plaintext_is_at_most_16385_octets(tls: bool) -> None:
    wire = Wire(tls=tls)
    wire.open(wire.seal_control(FrameType.GOSSIP, bytes(MAX_PLAINTEXT - 1)))
    assert len(wire.control[0][1]) == 16_384
    with pytest.raises(LocalProtocolError):
        wire.sealer.seal(FrameType.GOSSIP, bytes(MAX_PLAINTEXT), 0.0)
    head = b"\x17\x03\x03" if tls else b""
    for length in (0, MIN_LENGTH - 1, MAX_LENGTH + 1, 0xFFFF):
        with pytest.raises(RemoteProtocolError, match="length"):
            Wire(tls=tls).open(head + length.to_bytes(2, "big"))
    for length in (MIN_LENGTH, MAX_LENGTH):
        assert Wire(tls=tls).open(head + length.to_bytes(2, "big")) == 0


def test_a_tls_shaped_frame_must_look_like_a_tls_record() -> None:
    for at in range(3):
        wire = Wire(tls=True)
        octets = bytearray(wire.seal_control(FrameType.PADDING))
        octets[at] ^= 1
        with pytest.raises(RemoteProtocolError, match="TLS"):
            wire.open(bytes(octets))


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("00000001 03 00 00000000000000000000", "0 cells"),
        ("00000001 03 02 00000000000000000000", "2 cells"),
        ("00000001 03 08 00000000000000000000", "8 cells"),
        ("00000001 03 ff 00000000000000000000", "255 cells"),
        ("00000001 01 07 00000000000000000000", "command 1"),
        ("00000001 04 07 00000000000000000000", "command 4"),
        ("00000001 03 01 00010000000000000000", "reserved"),
        ("00000001 03 01 00000000000000000001", "reserved"),
        ("00000001 03 01 80000000000000000000", "reserved"),
    ],
)
def test_bad_run_headers_close_the_link(header: str, what: str) -> None:
    wire = Wire()
    with pytest.raises(RemoteProtocolError, match=what):
        wire.open(wire.seal_raw(b"\1" + bytes.fromhex(header) + bytes(7 * 2048 - 16)))
    assert wire.receiver.runs == []


def test_a_run_of_seven_that_is_cut_closes_the_link() -> None:
    wire = Wire()
    run = run_octets(make_frame(cells=7))
    with pytest.raises(RemoteProtocolError, match="7 cells"):
        wire.open(wire.seal_raw(b"\1" + run[:-1]))


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("tls", [False, True])
def test_every_flipped_octet_is_refused_and_nothing_is_left_of_it(suite: Suite, tls: bool) -> None:
    plaintext = b"\x5a" * 24
    octets = Wire(suite, tls=tls).seal_control(FrameType.GOSSIP, plaintext)
    for at in range(len(octets)):
        for bit in (0x01, 0x80):
            wire = Wire(suite, tls=tls)
            buffer = memoryview(bytearray(octets) + bytes(70_000))
            buffer[at] ^= bit
            with pytest.raises(RemoteProtocolError):
                wire.opener.open_frames(buffer, 0, len(buffer), wire.receiver, lambda *_: None)
            assert plaintext not in bytes(buffer)


def test_replayed_skipped_swapped_and_reflected_frames_are_refused() -> None:
    sealed = Wire()
    first, second = (sealed.seal_control(FrameType.PING, bytes(8)) for _ in range(2))
    for stream in (first + first, second, second + first):
        with pytest.raises(RemoteProtocolError, match="tag"):
            Wire().open(stream)
    other = Wire()
    other.opener = FrameOpener(Suite.AES_256_GCM, bytes(32), has_tls_records=False, limits=NO_LIMITS)
    with pytest.raises(RemoteProtocolError, match="tag"):  # what we sent, sent back to us
        other.open(first)


def test_a_frame_of_one_shape_does_not_open_in_the_other() -> None:
    body = Wire(tls=True).seal_control(FrameType.PING, bytes(8))[3:]
    with pytest.raises(RemoteProtocolError, match="tag"):
        Wire().open(body)


def test_after_update_the_old_key_is_refused_and_the_counter_goes_on() -> None:
    wire = Wire(limits=KeyLimits(frames=3))
    wire.open(wire.seal_control(FrameType.PING, bytes(8)))
    old = wire.sealer._key
    wire.open(wire.seal_control(FrameType.PING, bytes(8)))
    stream = wire.seal_control(FrameType.PING, bytes(8))
    assert wire.sealer.updates == 1
    assert wire.sealer._counter == 4
    wire.open(stream)
    assert wire.opener.updates == 1
    wire.sealer._encrypt = new_aead(Suite.AES_256_GCM, old).encrypt_into
    with pytest.raises(RemoteProtocolError, match="tag"):
        wire.open(wire.seal_control(FrameType.PING, bytes(8)))


def test_update_with_a_body_closes_the_link() -> None:
    wire = Wire()
    with pytest.raises(RemoteProtocolError, match="UPDATE with a body"):
        wire.open(wire.seal_raw(b"\5\0"))


@pytest.mark.parametrize("suite", Suite)
def test_update_follows_noise_rekey(suite: Suite) -> None:
    key = bytes(range(32))
    nonce = bytes(4) + b"\xff" * 8
    assert updated_key(suite, key) == new_aead(suite, key).encrypt(nonce, bytes(32), b"")[:32]


def test_sender_updates_before_the_limit_of_frames() -> None:
    wire = Wire(limits=KeyLimits(frames=4))
    for _ in range(10):
        wire.open(wire.seal(make_frame(cells=7)))
    assert wire.opener.updates == wire.sealer.updates == 3  # 3 frames and UPDATE under each key


def test_sender_updates_before_the_limit_of_octets() -> None:
    size = 1 + 7 * 2048
    wire = Wire(limits=KeyLimits(octets=2 * size + 1))
    for _ in range(5):
        wire.open(wire.seal(make_frame(cells=7)))
    assert wire.opener.updates == 2
    wire = Wire(limits=KeyLimits(octets=2 * size))  # no room for UPDATE behind two
    for _ in range(3):
        wire.open(wire.seal(make_frame(cells=7)))
    assert wire.opener.updates == 2


def test_sender_updates_when_the_key_is_old_and_not_before() -> None:
    wire = Wire(limits=KeyLimits(seconds=3600.0))
    wire.open(wire.seal_control(FrameType.PING, bytes(8), now=3599.9))
    assert wire.sealer.updates == 0
    wire.open(wire.seal_control(FrameType.PING, bytes(8), now=3600.0))
    assert wire.sealer.updates == 1
    wire.open(wire.seal(make_frame(), now=7199.0))
    assert wire.sealer.updates == 1
    wire.open(wire.seal(make_frame(), now=7200.0))
    assert wire.opener.updates == 2


def test_receiver_closes_when_a_key_is_used_beyond_its_limit() -> None:
    frames = Wire(receiver_limits=KeyLimits(frames=3))
    for _ in range(3):
        frames.open(frames.seal_control(FrameType.PING, bytes(8)))
    with pytest.raises(RemoteProtocolError, match="beyond its limit"):
        frames.open(frames.seal_control(FrameType.PING, bytes(8)))
    octets = Wire(receiver_limits=KeyLimits(octets=18))
    octets.open(octets.seal_control(FrameType.PING, bytes(8)))
    octets.open(octets.seal_control(FrameType.PING, bytes(8)))
    with pytest.raises(RemoteProtocolError, match="beyond its limit"):
        octets.open(octets.seal_control(FrameType.PADDING))


def test_the_limits_are_those_of_the_specification() -> None:
    assert KeyLimits() == KeyLimits(frames=65_536, octets=1_073_741_824, seconds=3600.0)


@pytest.mark.parametrize("suite", Suite)
def test_no_key_and_nonce_is_ever_used_twice(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[tuple[bytes, bytes]] = set()

    class Spy:
        def __init__(self, key: bytes) -> None:
            self.key = key
            self.real = new_aead(suite, key)

        def encrypt_into(self, nonce: bytes, text: memoryview, ad: memoryview, out: memoryview) -> int:
            assert (self.key, nonce) not in used
            used.add((self.key, nonce))
            return self.real.encrypt_into(nonce, text, ad, out)

        def encrypt(self, nonce: bytes, text: bytes, ad: bytes) -> bytes:
            assert (self.key, nonce) not in used
            used.add((self.key, nonce))
            return self.real.encrypt(nonce, text, ad)

        def decrypt_into(self, nonce: bytes, text: memoryview, ad: memoryview, out: memoryview) -> int:
            return self.real.decrypt_into(nonce, text, ad, out)

    monkeypatch.setattr(framing, "new_aead", lambda _, key: Spy(key))
    wire = Wire(suite, limits=KeyLimits(frames=7))
    for n in range(5):
        wire.sealer.seal_runs([make_frame(fill=n) for _ in range(n)] + [make_frame(cells=7)] * 3, 0.0)
        wire.sealer.seal(FrameType.PING, bytes(8), 0.0)
    assert wire.sealer.updates >= 3
    assert len(used) == wire.sealer._counter + wire.sealer.updates
    frame = make_frame()
    with pytest.raises((TypeError, ValueError, BufferError)):  # a bug of ours in the middle of sealing
        wire.sealer.seal_runs([memoryview(bytes(100)), frame], 0.0)
    wire.sealer.seal_runs([frame], 0.0)


def test_a_stopped_opener_opens_nothing_more() -> None:
    wire = Wire()
    stream = wire.seal_control(FrameType.CLOSE, b"\0") + wire.seal_control(FrameType.PING, bytes(8))
    buffer = memoryview(bytearray(stream))

    def stop(kind: int, body: memoryview) -> None:
        wire.control.append((kind, bytes(body)))
        wire.opener.is_stopped = True

    wire.opener.open_frames(buffer, 0, len(buffer), wire.receiver, stop)
    assert wire.control == [(4, b"\0")]


@given(st.binary(max_size=300), st.booleans())
def test_any_octets_open_or_are_the_peers_fault(data: bytes, tls: bool) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert 0 <= Wire(tls=tls).open(data) <= len(data)


@given(st.integers(0, 255), st.binary(max_size=5000))
@settings(deadline=None)
def test_any_plaintext_is_taken_or_is_the_peers_fault(kind: int, body: bytes) -> None:
    wire = Wire()
    with contextlib.suppress(RemoteProtocolError):
        wire.open(wire.seal_raw(bytes((kind,)) + body))
