"""Which circuit a request gets, and when circuits are built and retired: the books, without IO.

Circuits are built before they are needed. The first request that takes a clean one makes it its
own: it then serves only requests with the same isolation key, for a while, and is retired.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.peer.descriptor import ExitSummary
from vigilnet.peer.identity import parse_peer_id
from vigilnet.traffic.circuit.client import CircuitState, ClientCircuit
from vigilnet.traffic.circuit.messages import PadNegotiate
from vigilnet.traffic.circuit.padding import MAX_CELLS_PER_S, PROFILES, PaddingProfile

PADDING_PERIOD_S: Final = 600  # asked for anew when half of it is over


@dataclass(frozen=True)
class Options:
    """How many circuits are kept, and for how long."""

    hops: int = 3  # 1 to 10; 1 is fast and not anonymous
    build_ahead: int = 3  # clean circuits kept ready while streams are opened
    max_circuits: int = 10  # open and being built, all together
    idle_s: float = 60.0  # a used circuit without streams is closed after so many seconds
    clean_life_s: float = 600.0  # a clean circuit is replaced after so many seconds
    dirty_life_s: float = 600.0  # a used circuit takes no new streams after so many seconds
    quiet_after_s: float = 600.0  # without new streams for so many seconds, one clean circuit is kept
    stream_timeout_s: float = 60.0  # a stream that is not open after so many seconds is given up
    padding: str = "off"  # of each circuit: off, keep-alive, or constant (slow, and hides how much you do)
    padding_cells_per_s: int = 5  # of 2 KiB, each way: the steady rate of "constant", at most 100
    exit_country: str = ""  # two letters: leave only through exits that declare this country
    exit_peer: str = ""  # peer id: leave only through this exit

    def __post_init__(self) -> None:
        if not 1 <= self.hops <= 10:
            raise ConfigurationError(f"hops: got {self.hops}, expected 1 to 10")
        if not 1 <= self.build_ahead <= self.max_circuits:
            raise ConfigurationError(
                f"build_ahead: got {self.build_ahead}, expected 1 to max_circuits ({self.max_circuits})"
            )
        if self.padding not in PROFILES:
            raise ConfigurationError(f"padding: got {self.padding!r}, one of {', '.join(PROFILES)} expected")
        if not 1 <= self.padding_cells_per_s <= MAX_CELLS_PER_S:
            raise ConfigurationError(
                f"padding_cells_per_s: got {self.padding_cells_per_s}, expected 1 to {MAX_CELLS_PER_S}"
            )
        if self.exit_country and not re.fullmatch("[A-Z]{2}", self.exit_country):
            raise ConfigurationError(
                f"exit_country: got {self.exit_country!r}, expected two capital letters like SE"
            )
        if self.exit_peer:
            try:
                parse_peer_id(self.exit_peer)
            except RemoteProtocolError as error:
                raise ConfigurationError(f"exit_peer: {error}") from error

    @property
    def path_wishes(self) -> tuple[object, ...]:
        """What decides which paths are built; circuits of other wishes take nothing new."""
        return self.hops, self.exit_country, self.exit_peer

    @property
    def padding_wish(self) -> PadNegotiate | None:
        """What to ask of each circuit's last hop; None: nothing."""
        if PROFILES[self.padding] is PaddingProfile.OFF:
            return None
        return PadNegotiate(PROFILES[self.padding], self.padding_cells_per_s, PADDING_PERIOD_S)

    @property
    def exit_identity(self) -> bytes | None:
        """The identity of `exit_peer`."""
        return parse_peer_id(self.exit_peer) if self.exit_peer else None


@dataclass(eq=False)
class PooledCircuit:
    """One open circuit and what the pool knows of it."""

    circuit: ClientCircuit
    exit: bytes  # identity of the last hop
    exit_summary: ExitSummary | None
    opened_at: float
    isolation: str | None = None  # None: clean
    first_used_at: float = 0.0
    idle_since: float = 0.0
    is_retired: bool = False
    is_kept: bool = False  # the person wants to stay on it: neither age nor idleness ends it
    refused_ports: set[int] = field(default_factory=set)

    def serves(self, port: int | None) -> bool:
        """Whether the exit may accept the port."""
        if port is None:
            return True
        if port in self.refused_ports:
            return False
        return self.exit_summary is None or self.exit_summary.allows(port)


