"""Carriers in memory, for tests and simulations: two queues, and faults on request.

Driven by the loop that is passed in, so that it also runs on a virtual clock; delivery order and
sizes are exact, nothing is random. A hub stands for the network: hosts are any text.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, CarrierKind, CarrierUser

CAPACITY: Final = 256 * 1024  # octets under way in one direction before `write` says stop
CHUNK: Final = 64 * 1024


class Loop(Protocol):
    """What we need of an event loop."""

    def call_soon(self, callback: Callable[..., object], *args: object) -> object:
        """Call back in the next turn."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> object:
        """Call back in `delay` seconds."""
        ...


@dataclass
class Conditions:
    """What one direction does to octets; change it at any time.

    Args:
        chunk: most octets delivered at once; 1 is the hardest test of a parser.
        delay_s: from write to delivery.
        capacity: octets under way before `write` returns False.
        is_silent: everything sent from now on is lost, without a word (a dead route).
        tamper: returns what is delivered instead of each chunk written; b"" drops it.
    """

    chunk: int = CHUNK
    delay_s: float = 0.0
    capacity: int = CAPACITY
    is_silent: bool = False
    tamper: Callable[[bytes], bytes] | None = None


class MemoryCarrier:
    """One end of a pair made by `carrier_pair`; serves `Carrier`."""

    def __init__(
        self, loop: Loop, remote_host: str, kind: CarrierKind, binding: bytes, *, has_tls_records: bool
    ) -> None:
        self.kind: Final = kind
        self.binding: Final = binding
        self.has_tls_records: Final = has_tls_records
        self.remote_host: Final = remote_host
        self.outgoing = Conditions()
        self.octets_sent = 0
        self.is_closed = False
        self._loop = loop
        self._user: CarrierUser | None = None
        self._other: MemoryCarrier | None = None
        self._under_way = 0
        self._is_full = False
        self._under_way_here: deque[bytes | None] = deque()  # None: the end
        self._arrived: deque[bytes] = deque()
        self._has_ended = False  # the other end closed
        self._has_told = False

    def start(self, user: CarrierUser) -> None:
        """Begin to deliver received octets to `user`."""
        self._user = user
        self._loop.call_soon(self._deliver)

    def write(self, parts: Sequence[memoryview | bytes]) -> bool:
        """Send `parts` in order; False when more than the capacity is under way."""
        if self.is_closed:
            return True
        data = b"".join(parts)
        self.octets_sent += len(data)
        conditions = self.outgoing
        if conditions.tamper is not None and data:
            data = conditions.tamper(data)
        if not conditions.is_silent:
            self._under_way += len(data)
            for at in range(0, len(data), conditions.chunk):
                self._later(data[at : at + conditions.chunk])
        self._is_full = self._under_way >= conditions.capacity
        return not self._is_full

    def _later(self, chunk: bytes | None) -> None:
        other = self._other
        if other is None:
            return
        other._under_way_here.append(chunk)  # noqa: SLF001 the pair is one
        if self.outgoing.delay_s > 0:
            self._loop.call_later(self.outgoing.delay_s, other._arrive_oldest)  # noqa: SLF001
        else:
            self._loop.call_soon(other._arrive_oldest)  # noqa: SLF001

    def _arrive_oldest(self) -> None:
        """One chunk is due: the oldest, for timers of the same moment fire in any order."""
        self._arrive(self._under_way_here.popleft())

    def _arrive(self, chunk: bytes | None) -> None:
        if chunk is None:
            self._has_ended = True
        else:
            self._arrived.append(chunk)
        self._deliver()

    def _deliver(self) -> None:
        user = self._user
        while user is not None and self._arrived and not self.is_closed:
            chunk = self._arrived.popleft()
            buffer = user.receive_buffer()
            count = min(len(buffer), len(chunk))
            buffer[:count] = chunk[:count]
            if count < len(chunk):
                self._arrived.appendleft(chunk[count:])
            user.octets_received(count)
            if self._other is not None:
                self._other._taken(count)  # noqa: SLF001
        if self._has_ended and not self._arrived:
            self._tell_closed(None)

    def _taken(self, count: int) -> None:
        self._under_way -= count
        if self._is_full and self._under_way <= self.outgoing.capacity // 2:
            self._is_full = False
            if self._user is not None and not self.is_closed:
                self._user.carrier_writable()

    def close(self) -> None:
        """Send what was written, then close; safe to call twice."""
        if self.is_closed:
            return
        self.is_closed = True
        self._arrived.clear()
        if not self.outgoing.is_silent:
            self._later(None)
        self._loop.call_soon(self._tell_closed, None)

    def cut(self, error: OSError | None = None) -> None:
        """Break the carrier: both ends hear of it, what was under way is lost."""
        error = error or ConnectionResetError("memory carrier: cut")
        for end in (self, self._other):
            if end is not None:
                end.is_closed = True
                end._arrived.clear()  # noqa: SLF001
                self._loop.call_soon(end._tell_closed, error)  # noqa: SLF001

    def _tell_closed(self, error: OSError | None) -> None:
        self.is_closed = True
        if not self._has_told and self._user is not None:
            self._has_told = True
            self._user.carrier_closed(error)

    def _join(self, other: "MemoryCarrier") -> None:
        self._other = other


