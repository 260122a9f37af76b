"""This node's part in the DHT: a relay joins it beside its plain TCP port."""

from collections.abc import Callable
from ipaddress import ip_address

from vigilnet.base.clock import Clock
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options
from vigilnet.node.own_record import OwnRecord
from vigilnet.peer.address import TransportKind
from vigilnet.peer.descriptor import Capability, PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome
from vigilnet.routing.discovery.dht import DhtEngine, network_number
from vigilnet.routing.discovery.dht_io import DhtService
from vigilnet.routing.discovery.dht_process_io import DhtProcess, is_installed
from vigilnet.traffic.link.dial_io import is_private

_log = get_logger(__name__)


def open_engine(listen: list[tuple[str, int]], network: str) -> DhtEngine | None:
    """Start the engine at the UDP ports beside our plain TCP ones; None if that cannot be had.

    Args:
        listen: addresses and TCP ports where we listen without cover. A relay that has none stays out:
            whoever probes a web server must not be answered by a DHT.
        network: name of a private network.
    """
    if not listen:
        return None
    if not is_installed():
        _log.info("no DHT: the package is not installed (pip install 'vigilnet[dht]')")
        return None
    port = listen[0][1]
    hosts = [host for host, its_port in listen if its_port == port]
    four = next((host for host in hosts if ":" not in host), "")
    six = next((host for host in hosts if ":" in host), "")
    try:
        return DhtProcess(four, six, port, network_number(network))
    except EnvironmentRefusedError as error:
        _log.warning("no DHT on this machine now", reason=str(error))
        return None


def dht_service(
    engine: DhtEngine,
    known: KnownRelays,
    own: OwnRecord,
    options: Options,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> DhtService:
    """Join the engine to the peer table."""
    allow_private = options.link.allow_private_addresses

    def take(encoded: bytes, source: Source) -> PeerRecord | None:
        """Offer a record; return it if the table has just this one now."""
        verdict = known.take(encoded, source)
        if verdict.record is not None:
            return verdict.record
        if verdict.outcome is not Outcome.KNOWN:
            return None
        return known.holds(encoded)

    def nodes() -> list[tuple[str, int]]:
        found = [
            (address.host, address.port)
            for record in known.relays()
            if Capability.DHT in record.capabilities
            for address in record.addresses
            if address.transport == TransportKind.TCP and _is_ip(address.host)
            and (allow_private or not is_private(address.host) or known.is_on_lan(record.identity))
        ]  # fmt: skip
        return sorted(found, key=lambda _: random_bytes(8))

    return DhtService(engine, take, nodes, lambda: own.parsed, clock, random_bytes, options.node.network)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
