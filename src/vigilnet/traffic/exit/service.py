"""The exit: dials, resolves and exchanges datagrams for the clients of circuits that end here.

Serves the circuit room's `Acceptor`. Nothing here waits: a literal target is dialled at once, a
name gets a task. What a client is told of a failure is the END's reason; logs name no target.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

import dns.exception
import dns.name
import dns.reversename

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.special_addresses import IpAddress, special_purpose
from vigilnet.traffic.exit.bound_flow_io import BoundDatagrams, BoundEchoes, BoundFlow
from vigilnet.traffic.exit.datagrams_io import ExitFlow
from vigilnet.traffic.exit.dial_io import Dial, in_dialling_order, is_own_address
from vigilnet.traffic.exit.options import Options
from vigilnet.traffic.exit.policy import ExitPolicy, policy_rules
from vigilnet.traffic.exit.prelude import HOST as PRELUDE_HOST
from vigilnet.traffic.exit.prelude import Prelude
from vigilnet.traffic.exit.prelude_io import PreludeStream
from vigilnet.traffic.exit.resolver_io import REFUSED, SERVFAIL, Resolver
from vigilnet.traffic.exit.targets import TargetRefusedError, is_local_name, parse_host, parse_name
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.messages import BeginFlag, Resolve, Resolved, ResourceRecord, Target
from vigilnet.traffic.stream.socket_bridge_io import SocketBridge
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason

SWEEP_S: Final = 1.0
PRELUDE_S: Final = 10.0  # for a client to say where it wants to go
MAX_RESOLVES: Final = 1024

_log = get_logger(__name__)


@dataclass
class Counters:
    """What this exit did since it started."""

    accepted: int = 0
    refused: int = 0
    failed: int = 0
    resolved: int = 0


@dataclass(frozen=True)
class Snapshot:
    """What the status shows of the exit."""

    open_streams: int
    dialling: int
    datagram_flows: int
    accepted: int
    refused: int
    failed: int
    resolved: int
    octets: int  # of streams, both ways
    lost_datagrams: int  # answers that found no room


def _own_addresses(texts: Iterable[str]) -> frozenset[IpAddress]:
    try:
        return frozenset(map(ip_address, texts))
    except ValueError as error:
        raise ConfigurationError(f"own_addresses: {error}, expected IP addresses") from error


class ExitService:
    """The exit room of one node.

    Args:
        options: what it may do.
        clock: time.
        hosts_file: names of test networks; read only if private targets are allowed.

    Raises:
        ConfigurationError: a rule, resolver or address in the options is malformed.
    """

    def __init__(self, options: Options, clock: Clock, hosts_file: Path = Path("/etc/hosts")) -> None:
        self._options = options
        self._clock = clock
        self._more_own = _own_addresses(options.own_addresses)
        self.policy = ExitPolicy(
            policy_rules(options.policy, options.rules), options.allow_private_targets, self._is_own
        )
        self._resolver = Resolver(
            options.resolvers,
            options.resolve_timeout_s,
            clock,
            hosts_file if options.allow_private_targets else None,
        )
        self._tasks = TaskGroup("exit")
        self._dials: dict[Stream, Dial | None] = {}  # None while the name is resolved
        self._preludes: dict[Stream, PreludeStream] = {}  # streams that name their target themselves
        self._flows: set[ExitFlow | BoundFlow] = set()
        self._opening_flows = 0  # their names are being resolved
        self._streams: set[Stream] = set()  # joined to their targets
        self._octets = 0  # of those that have ended
        self._lost = 0  # datagrams of flows that have ended
        self._resolves = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self.counters = Counters()

    def _is_own(self, address: IpAddress) -> bool:
        return address in self._more_own or is_own_address(address)

    def snapshot(self) -> Snapshot:
        """Return figures for the status."""
        counted = self.counters
        return Snapshot(
            len(self._streams),
            len(self._dials),
            len(self._flows),
            counted.accepted,
            counted.refused,
            counted.failed,
            counted.resolved,
            self._octets + sum(map(_octets_of, self._streams)),
            self._lost + sum(flow.lost for flow in self._flows),
        )

    async def close(self) -> None:
        """Stop dialling and end the datagram flows; open streams end with their circuits."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for stream, dial in list(self._dials.items()):
            if dial is not None:
                dial.cancel()
            self._refuse(stream, EndReason.CLOSING)
        for flow in list(self._flows):
            flow.close(EndReason.CLOSING)
        await self._tasks.close()
        await self._resolver.close()

    # ---- streams

    def begin(self, stream: Stream, target: Target) -> None:
        """Reach `target` by TCP for a client."""
        if not self._options.enabled or self._tasks.is_closed:
            self._refuse(stream, EndReason.POLICY)
        elif len(self._streams) + len(self._dials) >= self._options.max_streams:
            self._refuse(stream, EndReason.LIMIT)
        elif target.host == PRELUDE_HOST and target.port == 0:
            self._read_prelude(stream, target)
        else:
            self._begin(stream, target)

    def _begin(self, stream: Stream, target: Target) -> None:
        try:
            host = parse_host(target.host, allow_local_names=self._options.allow_private_targets)
        except TargetRefusedError as refusal:
            self._refuse(stream, refusal.reason)
            return
        if not self.policy.may_allow_port(target.port):
            self._refuse(stream, EndReason.POLICY)
        elif isinstance(host, str):
            self._dials[stream] = None
            self._tasks.start("dial a name", self._dial_name(stream, host, target))
        else:
            self._dial(stream, [host], target, 0)

    def _read_prelude(self, stream: Stream, target: Target) -> None:
        """Let the client say inside the stream where it wants to go."""

        def found(_: PreludeStream, prelude: Prelude) -> None:
            self._begin(stream, replace(target, host=prelude.host, port=prelude.port))

        def failed(_: PreludeStream) -> None:
            self.counters.refused += 1
            self._dials.pop(stream, None)
            self._preludes.pop(stream, None)

        waiting = PreludeStream(stream, found, failed, self._clock.now() + PRELUDE_S)
        self._dials[stream] = None
        self._preludes[stream] = waiting
        self._sweep_later()
        waiting.start()

    async def _dial_name(self, stream: Stream, name: str, target: Target) -> None:
        found, ttl = await self._resolver.addresses(
            name, ipv4=bool(target.flags & BeginFlag.IPV4_OK), ipv6=bool(target.flags & BeginFlag.IPV6_OK)
        )
        if self._dials.pop(stream, self) is self:
            return  # closed meanwhile
        if not found:
            self._fail(stream, EndReason.RESOLVE_FAILED)
        else:
            self._dial(stream, list(found), target, ttl)

    def _dial(self, stream: Stream, addresses: list[IpAddress], target: Target, ttl: int) -> None:
        """Dial those of the addresses that policy and client allow."""
        if stream.closed is not None:
            return
        port = target.port
        allowed = [address for address in addresses if self.policy.allows(address, port)]
        candidates = in_dialling_order(allowed, target.flags)
        if not candidates:
            self._refuse(stream, EndReason.NO_ROUTE if allowed else EndReason.POLICY)
            return

        def done(sock: socket.socket | None, address: IpAddress | None, reason: EndReason) -> None:
            self._dials.pop(stream, None)
            if sock is None or address is None:
                self._fail(stream, reason)
            elif stream.closed is not None:
                sock.close()
            else:
                self._join(stream, sock, address, ttl)

        loop = asyncio.get_running_loop()
        dial = self._dials[stream] = Dial(loop, candidates, port, self._options.connect_timeout_s, done)
        dial.start()
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self._sweeper is None and (self._dials or self._preludes or self._flows):
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _join(self, stream: Stream, sock: socket.socket, address: IpAddress, ttl: int) -> None:
        self._streams.add(stream)
        self.counters.accepted += 1
        stream.accept(str(address), ttl)
        # Behind the flush that sends this answer, which the client waits for.
        asyncio.get_running_loop().call_soon(self._bridge, stream, sock)

    def _bridge(self, stream: Stream, sock: socket.socket) -> None:
        """Pump between a stream and its target; closes the socket if the stream ended in between."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # or a target that vanished stays for ever
        prelude = self._preludes.pop(stream, None)
        made = SocketBridge(asyncio.get_running_loop(), sock, stream, lambda _: self._closed(stream))
        if prelude is not None and (early := prelude.take_early()):
            made.data_received(memoryview(early))
        made.start()

    def _closed(self, stream: Stream) -> None:
        self._streams.discard(stream)
        self._octets += _octets_of(stream)

    def _refuse(self, stream: Stream, reason: EndReason) -> None:
        self.counters.refused += 1
        self._dials.pop(stream, None)
        self._end(stream, reason)

    def _fail(self, stream: Stream, reason: EndReason) -> None:
        self.counters.failed += 1
        self._end(stream, reason)

    def _end(self, stream: Stream, reason: EndReason) -> None:
        prelude = self._preludes.pop(stream, None)
        if prelude is not None:
            prelude.refuse(reason)
        else:
            stream.close(reason)

    def _sweep(self) -> None:
        """Give up dials whose client has gone, and flows that nobody uses."""
        self._sweeper = None
        for stream, dial in list(self._dials.items()):
            if stream.closed is not None:
                del self._dials[stream]
                self._preludes.pop(stream, None)
                if dial is not None:
                    dial.cancel()
        now = self._clock.now()
        for stream, prelude in list(self._preludes.items()):
            if stream.closed is not None:
                del self._preludes[stream]
            elif prelude.is_late(now):
                self._dials.pop(stream, None)
                del self._preludes[stream]
                self.counters.refused += 1
                prelude.refuse_late()
        idle_since = self._clock.now() - self._options.datagram_idle_s
        for flow in list(self._flows):
            if flow.last_used < idle_since:
                flow.close(EndReason.TIMEOUT)
        self._sweep_later()

    # ---- names

    def resolve(self, request: Resolve, answer: Callable[[Resolved], None]) -> None:
        """Look a name up for a client."""
        if not self._options.enabled or self._tasks.is_closed or not self._may_resolve(request.name):
            answer(Resolved(REFUSED))
        elif self._resolves >= MAX_RESOLVES:
            answer(Resolved(SERVFAIL))
        else:
            self._resolves += 1
            self._tasks.start("resolve", self._resolve(request, answer))

    def _may_resolve(self, text: str) -> bool:
        try:
            name = parse_name(text)
        except TargetRefusedError:
            return False
        if self._options.allow_private_targets:
            return True
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return _may_reverse(name)
        return not is_local_name(name)

    async def _resolve(self, request: Resolve, answer: Callable[[Resolved], None]) -> None:
        try:
            resolved = await self._resolver.lookup(parse_name(request.name), request.qtype)
        finally:
            self._resolves -= 1
        self.counters.resolved += 1
        answer(self._without_private(resolved))

    def _without_private(self, resolved: Resolved) -> Resolved:
        """Drop addresses of local networks: they are ours to know, and rebind names to the client's own."""
        if self._options.allow_private_targets:
            return resolved
        kept = tuple(record for record in resolved.records if not _is_private_record(record))
        return (
            resolved
            if len(kept) == len(resolved.records)
            else Resolved(resolved.rcode, kept, resolved.was_cut)
        )

    # ---- datagrams

    def open_datagrams(self, flow: DatagramFlow, target: Target) -> None:
        """Exchange UDP datagrams for a client."""
        if not self._may_serve(flow):
            return
        loop = asyncio.get_running_loop()
        if flow.is_bound:

            def connect(address: IpAddress) -> None:
                bound = BoundDatagrams(loop, flow, self._clock, self._options.datagram_rate, self._flow_ended)
                bound.start(flow, address, target.port)
                self._serve(bound)

            self._reach(flow, target, lambda address: self.policy.allows(address, target.port), connect)
            return
        served = ExitFlow(loop, flow, self.policy, self._clock, self._options.datagram_rate, self._flow_ended)
        served.start()
        self._serve(served)

    def open_echo(self, flow: EchoFlow, target: Target) -> None:
        """Send ICMP echoes for a client."""
        if not self._may_serve(flow):
            return

        def connect(address: IpAddress) -> None:
            bound = BoundEchoes(
                asyncio.get_running_loop(), flow, self._clock, self._options.echo_rate, self._flow_ended
            )
            bound.start(flow, address)
            self._serve(bound)

        self._reach(flow, target, self.policy.allows_echo, connect)

    def _may_serve(self, flow: DatagramFlow | EchoFlow) -> bool:
        reason = None
        if not self._options.enabled or self._tasks.is_closed:
            reason = EndReason.POLICY
        elif len(self._flows) + self._opening_flows >= self._options.max_datagram_flows:
            reason = EndReason.LIMIT
        if reason is not None:
            self._refuse_flow(flow, reason)
        return reason is None

    def _refuse_flow(self, flow: DatagramFlow | EchoFlow, reason: EndReason) -> None:
        self.counters.refused += 1
        flow.close(reason)

    def _serve(self, flow: ExitFlow | BoundFlow) -> None:
        self._flows.add(flow)
        self.counters.accepted += 1
        self._sweep_later()

    def _flow_ended(self, flow: ExitFlow | BoundFlow) -> None:
        self._flows.discard(flow)
        self._lost += flow.lost

    def _reach(
        self,
        flow: DatagramFlow | EchoFlow,
        target: Target,
        allows: Callable[[IpAddress], bool],
        connect: Callable[[IpAddress], None],
    ) -> None:
        """Find an address of the target's that policy and client allow, and connect a flow to it."""
        try:
            host = parse_host(target.host, allow_local_names=self._options.allow_private_targets)
        except TargetRefusedError as refusal:
            self._refuse_flow(flow, refusal.reason)
            return
        if isinstance(host, str):
            self._opening_flows += 1
            self._tasks.start("reach a name", self._reach_name(flow, host, target, allows, connect))
        else:
            self._reach_one_of(flow, [host], target, allows, connect)

    async def _reach_name(
        self,
        flow: DatagramFlow | EchoFlow,
        name: str,
        target: Target,
        allows: Callable[[IpAddress], bool],
        connect: Callable[[IpAddress], None],
    ) -> None:
        try:
            found, _ = await self._resolver.addresses(
                name,
                ipv4=bool(target.flags & BeginFlag.IPV4_OK),
                ipv6=bool(target.flags & BeginFlag.IPV6_OK),
            )
        finally:
            self._opening_flows -= 1
        if not found:
            self.counters.failed += 1
            flow.close(EndReason.RESOLVE_FAILED)
        else:
            self._reach_one_of(flow, list(found), target, allows, connect)

    def _reach_one_of(
        self,
        flow: DatagramFlow | EchoFlow,
        addresses: list[IpAddress],
        target: Target,
        allows: Callable[[IpAddress], bool],
        connect: Callable[[IpAddress], None],
    ) -> None:
        if flow.closed is not None:
            return
        allowed = [address for address in addresses if allows(address)]
        candidates = in_dialling_order(allowed, target.flags)
        if not candidates:
            self._refuse_flow(flow, EndReason.NO_ROUTE if allowed else EndReason.POLICY)
            return
        for address in candidates:
            try:
                connect(address)
            except PermissionError:  # no echoes from here
                self._refuse_flow(flow, EndReason.POLICY)
                return
            except OSError:  # no route in this family
                continue
            return
        self.counters.failed += 1
        flow.close(EndReason.NO_ROUTE)


def _octets_of(stream: Stream) -> int:
    return stream.sent_octets + stream.received_octets


def _may_reverse(name: str) -> bool:
    """Whether a name under in-addr.arpa or ip6.arpa stands for one public address."""
    try:
        address = ip_address(dns.reversename.to_address(dns.name.from_text(name)))
    except (dns.exception.DNSException, ValueError):
        return False
    return special_purpose(address) is None


def _is_private_record(record: ResourceRecord) -> bool:
    if record.type == 1:
        return special_purpose(ip_address(record.rdata)) is not None
    return record.type == 28 and special_purpose(IPv6Address(record.rdata)) is not None
