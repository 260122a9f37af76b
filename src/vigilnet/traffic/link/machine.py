"""One link as a machine: handshake, frames, liveness, closing (docs/spec/link.md; sans-IO).

Five verbs: `receive`, `data_to_send`, `deadline`, `on_deadline`, `close`. Runs go straight to the
receiver, without event objects; all that is rare is told to a `LinkOwner`.
"""

import math
from collections import deque
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Final, Protocol

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import is_equal
from vigilnet.traffic.cell import BULK_CELLS, CELL_SIZE, FRAME_HEADER_ROOM
from vigilnet.traffic.link import parts as part_frames
from vigilnet.traffic.link.framing import MAX_LENGTH, MAX_PLAINTEXT, FrameOpener, FrameSealer, FrameType
from vigilnet.traffic.link.handshake import HandshakeResult, Initiator, Responder
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.parts import PartCutter, PartJoiner
from vigilnet.traffic.link.ports import RunReceiver, RunSource
from vigilnet.traffic.link.scheduler import Scheduler
from vigilnet.traffic.link.wire import decode_packet

# From the specification.
PING_SIZE: Final = 8
MAX_PINGS_PER_S: Final = 4

# Our choice.
MAX_GOSSIP_WAITING: Final = 64  # frames; more are dropped, gossip repeats itself
RESPONDER_PATIENCE: Final = 1.2  # times the silence after which it asks
PROBE_SPACING_S: Final = 0.5  # keeps us below 4 PING a second
CLOSE_LENGTH: Final = 18  # of a frame with a reason and no padding: type, reason, tag
SHAPED_CONTROL: Final = 17  # octets of a small frame's body where records are shaped: 34 behind the header
MAX_CONTROL_WAITING: Final = 4096  # octets; then gossip waits
SHAPED_FRAMES: Final = 4  # pulled at once


