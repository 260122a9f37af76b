"""The frozen snapshots of a node that every surface shows; field names are those of the control API.

Made by the assembly on demand. Nothing here is secret, but targets and neighbours are sensitive: a
snapshot goes to the node's own user only (docs/spec/control.md).
"""

from dataclasses import dataclass
from enum import StrEnum


class NodeState(StrEnum):
    """Where a node stands, as people see it."""

    STARTING = "starting"
    CONNECTING = "connecting"  # no circuit is open yet
    CONNECTED = "connected"
    SERVING = "serving"  # relays without a client's circuits
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node at one moment."""

    version: str
    pid: int
    state: NodeState
    uptime_s: float
    network: str = ""
    roles: tuple[str, ...] = ()  # of "client", "relay", "exit"
    peer_id: str = ""  # 12D3KooW... of a relay; a client has none
    socks: str = ""  # host:port really bound; empty when off
    http_proxy: str = ""
    listen: tuple[str, ...] = ()  # host:port where neighbours reach us
    peers: int = 0  # records known
    links: int = 0
    circuits: int = 0  # open ones of our own
    relayed_circuits: int = 0  # of others, through us
    streams: int = 0
    phase: str = ""  # "discover", "mesh" or "full"
    first_circuit_ms: float | None = None  # from the start of the process to the first open circuit


@dataclass(frozen=True, slots=True)
class HopStatus:
    """One hop of a circuit of ours."""

    peer_id: str
    suite: str


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """One circuit of ours, guard first."""

    id: int
    state: str
    hops: tuple[HopStatus, ...]
    age_s: float
    streams: int = 0
    build_ms: float | None = None
    isolation: str = ""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream of ours."""

    id: int
    circuit: int
    target: str  # host:port
    state: str
    age_s: float
    sent: int = 0  # octets from the application
    received: int = 0


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One relay that this node knows."""

    peer_id: str
    found_by: tuple[str, ...]  # kinds of sources that named its record, the first first
    roles: tuple[str, ...]  # of "relay", "guard", "exit", "directory"
    is_reached: bool  # we dialled it with success once
    is_linked: bool
    until: int  # Unix seconds: then its record is over


@dataclass(frozen=True, slots=True)
class InviteStatus:
    """An invite to one relay."""

    uri: str
    peer_id: str
    until: int  # Unix seconds: then its record is over
    is_new: bool = False  # it was not known before


@dataclass(frozen=True, slots=True)
class WelcomeStatus:
    """A welcome list."""

    text: str
    relays: int
    is_signed: bool
