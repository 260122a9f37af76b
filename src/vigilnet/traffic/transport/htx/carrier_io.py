"""A carrier behind the switch (docs/spec/htx.md section 6).

The link's handshake packets travel in records under the switch keys; from the last one on, the link's
frames are records themselves, and this steps aside: the TCP carrier then serves the link (hot path).
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.carrier import CarrierKind, CarrierUser
from vigilnet.traffic.transport.htx.packet_pump_io import PacketPump
from vigilnet.traffic.transport.htx.recordings import MAX_SETTINGS
from vigilnet.traffic.transport.htx.shaping import Shaper
from vigilnet.traffic.transport.htx.switch import EXTRA, GOODBYE_SIZE, PacketCounter, SwitchKey, goodbye
from vigilnet.traffic.transport.htx.wire import Record, RecordReader
from vigilnet.traffic.transport.tcp_io import TcpCarrier

BUFFER_SIZE: Final = 64 * 1024
GOAWAY_LENGTH: Final = 34  # a server's last word in h2, before its close_notify


class OnAnswer(Protocol):
    """Hears whether the other end is one of ours."""

    def __call__(self, *, is_ours: bool) -> None:
        """Called once."""
        ...


def _nothing(*, is_ours: bool) -> None:
    pass


class HtxCarrier:
    """One link's connection; serves `Carrier`, and `CarrierUser` to TCP until the handshake is through.

    Args:
        tcp: the connection, not started (or started for somebody who is done with it).
        keys: ours to seal, theirs to open.
        kinds: of the last link packet that we send and that we receive.
        kind: borrowed or own site.
        binding: of the TLS handshake that went before.
        random_bytes: for the goodbye.
        on_foreign: takes a record that is not under their key, before the first that is; None: there is none.
        shaper: decides on our records; None: the link does.
        now: the clock.
        on_answer: hears once whether such a record came, or they closed before it.
        kem: the client's ML-KEM key of its ClientHello, where that has one; the private half at the client.
        before: goes right before our first record: a client's Finished.
    """

    has_tls_records: Final = True

    def __init__(
        self,
        tcp: TcpCarrier,
        keys: tuple[SwitchKey, SwitchKey],
        kinds: tuple[int, int],
        *,
        kind: CarrierKind,
        binding: bytes,
        random_bytes: Callable[[int], bytes],
        on_foreign: Callable[[Record], None] | None = None,
        shaper: Shaper | None = None,
        now: Callable[[], float] = float,
        on_answer: OnAnswer = _nothing,
        kem: MLKEM768PrivateKey | MLKEM768PublicKey | None = None,
        before: bytes = b"",
    ) -> None:
        self._before = before
        self.kind = kind
        self.binding = binding
        self._kem = kem
        self._tcp = tcp
        self._seal_key, self._open_key = keys
        self._sent, self._received = PacketCounter(kinds[0]), PacketCounter(kinds[1])
        self._random_bytes = random_bytes
        self._on_foreign = on_foreign
        self._on_answer = on_answer
        self._records = RecordReader()
        self._buffer = memoryview(bytearray(BUFFER_SIZE))
        self._user: CarrierUser | None = None
        self._early: list[bytes] = []
        self._held: list[bytes] | None = None
        self._is_let_go = False
        self._is_closed = False
        self._is_faulty = False
        self._now = now
        self._shaper = shaper
        self._pump = None
        if shaper is not None:
            self._pump = PacketPump(
                tcp,
                self._seal_key,
                shaper,
                now,
                asks=on_foreign is not None,
                on_through=self.carrier_writable,
            )
        # Where a relay shapes, empty records may follow its last packet.
        self._ends_with_packets = shaper is None or on_foreign is None
        self._is_client = on_foreign is not None
        self._gets_frames = False

    @property
    def remote_host(self) -> str:
        """The neighbour's address as text; sensitive."""
        return self._tcp.remote_host

    def take_kem(self) -> MLKEM768PrivateKey | MLKEM768PublicKey | None:
        """Return the client's ML-KEM key, once."""
        kem, self._kem = self._kem, None
        return kem

    def begin(self, octets: bytes, records: Sequence[Record], leftover: bytes) -> None:
        """Take what came before the link: the packets of the first record, records and octets behind it."""
        if octets and self._shaper is not None:
            self._shaper.received(1, self._now())
        self._received.feed(octets)
        self._early.append(octets)
        early = b"".join(record.header + record.fragment for record in records) + leftover
        self._gets_frames = self._received.is_done
        self._take(early)

    @property
    def wants_request(self) -> bool:
        """Whether our shaper has not seen a client's request yet."""
        return self._shaper is not None and not self._shaper.has_request

    def hold(self) -> None:
        """Keep what the link writes until `let_go`: the origin's first flight goes before it."""
        self._held = []

    def let_go(self, flight: int = 0, records: Sequence[bytes] = ()) -> None:
        """Send what was held, behind the origin's `flight` records; `records` are the last of them."""
        if self._is_let_go:
            return
        held, self._held = self._held or [], None
        self._is_let_go = True
        if self._pump is not None:
            self._pump.prepare(flight)
        for record in (*records, *held):
            self._tcp.write([record])
        if self._pump is not None:
            self._pump.begin()

    def fail(self) -> None:
        """What came is not of its form: the link is to end as soon as it starts."""
        self._is_faulty = True

    # --- Carrier --------------------------------------------------------------------------------

    def start(self, user: CarrierUser) -> None:
        """Begin to deliver received octets to `user`."""
        self._user = user
        self._tcp.start(self)
        self._say_before()
        early, self._early = b"".join(self._early), []
        if early:
            self._deliver(early)
        if self._is_faulty:
            self.close()
        self._step_aside()

    def write(self, parts: Sequence[memoryview | bytes]) -> bool:
        """Send `parts` in order, one record for each until the last link packet."""
        if self._is_closed:
            return True
        self._say_before()
        if self._pump is not None and not self._sent.is_done:
            return self._write_packets(self._pump, parts)
        out: list[memoryview | bytes] = []
        for part in parts:
            if self._sent.is_done:
                out.append(part)
            else:
                self._sent.feed(part)
                out.append(self._seal_key.seal(part))
        if self._held is not None:
            self._held.extend(bytes(part) for part in out)
            return True
        if len(out) == 1 or self._sent.is_done:
            is_room = self._tcp.write(out)
        else:
            is_room = [self._tcp.write([record]) for record in out][-1]
        self._step_aside()
        return is_room

    def _say_before(self) -> None:
        if self._before:
            self._tcp.write([self._before])
            self._before = b""

    def _write_packets(self, pump: PacketPump, parts: Sequence[memoryview | bytes]) -> bool:
        for part in parts:
            self._sent.feed(part)
            pump.add(part)
        pump.has_all = self._sent.is_done
        pump.run()
        return True

    def is_shaped(self) -> bool:
        """Whether records here have sizes and times of their own."""
        return self._shaper is not None

    def ease_reads(self) -> None:
        """Read less often: full records stream in, each sent by itself."""
        self._tcp.ease_reads()

    def take_shaper(self) -> Shaper | None:
        """Return what decides on records from now on; None while packets wait."""
        pump = self._pump
        if pump is None or not self._sent.is_done or not pump.is_empty or self._held is not None:
            return None
        pump.stop()
        return self._shaper

    @property
    def close_length(self) -> int:
        """Length of the record that says the link's CLOSE; 0: none does."""
        return 0 if self._is_client else GOAWAY_LENGTH

    def close(self) -> None:
        """Close as a browser, without a word, or as its server, behind a close_notify; safe to call twice.

        A fault is answered by both with a record of the same length, as an alert of TLS.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._pump is not None:
            self._pump.stop()
        if self._held is not None:
            self.let_go()
        self._say_before()
        if self._is_faulty or not self._is_client:
            self._tcp.write([goodbye(self._random_bytes(GOODBYE_SIZE))])
        self._tcp.close()

    def _step_aside(self) -> None:
        """Let TCP serve the link itself once frames go in both directions."""
        user = self._user
        if user is None or self._is_closed or self._held is not None:
            return
        if self._sent.is_done and self._gets_frames and not self._records.leftover:
            self._tcp.start(user)
            self.write = self._tcp.write  # type: ignore[method-assign]

    # --- CarrierUser, until then ----------------------------------------------------------------

    def receive_buffer(self) -> memoryview:
        """Return where TCP may put octets."""
        return self._buffer

    def octets_received(self, count: int) -> None:
        """Open records; what is inside goes to the link."""
        try:
            self._take(bytes(self._buffer[:count]))
        except RemoteProtocolError:
            self._is_faulty = True
            self._early.clear()
        if self._user is None:
            return
        early, self._early = b"".join(self._early), []
        if early:
            self._deliver(early)
        if self._is_faulty:
            self._end()
        else:
            self._step_aside()

    def _end(self) -> None:
        """The other end broke the rules: the link hears that it closed, the other end a goodbye."""
        self._answered(is_ours=False)
        user, self._user = self._user, None
        self.close()
        if user is not None:
            user.carrier_closed(None)

    def carrier_writable(self) -> None:
        """Hand on."""
        if self._user is not None:
            self._user.carrier_writable()

    def carrier_closed(self, error: OSError | None) -> None:
        """Hand on."""
        if not self._is_closed and error is None:  # a broken connection says nothing
            self._answered(is_ours=False)
        self._is_closed = True
        if self._pump is not None:
            self._pump.stop()
        if self._user is not None:
            self._user.carrier_closed(error)

    def _answered(self, *, is_ours: bool) -> None:
        tell, self._on_answer = self._on_answer, _nothing
        tell(is_ours=is_ours)

    def _take(self, data: bytes) -> None:
        if self._gets_frames:
            self._early.append(data)
            return
        records = self._records.feed(data)
        for at, record in enumerate(records):
            if not self._take_record(record):
                rest = b"".join(other.header + other.fragment for other in records[at:])
                self._early.append(rest + self._records.leftover)
                self._records = RecordReader()
                break
            if self._received.is_done and self._ends_with_packets:
                self._gets_frames = True
                records = records[at + 1 :]
                rest = b"".join(other.header + other.fragment for other in records)
                self._early.append(rest + self._records.leftover)
                self._records = RecordReader()
                break
        if self._pump is not None and records:
            self._pump.run()

    def _take_record(self, record: Record) -> bool:
        """Take a record from before the link's frames; False: it is the first of these."""
        opened = self._open_key.open(record)
        shaper = self._shaper
        if opened is None:
            if self._on_foreign is not None:
                self._on_foreign(record)
            elif self._received.is_done:
                self._gets_frames = True
                return False
            else:
                raise RemoteProtocolError("htx record: not under the switch key")
        elif opened.octets or not self._received.is_done:
            self._on_foreign = None
            self._answered(is_ours=True)
            self._received.feed(opened.octets)
            self._early.append(opened.octets)
        if shaper is not None:
            if opened is None or not opened.flags & EXTRA:
                shaper.received(1, self._now())
            if self._ends_with_packets and not self._is_let_go and len(record.fragment) > MAX_SETTINGS:
                shaper.request_received(len(record.fragment))  # at a relay that has not begun
            if opened is not None and opened.plan:
                shaper.plan_received(opened.plan)
        return True

    def _deliver(self, octets: bytes) -> None:
        """Copy octets into the link's buffer, piece by piece."""
        while octets and self._user is not None:
            buffer = self._user.receive_buffer()
            count = min(len(buffer), len(octets))
            buffer[:count] = octets[:count]
            octets = octets[count:]
            self._user.octets_received(count)
