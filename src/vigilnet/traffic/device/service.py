"""The whole device at work: asks the helper to take this machine's traffic, and carries what comes."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.binding_io import ISOLATION, Binding, Dialler
from vigilnet.traffic.device.capture_io import TcpCapture
from vigilnet.traffic.device.helper_client_io import (
    HelperClient,
    HelperMissingError,
    mark_requests,
    outward_sockets,
)
from vigilnet.traffic.device.helper_wire import MAX_LIFE_S, Group, Operation, Request
from vigilnet.traffic.device.interface_io import interface_of
from vigilnet.traffic.device.options import DnsMode, Options, parse_server
from vigilnet.traffic.device.outer_sockets_io import OUTER
from vigilnet.traffic.device.portal_io import Portal, find_addresses, find_portal, host_of, system_addresses
from vigilnet.traffic.device.resolver_io import NameServer
from vigilnet.traffic.device.settings import MAX_BINDINGS, DeviceSettings, Program, Scope, binding_of
from vigilnet.traffic.device.split import matches_domain
from vigilnet.traffic.device.translation import Translation
from vigilnet.traffic.device.tun_io import NAME_PORT, TunPort, Way, is_carried
from vigilnet.traffic.stream.messages import Target

KEEP_S: Final = 2.0  # between two looks whether the helper is there
MIN_LEARNT_S: Final = 60  # an address by name stays outside at least so long
MAX_LEARNT: Final = 32  # addresses of one answer, and of a sign-in page: who answers may name those of others
MAX_PORTAL: Final = 4

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
    firewall: tuple[str, ...] = ()  # the user's own rules
    programs: tuple[str, ...] = ()  # remembered, each with where it goes before it
    capture: str = ""  # how the helper takes TCP, a `Capture`; empty: not asked yet


class DeviceService:
    """One node's device.

    Args:
        options: what to take, and how names are resolved.
        dialler: opens streams and flows, and resolves names, over circuits.
        clock: time.
        relay_ports: TCP ports that other nodes reach us on.
        dialler_for_exit: opens streams that leave by one exit alone, a country or a peer id.
    """

    def __init__(
        self,
        options: Options,
        dialler: Dialler,
        clock: Clock,
        relay_ports: tuple[int, ...] = (),
        dialler_for_exit: Callable[[str], Dialler] | None = None,
    ) -> None:
        self.options = options
        self._dialler = dialler
        self._clock = clock
        self._relay_ports = relay_ports
        self._client = HelperClient(options.helper)
        self._tasks = TaskGroup("device")
        self._dialler_for_exit = dialler_for_exit
        self._capture: TcpCapture | None = None
        self._bound: dict[str, Binding] = {}  # by exit, in the order of their groups
        self._translation: Translation | None = None  # where nothing redirects TCP
        self._names: NameServer | None = None
        self._port: TunPort | None = None
        self._changing = asyncio.Lock()
        self._wanted = False
        self._taken = 0  # the session in which the device was taken
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
            OUTER.follow(0)
            await asyncio.to_thread(self._client.connect)
            await self._close_port()
            self._told, _ = await self._client.ask(Request(Operation.DOWN))
            await self._stop_listening()
        return self.snapshot()

    async def _greet(self) -> None:
        """Have our sockets go around the tunnel: those to come by their group, those there are one by one.

        What the helper's system cannot keep is refused before it changes anything.
        """
        await asyncio.to_thread(self._client.connect)
        try:
            self._told, _ = await self._client.ask(Request(Operation.STATUS))
            _refuse_unkept(self.options, has_redirect=self._told.get("capture") != Capture.INTERFACE)
            self._told, _ = await self._client.ask(Request(Operation.HELLO))
            OUTER.follow(int(self._told.get("outer") or 0))
            for descriptors in mark_requests(outward_sockets()):
                await self._client.ask(Request(Operation.MARK), descriptors)
        except VigilnetError:
            self._client.close()
            raise

    async def _listen(self) -> None:
        if self._capture is not None:
            return
        most = self.options.max_connections
        if self._told.get("capture") == Capture.INTERFACE:
            self._translation = Translation(self._listener_of, self._is_carried, most)
        capture = TcpCapture(self._dialler, self._target, ISOLATION, most, self._translation)
        names = NameServer(
            self._dialler, self._clock, ISOLATION, self._learnt,
            is_direct=self._is_direct, is_carried=self._is_carried,
        )  # fmt: skip
        try:
            capture.start()
            names.start(has_redirect=self._translation is None)
        except EnvironmentRefusedError:
            await capture.close()
            await names.close()
            raise
        self._capture, self._names = capture, names
        self._set_dns(self.options)

    async def _stop_listening(self) -> None:
        capture, names = self._capture, self._names
        self._capture = self._names = self._translation = None
        await self._close_port()
        bound, self._bound = self._bound, {}
        for one in (capture, names, *bound.values()):
            if one is not None:
                await one.close()

    async def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await port.close()

    async def _take(self) -> None:
        await self._close_port()  # while we have the interface no other helper can
        self._told, descriptor = await self._client.ask(Request(Operation.UP, self._settings()))
        if descriptor < 0:
            raise EnvironmentRefusedError("device: the helper gave no interface")
        if (self._told.get("capture") == Capture.INTERFACE) != (self._translation is not None):
            os.close(descriptor)  # another kind of helper took over
            raise EnvironmentRefusedError("device: TCP comes another way now; vigilnet down, then up")
        options = self.options
        answer = self._answer if self._translation is not None else None  # else questions are redirected
        self._port = TunPort(
            interface_of(descriptor, str(self._told.get("framing"))),
            Way(self._dialler, ISOLATION, self._name_of, answer),
            self._clock,
            options.max_flows,
            options.flow_idle_s,
            self._translation,
            self._is_carried,
        )
        self._bind_flows()
        self._taken = self._client.session

    async def _answer(self, question: bytes) -> bytes:
        return await self._names.answer(question, is_tcp=False) if self._names is not None else b""

    def _listener_of(self, source: bytes, port: int) -> int:
        """Return our port for a connection that came by the interface; 0: refuse it."""
        number = binding_of(source)
        bound = list(self._bound.values())
        if number is not None and number >= len(bound):
            return 0
        names, capture = self._names, self._capture
        if number is not None:
            names, capture = bound[number].names, bound[number].capture
        taker = names if port == NAME_PORT else capture
        return taker.port if taker is not None else 0

    def _bind_flows(self) -> None:
        for number, binding in enumerate(self._bound.values()):
            if self._port is not None:
                self._port.bind(number, binding.way)

    async def _keep(self) -> None:
        """When the helper was lost, take the device again as soon as there is one."""
        while self._wanted:
            await asyncio.sleep(KEEP_S)
            try:
                await asyncio.to_thread(self._client.connect)  # anew, if the helper is another
                async with self._changing:
                    await self._keep_once()
            except VigilnetError as error:
                _log.debug("helper not there yet", reason=str(error))

    async def _keep_once(self) -> None:
        if not self._wanted:
            return
        if self._client.session != self._taken:
            await self._greet()
            await self._take()
            _log.info("the device is protected again")
        elif OUTER.index:
            self._told, _ = await self._client.ask(Request(Operation.STATUS))
            OUTER.follow(int(self._told.get("outer") or 0))  # the network may have changed

    # ---- what is taken

    def _settings(self) -> DeviceSettings:
        if self._capture is None or self._names is None:
            raise EnvironmentRefusedError("device: not listening")
        options = self.options
        _refuse_unkept(options, has_redirect=self._translation is None)
        programs = self._programs()  # first: it may begin to serve exits
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
            tuple(binding.capture.port for binding in self._bound.values()),
            tuple(binding.names.port for binding in self._bound.values()),
            tuple(self._bound),
            options.underlay_marks,
            options.firewall_rules(),
            programs,
        )

    def _target(self, address: str, port: int) -> Target | None:
        """A name where we answered for it, since exits differ in what they resolve it to."""
        if not self._is_carried(ip_address(address).packed):
            return None
        return Target(self._name_of(address) or address, port)

    def _is_carried(self, target: bytes) -> bool:
        """Whether an exit is asked for an address: of a private network it would only learn about ours."""
        return is_carried(target) and (self.options.allow_private_targets or ip_address(target).is_global)

    def _name_of(self, address: str) -> str:
        return self._names.memory.name_of(address, self._clock.now()) if self._names is not None else ""

    def _is_direct(self, name: str) -> bool:
        return matches_domain(name, self.options.outside_domains)

    async def _learnt(self, name: str, addresses: list[str], ttl: int) -> None:
        """An answer is about to be given: open the way for names that are reached around the tunnel."""
        if self._is_direct(name):
            seconds = min(max(ttl, MIN_LEARNT_S), MAX_LIFE_S)
            await self._open("learnt", addresses[:MAX_LEARNT], seconds)

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
                    self._bind_flows()
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
        for binding in self._bound.values():
            binding.set_dns(options)

    async def system_addresses(self, host: str) -> list[str]:
        """Return the addresses of a host as this network's own servers tell them, around the tunnel."""
        return await (self._names.system_addresses if self._names is not None else system_addresses)(host)

    async def portal(self, url: str, seconds: int) -> tuple[str, DeviceSnapshot]:
        """Let the sign-in page of this network be reached around the tunnel for a time, and nothing else.

        Args:
            url: the page; empty to look for it.
            seconds: for how long.

        Returns:
            The page's URL, empty if this network wants no sign-in; figures.
        """
        names = self._names
        if names is None:
            raise EnvironmentRefusedError(
                "portal: the device is not protected, so the page is not kept from you"
            )
        if url:
            host, _ = host_of(url)
            found = Portal(url, host, await find_addresses(names.system_addresses, host))
        else:
            found = await find_portal(names.system_addresses, self.options.portal_probe)
        if found.url:
            names.ask_here(found.host, seconds)
            await self._open("portal", found.addresses[:MAX_PORTAL], min(seconds, MAX_LIFE_S))
        return found.url, self.snapshot()

    async def lockdown(self, *, is_on: bool) -> DeviceSnapshot:
        """Let nothing out even when the device is down, until told otherwise; also after a reboot."""
        await asyncio.to_thread(self._client.connect)
        self._told, _ = await self._client.ask(Request(Operation.LOCKDOWN, is_on=is_on))
        return self.snapshot()

    async def join(self, pid: int, group: str) -> None:
        """Put a program into a split-tunnel group; it and its children stay there.

        Raises:
            ConfigurationError: no such group or exit; `group` may be "exit SE", or a peer id after "exit ".
            EnvironmentRefusedError: no cgroup v2 here, or another user's process.
        """
        if group not in (Group.OUTSIDE, Group.INSIDE):
            group = await self._bind(group.removeprefix("exit "))
        await asyncio.to_thread(self._client.connect)
        await self._client.ask(Request(Operation.JOIN, pid=pid, group=group))

    async def _bind(self, exit_: str) -> str:
        """Return the group of programs that leave by one exit alone, made if it is new."""
        if not self._wanted:
            raise ConfigurationError("exec: bind a program to an exit while the device is up")
        async with self._changing:
            is_new = exit_ not in self._bound
            number = self._number_of(exit_)
            if is_new:
                try:
                    self._told, _ = await self._client.ask(Request(Operation.UPDATE, self._settings()))
                except VigilnetError:
                    await self._bound.pop(exit_).close()
                    raise
                self._bind_flows()
            return f"exit{number}"

    def _number_of(self, exit_: str) -> int:
        """Return the number of an exit that programs are bound to; begin to serve it if it is new."""
        if exit_ not in self._bound:
            if self._dialler_for_exit is None or len(self._bound) >= MAX_BINDINGS:
                raise ConfigurationError(f"exec: {MAX_BINDINGS} exits have programs bound to them already")
            dialler, most = self._dialler_for_exit(exit_), self.options.max_connections
            binding = Binding(exit_, dialler, self._clock, self._is_carried, most, self._translation)
            binding.start(self.options)
            self._bound[exit_] = binding
        return list(self._bound).index(exit_)

    def _programs(self) -> tuple[Program, ...]:
        """Return the programs that are remembered, with the groups that they are put into as they start."""
        found = []
        for path, where in self.options.programs().items():
            bound_to = where.removeprefix("exit ")
            found.append(Program(path, where if bound_to == where else f"exit{self._number_of(bound_to)}"))
        return tuple(found)

    # ---- status

    async def refreshed(self) -> DeviceSnapshot:
        """Return figures, asked of the helper anew."""
        try:
            if self._client.is_connected or self.options.helper.exists():
                await asyncio.to_thread(self._client.connect)
                self._told, _ = await self._client.ask(Request(Operation.STATUS))
        except HelperMissingError:
            self._told = {}
        return self.snapshot()

    def snapshot(self) -> DeviceSnapshot:
        """Return figures for the status, as they were told last."""
        told, options = self._told, self.options
        counters = told.get("counters") or {}
        capture, names, port = self._capture, self._names, self._port
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
            flows=port.flows if port is not None else 0,
            datagrams=port.read if port is not None else 0,
            questions=names.asked if names is not None else 0,
            own=int(counters.get("own", 0)),
            outside=int(counters.get("outside", 0)),
            refused=int(counters.get("refused", 0)),
            firewall=options.firewall,
            programs=options.shown_programs(),
            capture=str(told.get("capture") or ""),
        )


def _refuse_unkept(options: Options, *, has_redirect: bool) -> None:
    if options.outside_domains and not has_redirect:
        raise EnvironmentRefusedError(
            "device: excluding domains needs nftables, which is missing here; install it"
        )
