"""The relay's listener: everybody gets the origin, our clients a link (docs/spec/htx.md section 7)."""

import asyncio
import errno
import itertools
import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.htx.acme_visits import Diversion, is_acme_visit
from vigilnet.traffic.transport.htx.authenticator import Authenticator
from vigilnet.traffic.transport.htx.carrier_io import HtxCarrier
from vigilnet.traffic.transport.htx.options import Options
from vigilnet.traffic.transport.htx.recordings import Recordings
from vigilnet.traffic.transport.htx.relay_session import RelaySession
from vigilnet.traffic.transport.htx.shaping import Budget, Profile, Shaper
from vigilnet.traffic.transport.htx.splice_io import HIGH_WATER, End
from vigilnet.traffic.transport.htx.switch import LAST_OF_CLIENT, LAST_OF_RELAY
from vigilnet.traffic.transport.htx.wire import RECORD_HEAD
from vigilnet.traffic.transport.tcp_io import TcpCarrier

ACCEPT_PAUSE_S: Final = 0.5
FIN_TIMEOUT_S: Final = 60.0  # Linux's tcp_fin_timeout: how long it remembers what a program has closed
REQUEST_WAIT_S: Final = 0.001  # it is mostly right behind a client's SETTINGS, and in the kernel already
FLIGHT_WAIT_S: Final = 0.2  # for the origin's first flight behind the handshake, while its count is unknown

_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK, errno.EINTR)

_log = get_logger(__name__)


Origin = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


@dataclass(frozen=True)
class Relay:
    """What all connections of a listener share."""

    authenticator: Authenticator
    origin: tuple[str, int]
    kind: CarrierKind
    options: Options
    clock: Clock
    network: str
    random_bytes: Callable[[int], bytes]
    prefix_of: Callable[[str], str]
    recordings: Recordings | None = None  # of visits before the origin
    diversion: Diversion = field(default_factory=Diversion)
    budget: Budget | None = None  # of what clients may ask for