def carrier_pair(
    loop: Loop,
    hosts: tuple[str, str] = ("192.0.2.1", "192.0.2.2"),
    kind: CarrierKind = CarrierKind.PLAIN,
    binding: bytes = bytes(32),
    *,
    has_tls_records: bool = False,
) -> tuple[MemoryCarrier, MemoryCarrier]:
    """Return the two ends of a new pipe; `hosts` are the addresses of the first and the second end."""
    first = MemoryCarrier(loop, hosts[1], kind, binding, has_tls_records=has_tls_records)
    second = MemoryCarrier(loop, hosts[0], kind, binding, has_tls_records=has_tls_records)
    first._join(second)  # noqa: SLF001
    second._join(first)  # noqa: SLF001
    return first, second


class MemoryHub:
    """A network in memory: who listens where, and what happens on the way.

    Args:
        loop: drives every carrier.
        on_pair: called with (dialler's end, listener's end) of each new pair, to set its conditions.
    """

    def __init__(
        self, loop: Loop, on_pair: Callable[[MemoryCarrier, MemoryCarrier], None] | None = None
    ) -> None:
        self.loop = loop
        self.on_pair = on_pair
        self.unreachable: set[str] = set()  # hosts that answer no dial
        self.dials: list[tuple[str, int]] = []  # every attempt, also failed ones
        self.pairs: list[tuple[MemoryCarrier, MemoryCarrier]] = []
        self._accepts: dict[tuple[str, int], Callable[[Carrier], None]] = {}

    def transport(self, host: str = "192.0.2.1") -> "MemoryTransport":
        """Return a transport whose own address is `host`."""
        return MemoryTransport(self, host)

    def connect(self, source: str, host: str, port: int) -> MemoryCarrier:
        """Make a pair between `source` and who listens at `host`; return the dialler's end."""
        self.dials.append((host, port))
        accept = self._accepts.get((host, port))
        if accept is None or host in self.unreachable:
            raise ConnectionRefusedError(f"memory: nobody listens at port {port}")
        ours, theirs = carrier_pair(self.loop, (source, host))
        self.pairs.append((ours, theirs))
        if self.on_pair is not None:
            self.on_pair(ours, theirs)
        self.loop.call_soon(accept, theirs)
        return ours

    def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> "MemoryListener":
        """Note who listens at `host`; port 0 picks a free one."""
        if port == 0:
            port = next(p for p in range(49_152, 65_536) if (host, p) not in self._accepts)
        if (host, port) in self._accepts:
            raise OSError(f"memory: port {port} is in use")
        self._accepts[host, port] = accept
        return MemoryListener(self, host, port)

    def stop(self, host: str, port: int) -> None:
        """Forget who listens at `host`."""
        self._accepts.pop((host, port), None)


class MemoryListener:
    """A place in a hub where neighbours can reach us; serves `Listener`."""

    def __init__(self, hub: MemoryHub, host: str, port: int) -> None:
        self._hub = hub
        self._host = host
        self.port: Final = port

    def close(self) -> None:
        """Stop accepting; carriers already accepted live on."""
        self._hub.stop(self._host, self.port)


class MemoryTransport:
    """Dials and listens in a hub; serves `Transport`."""

    def __init__(self, hub: MemoryHub, host: str) -> None:
        self._hub = hub
        self._host = host

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        """Connect within the hub; raises OSError when nobody listens there."""
        del params
        return self._hub.connect(self._host, host, port)

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> MemoryListener:
        """Call `accept` for every dial to `host`."""
        return self._hub.listen(host, port, accept)
