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
    OFF = "off"  # the process is there, the node is not


@dataclass(frozen=True, slots=True)
class ExitWork:
    """What an exit did since it started."""

    accepted: int
    refused: int
    failed: int
    octets: int  # of streams, both ways
    lost_datagrams: int = 0  # answers that found no room on their circuit


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
    clock_offset_s: float | None = None  # neighbours' clocks minus ours
    first_circuit_ms: float | None = None  # from the start of the process to the first open circuit
    origin: str = ""  # "up", or what is wrong with a relay's web server or visits
    intercepted: int = 0  # relays not dialled now, since somebody stands before their origin


@dataclass(frozen=True, slots=True)
class WorkDone:
    """What a node did since it started, beyond its status."""

    built: int = 0  # circuits of our own
    failed: int = 0
    last_error: str = ""  # why the last circuit was not built
    relayed_cells: int = 0  # for others
    exit: ExitWork | None = None  # on exits


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
class PathHopStatus:
    """One station of a path of ours."""

    role: str  # entry, middle or exit
    peer_id: str
    name: str
    country: str
    ms: float | None = None  # round trip of our link to it
    transport: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class PathStatus:
    """One open path of ours."""

    id: int
    label: str  # whose it is
    is_ready: bool
    is_retired: bool
    age_s: float
    streams: int
    ms: float | None  # through the whole path
    hops: tuple[PathHopStatus, ...]
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One relay that this node knows."""

    peer_id: str
    found_by: tuple[str, ...]  # kinds of sources that named its record, the first first
    roles: tuple[str, ...]  # of "relay", "guard", "exit", "directory"
    is_reached: bool  # we dialled it with success once
    is_linked: bool
    until: int  # Unix seconds: then its record is over
    name: str = ""
    country: str = ""
    link: str = "none"  # direct, relayed, failed or none
    # dialled, dialled-us, dialled-back, punched, on-path, on-path-entry, no-answer, not-needed, behind-router
    why_id: str = ""
    retry_s: float = 0.0  # when one that failed is tried again
    is_entry: bool = False
    transport: str = ""
    addresses: tuple[str, ...] = ()
    ms: float | None = None
    in_octets: int = 0
    out_octets: int = 0
    linked_s: float | None = None
    bandwidth_kbps: int | None = None
    ports: str = ""
    software: str = ""
    judged_circuits: int = 0  # of ours over it, the last ones
    bad_tags: int = 0  # how many of them died of a changed record, by whomever
    padding_octets: int = 0  # of the octets out, those sent for the link's shape
    held_ms: float = 0.0  # the longest that something waited for it
    shape: str = ""  # name of the profile
    introducers: tuple[str, ...] = ()  # short ids of neighbours through which it is asked to dial


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """One exit that this node knows."""

    peer_id: str
    name: str
    country: str
    ports: str
    bandwidth_kbps: int | None
    in_use: bool


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """Where a node's client side stands; the state in words follows from it."""

    hops: int
    has_path: bool = False
    had_path: bool = False
    relays: int = 0
    enough_relays: bool = False
    hop: int = 0  # that is being asked, of the circuit that is farthest
    country: str = ""  # of the exit in use
    broken: str = ""  # entry, middle or exit: where the last path broke
    reason: str = ""  # why the last try failed


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
