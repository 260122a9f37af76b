"""What a running node shows of its paths, its neighbours and its exits: frozen snapshots, made on demand.

Reads the rooms, changes nothing. Nothing secret is in them; targets, logins and addresses are marked
private in the control API's models and go to the node's own user only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from vigilnet.base.clock import Clock
from vigilnet.node.endpoints import join
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.status import (
    CircuitStatus,
    ClientFacts,
    ExitStatus,
    HopStatus,
    PathHopStatus,
    PathStatus,
    PeerStatus,
    StreamStatus,
)
from vigilnet.peer.address import TransportKind
from vigilnet.peer.descriptor import Capability, ExitSummary, PeerRecord
from vigilnet.peer.identity import peer_id_text
from vigilnet.routing.circuits.pool import PooledCircuit
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.traffic.circuit.client import CircuitState, ClientCircuit
from vigilnet.traffic.link.neighbours import LinkStatus
from vigilnet.traffic.link.service import LinkService

_ROLES = (
    (Capability.RELAY, "relay"),
    (Capability.GUARD, "guard"),
    (Capability.EXIT, "exit"),
    (Capability.DIRECTORY, "directory"),
    (Capability.DHT, "dht"),
)


@dataclass(frozen=True)
class Rooms:
    """What there is to look at; `pool` is None on a node without a client's side."""

    clock: Clock
    known: KnownRelays
    links: LinkService
    circuits: Sequence[ClientCircuit]
    pool: CircuitPool | None


@lru_cache(maxsize=1024)
def short_name(identity: bytes) -> str:
    """Return the part of a peer id that tells it apart.

    >>> short_name(bytes(32))
    '9pNAk8ai'
    """
    return peer_id_text(identity).removeprefix("12D3KooW")[:8]


@lru_cache(maxsize=1024)
def ports_text(summary: ExitSummary | None) -> str:
    """Return the accepted ports of an exit.

    >>> ports_text(ExitSummary(True, ((80, 80), (1024, 2047)))), ports_text(ExitSummary(False, ((25, 25),)))
    ('80,1024-2047', 'all but 25')
    """
    if summary is None:
        return ""
    text = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in summary.ranges)
    if summary.is_accept_list:
        return text or "none"
    return f"all but {text}" if text else "all"


def paths(rooms: Rooms) -> list[PathStatus]:
    """Return our open paths: those in use first, then the ready ones."""
    pool = rooms.pool
    if pool is None:
        return []
    links = _links_by_peer(rooms.links.snapshot())
    entries = [entry for entry in pool.pool.entries if entry.circuit.state is CircuitState.OPEN]
    entries.sort(key=lambda entry: (entry.is_retired, entry.isolation is None, -entry.first_used_at))
    return [_path(entry, rooms, links) for entry in entries]


def _path(entry: PooledCircuit, rooms: Rooms, links: dict[bytes, LinkStatus]) -> PathStatus:
    circuit, now = entry.circuit, rooms.clock.now()
    count = len(circuit.hops)
    hops = []
    for number, hop in enumerate(circuit.hops, 1):
        record = rooms.known.view.get(hop.identity)
        link = links.get(hop.identity) if number == 1 else None
        hops.append(
            PathHopStatus(
                role="exit" if number == count else "entry" if number == 1 else "middle",
                peer_id=peer_id_text(hop.identity),
                name=short_name(hop.identity),
                country=record.country if record is not None else "",
                ms=_milliseconds(link.round_trip_s) if link is not None else None,
                transport=_transport_of(link),
                address=_address_of(link),
            )
        )
    return PathStatus(
        id=circuit.circuit_id,
        label=entry.isolation or "",
        is_ready=entry.isolation is None,
        is_retired=entry.is_retired,
        age_s=round(now - entry.opened_at, 1),
        streams=len(circuit.mux.streams),
        ms=_milliseconds(circuit.mux.round_trip_s),
        hops=tuple(hops),
        is_kept=entry.is_kept,
    )


