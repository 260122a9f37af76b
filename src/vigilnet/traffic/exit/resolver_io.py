"""Names into addresses and other records, for streams and for RESOLVE (docs/spec/exit.md section 5).

One look-up of a name serves everybody who asks for it meanwhile; answers are kept for their TTL,
held to 60...3600 s, so that a client cannot make us ask for each of its streams. What is returned
was not judged yet: the policy looks at every address, and only those very addresses are dialled.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.special_addresses import IpAddress
from vigilnet.traffic.stream.messages import Resolved, ResourceRecord

# From the specification.
MIN_TTL_S: Final = 60
MAX_TTL_S: Final = 3600

# Our choice.
MAX_CACHED: Final = 4096
MAX_LOOKUPS: Final = 512
MAX_ANSWER: Final = 14_000  # octets of records in one answer: fits one run
RELOAD_S: Final = 5.0  # how often /etc/resolv.conf is looked at

NOERROR: Final = 0
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5

_A: Final = int(dns.rdatatype.A)
_AAAA: Final = int(dns.rdatatype.AAAA)
TYPES: Final = frozenset(
    map(
        int,
        (
            dns.rdatatype.A,
            dns.rdatatype.NS,
            dns.rdatatype.CNAME,
            dns.rdatatype.SOA,
            dns.rdatatype.PTR,
            dns.rdatatype.MX,
            dns.rdatatype.TXT,
            dns.rdatatype.AAAA,
            dns.rdatatype.SRV,
            dns.rdatatype.NAPTR,
            dns.rdatatype.DS,
            dns.rdatatype.SSHFP,
            dns.rdatatype.DNSKEY,
            dns.rdatatype.TLSA,
            dns.rdatatype.SVCB,
            dns.rdatatype.HTTPS,
            dns.rdatatype.CAA,
        ),
    )
)
"""Record types that are looked up; others are answered NOTIMP."""

_SYSTEM_FILE: Final = Path("/etc/resolv.conf")
_HOSTS_FILE: Final = Path("/etc/hosts")
_Key = tuple[str, int]

_log = get_logger(__name__)


class Addresses(NamedTuple):
    """A name's addresses, as they came; `ttl` in seconds."""

    found: tuple[IpAddress, ...]
    ttl: int


