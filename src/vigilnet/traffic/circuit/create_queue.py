"""CREATEs that wait for their handshake: budgets, fair turns, the strongest puzzle first (sans-IO).

Links take turns, and within a link the highest effort goes first, then the oldest. When too many
wait, the link that sent most gives up its last one (docs/spec/circuit.md section 5).
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from vigilnet.traffic.circuit.handshake import CheckedCreate, RelayHandshake
from vigilnet.traffic.circuit.messages import DestroyReason, Refusal
from vigilnet.traffic.circuit.puzzle import CreateRefusedError, EffortControl, PuzzleGate
from vigilnet.traffic.circuit.switch import LinkCircuits

# From the specification.
MAX_CIRCUITS_CLIENT_LINK: Final = 1024
MAX_CIRCUITS_RELAY_LINK: Final = 65_536
CREATE_RATE: Final = 20.0  # a second, links of clients only
CREATE_BURST: Final = 100.0
CREATE_WAIT_S: Final = 2.0
MAX_JUNK: Final = 4  # puzzle solutions that are none, from a client's link
JUNK_PERIOD_S: Final = 60.0

# Our choice.
MAX_WAITING_CREATES: Final = 4096


@dataclass(slots=True)
class _LinkLoad:
    """What one link asked for."""

    waiting: dict[int, tuple[float, CheckedCreate]] = field(
        default_factory=dict
    )  # by circuit id, oldest first
    junk: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_JUNK))  # when solutions were none
    tokens: float = CREATE_BURST
    updated: float = 0.0


@dataclass(frozen=True, slots=True)
class WaitingCreate:
    """A CREATE whose turn has come."""

    link: LinkCircuits
    circuit_id: int
    create: CheckedCreate


class CreateQueue:
    """The CREATEs of all links of one relay.

    Args:
        handshake: checks what comes.
        gate: tells the puzzle's effort of now.
        effort: hears what is refused.
    """

    def __init__(self, handshake: RelayHandshake, gate: PuzzleGate, effort: EffortControl) -> None:
        self._handshake = handshake
        self._gate = gate
        self._effort = effort
        self._loads: dict[LinkCircuits, _LinkLoad] = {}
        self._turns: deque[LinkCircuits] = deque()
        self.waiting = 0

    @property
    def has_turns(self) -> bool:
        """Whether `take` may have more to give."""
        return bool(self._turns)

    def offer(self, link: LinkCircuits, circuit_id: int, body: bytes, now: float) -> bool:
        """Check a CREATE and let it wait for its turn; False when it was refused, and the link told so."""
        load = self._loads.setdefault(link, _LinkLoad(updated=now))
        limit = MAX_CIRCUITS_CLIENT_LINK if link.port.peer is None else MAX_CIRCUITS_RELAY_LINK
        if link.circuits + len(load.waiting) >= limit or not self._make_room(load):
            self._refuse(link, circuit_id)
            return False
        try:
            create = self._handshake.check(body, now, lambda: _is_within_budget(link, load, now))
        except CreateRefusedError as error:
            self._effort.create_refused()
            link.destroy(circuit_id, Refusal(error.reason, error.puzzle))
            if error.is_junk and link.port.peer is None:
                _note_junk(link, load, now)
            return False
        if not load.waiting:
            self._turns.append(link)
        load.waiting[circuit_id] = (now, create)
        self.waiting += 1
        return True

    def take(self, now: float) -> WaitingCreate | None:
        """Return the CREATE whose turn it is; refuses those that waited too long for it."""
        while self._turns:
            link = self._turns.popleft()
            load = self._loads.get(link)
            if load is None or not load.waiting:
                continue
            circuit_id, received_at, create = self._take_best(load)
            if load.waiting:
                self._turns.append(link)
            if link.is_closed:
                continue
            if now - received_at > CREATE_WAIT_S:
                self._refuse(link, circuit_id)
                continue
            return WaitingCreate(link, circuit_id, create)
        return None

    def cancel(self, link: LinkCircuits, circuit_id: int) -> None:
        """The neighbour gave a circuit up: its CREATE waits no more."""
        load = self._loads.get(link)
        if load is not None and load.waiting.pop(circuit_id, None) is not None:
            self.waiting -= 1

    def forget(self, link: LinkCircuits) -> None:
        """A link closed: nothing of it waits any more."""
        load = self._loads.pop(link, None)
        if load is not None:
            self.waiting -= len(load.waiting)

    def _refuse(self, link: LinkCircuits, circuit_id: int) -> None:
        self._effort.create_refused()
        link.destroy(circuit_id, Refusal(DestroyReason.OVERLOAD))

    def _make_room(self, load: _LinkLoad) -> bool:
        """Whether one more CREATE may wait; when too many do, the link that sent most gives up its last."""
        if self.waiting < MAX_WAITING_CREATES:
            return True
        link, longest = max(self._loads.items(), key=lambda item: len(item[1].waiting))
        if len(longest.waiting) <= len(load.waiting) + 1:
            return False
        circuit_id, _ = longest.waiting.popitem()
        self.waiting -= 1
        self._refuse(link, circuit_id)
        return True

    def _take_best(self, load: _LinkLoad) -> tuple[int, float, CheckedCreate]:
        """The highest effort first, then the oldest."""
        waiting = load.waiting
        best = next(iter(waiting))
        if self._gate.effort:
            best = max(waiting, key=lambda circuit_id: waiting[circuit_id][1].effort)
        self.waiting -= 1
        received_at, create = waiting.pop(best)
        return best, received_at, create


def _note_junk(link: LinkCircuits, load: _LinkLoad, now: float) -> None:
    """Junk solutions waste our time: a client's link is closed at the fourth within a minute."""
    load.junk.append(now)
    if len(load.junk) == MAX_JUNK and now - load.junk[0] <= JUNK_PERIOD_S:
        link.port.close()


def _is_within_budget(link: LinkCircuits, load: _LinkLoad, now: float) -> bool:
    """Links of clients have a budget; a budget between relays would let one client cut them apart."""
    if link.port.peer is not None:
        return True
    load.tokens = min(CREATE_BURST, load.tokens + (now - load.updated) * CREATE_RATE)
    load.updated = now
    if load.tokens < 1.0:
        return False
    load.tokens -= 1.0
    return True