def peers(rooms: Rooms) -> list[PeerStatus]:
    """Return what is known of other relays and how they are reached, the linked ones first."""
    links = _links_by_peer(rooms.links.snapshot())
    on_paths = {hop.identity for circuit in rooms.circuits for hop in circuit.hops[1:]}
    shown = [_peer(record, links.get(record.identity), on_paths, rooms) for record in rooms.known.relays()]
    order = {"direct": 0, "relayed": 1, "failed": 2, "none": 3}
    return sorted(shown, key=lambda peer: (order[peer.link], not peer.is_entry, peer.peer_id))


def _why_linked(record: PeerRecord, link: LinkStatus) -> str:
    if record.is_dialable:
        return "dialled" if link.is_initiator else "dialled-us"
    return "punched" if link.is_initiator else "dialled-back"


def _peer(record: PeerRecord, link: LinkStatus | None, on_paths: set[bytes], rooms: Rooms) -> PeerStatus:
    identity, view, now = record.identity, rooms.known.view, rooms.clock.now()
    guards = rooms.pool.guards if rooms.pool is not None else None
    retry_at = guards.failed_until.get(identity, 0.0) if guards is not None else 0.0
    judged, bad_tags = rooms.pool.bad_tags.counts(identity) if rooms.pool is not None else (0, 0)
    if link is not None:
        kind, why = "direct", _why_linked(record, link)
    elif retry_at > now:
        kind, why = "failed", "no-answer"
    elif identity in on_paths:
        has_met = guards is not None and identity in guards.kept and view.is_reached(identity)
        kind, why = "relayed", "on-path-entry" if has_met else "on-path"
    else:
        kind, why = "none", "not-needed" if record.is_dialable else "behind-router"
    return PeerStatus(
        peer_id=peer_id_text(identity),
        found_by=tuple(dict.fromkeys(source.name for source in view.sources(identity))),
        roles=_roles(record.capabilities),
        is_reached=view.is_reached(identity),
        is_linked=link is not None,
        until=record.end,
        name=short_name(identity),
        country=record.country,
        link=kind,
        why_id=why,
        retry_s=round(max(0.0, retry_at - now), 1),
        is_entry=guards is not None and identity in guards.kept,
        transport=_transport_of(link),
        addresses=tuple(
            _address(address.transport, address.host, address.port)
            for address in record.addresses
            if address.port
        ),
        introducers=tuple(map(short_name, record.introducers)),
        ms=_milliseconds(link.round_trip_s) if link is not None else None,
        in_octets=link.octets_received if link is not None else 0,
        out_octets=link.octets_sent if link is not None else 0,
        linked_s=round(link.age_s, 1) if link is not None else None,
        padding_octets=link.padding_octets if link is not None else 0,
        held_ms=round(link.held_s * 1000, 1) if link is not None else 0.0,
        shape=link.shape if link is not None else "",
        bandwidth_kbps=_bandwidth(record),
        ports=ports_text(record.exit_summary),
        software=record.software,
        judged_circuits=judged,
        bad_tags=bad_tags,
    )


# What records say stays the same from one look to the next, and is asked for each second.


@lru_cache(maxsize=64)
def _roles(capabilities: Capability) -> tuple[str, ...]:
    return tuple(name for bit, name in _ROLES if bit in capabilities)


@lru_cache(maxsize=1024)
def _address(transport: int, host: str, port: int) -> str:
    return f"{_transport_name(transport)} {join(host, port)}"


