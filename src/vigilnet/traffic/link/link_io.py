"""One link on the event loop: carrier, machine and timer joined (hot path).

Serves `LinkPort` to the circuit room, `CarrierUser` to the transport and `LinkOwner` to the machine.
"""

import asyncio
import math
from collections.abc import Callable, Container
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.peer.address import prefix_of
from vigilnet.traffic.link.framing import MAX_LENGTH, TLS_HEADER
from vigilnet.traffic.link.handshake import HandshakeResult
from vigilnet.traffic.link.machine import CLOSE_LENGTH, CloseReason, LinkMachine, LinkState
from vigilnet.traffic.link.neighbours import DialAddress
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import RunReceiver, RunSource
from vigilnet.traffic.link.shaped_io import ShapedSender
from vigilnet.traffic.transport.carrier import Carrier, ClosingCarrier, OpenCarrier, ShapedCarrier

READ_SIZE: Final = 256 * 1024
LEFTOVER_SIZE: Final = TLS_HEADER + MAX_LENGTH

_log = get_logger(__name__)


class LinkClosedError(VigilnetError):
    """The link ended: the text says how, without naming the neighbour."""

    kind = ErrorKind.CLOSED


class LinkSilentError(VigilnetError):
    """The neighbour answers no more, or never did."""

    kind = ErrorKind.UNREACHABLE


class LinkKeeper(Protocol):
    """What a link tells the service that keeps it."""

    def opened(self, link: "Link", result: HandshakeResult) -> RunReceiver:
        """The handshake is through; return who takes the runs, or raise RemoteProtocolError."""
        ...

    def closed(self, link: "Link", error: Exception) -> None:
        """The link is gone, for the reason given; called once."""
        ...

    def gossip(self, link: "Link", body: bytes) -> None:
        """A GOSSIP frame came."""
        ...


class ReceiveBuffer:
    """Where all links of one loop receive, one after the other.

    A link's incomplete last frame is kept by the link itself, so idle links hold no buffer, and
    what is worked on stays in the processor's cache. Carriers fill it and report in one go, without
    returning to the loop in between.
    """

    def __init__(self) -> None:
        self.view: Final = memoryview(bytearray(LEFTOVER_SIZE + READ_SIZE))


