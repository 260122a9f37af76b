"""The whole device at work: asks the helper to take this machine's traffic, and carries what comes."""

import asyncio
import os
from dataclasses import dataclass, replace
from typing import Any, Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.device.capture_io import TcpCapture
from vigilnet.traffic.device.helper_client_io import (
    HelperClient,
    HelperMissingError,
    mark_requests,
    outward_sockets,
)
from vigilnet.traffic.device.helper_wire import MAX_ADDRESSES, MAX_LIFE_S, Group, Operation, Request
from vigilnet.traffic.device.options import DnsMode, Options, parse_server
from vigilnet.traffic.device.resolver_io import NameResolver, NameServer
from vigilnet.traffic.device.settings import DeviceSettings, Scope
from vigilnet.traffic.device.split import matches_domain
from vigilnet.traffic.stream.messages import Target

ISOLATION: Final = "device"
KEEP_S: Final = 2.0  # between two looks whether the helper is there
MIN_LEARNT_S: Final = 60  # an address by name stays outside at least so long

_log = get_logger(__name__)


@dataclass(frozen=True)
class DeviceSnapshot:
    """What the status shows of the device."""

    is_up: bool
    is_locked: bool
    has_helper: bool
    can_split: bool
    helper: str
    dns: str
    names_visible: bool  # the system's resolver sees what names are asked
    scope: str
    allow_lan: bool
    connections: int
    taken: int
    flows: int
    datagrams: int
    questions: int
    own: int  # packets that left, by why they may
    outside: int
    refused: int  # packets that did not