class LinkState(Enum):
    """Where a link is in its life."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSED = "closed"


class CloseReason(IntEnum):
    """Why a link was closed in good order."""

    DONE = 0
    IDLE = 1
    SHUTTING_DOWN = 2
    OVERLOAD = 3
    POLICY = 4


class LinkOwner(Protocol):
    """What a link tells the one who made it; called from inside `receive` and `on_deadline`."""

    def link_opened(self, result: HandshakeResult) -> RunReceiver:
        """The handshake is through; return who takes the runs.

        Raises:
            RemoteProtocolError: this neighbour is refused after all; nothing more is read.
        """
        ...

    def gossip_received(self, body: bytes) -> None:
        """A GOSSIP frame came; `body` is its kind octet and the rest, with padding."""
        ...


class LinkMachine:
    """One side of one link.

    Args:
        handshake: our side of it, not started.
        owner: hears of what is rare.
        options: limits and times.
        has_tls_records: the frame header's shape on this carrier.
        random_bytes: source of PING values.
        now: monotonic seconds.
    """

    def __init__(
        self,
        handshake: Initiator | Responder,
        owner: LinkOwner,
        options: Options,
        *,
        has_tls_records: bool,
        random_bytes: Callable[[int], bytes],
        now: float,
    ) -> None:
        self._handshake: Initiator | Responder | None = (
            handshake  # let go with all its keys once it is through
        )
        self._owner = owner
        self._options = options
        self._has_tls_records = has_tls_records
        self._random_bytes = random_bytes
        self._receiver: RunReceiver | None = None
        self._sealer: FrameSealer | None = None
        self._opener: FrameOpener | None = None
        self._outbox: list[bytes | memoryview] = [packet] if (packet := handshake.start()) else []
        self._frames: list[tuple[FrameType, bytes]] = []  # link control, sealed when sent
        self._gossip: deque[bytes] = deque()
        self._scheduler = Scheduler(now)
        self._cutter = PartCutter()  # used by shaped links only
        self.active_sources: Final = self._scheduler.active  # to look into, so that activating is cheap
        self._give_up_at = now + options.handshake_timeout_s
        self._received_at = now
        self._spoke_at = -math.inf  # runs sent: something that should draw an answer; gossip may draw none
        self._ping: bytes | None = None  # the one under way
        self._ping_due = 0.0
        # one side asks first, so that an idle link costs one exchange; the dialler: its NAT forgets
        self._patience = 1.0 if isinstance(handshake, Initiator) else RESPONDER_PATIENCE
        self._ping_sent_at = -math.inf
        self._pings_missed = 0
        self._is_probing = False  # since then only a PONG counts: older octets may lie in the kernel
        self._pings_seen: deque[float] = deque(maxlen=MAX_PINGS_PER_S)
        self.state = LinkState.HANDSHAKE
        self.close_reason: int | None = None  # what the neighbour gave, if it closed in good order
        self.round_trip_s: float | None = None  # of the last PING

    @property
    def updates(self) -> tuple[int, int]:
        """How many new keys were taken for sending and for receiving."""
        return (
            self._sealer.updates if self._sealer else 0,
            self._opener.updates if self._opener else 0,
        )

    @property
    def is_closed(self) -> bool:
        """Whether nothing goes in or out any more."""
        return self.state is LinkState.CLOSED

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would return something."""
        waits = self._outbox or self._frames or self._gossip or self.active_sources
        return bool(waits or self._scheduler.control or self._cutter.all_waiting)

    @property
    def spoke_at(self) -> float:
        """When runs were last sent; minus infinity if never."""
        return self._spoke_at

    # --- receiving -------------------------------------------------------------------------------

    def receive(self, buffer: memoryview, end: int, now: float) -> int:
        """Take what lies in buffer[:end]: handshake packets, then frames, opened in place.

        Returns:
            How many octets were used up; the rest is an incomplete packet or frame, and must
            come again at the start of the next buffer. Of no account once the machine is closed.

        Raises:
            RemoteProtocolError: the neighbour broke the protocol. The machine is closed: close the
                carrier without a word.
        """
        if self.state is LinkState.CLOSED:
            return end
        self._received_at = now
        try:
            at = 0
            if self._handshake is not None:
                at = self._receive_packets(buffer, end, now)
            if self._opener is not None and self._receiver is not None:
                at = self._opener.open_frames(buffer, at, end, self._receiver, self._control_received)
        except RemoteProtocolError:
            self._closed()
            raise
        return at

    def _receive_packets(self, buffer: memoryview, end: int, now: float) -> int:
        at = 0
        while (handshake := self._handshake) is not None:
            packet = decode_packet(buffer[at:end])
            if packet is None:
                break
            kind, body, size = packet
            at += size
            answer = handshake.packet_received(kind, body, now)
            if answer:
                self._outbox.append(answer)
            if handshake.result is not None:
                self._handshake = None
                self._opened(handshake.result, now)
        return at

    def _opened(self, result: HandshakeResult, now: float) -> None:
        keys, limits = result.keys, self._options.key_limits
        ours, theirs = keys.initiator_to_responder, keys.responder_to_initiator
        if not result.is_initiator:
            ours, theirs = theirs, ours
        shape = self._has_tls_records
        self._sealer = FrameSealer(result.suite, ours, has_tls_records=shape, limits=limits, now=now)
        self._opener = FrameOpener(result.suite, theirs, has_tls_records=shape, limits=limits)
        self.state = LinkState.OPEN
        self._receiver = self._owner.link_opened(result)

    def set_receiver(self, receiver: RunReceiver) -> None:
        """Deliver received runs to `receiver` from the next read on."""
        self._receiver = receiver

    def _control_received(self, kind: int, body: memoryview) -> None:
        if kind == FrameType.PADDING:
            if self._opener is not None:
                self._opener.joiner.planned += 1
            return
        if kind == FrameType.PING:
            self._ping_received(_ping_value(body))
        elif kind == FrameType.PONG:
            self._pong_received(_ping_value(body))
        elif kind == FrameType.CLOSE:
            if not body:
                raise RemoteProtocolError("link frame: CLOSE without a reason")
            self.close_reason = body[0]
            self._closed()
        elif kind == FrameType.GOSSIP:
            if not body:
                raise RemoteProtocolError("link frame: GOSSIP without a kind")
            self._owner.gossip_received(bytes(body))
        else:
            raise RemoteProtocolError(f"link frame: type {kind} is unknown")

    def _ping_received(self, value: bytes) -> None:
        now = self._received_at
        seen = self._pings_seen
        if len(seen) == MAX_PINGS_PER_S and now - seen[0] < 1.0:
            raise RemoteProtocolError(f"link: more than {MAX_PINGS_PER_S} PING in a second")
        seen.append(now)
        self._frames.append((FrameType.PONG, value))

    def _pong_received(self, value: bytes) -> None:
        if self._ping is not None and is_equal(value, self._ping):
            self.round_trip_s = self._received_at - self._ping_sent_at
            self._alive()

    # --- sending ---------------------------------------------------------------------------------

    def activate(self, source: RunSource) -> bool:
        """Let the scheduler pull from `source`; return whether that is news."""
        return self.state is LinkState.OPEN and self._scheduler.activate(source)

    def send_control(self, frame: memoryview) -> bool:
        """Queue a frame view with one control cell before all circuits' data; False when too many wait."""
        return self.state is LinkState.OPEN and self._scheduler.add_control(frame)

    def send_gossip(self, body: bytes) -> bool:
        """Queue a GOSSIP frame behind all else; False when too many wait already."""
        if len(body) >= MAX_PLAINTEXT:
            raise LocalProtocolError(f"link gossip: {len(body)} octets, at most {MAX_PLAINTEXT - 1}")
        if self.state is not LinkState.OPEN or len(self._gossip) >= MAX_GOSSIP_WAITING:
            return False
        self._gossip.append(body)
        return True

    def data_to_send(self, now: float) -> list[memoryview | bytes]:
        """Return the next batch for the carrier, sealed; empty when there is nothing.

        What was returned counts as sent: frames cannot be sealed again.
        """
        parts, self._outbox = self._outbox, []
        sealer = self._sealer
        if sealer is not None and self.state is LinkState.OPEN:
            for kind, body in self._frames:
                parts.extend(sealer.seal(kind, body, now))
            self._frames.clear()
            if self.active_sources or self._scheduler.control:
                options = self._options
                frames = self._scheduler.gather(now, options.batch_octets, options.batch_frames)
                parts.extend(sealer.seal_runs(frames, now))
                self._spoke_at = now
            if self._gossip:  # one a batch, behind the circuits
                parts.extend(sealer.seal(FrameType.GOSSIP, self._gossip.popleft(), now))
        return parts

    # --- sending, shaped -------------------------------------------------------------------------

    @property
    def joiner(self) -> PartJoiner | None:
        """What counts the records of a shaped neighbour; None before the link is open."""
        return self._opener.joiner if self._opener is not None else None

    def take_packets(self) -> list[memoryview | bytes]:
        """Return the handshake's packets that wait."""
        packets, self._outbox = self._outbox, []
        return packets

    def control_records(self, now: float, *, is_free: bool) -> list[memoryview]:
        """Put link control and gossip into the records to come; return what leaves by itself.

        Args:
            now: monotonic seconds.
            is_free: whether a small frame may leave by itself, as long as h2's PING.
        """
        records: list[memoryview] = []
        if self._sealer is None or self.state is not LinkState.OPEN:
            return records
        for kind, body in self._frames:
            if is_free:
                records.extend(self._sealer.seal(kind, body.ljust(SHAPED_CONTROL, b"\0"), now))
            else:
                self._cutter.add_control(kind, body)
        self._frames.clear()
        while self._gossip and self._cutter.control_waiting < MAX_CONTROL_WAITING:
            self._cutter.add_control(FrameType.GOSSIP, self._gossip.popleft())
        return records

    def waiting(self, now: float, wanted: int) -> int:
        """Pull runs until about `wanted` octets wait to be cut; return how many do."""
        cutter = self._cutter
        if cutter.waiting < wanted and self._scheduler.has_work:
            cutter.add(self._scheduler.gather(now, wanted - cutter.waiting, SHAPED_FRAMES))
            self._spoke_at = now
        return cutter.all_waiting

    @property
    def leftover(self) -> int:
        """Octets that wait to be cut."""
        return self._cutter.all_waiting

    def full_records(self, count: int, now: float) -> list[memoryview]:
        """Return up to `count` full records of bulk runs, sealed where they lie (hot path).

        A run of 7 cells and an eighth that is padding, or another circuit's: 14 % more octets where it is
        padding, and no copy. Empty where single cells wait, or a run was begun to be cut.
        """
        if self._cutter.all_waiting or self._sealer is None or not self._scheduler.has_work:
            return []
        frames = self._scheduler.gather(now, count * CELL_SIZE * BULK_CELLS, count)
        self._spoke_at = now
        full, rest = part_frames.fill_records(frames)
        self._cutter.add(rest)
        return self._sealer.seal_full(full, now)

    def cut_record(self, length: int, flags: int, plan: bytes, now: float) -> list[memoryview]:
        """Return a sealed record of `length` octets behind its header, with what waits as far as it fits."""
        if self._sealer is None:
            raise LocalProtocolError("link: no record before the handshake is through")
        if length < part_frames.MIN_LENGTH:
            frame = memoryview(bytearray(FRAME_HEADER_ROOM + length))
            return self._sealer.seal_view(frame, FrameType.PADDING, now)
        return self._sealer.seal_view(self._cutter.cut(length, flags, plan), FrameType.PART, now)

    # --- time ------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When `on_deadline` wants to be called; None when never again. It may move later by itself."""
        if self.state is LinkState.CLOSED:
            return None
        if self._handshake is not None:
            return 0.0 if self._handshake.is_solving else self._give_up_at
        return self._ping_due if self._ping is not None else self._next_ping_at()

    def _next_ping_at(self) -> float:
        options = self._options
        quiet = self._received_at + options.ping_after_s * self._patience
        if self._spoke_at > self._received_at:
            return min(quiet, self._spoke_at + options.probe_after_s)
        return quiet

    def on_deadline(self, now: float) -> bool:
        """Do what is due; return False when the link is dead (the machine is closed then)."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return self.state is not LinkState.CLOSED
        if self._handshake is not None:
            return self._advance_handshake(self._handshake, now)
        self._scheduler.forget_idle(now)
        if self._ping is not None:
            if self._received_at > self._ping_sent_at and not self._is_probing:
                self._alive()  # the PONG waits behind other octets
                return True
            self._pings_missed += 1
            if self._is_probing or self._pings_missed >= self._options.pings_missed:
                self._closed()
                return False
        self._send_ping(now, self._options.ping_timeout_s)
        return True

    def _advance_handshake(self, handshake: Initiator | Responder, now: float) -> bool:
        if now >= self._give_up_at:
            self._closed()
            return False
        try:
            packet = handshake.solve()
        except RemoteProtocolError:
            self._closed()
            return False
        if packet:
            self._outbox.append(packet)
        return True

    def _send_ping(self, now: float, timeout: float) -> None:
        self._ping = self._random_bytes(PING_SIZE)
        self._ping_sent_at = now
        self._ping_due = now + timeout
        self._frames.append((FrameType.PING, self._ping))

    def probe(self, now: float) -> None:
        """Ask for a sign of life at once: the clock jumped, our address changed, or sending failed."""
        if self.state is not LinkState.OPEN or self._is_probing:
            return
        if now - self._ping_sent_at < PROBE_SPACING_S:
            if self._ping is None:
                return  # it was alive a moment ago
            self._ping_due = self._ping_sent_at + self._options.probe_timeout_s
        else:
            self._send_ping(now, self._options.probe_timeout_s)
        self._is_probing = True

    def _alive(self) -> None:
        self._ping = None
        self._pings_missed = 0
        self._is_probing = False

    # --- closing ---------------------------------------------------------------------------------

    def close(self, reason: CloseReason, now: float, length: int = CLOSE_LENGTH) -> list[memoryview | bytes]:
        """Close in good order; return the last octets to send. Safe to call twice.

        Args:
            reason: what the neighbour is told.
            now: monotonic seconds.
            length: of the record that says so; 0: the carrier just ends.
        """
        parts: list[memoryview | bytes] = []
        if length and self.state is LinkState.OPEN and self._sealer is not None:
            while self._cutter.all_waiting:  # a run that was begun must end
                parts.extend(self.cut_record(MAX_LENGTH, 0, b"", now))
            parts.extend(self.data_to_send(now))
            body = bytes((reason,)).ljust(length - CLOSE_LENGTH + 1, b"\0")
            parts.extend(self._sealer.seal(FrameType.CLOSE, body, now))
        self._closed()
        return parts

    def drop(self) -> None:
        """Close without a word: the carrier is gone, or the neighbour broke the protocol."""
        self._closed()

    def _closed(self) -> None:
        self.state = LinkState.CLOSED
        self._handshake = None
        if self._opener is not None:
            self._opener.is_stopped = True
        self._scheduler.clear()
        self._cutter.clear()
        self._outbox.clear()
        self._frames.clear()
        self._gossip.clear()


def _ping_value(body: memoryview) -> bytes:
    if len(body) < PING_SIZE:
        raise RemoteProtocolError(f"link frame: PING of {len(body)} octets, {PING_SIZE} expected")
    return bytes(body[:PING_SIZE])