class Resolver:
    """Asks the configured servers, or the system's.

    Args:
        servers: addresses or address:port texts; empty for those in `system_file`.
        timeout_s: for one look-up, retries included.
        clock: for the cache.
        hosts_file: read at each look-up if given (test networks), as `localhost` then is a name.
        system_file: where the system's servers are named.

    Raises:
        ConfigurationError: a server is no address.
    """

    def __init__(
        self,
        servers: Sequence[str],
        timeout_s: float,
        clock: Clock,
        hosts_file: Path | None = None,
        system_file: Path = _SYSTEM_FILE,
    ) -> None:
        self._servers = [_nameserver(text) for text in servers]
        self._timeout_s = timeout_s
        self._clock = clock
        self._hosts_file = hosts_file
        self._system_file = system_file
        self._engine: dns.asyncresolver.Resolver | None = None
        self._reload_at = 0.0
        self._stamp: float | None = None
        self._cache: OrderedDict[_Key, tuple[float, Resolved]] = OrderedDict()
        self._flights: dict[_Key, asyncio.Task[Resolved]] = {}
        self._tasks = TaskGroup("exit resolver")

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.close()

    async def addresses(self, name: str, *, ipv4: bool = True, ipv6: bool = True) -> Addresses:
        """Return the addresses of a name, none if there are none or if no server answers."""
        local = self._local_addresses(name)
        if local:
            return Addresses(local, MIN_TTL_S)
        wanted = [*([_A] if ipv4 else []), *([_AAAA] if ipv6 else [])]
        answers = await asyncio.gather(*(self.lookup(name, kind) for kind in wanted))
        records = [record for answer in answers for record in answer.records]
        found = tuple(
            IPv4Address(record.rdata) if record.type == _A else IPv6Address(record.rdata)
            for record in records
        )
        return Addresses(found, min((record.ttl for record in records), default=MIN_TTL_S))

    async def lookup(self, name: str, kind: int) -> Resolved:
        """Return the records of one type. Never raises for what DNS or the network do."""
        if kind not in TYPES:
            return Resolved(NOTIMP)
        key = (name, kind)
        kept = self._cache.get(key)
        now = self._clock.now()
        if kept is not None and kept[0] > now:
            return kept[1]
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= MAX_LOOKUPS or self._tasks.is_closed:
                return Resolved(SERVFAIL)
            flight = self._flights[key] = self._tasks.start("look-up", self._ask(name, kind))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            if flight.cancelled():
                return Resolved(SERVFAIL)  # we are closing; the caller itself was not cancelled
            raise

    async def _ask(self, name: str, kind: int) -> Resolved:
        engine = self._current_engine()
        if engine is None:
            return Resolved(SERVFAIL)
        try:
            answer = await engine.resolve(
                dns.name.from_text(name),
                dns.rdatatype.RdataType(kind),
                raise_on_no_answer=False,
                search=False,
            )
        except dns.resolver.NXDOMAIN:
            return self._keep((name, kind), Resolved(NXDOMAIN), MIN_TTL_S)
        except (dns.exception.DNSException, OSError) as error:  # no server answered in time or in good order
            _log.debug("look-up failed", error=error)
            return Resolved(SERVFAIL)
        ttl = min(max(answer.chaining_result.minimum_ttl, MIN_TTL_S), MAX_TTL_S)
        records = [ResourceRecord(kind, ttl, rdata.to_wire() or b"") for rdata in answer.rrset or ()]
        return self._keep((name, kind), _cut(records), ttl)

    def _keep(self, key: _Key, resolved: Resolved, ttl: int) -> Resolved:
        self._cache[key] = (self._clock.now() + ttl, resolved)
        self._cache.move_to_end(key)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return resolved

    def _current_engine(self) -> dns.asyncresolver.Resolver | None:
        """Return the engine, made anew when the system's servers changed."""
        if self._servers:
            if self._engine is None:
                self._engine = self._new_engine(self._servers)
            return self._engine
        now = self._clock.now()
        if now >= self._reload_at:
            self._reload_at = now + RELOAD_S
            self._reload()
        return self._engine

    def _reload(self) -> None:
        try:
            stamp = self._system_file.stat().st_mtime
            if stamp == self._stamp:
                return
            read = dns.resolver.Resolver(filename=str(self._system_file))
        except (OSError, dns.exception.DNSException) as error:
            _log.warning("no name server known, names cannot be resolved: set exit.resolvers", error=error)
            self._engine = self._stamp = None
            return
        self._stamp = stamp
        self._engine = self._new_engine(read.nameservers)

    def _new_engine(self, servers: Sequence[str | dns.nameserver.Nameserver]) -> dns.asyncresolver.Resolver:
        engine = dns.asyncresolver.Resolver(configure=False)
        engine.nameservers = list(servers)
        engine.lifetime = self._timeout_s
        engine.timeout = max(self._timeout_s / 3, 0.1)  # one try; a lost datagram is asked again in time
        engine.use_edns(0, 0, 1232)
        return engine

    def _local_addresses(self, name: str) -> tuple[IpAddress, ...]:
        if self._hosts_file is None:
            return ()
        if name == "localhost" or name.endswith(".localhost"):
            return (IPv4Address("127.0.0.1"), IPv6Address("::1"))
        try:
            return hosts_addresses(self._hosts_file.read_text(errors="replace"), name)
        except OSError:
            return ()


def hosts_addresses(text: str, name: str) -> tuple[IpAddress, ...]:
    """Return the addresses that a hosts file gives for a lower-case name."""
    found: list[IpAddress] = []
    for line in text.splitlines():
        address, *names = line.partition("#")[0].lower().split() or [""]
        if name in names:
            try:
                found.append(ip_address(address))
            except ValueError:
                continue
    return tuple(found)


def _cut(records: Iterable[ResourceRecord]) -> Resolved:
    kept: list[ResourceRecord] = []
    size = 0
    for record in records:
        size += 8 + len(record.rdata)
        if size > MAX_ANSWER:
            return Resolved(NOERROR, tuple(kept), was_cut=True)
        kept.append(record)
    return Resolved(NOERROR, tuple(kept))


def _nameserver(text: str) -> dns.nameserver.Do53Nameserver:
    host, port = text, "53"
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        port = port.removeprefix(":") if port else "53" if bracket else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = str(ip_address(host))
        number = int(port)
    except ValueError:
        number, address = 0, ""
    if not 1 <= number <= 65535:
        raise ConfigurationError(f"exit resolver: {text!r}, expected an IP address, or address:port")
    return dns.nameserver.Do53Nameserver(address, number)
