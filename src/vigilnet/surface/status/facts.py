"""What the pages show of a node, and the four states that follow from it."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How it goes, in qnet's words."""

    OFFLINE = "offline"  # off, or nobody known and no source to hear of anybody
    CALIBRATING = "calibrating"  # looking for relays, none known yet
    CONNECTING = "connecting"  # relays known, none joined yet
    CONNECTED = "connected"  # a circuit of ours is open; a relay is so with a link, too


@dataclass(frozen=True, slots=True)
class ExitFacts:
    """What an exit did."""

    total: int
    success: int
    blocked: int
    octets: int
    lost_datagrams: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """One node at one moment."""

    mode: str = "client"
    is_on: bool = True
    is_relay: bool = False
    has_sources: bool = False  # something that may bring relays: a list, operators, the LAN
    socks: str = ""
    socks_port: int = 0
    status_port: int = 0
    relays: int = 0  # known
    links: int = 0
    circuits: int = 0  # open ones of our own
    relayed_circuits: int = 0
    relayed_cells: int = 0
    operators: int = 0
    operator_answered: bool = False
    built: int = 0
    failed: int = 0
    last_error: str = ""
    exit: ExitFacts | None = None


def state_of(facts: Facts) -> State:
    """Return the state."""
    if not facts.is_on:
        return State.OFFLINE
    if facts.circuits or (facts.is_relay and facts.links):
        return State.CONNECTED
    if facts.relays:
        return State.CONNECTING
    return State.CALIBRATING if facts.has_sources else State.OFFLINE


@dataclass(slots=True)
class History:
    """Since when it is connected, and how often it had to reconnect; fed again and again."""

    state: State = State.OFFLINE
    connected_at: float | None = None
    reconnections: int = 0
    reconnected_at: float | None = None
    checked_at: float | None = None

    def note(self, state: State, now: float) -> None:
        """Take a look at the state into account."""
        self.checked_at = now
        if state is State.CONNECTED and self.state is not State.CONNECTED:
            if self.connected_at is not None:
                self.reconnections += 1
                self.reconnected_at = now
            self.connected_at = now
        self.state = state
