"""Operator directories of one node: its own, and those that it asks (routing/operators)."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.http.client_io import READ_SIZE, Connect, Connection, check_pin, tls_context
from vigilnet.base.http.guards import BearerToken
from vigilnet.base.http.url import Url
from vigilnet.base.safelog import get_logger
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.liveness import Links, LivenessChecks
from vigilnet.node.modes import Mode
from vigilnet.node.options import Options
from vigilnet.node.own_record import OwnRecord
from vigilnet.peer.descriptor import PeerRecord, parse_record
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Verdict
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.routing.operators.asking_io import OperatorClient
from vigilnet.routing.operators.countries import Countries
from vigilnet.routing.operators.directory import Directory
from vigilnet.routing.operators.geoip_io import open_geoip
from vigilnet.routing.operators.registry import Registry
from vigilnet.routing.operators.service import DirectoryService
from vigilnet.routing.operators.wire import Registration, addresses_of, sign_registration
from vigilnet.traffic.ingress.ports import OnionUnavailableError
from vigilnet.traffic.stream.messages import BeginFlag, Target
from vigilnet.traffic.stream.socket_bridge_io import bridge
from vigilnet.traffic.stream.stream import StreamEndedError

ISOLATION = "operators"  # circuits of their own: no application shares them

_log = get_logger(__name__)


class Operators:
    """Serves `directory.Table` and `asking_io.Asker`.

    Args:
        options: the node's settings.
        mode: what the node does.
        clock: time.
        random_bytes: chance.
        known: the peer table.
        own: who we are; None on a client, and on an unlisted relay, of which no operator hears.
    """

    def __init__(
        self,
        options: Options,
        mode: Mode,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        known: KnownRelays,
        own: OwnRecord | None,
    ) -> None:
        self._options = options
        self._mode = mode
        self._clock = clock
        self._random_bytes = random_bytes
        self._known = known
        self._own = own
        self._pool: CircuitPool | None = None
        self._checks: LivenessChecks | None = None
        self.directory: DirectoryService | None = None
        self.client: OperatorClient | None = None

    def start(self, folder: Path, pool: CircuitPool | None, links: Links) -> None:
        """Begin to serve and to ask, as the mode says.

        Raises:
            ConfigurationError: the database of countries cannot be used.
            EnvironmentRefusedError: the directory's file cannot be used.
        """
        self._pool = pool
        if self._mode.runs_directory and self._options.relay.is_unlisted:
            raise ConfigurationError(
                f"relay.is_unlisted: mode {self._mode.value} runs a directory, which everybody may ask"
            )
        if self._mode.runs_directory and self._own is not None:
            self._start_directory(folder)
            self._checks = LivenessChecks(links, self._reached_once, self._clock)
            self._checks.start()
        uses = self._options.discovery.uses("directories")
        if self._options.operators.urls and not uses:
            _log.warning("discovery leaves out what the settings give", source="directories")
        self.client = OperatorClient(
            self._options.operators,
            self,
            self._clock,
            self._random_bytes,
            queries=self._mode.queries_directory and uses,
            registers=self._mode.sends_heartbeat and self._own is not None,
        )
        self.client.start()

    def _start_directory(self, folder: Path) -> None:
        from vigilnet.routing.operators.database_io import Database  # SQLite takes 1.3 MB: not for all modes

        options = self._options.operators
        lookup = open_geoip(options.geoip) if options.geoip is not None else None
        is_private = self._options.link.allow_private_addresses
        directory = Directory(
            Registry(options.ttl_s, has_limits=not is_private),
            self,
            Countries(options.countries, lookup),
            network=self._options.node.network,
            takes_unsigned=self._options.node.compat,
            admin=BearerToken(options.admin_token) if options.admin_token else None,
        )
        self.directory = DirectoryService(directory, Database(folder), self._clock, options.prune_s)
        self.directory.start()

    async def close(self) -> None:
        """Stop."""
        if self.client is not None:
            await self.client.close()
        if self._checks is not None:
            await self._checks.close()
        if self.directory is not None:
            directory, self.directory = self.directory, None
            await directory.close()

    # ---- what the directory needs

    def take(self, encoded: bytes, source: Source) -> Verdict:
        """Offer a record to the peer table."""
        return self._known.take(encoded, source)

    def reached(self) -> Iterable[PeerRecord]:
        """Return relays that answered us, the last time we looked, too."""
        checks = self._checks
        return [
            record
            for record in self._reached_once()
            if checks is None or record.identity not in checks.silent
        ]

    def _reached_once(self) -> list[PeerRecord]:
        view = self._known.view
        return [record for record in self._known.relays() if view.is_reached(record.identity)]

    def own(self) -> bytes:
        """Return our own record; empty while there is none."""
        return self._own.record if self._own is not None else b""

    # ---- what asking needs

    def registration(self) -> Registration | None:
        """Return our registration of this moment."""
        if self._own is None or not self._own.record:
            return None
        network = self._options.node.network
        record = parse_record(self._own.record, network)
        if not addresses_of(record):
            return None  # nobody can dial us: operators hear of us by gossip
        return sign_registration(self._own.ring.identity, record, self._clock.wall(), network)

    def circuits(self) -> Connect | None:
        """Return how to ask through circuits; a relay asks from its own address, which is no secret."""
        if self._own is not None or self._pool is None or not self._pool.has_open_circuit:
            return None
        return self._connect_by_circuit

    async def _connect_by_circuit(self, url: Url) -> Connection:
        pool = self._pool
        if pool is None:
            raise ConnectionError("no circuits")
        target = Target(url.host, url.port, flags=BeginFlag.IPV4_OK | BeginFlag.IPV6_OK)
        try:
            stream = await pool.open_stream(target, ISOLATION)
        except (StreamEndedError, OnionUnavailableError) as error:
            raise ConnectionError("not through circuits") from error
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        bridge(asyncio.get_running_loop(), theirs, stream)
        context = tls_context(url.pin) if url.is_secure else None
        reader, writer = await asyncio.open_connection(
            sock=ours, ssl=context, server_hostname=url.host if context is not None else None, limit=READ_SIZE
        )
        check_pin(url, writer)
        return reader, writer