class Link:
    """One link to one neighbour, from the carrier's start to its end.

    Args:
        carrier: connected, not started.
        keeper: hears of opening and closing.
        clock: the time.
        options: the room's settings.
        buffer: shared by all links of the loop.
        is_initiator: whether we dialled.
    """

    def __init__(
        self,
        carrier: Carrier,
        keeper: LinkKeeper,
        clock: Clock,
        options: Options,
        buffer: ReceiveBuffer,
        *,
        is_initiator: bool,
    ) -> None:
        self._carrier = carrier
        self._keeper = keeper
        self._now: Callable[[], float] = clock.now
        self._loop = asyncio.get_running_loop()
        self._buffer = buffer.view
        self._leftover = b""
        self._shaped: ShapedSender | None = None
        if isinstance(carrier, ShapedCarrier) and carrier.is_shaped():
            self._shaped = ShapedSender(carrier, carrier, clock.now, self._flush_soon)
        self._machine: LinkMachine | None = None
        self._active_sources: Container[RunSource] = ()
        self._is_writable = True
        self._flush_waits = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._probe_after = options.probe_after_s
        self._receiver: RunReceiver | None = None
        self._is_over = False
        self._error: Exception | None = None
        self.peer: bytes | None = None
        self.is_initiator: Final = is_initiator
        self.opened_at: float | None = None
        self.replace_at = math.inf  # when the side that dialled dials anew
        self.retired_at: float | None = None  # since then it carries what it has and takes nothing new
        self.dialled: DialAddress | None = None  # where we reached the neighbour
        self.is_relay = False  # what the neighbour's record says: gossip goes to relays only
        self.octets_sent = 0
        self.octets_received_total = 0

    # --- life ------------------------------------------------------------------------------------

    def start(self, machine: LinkMachine) -> None:
        """Begin the handshake."""
        self._machine = machine
        self._active_sources = machine.active_sources
        self._carrier.start(self)
        self._flush()
        self._set_timer()

    @property
    def machine(self) -> LinkMachine:
        """The machine inside, for status and tests."""
        if self._machine is None:
            raise LinkClosedError("link: not started")
        return self._machine

    @property
    def spoke_at(self) -> float:
        """When runs were last sent; minus infinity if never."""
        return self.machine.spoke_at

    @property
    def remote_host(self) -> str:
        """The neighbour's address as text; sensitive."""
        return self._carrier.remote_host

    @property
    def open_ends(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """Our and the neighbour's host and port of a plain TCP connection; None for all others."""
        carrier = self._carrier
        return carrier.open_ends if isinstance(carrier, OpenCarrier) and not self._is_over else None

    @property
    def origin(self) -> str:
        """The neighbour's identity, or its address prefix if it gave none; sensitive."""
        return prefix_of(self._carrier.remote_host) if self.peer is None else self.peer.hex()

    @property
    def shaping_cost(self) -> tuple[int, float]:
        """Octets sent for the carrier's shape, and the longest that something waited for it."""
        return self._shaped.cost if self._shaped is not None else (0, 0.0)

    @property
    def shape(self) -> str:
        """Name of the profile that shapes it; empty: none does."""
        return self._shaped.name if self._shaped is not None else ""

    @property
    def is_open(self) -> bool:
        """Whether the handshake is through and nothing ended the link yet."""
        return self._machine is not None and self._machine.state is LinkState.OPEN and not self._is_over

    def link_opened(self, result: HandshakeResult) -> RunReceiver:
        """Tell the keeper; called by the machine."""
        self.peer = result.peer
        self.opened_at = self._now()
        self._receiver = self._keeper.opened(self, result)
        self._arm(self.opened_at + self._probe_after)
        return self._receiver

    def gossip_received(self, body: bytes) -> None:
        """Hand a GOSSIP frame on; called by the machine."""
        self._keeper.gossip(self, body)

    def close(self, reason: CloseReason = CloseReason.DONE) -> None:
        """Close in good order; safe to call twice."""
        if self._is_over:
            return
        if self._machine is not None:
            carrier = self._carrier
            length = carrier.close_length if isinstance(carrier, ClosingCarrier) else CLOSE_LENGTH
            if parts := self._machine.close(reason, self._now(), length):
                carrier.write(parts)
        self._end(LinkClosedError("link: closed by us"))

    def fail(self, error: Exception) -> None:
        """End without a word: the neighbour's fault, or nobody answers."""
        if self._machine is not None:
            self._machine.drop()
        self._end(error)

    def _end(self, error: Exception) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self._leftover = b""
        if self._shaped is not None:
            self._shaped.close()
        self._carrier.close()
        self._keeper.closed(self, error)
        if self._receiver is not None:
            self._receiver.link_closed()

    # --- LinkPort --------------------------------------------------------------------------------

    def activate(self, source: RunSource) -> None:
        """`source` has something to send; cheap to call again while it is active (60 ns)."""
        if source in self._active_sources:
            return
        machine = self._machine
        if machine is not None and machine.activate(source) and not self._flush_waits and self._is_writable:
            self._flush_waits = True
            self._loop.call_soon(self._flush)

    def send_control(self, frame: memoryview) -> None:
        """Send one frame view before every circuit's data."""
        if not self.is_open:
            return
        if not self.machine.send_control(frame):
            self._loop.call_soon(self.close, CloseReason.OVERLOAD)
            return
        self._flush_soon()

    def send_gossip(self, body: bytes) -> bool:
        """Send a GOSSIP frame behind all else; False when too many wait already."""
        taken = self.is_open and self.is_relay and self.machine.send_gossip(body)
        self._flush_soon()
        return taken

    def set_receiver(self, receiver: RunReceiver) -> None:
        """Deliver received runs to `receiver` from now on."""
        self._receiver = receiver
        self.machine.set_receiver(receiver)

    def retire(self, now: float) -> None:
        """Take nothing new: another link to this neighbour is used from now on."""
        if self.retired_at is None:
            self.retired_at = now

    def probe(self) -> None:
        """Ask for a sign of life at once."""
        if not self.is_open:
            return
        self.machine.probe(self._now())
        self._flush_soon()
        self._set_timer()

    # --- CarrierUser -----------------------------------------------------------------------------

    def receive_buffer(self) -> memoryview:
        """Return the shared buffer behind what was left of our last read."""
        leftover = self._leftover
        size = len(leftover)
        if size:
            self._buffer[:size] = leftover
        return self._buffer[size:]

    def octets_received(self, count: int) -> None:
        """Let the machine work on what came."""
        machine = self._machine
        if self._is_over or machine is None:
            return
        self.octets_received_total += count
        end = len(self._leftover) + count
        try:
            used = machine.receive(self._buffer, end, self._now())
            if self._shaped is not None:
                self._shaped.received(machine)
        except RemoteProtocolError as error:
            _log.debug("link broken by the neighbour", error=error)
            self._end(error)
            return
        except Exception as error:  # noqa: BLE001 the one net of this room: one link ends, not the node
            _log.failure("link failed, this is a bug: please report it", error)
            self.fail(error)
            return
        self._leftover = bytes(self._buffer[used:end]) if used < end else b""
        if machine.is_closed:
            self._end(LinkClosedError(f"link: closed by the neighbour, reason {machine.close_reason}"))
            return
        if not self._flush_waits and self._is_writable and machine.has_data_to_send:
            self._flush_waits = True
            self._loop.call_soon(self._flush)
        if machine.state is LinkState.HANDSHAKE:
            self._set_timer()

    def carrier_writable(self) -> None:
        """Go on sending."""
        self._is_writable = True
        if not self._flush_waits:
            self._flush()

    def carrier_closed(self, error: OSError | None) -> None:
        """The carrier is gone."""
        self.fail(error or LinkClosedError("link: the connection was closed"))

    # --- sending and time ------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flush_waits and self._is_writable and not self._is_over:
            self._flush_waits = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send one batch; come again in the next turn while there is more, so that others get theirs."""
        self._flush_waits = False
        machine = self._machine
        if machine is None or self._is_over or not self._is_writable:
            return
        now = self._now()
        if self._shaped is not None:
            self._flush_shaped(self._shaped, machine, now)
            return
        try:
            parts = machine.data_to_send(now)
        except Exception as error:  # noqa: BLE001 as above; a batch half sealed must not be sealed again
            _log.failure("link failed while sealing, this is a bug: please report it", error)
            self.fail(error)
            return
        if not parts:
            return
        self.octets_sent += sum(map(len, parts))
        self._is_writable = self._carrier.write(parts)
        if self._is_writable and machine.has_data_to_send:
            self._flush_waits = True
            self._loop.call_soon(self._flush)
        if self._timer_due - now > self._probe_after:  # the silence that follows may be a dead link
            self._arm(now + self._probe_after)

    def _flush_shaped(self, shaped: ShapedSender, machine: LinkMachine, now: float) -> None:
        """Send what the carrier's shaper wants sent now."""
        try:
            self._is_writable = shaped.flush(machine)
        except RemoteProtocolError as error:  # of what came before the shaper was ours
            _log.debug("link broken by the neighbour", error=error)
            self._end(error)
            return
        except Exception as error:  # noqa: BLE001 as above
            _log.failure("link failed while sealing, this is a bug: please report it", error)
            self.fail(error)
            return
        self.octets_sent = shaped.octets_sent
        if self._timer_due - now > self._probe_after:
            self._arm(now + self._probe_after)

    def _set_timer(self) -> None:
        """Set the timer to the machine's deadline, unless it fires before: deadlines mostly move later."""
        deadline = None if self._machine is None or self._is_over else self._machine.deadline()
        if deadline is not None and deadline < self._timer_due:
            self._arm(deadline)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.0, due - self._now()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_due = math.inf
        machine = self._machine
        if machine is None or self._is_over:
            return
        if not machine.on_deadline(self._now()):
            what = "no answer to our PING" if self.opened_at is not None else "the handshake took too long"
            self._end(LinkSilentError(f"link: {what}"))
            return
        if machine.has_data_to_send:
            self._flush_soon()
        self._set_timer()