def exits(rooms: Rooms, country: str, port: int) -> list[ExitStatus]:
    """Return the known exits of a country ("": any) that accept a port (0: any)."""
    in_use = {circuit.hops[-1].identity for circuit in rooms.circuits if circuit.state is CircuitState.OPEN}
    return [
        ExitStatus(
            peer_id=peer_id_text(record.identity),
            name=short_name(record.identity),
            country=record.country,
            ports=ports_text(record.exit_summary),
            bandwidth_kbps=_bandwidth(record),
            in_use=record.identity in in_use,
        )
        for record in rooms.known.relays()
        if Capability.EXIT in record.capabilities
        and country in ("", record.country)
        and (not port or record.exit_summary is None or record.exit_summary.allows(port))
    ]


def circuits(rooms: Rooms) -> list[CircuitStatus]:
    """Return our own circuits, open or not."""
    now = rooms.clock.now()
    entries = rooms.pool.pool.entries if rooms.pool is not None else ()
    isolation = {entry.circuit: entry.isolation for entry in entries}
    return [
        CircuitStatus(
            id=circuit.circuit_id,
            state=circuit.state.value,
            hops=tuple(HopStatus(peer_id_text(hop.identity), hop.suite.name.lower()) for hop in circuit.hops),
            age_s=round(now - circuit.created_at, 3),
            streams=len(circuit.mux.streams),
            build_ms=round((circuit.opened_at - circuit.created_at) * 1000, 3) if circuit.opened_at else None,
            isolation=isolation.get(circuit) or "",
        )
        for circuit in rooms.circuits
    ]


def streams(rooms: Rooms) -> list[StreamStatus]:
    """Return our own streams; targets are for the node's own user alone."""
    now = rooms.clock.now()
    return [
        StreamStatus(
            id=stream.identifier,
            circuit=circuit.circuit_id,
            target=join(stream.target.host, stream.target.port) if stream.target else "",
            state="open" if stream.connected_to is not None else "opening",
            age_s=round(now - stream.created_at, 3),
            sent=stream.sent_octets,
            received=stream.received_octets,
        )
        for circuit in rooms.circuits
        for stream in circuit.mux.streams.values()
    ]


def client_facts(rooms: Rooms) -> ClientFacts | None:
    """Return where the client side stands."""
    pool = rooms.pool
    if pool is None:
        return None
    options, relays = pool.options, rooms.known.relays()
    entries = [entry for entry in pool.pool.entries if entry.circuit.state is CircuitState.OPEN]
    usable = [entry for entry in entries if not entry.is_retired]
    building = [circuit for circuit in rooms.circuits if circuit.state is CircuitState.BUILDING]
    used = max(usable, key=lambda entry: (entry.isolation is not None, entry.idle_since), default=None)
    last = rooms.known.view.get(used.exit) if used is not None else None
    return ClientFacts(
        hops=options.hops,
        has_path=bool(usable),
        had_path=pool.first_circuit_ms is not None,
        relays=len(relays),
        enough_relays=len(relays) >= options.hops
        and any(Capability.EXIT in record.capabilities for record in relays),
        hop=max((circuit.reached + 1 for circuit in building), default=1),
        country=last.country if last is not None else "",
        broken=_role_of(*pool.last_break),
        reason=pool.last_error,
    )


def _role_of(hop: int, count: int) -> str:
    if not hop:
        return ""
    return "exit" if hop >= count else "entry" if hop == 1 else "middle"


def _links_by_peer(links: Iterable[LinkStatus]) -> dict[bytes, LinkStatus]:
    return {link.peer: link for link in links if link.peer is not None and not link.is_retired}


def _transport_name(transport: int) -> str:
    return transport.name if isinstance(transport, TransportKind) else f"transport {transport}"


def _transport_of(link: LinkStatus | None) -> str:
    return "" if link is None or link.dialled is None else _transport_name(link.dialled.transport)


def _address_of(link: LinkStatus | None) -> str:
    return "" if link is None or link.dialled is None else join(link.dialled.host, link.dialled.port)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _bandwidth(record: PeerRecord) -> int | None:
    """Return kbit/s; the record says the power of two of kilobytes a second."""
    return None if record.bandwidth_class is None else 8 << record.bandwidth_class