class DeviceService:
    """One node's device.

    Args:
        options: what to take, and how names are resolved.
        resolver: opens streams and resolves names over circuits.
        clock: time.
        relay_ports: TCP ports that other nodes reach us on.
    """

    def __init__(
        self, options: Options, resolver: NameResolver, clock: Clock, relay_ports: tuple[int, ...] = ()
    ) -> None:
        self.options = options
        self._resolver = resolver
        self._clock = clock
        self._relay_ports = relay_ports
        self._client = HelperClient(options.helper)
        self._tasks = TaskGroup("device")
        self._capture: TcpCapture | None = None
        self._names: NameServer | None = None
        self._tun = -1
        self._changing = asyncio.Lock()
        self._wanted = False
        self._told: dict[str, Any] = {}

    # ---- up and down

    async def start(self) -> None:
        """Go up if the settings say so."""
        if self.options.up:
            await self.up()

    async def close(self) -> None:
        """End in good order: put the device back."""
        try:
            if self._wanted:
                await self.down()
        except VigilnetError as error:
            _log.error("device not put back: run `sudo vigilnet doctor --repair`", reason=str(error))
        finally:
            await self._tasks.close()
            await self._stop_listening()
            self._client.close()

    async def up(self) -> DeviceSnapshot:
        """Take the device's traffic; nothing leaves around the network from then on.

        Raises:
            HelperMissingError: nobody with rights runs.
            EnvironmentRefusedError: the system refuses; everything is as before.
        """
        async with self._changing:
            await self._greet()
            await self._listen()
            try:
                await self._take()
            except VigilnetError:
                await self._stop_listening()
                raise
            if not self._wanted:
                self._wanted = True
                self._tasks.start("keep", self._keep())
        return await self.refreshed()

    async def down(self) -> DeviceSnapshot:
        """Put the device back as it was; with lockdown on, nothing leaves."""
        async with self._changing:
            self._wanted = False
            self._client.connect()
            self._told, _ = await self._client.ask(Request(Operation.DOWN))
            await self._stop_listening()
        return self.snapshot()

    async def _greet(self) -> None:
        """Have our sockets go around the tunnel: those to come by their group, those there are one by one."""
        await asyncio.to_thread(self._client.connect)
        try:
            self._told, _ = await self._client.ask(Request(Operation.HELLO))
            for descriptors in mark_requests(outward_sockets()):
                await self._client.ask(Request(Operation.MARK), descriptors)
        except VigilnetError:
            self._client.close()
            raise

    async def _listen(self) -> None:
        if self._capture is not None:
            return
        capture = TcpCapture(self._resolver, self._target, ISOLATION, self.options.max_connections)
        names = NameServer(self._resolver, self._clock, ISOLATION, self._learnt)
        try:
            capture.start()
            names.start()
        except EnvironmentRefusedError:
            await capture.close()
            await names.close()
            raise
        self._capture, self._names = capture, names
        self._set_dns(self.options)

    async def _stop_listening(self) -> None:
        capture, names = self._capture, self._names
        self._capture = self._names = None
        if self._tun >= 0:
            os.close(self._tun)
            self._tun = -1
        if capture is not None:
            await capture.close()
        if names is not None:
            await names.close()

    async def _take(self) -> None:
        self._told, descriptor = await self._client.ask(Request(Operation.UP, self._settings()))
        if descriptor < 0:
            raise EnvironmentRefusedError("device: the helper gave no interface")
        if self._tun >= 0:
            os.close(self._tun)
        self._tun = descriptor

    async def _keep(self) -> None:
        """When the helper was lost, take the device again as soon as there is one."""
        while self._wanted:
            await asyncio.sleep(KEEP_S)
            if self._client.is_connected or not self._wanted:
                continue
            try:
                async with self._changing:
                    await self._greet()
                    await self._take()
                _log.info("the device is protected again")
            except VigilnetError as error:
                _log.debug("helper not there yet", reason=str(error))

    # ---- what is taken

    def _settings(self) -> DeviceSettings:
        if self._capture is None or self._names is None:
            raise EnvironmentRefusedError("device: not listening")
        options = self.options
        return DeviceSettings(
            self._capture.port,
            self._names.port,
            Scope(options.scope),
            options.mtu,
            options.allow_lan,
            options.outside_networks,
            options.inside_networks,
            options.outside_users,
            options.inside_users,
            (*options.open_ports, *self._relay_ports),
            (),
            options.underlay_marks,
        )

    def _target(self, address: str, port: int) -> Target | None:
        """A name where we answered for it, since exits differ in what they resolve it to."""
        name = self._names.memory.name_of(address, self._clock.now()) if self._names is not None else ""
        return Target(name or address, port)

    async def _learnt(self, name: str, addresses: list[str], ttl: int) -> None:
        """An answer is about to be given: open the way for names that are reached around the tunnel."""
        if matches_domain(name, self.options.outside_domains):
            seconds = min(max(ttl, MIN_LEARNT_S), MAX_LIFE_S)
            await self._open("learnt", addresses[:MAX_ADDRESSES], seconds)

    async def _open(self, purpose: str, addresses: list[str], seconds: int) -> None:
        request = Request(Operation.OPEN, purpose=purpose, addresses=tuple(addresses), seconds=seconds)
        await self._client.ask(request)

    # ---- what the user changes

    async def change(self, **fields: object) -> DeviceSnapshot:
        """Use other settings from now on; the firewall does not open in between.

        Raises:
            ConfigurationError: a value cannot be used; nothing changed.
        """
        options = replace(self.options, **fields)  # type: ignore[arg-type]  # its own checks follow
        async with self._changing:
            before, self.options = self.options, options
            if self._wanted:
                try:
                    self._told, _ = await self._client.ask(Request(Operation.UPDATE, self._settings()))
                except VigilnetError:
                    self.options = before
                    raise
            self._set_dns(options)
        return self.snapshot()

    def _set_dns(self, options: Options) -> None:
        if self._names is not None:
            if options.dns == DnsMode.CUSTOM:
                self._names.custom = parse_server(options.dns_server)
            self._names.mode = DnsMode(options.dns)

    async def lockdown(self, *, is_on: bool) -> DeviceSnapshot:
        """Let nothing out even when the device is down, until told otherwise; also after a reboot."""
        await asyncio.to_thread(self._client.connect)
        self._told, _ = await self._client.ask(Request(Operation.LOCKDOWN, is_on=is_on))
        return self.snapshot()

    async def join(self, pid: int, group: str) -> None:
        """Put a program into a split-tunnel group; it and its children stay there.

        Raises:
            ConfigurationError: no such group.
            EnvironmentRefusedError: no cgroup v2 here, or another user's process.
        """
        if group not in (Group.OUTSIDE, Group.INSIDE):
            raise ConfigurationError(f"group: got {group!r}, expected outside or inside")
        await asyncio.to_thread(self._client.connect)
        await self._client.ask(Request(Operation.JOIN, pid=pid, group=group))

    # ---- status

    async def refreshed(self) -> DeviceSnapshot:
        """Return figures, asked of the helper anew."""
        try:
            if self.options.helper.exists():
                await asyncio.to_thread(self._client.connect)
                self._told, _ = await self._client.ask(Request(Operation.STATUS))
        except HelperMissingError:
            self._told = {}
        return self.snapshot()

    def snapshot(self) -> DeviceSnapshot:
        """Return figures for the status, as they were told last."""
        told, options = self._told, self.options
        counters = told.get("counters") or {}
        capture, names = self._capture, self._names
        return DeviceSnapshot(
            is_up=bool(told.get("is_up")) and self._wanted,
            is_locked=bool(told.get("is_locked")),
            has_helper=self._client.is_connected,
            can_split=bool(told.get("can_split")),
            helper=str(options.helper),
            dns=options.dns,
            names_visible=options.dns == DnsMode.LOCAL,
            scope=options.scope,
            allow_lan=options.allow_lan,
            connections=capture.open if capture is not None else 0,
            taken=capture.taken if capture is not None else 0,
            flows=0,
            datagrams=0,
            questions=names.asked if names is not None else 0,
            own=int(counters.get("own", 0)),
            outside=int(counters.get("outside", 0)),
            refused=int(counters.get("refused", 0)),
        )