class HtxListener:
    """A port that looks like the origin; serves `Listener`.

    Args:
        sock: bound and listening.
        relay: what is behind it.
        origin: the origin's family and address, resolved.
        accept: takes the carrier of every connection that turned out to be a client's of ours.
    """

    def __init__(
        self, sock: socket.socket, relay: Relay, origin: Origin, accept: Callable[[HtxCarrier], None]
    ) -> None:
        self._sock = sock
        self.origin = origin
        self._relay = relay
        self.accept = accept
        self._loop = asyncio.get_running_loop()
        self._connections: set[_Connection] = set()
        self._prefixes: Counter[str] = Counter()
        self._waiting: dict[str, deque[socket.socket]] = {}
        self._is_accepting = False
        self._resume: asyncio.TimerHandle | None = None
        self.flight: int | None = None  # records that the origin sends behind its handshake, once learnt
        self.switched = 0
        self.origin_failures = 0
        self.origin_error = ""  # why the last connection to it failed; empty once one succeeds
        self.port: Final = int(sock.getsockname()[1])
        sock.setblocking(False)
        self._go_on()

    @property
    def spliced(self) -> int:
        """Connections under way to the origin, or waiting for it."""
        return len(self._connections) + sum(map(len, self._waiting.values()))

    def close(self) -> None:
        """Stop accepting; links live on, spliced connections end with the listener."""
        if self._sock.fileno() < 0:
            return
        self._pause()
        if self._resume is not None:
            self._resume.cancel()
        self._sock.close()
        waiting, self._waiting = self._waiting, {}
        for sock in itertools.chain.from_iterable(waiting.values()):
            sock.close()
        for connection in list(self._connections):
            connection.abort()

    def _pause(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            self._loop.remove_reader(self._sock.fileno())

    def _go_on(self) -> None:
        self._resume = None
        if not self._is_accepting and self._sock.fileno() >= 0:
            self._is_accepting = True
            self._loop.add_reader(self._sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        if self.spliced >= self._relay.options.max_spliced:
            self._pause()  # as a loaded host: the backlog fills
            return
        try:
            sock, address = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            _log.warning("htx listener cannot accept, trying again soon", error=error)
            self._pause()
            self._resume = self._loop.call_later(ACCEPT_PAUSE_S, self._go_on)
            return
        self._admit(sock, self._prefix(str(address[0])))

    def _prefix(self, host: str) -> str:
        """Return what connections are counted by."""
        if self._sock.family == socket.AF_INET:  # parsing takes 20 us of a prober's time
            return host.rpartition(".")[0]
        return self._relay.prefix_of(host)

    def _admit(self, sock: socket.socket, prefix: str) -> None:
        if self._prefixes[prefix] >= self._relay.options.max_spliced_per_prefix:
            self._waiting.setdefault(prefix, deque()).append(sock)
            return
        self._prefixes[prefix] += 1
        try:
            connection = _Connection(sock, self._relay, self, prefix)
        except OSError:  # gone already
            sock.close()
            self._free(prefix)
            return
        self._connections.add(connection)
        connection.begin()

    def origin_failed(self, error: int) -> None:
        """The origin refused a connection."""
        self.origin_failures += 1
        self.origin_error = os.strerror(error)
        _log.warning("htx origin cannot be reached: is it running?", reason=os.strerror(error))

    def ended(self, connection: "_Connection", prefix: str) -> None:
        """A connection left the splice: closed, or a link's now."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._free(prefix)

    def _free(self, prefix: str) -> None:
        self._prefixes[prefix] -= 1
        if self._prefixes[prefix] <= 0:
            del self._prefixes[prefix]
        waiting = self._waiting.get(prefix)
        if waiting:
            sock = waiting.popleft()
            if not waiting:
                del self._waiting[prefix]
            self._admit(sock, prefix)
        self._go_on()


class _Connection:
    """One accepted connection, from accept to its end or its switch."""

    def __init__(self, sock: socket.socket, relay: Relay, listener: HtxListener, prefix: str) -> None:
        self._connecting: socket.socket | None = None
        error = self._dial(listener.origin)  # first: the origin accepts while we prepare the rest
        self._relay = relay
        self._listener = listener
        self._prefix = prefix
        self._loop = asyncio.get_running_loop()
        self._session = RelaySession(relay.authenticator, relay.network)
        try:
            self._front = End(sock, self._loop, self._from_client, self._client_ended, self._client_broken)
        except OSError:
            self._drop_connecting()
            raise
        self._front.on_room = self._pump
        self._back: End | None = None
        self._carrier: HtxCarrier | None = None
        self._tcp: TcpCarrier | None = None
        self._flight = 0
        self._tickets: list[bytes] = []  # of the origin, not passed on yet
        self._wanted: int | None = None
        self._flight_timer: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._dial_error = error
        self._held = b""  # the beginning of what may be an authority's hello

    def begin(self) -> None:
        """Pass on what came already, in this very turn of the loop: a prober measures what it costs."""
        self._dialled(self._listener.origin, self._dial_error)
        self._front.receive()
        self._pump()
        self._front.watch()
        if self._back is not None:
            self._back.watch()

    def _dial(self, origin: Origin) -> int:
        """Begin to connect; return what the system says."""
        family, address = origin
        try:
            sock = self._connecting = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # no descriptors left
            return error.errno or errno.EMFILE
        sock.setblocking(False)
        return sock.connect_ex(address)

    def _dialled(self, origin: Origin, error: int) -> None:
        """Go on at once where the connection is there, as it is on loopback; else once it is."""
        sock = self._connecting
        if sock is None:
            self._listener.origin_failed(error)
            self._client_reset()
            return
        if error in _UNDER_WAY and sys.platform == "linux":
            error = sock.connect_ex(origin[1])  # asks how it went: 0 once it is there
        if error in _UNDER_WAY:
            self._loop.add_writer(sock.fileno(), self._dialled_late)
        else:
            self._connected(error)

    def _dialled_late(self) -> None:
        sock = self._connecting
        if sock is not None:
            self._loop.remove_writer(sock.fileno())
            self._connected(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            if self._back is not None:
                self._back.watch()

    def _connected(self, error: int) -> None:
        sock, self._connecting = self._connecting, None
        if sock is None:
            return
        if error or self._front.is_closed:
            sock.close()
            if not self._front.is_closed:
                self._listener.origin_failed(error)
                self._client_reset()
            return
        try:
            back = self._back = End(
                sock,
                self._loop,
                self._from_origin,
                self._origin_ended,
                self._origin_broken,
            )
        except OSError:  # gone already
            sock.close()
            self._client_reset()
            return
        back.on_room = self._pump
        self._listener.origin_error = ""
        self._pump()
        if self._front.has_ended:
            back.write_eof()

    def abort(self) -> None:
        """The listener closes."""
        if self._carrier is None:
            self._front.close()
        self._drop_connecting()
        self._leave_origin()
        self._gone()

    def _drop_connecting(self) -> None:
        if self._connecting is not None:
            self._loop.remove_writer(self._connecting.fileno())
            self._connecting.close()
            self._connecting = None

    def _gone(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        self._listener.ended(self, self._prefix)

    # --- splicing -------------------------------------------------------------------------------

    def _from_client(self, data: bytes) -> None:
        clock = self._relay.clock
        if self._session.is_new and (self._held or self._relay.diversion.port is not None):
            data, self._held = self._held + data, b""
            is_authority = is_acme_visit(data)
            if is_authority is None:
                self._held = data
                return
            if is_authority and self._relay.diversion.port is not None:
                self._divert(self._relay.diversion.port)
        self._session.client_data(data)
        self._pump()
        self._session.judge(clock.wall(), clock.now())
        if self._session.is_switched:
            self._switch()

    def _divert(self, port: int) -> None:
        """Take a certificate authority to our proof, in the origin's place."""
        self._drop_connecting()
        self._leave_origin()
        self._back = None
        proof = (socket.AF_INET, ("127.0.0.1", port))
        self._dialled(proof, self._dial(proof))
        if self._back is not None:
            self._back.watch()

    def _from_origin(self, data: bytes) -> None:
        records = self._session.origin_data(data)
        if self._carrier is not None:
            self._flight_came()
        else:
            self._flight += records
            self._pump()

    def _pump(self) -> None:
        """Pass on what there is, and read only what the other end still takes."""
        session, front, back = self._session, self._front, self._back
        if session.to_client:
            for part in session.to_client_parts():
                front.write(part)
        if back is not None and session.to_origin:
            back.write(bytes(session.to_origin))
            session.to_origin.clear()
        is_held = len(session.to_origin) > HIGH_WATER if back is None else back.is_full
        front.read(is_wanted=not is_held)
        if back is not None:
            back.read(is_wanted=not front.is_full)
            if front.has_ended and back.has_ended and front.is_shut and back.is_shut:
                front.close()
                back.close()
                self._gone()

    def _client_ended(self) -> None:
        if self._held:
            self._session.client_data(self._held)
            self._held = b""
        self._session.client_ended()
        self._pump()
        if self._back is not None:
            self._back.write_eof()

    def _origin_ended(self) -> None:
        if self._carrier is not None:
            self._flight_over()
            return
        self._pump()
        self._front.write_eof()
        if self._lingering is None:
            self._lingering = self._loop.call_later(FIN_TIMEOUT_S, self._linger_over)

    def _linger_over(self) -> None:
        """The client keeps a connection that the origin has left: end it as the origin's kernel would."""
        self._front.close()
        self._leave_origin()
        self._gone()

    def _client_broken(self) -> None:
        if self._back is not None:
            self._back.reset()
        self._gone()

    def _client_reset(self) -> None:
        self._front.reset()
        self._gone()

    def _origin_broken(self) -> None:
        if self._carrier is not None:
            self._flight_over()
        else:
            self._client_reset()

    # --- the switch -----------------------------------------------------------------------------

    def _switch(self) -> None:
        """Take the client's socket out of the splice and make it a link's carrier."""
        session, relay = self._session, self._relay
        sock, unsent = self._front.release()
        try:
            tcp = self._tcp = TcpCarrier(sock, self._loop)
        except OSError:  # gone already
            sock.close()
            self._leave_origin()
            self._gone()
            return
        if unsent:
            tcp.write([unsent])
        theirs, ours = session.keys
        carrier = self._carrier = HtxCarrier(
            tcp,
            (ours, theirs),
            (LAST_OF_RELAY, LAST_OF_CLIENT),
            kind=relay.kind,
            binding=session.binding,
            random_bytes=relay.random_bytes,
            shaper=self._shaper(session.first.profile),
            now=relay.clock.now,
            kem=session.kem(),
        )
        try:
            carrier.begin(session.first.octets, session.rest, session.leftover)
        except RemoteProtocolError:
            session.is_faulty = True
        if session.is_faulty:
            carrier.fail()
        self._listener.switched += 1
        self._wait_for_flight(carrier)
        self._listener.accept(carrier)

    def _shaper(self, profile: int) -> Shaper | None:
        """Shape our side as the client asks."""
        if profile == Profile.OFF:
            return None
        relay = self._relay
        rate = relay.options.constant_octets_s
        return Shaper(
            Profile(profile),
            relay.random_bytes,
            relay.clock.now(),
            is_client=False,
            rate=rate,
            recordings=relay.recordings,
            budget=relay.budget,
        )

    def _wait_for_flight(self, carrier: HtxCarrier) -> None:
        """Let the origin's tickets, and its settings if it had time for them, go before our first record."""
        self._wanted = self._listener.flight
        if self._relay.recordings is not None:  # what follows the tickets is in the recording
            self._wanted = max(self._flight, self._relay.recordings.tickets)
        carrier.hold()
        has_come = self._wanted is not None and self._flight >= self._wanted
        if self._back is None or self._back.is_closed or has_come:
            self._leave_origin()
            self._let_go(carrier)
            self._gone()
            return
        self._flight_timer = self._loop.call_later(FLIGHT_WAIT_S, self._flight_late)

    def _flight_came(self) -> None:
        """Pass records of the origin on, as many as are wanted."""
        waiting, wanted = self._session.to_client, self._wanted
        at = 0
        while at < len(waiting) and (wanted is None or self._flight < wanted):
            end = at + RECORD_HEAD + int.from_bytes(waiting[at + 3 : at + RECORD_HEAD], "big")
            record = bytes(waiting[at:end])
            if wanted is not None:
                self._tickets.append(
                    record
                )  # they leave right before our first record, as before the origin's
            elif self._tcp is not None:  # each by itself, as the origin sent it
                self._tcp.write([record])
            at = end
            self._flight += 1
        waiting.clear()
        if wanted is not None and self._flight >= wanted:
            self._flight_over()

    def _flight_late(self) -> None:
        """No more came in time: that is how much this origin says by itself."""
        self._listener.flight = self._flight
        self._flight_over()

    def _flight_over(self) -> None:
        if self._flight_timer is None:
            return
        self._flight_timer.cancel()
        self._flight_timer = None
        self._leave_origin()
        if self._carrier is not None:
            self._let_go(self._carrier)
        self._gone()

    def _let_go(self, carrier: HtxCarrier) -> None:
        """Begin, once the request had a moment to come: what is answered depends on it."""
        wait = REQUEST_WAIT_S if carrier.wants_request else 0.0
        self._loop.call_later(wait, carrier.let_go, self._flight, self._tickets)

    def _leave_origin(self) -> None:
        if self._back is not None:
            self._back.close()