class Pool:
    """The open circuits of a client.

    Args:
        options: numbers and times.
        clock: monotonic seconds.
    """

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self._entries: dict[ClientCircuit, PooledCircuit] = {}
        self.building = 0
        self.last_stream_at = clock()

    @property
    def entries(self) -> Iterable[PooledCircuit]:
        """All open circuits, oldest first."""
        return self._entries.values()

    @property
    def clean(self) -> int:
        """How many circuits wait for their first stream."""
        return sum(entry.isolation is None and not entry.is_retired for entry in self.entries)

    def add(self, entry: PooledCircuit) -> None:
        """A circuit was built."""
        entry.idle_since = entry.opened_at
        self._entries[entry.circuit] = entry

    def remove(self, circuit: ClientCircuit) -> PooledCircuit | None:
        """A circuit is gone."""
        return self._entries.pop(circuit, None)

    def take(self, isolation: str, port: int | None) -> PooledCircuit | None:
        """Return a circuit for one more request of `isolation`, or None if one must be built.

        A circuit that already serves this key comes first, then a clean one, which the key then owns.
        """
        now = self._clock()
        self.last_stream_at = now
        best: PooledCircuit | None = None
        for entry in self._entries.values():
            if entry.is_retired or not entry.circuit.mux.can_open or not entry.serves(port):
                continue
            if entry.isolation == isolation:
                best = entry
                break
            if entry.isolation is None and best is None:
                best = entry
        if best is not None:
            best.idle_since = now
            if best.isolation is None:
                best.isolation = isolation
                best.first_used_at = now
        return best

    def may_build(self) -> bool:
        """Whether the limit leaves room for one more circuit; closes the longest idle one if that helps."""
        if len(self._entries) + self.building < self._options.max_circuits:
            return True
        idle = [entry for entry in self.entries if entry.circuit.mux.is_idle and not entry.is_kept]
        if not idle:
            return False
        min(idle, key=lambda entry: (entry.isolation is None, entry.idle_since)).circuit.close()
        return len(self._entries) + self.building < self._options.max_circuits

    def wanted(self) -> int:
        """How many circuits to start building ahead now."""
        now = self._clock()
        is_quiet = now - self.last_stream_at > self._options.quiet_after_s
        missing = (1 if is_quiet else self._options.build_ahead) - self.clean - self.building
        room = self._options.max_circuits - len(self._entries) - self.building
        return max(0, min(missing, room))

    def sweep(self) -> None:
        """Retire what is old and close what is idle."""
        now = self._clock()
        options = self._options
        is_quiet = now - self.last_stream_at > options.quiet_after_s
        spare = self.clean - (1 if is_quiet else options.build_ahead)
        for entry in list(self.entries):
            if entry.circuit.state is not CircuitState.OPEN:
                continue
            if entry.isolation is None:
                if now - entry.opened_at > options.clean_life_s or (is_quiet and spare > 0):
                    spare -= 1
                    entry.circuit.close()
                continue
            if entry.is_kept and not entry.is_retired:
                continue
            if now - entry.first_used_at > options.dirty_life_s:
                entry.is_retired = True
            if not entry.circuit.mux.is_idle:
                entry.idle_since = now
            elif entry.is_retired or now - entry.idle_since > options.idle_s:
                entry.circuit.close()

    def reconfigure(self, options: Options) -> None:
        """Go on with other numbers."""
        self._options = options

    def keep(self, circuit: ClientCircuit, *, is_kept: bool) -> bool:
        """Have whoever uses this circuit stay on it, or no longer; False: nobody uses it, or it is ending."""
        entry = self._entries.get(circuit)
        if entry is None or entry.isolation is None or entry.is_retired:
            return False
        entry.is_kept = is_kept
        entry.idle_since = self._clock()
        return True

    def retire(self, circuit: ClientCircuit) -> str | None:
        """Nothing new on this circuit; returns whose it was, None if it is clean or not there."""
        entry = self._entries.get(circuit)
        if entry is None:
            return None
        entry.is_retired = True
        if circuit.mux.is_idle:
            circuit.close()
        return entry.isolation

    def retire_all(self) -> None:
        """New identity: nothing new on any present circuit; those without streams are closed."""
        for entry in list(self.entries):
            entry.is_retired = True
            if entry.circuit.mux.is_idle:
                entry.circuit.close()
