"""The process around a node: starts it, starts it again with other settings, and knows what both need.

One node runs at a time. "Off" is a node without its client's side, so that the state folder stays locked
and the control socket stays ours; a relay goes on meanwhile.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from vigilnet.base.clock import Clock, SystemClock
from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.node.assembly import Node
from vigilnet.node.option_list import values_of
from vigilnet.node.options import Loaded, Options
from vigilnet.node.status import ClientFacts
from vigilnet.surface.control.device import CHANGEABLE
from vigilnet.surface.control.host import DeviceFacts, is_live
from vigilnet.surface.control.log_ring import LogRing
from vigilnet.surface.control.models import Diagnosis, Exits, Peer, Status
from vigilnet.surface.control.schema import ControlError, ErrorCode
from vigilnet.surface.control.sessions import Sessions
from vigilnet.surface.control.showing import is_locked, reach_findings
from vigilnet.surface.device_watch import DeviceWatch
from vigilnet.surface.doctor.finding import NodeView, Situation
from vigilnet.surface.doctor.network import Network
from vigilnet.surface.doctor.service import examine
from vigilnet.surface.doctor.service import repair as repaired
from vigilnet.surface.doctor.this_machine import Machine
from vigilnet.surface.idle_device import IdleDevice
from vigilnet.surface.settings_file import change_file
from vigilnet.traffic.device.portal_io import Resolve, system_addresses
from vigilnet.traffic.device.service import DeviceService, DeviceSnapshot

Changes = Sequence[tuple[str, str]]
_log: Final = get_logger(__name__)


class NodeHost:
    """Runs one node; serves `control.host.SteeredHost`.

    Args:
        load: reads all settings, with changes made at run time on top.
        settings_file: where changes are kept.
        passphrase: of a sealed state folder; kept, since a restart opens it again.
        logs: the last lines of the log.
        on_stop: ends the process.
    """

    def __init__(
        self,
        load: Callable[[Changes], Loaded],
        settings_file: Path,
        passphrase: str | None,
        logs: LogRing,
        on_stop: Callable[[], None],
    ) -> None:
        self._load = load
        self._changes: dict[str, str] = {}  # until the next start of the process
        self.loaded = load(())
        self.options = self.loaded.options
        self.settings_file = settings_file
        self._passphrase = passphrase
        self.logs = logs
        self._on_stop = on_stop
        self.clock: Clock = SystemClock()
        self.sessions = Sessions()
        self.dashboard = ""
        self.diagnosis: Diagnosis | None = None
        self.is_on = self._has_proxy(self.options)
        self._lock = asyncio.Lock()
        self._idle_device = IdleDevice(self.options.device)
        self._was_protected = False  # when it was switched off
        self.watch = DeviceWatch(self, self.clock)
        self.node = self._new_node()

    async def start(self) -> None:
        """Start the node; raises as `Node.start`."""
        await self.node.start()

    async def close(self) -> None:
        """Stop the node."""
        await self.node.stop()
        self._idle_device.close()

    def stop(self) -> None:
        """End the process soon."""
        self._on_stop()

    def device(self) -> DeviceFacts:
        """Return what the whole-device side says."""
        device = self.controlled_device
        seen, options = device.snapshot(), device.options
        users = [f"user {user}" for user in options.outside_users]
        let_out = (*options.outside_domains, *options.outside_networks, *users)
        return DeviceFacts(
            whole_device=seen.is_up and seen.scope == "all",
            names="local" if seen.names_visible else "exit",
            lockdown=seen.is_locked,
            is_held=seen.is_up or seen.is_locked,
            exceptions=(*let_out, *(("local network",) if seen.allow_lan else ())) if seen.is_up else (),
            portal=bool(self.watch.portal),
        )

    @property
    def controlled_device(self) -> DeviceService | IdleDevice:
        """The device; one that only knows lockdown while the node is off."""
        return self.node.device or self._idle_device

    # --- what `DeviceWatch` looks at --------------------------------------------------------------

    def client_facts(self) -> ClientFacts | None:
        """Where the client's side stands; None: it is off."""
        return self.node.client_facts() if self.is_on else None

    async def refreshed(self) -> DeviceSnapshot:
        """How the device is, asked anew."""
        return await self.controlled_device.refreshed()

    def names_of_network(self) -> tuple[str, Resolve]:
        """The page to ask for, and who tells addresses as this network does."""
        device = self.node.device
        return (
            self.options.device.portal_probe,
            system_addresses if device is None else device.system_addresses,
        )

    async def examine(
        self, status: Status, peers: Sequence[Peer], exits: Exits, *, repair: bool
    ) -> Diagnosis:
        """Look for what is wrong; measured in a thread, since some of it waits."""
        reach = reach_findings(self.node.reachability())
        view = NodeView(status, tuple(peers), exits, status.clock_offset_s, reach)
        situation = Situation(self.loaded, "", self.settings_file, self.node.state_folder, view)

        def look() -> Diagnosis:
            found = examine(situation, Machine(self.clock.wall), Network())
            done = repaired(situation, found) if repair else ()
            return replace(found, repaired=done)

        self.diagnosis = await asyncio.to_thread(look)
        return self.diagnosis

    async def switch(self, *, on: bool) -> bool:
        """Serve applications, or stop to; returns whether that changed anything."""
        if on and not self._has_proxy(self.loaded.options):
            raise ControlError(
                ErrorCode.OFF, "both proxies are off by the settings", "ingress.socks_enabled is false",
                "vigilnet config set ingress.socks_enabled true",
            )  # fmt: skip
        if on == self.is_on:
            return False
        before = await self.refreshed()
        if not on:
            self._was_protected = before.is_up
        self.is_on = on
        try:
            await self.restart()
        except VigilnetError:
            self.is_on = not on
            raise
        await self.refreshed()  # so that lockdown is known at once
        if on and self.node.device is not None and (self._was_protected or before.is_locked):
            await self.node.device.up()  # lockdown lets nothing else through, not even our own links
        return True

    async def restart(self) -> None:
        """Start the node again with the settings of now; with the old ones if that fails.

        A device that was protected stays closed meanwhile: nothing goes out between the two nodes.

        Raises:
            VigilnetError: it did not start with these settings; it runs as before, if it can.
        """
        async with self._lock:
            device = self.node.device
            seen = device.snapshot() if device is not None else None
            is_protected = seen is not None and seen.is_up and self.is_on
            was_locked = seen is not None and seen.is_locked
            if device is not None and is_protected and not was_locked:
                await device.lockdown(is_on=True)
            refusal = await self._start_again()
            if is_protected and self.node.device is not None:
                await self.node.device.up()
                if not was_locked:
                    await self.node.device.lockdown(is_on=False)
            _log.info("node was started again")
            if refusal is not None:
                raise refusal

    async def _start_again(self) -> Exception | None:
        """Start with the settings of now; returns why it runs with those of before, if it does."""
        before, self.options = self.options, self.loaded.options
        self._idle_device.close()
        self._idle_device = IdleDevice(self.options.device)
        await self.node.stop()
        self.node = self._new_node()
        try:
            await self.node.start()
        except (VigilnetError, OSError) as error:
            _log.warning("node did not start with changed settings, going back", reason=str(error))
            self.options = before
            self.node = self._new_node()
            await self.node.start()
            return error
        return None

    async def change(
        self, wanted: Mapping[str, str | None], *, keep: bool, restart: bool = False
    ) -> tuple[str, ...]:
        """Change options; see `SteeredHost.change`."""
        before = values_of(self.loaded.options)
        await self._set(wanted, keep=keep)
        now = values_of(self.loaded.options)
        changed = tuple(key for key in wanted if now.get(key) != before.get(key))
        try:
            if any(key.startswith("device.") and is_live(key) for key in changed):
                await self._change_device()
            if restart and any(now[key] != value for key, value in values_of(self.options).items()):
                await self.restart()
        except VigilnetError:
            with contextlib.suppress(VigilnetError):
                await self._set({key: before[key] for key in wanted}, keep=keep)
            raise
        return changed

    async def _set(self, wanted: Mapping[str, str | None], *, keep: bool) -> None:
        """Have these settings from now on; what needs no restart and cannot fail is in effect."""
        if keep:
            await self._keep(wanted)
        else:
            changes = {**self._changes, **{key: text for key, text in wanted.items() if text is not None}}
            self.loaded = self._load(tuple(changes.items()))
            self._changes = changes
        self._apply_live()

    async def _keep(self, wanted: Mapping[str, str | None]) -> None:
        """Write options to the file, once they were found to be good and to have an effect."""
        for key in wanted:
            origin = self.loaded.origins.get(key, "default")
            if is_locked(origin):
                raise ControlError(
                    ErrorCode.LOCKED_OPTION, f"{key} is set by the {origin}",
                    "what is set there wins over the settings file", "change it there",
                )  # fmt: skip
        changes = {key: text for key, text in self._changes.items() if key not in wanted}
        trial = {**changes, **{key: text for key, text in wanted.items() if text is not None}}
        self._load(tuple(trial.items()))  # raises where a value is wrong
        await asyncio.to_thread(change_file, self.settings_file, wanted)
        self._changes = changes
        self.loaded = self._load(tuple(changes.items()))

    async def _change_device(self) -> None:
        """Have the device use the settings of now, as far as that needs no restart."""
        options = self.loaded.options.device
        live = {name: getattr(options, name) for name in CHANGEABLE}
        await self.controlled_device.change(**live)
        self.options = replace(self.options, device=replace(self.options.device, **live))

    def _apply_live(self) -> None:
        """Put what needs no restart into effect."""
        options, now = self.loaded.options, values_of(self.loaded.options)
        old = values_of(self.options)
        if any(is_live(key) and not key.startswith("device.") and now[key] != old[key] for key in now):
            self.options = replace(
                self.options,
                circuits=options.circuits,
                log=replace(self.options.log, level=options.log.level),
            )
            self.node.choose_paths(options.circuits)
            logging.getLogger("vigilnet").setLevel(options.log.level.upper())

    def _new_node(self) -> Node:
        options = self.options
        if not self.is_on:
            off = replace(options.ingress, socks_enabled=False, http_enabled=False)
            options = replace(options, ingress=off)
        return Node(options, passphrase=self._passphrase)

    @staticmethod
    def _has_proxy(options: Options) -> bool:
        return options.ingress.socks_enabled or options.ingress.http_enabled
