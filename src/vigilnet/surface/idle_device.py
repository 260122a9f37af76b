"""The device of a node that is off: nothing is taken, yet lockdown may be on, and can be switched.

Without this, a device that lockdown holds would be called unprotected as soon as the node is off.
"""

import asyncio
from dataclasses import replace
from typing import Any, NoReturn

from vigilnet.surface.control.schema import ControlError, ErrorCode
from vigilnet.traffic.device.helper_client_io import HelperClient, HelperMissingError
from vigilnet.traffic.device.helper_wire import Operation, Request
from vigilnet.traffic.device.options import DnsMode, Options
from vigilnet.traffic.device.service import DeviceSnapshot


class IdleDevice:
    """Serves `control.device.ControlledDevice` for a node without a client's side.

    Args:
        options: of the device, as they are once the node is on.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._client = HelperClient(options.helper)
        self._told: dict[str, Any] = {}

    def snapshot(self) -> DeviceSnapshot:
        """Return what the helper told last."""
        told, options = self._told, self.options
        return DeviceSnapshot(
            is_up=False,
            is_locked=bool(told.get("is_locked")),
            has_helper=self._client.is_connected,
            can_split=bool(told.get("can_split")),
            helper=str(options.helper),
            dns=options.dns,
            names_visible=options.dns == DnsMode.LOCAL,
            scope=options.scope,
            allow_lan=options.allow_lan,
            connections=0,
            taken=0,
            flows=0,
            datagrams=0,
            questions=0,
            own=0,
            outside=0,
            refused=0,
            firewall=options.firewall,
            programs=options.shown_programs(),
            capture=str(told.get("capture") or ""),
        )

    def close(self) -> None:
        """End the session with the helper."""
        self._client.close()

    async def refreshed(self) -> DeviceSnapshot:
        """Return figures, asked of the helper anew."""
        try:
            if self._client.is_connected or self.options.helper.exists():
                await self._ask(Request(Operation.STATUS))
        except HelperMissingError:
            self._told = {}
        return self.snapshot()

    async def lockdown(self, *, is_on: bool) -> DeviceSnapshot:
        """Let nothing out while the node is off, or no longer."""
        await self._ask(Request(Operation.LOCKDOWN, is_on=is_on))
        return self.snapshot()

    async def down(self) -> DeviceSnapshot:
        """Nothing is taken."""
        return await self.refreshed()

    async def up(self) -> NoReturn:
        """Refuse: somebody must be there to carry what is taken."""
        raise _off()

    async def change(self, **fields: object) -> DeviceSnapshot:
        """Use other settings once the node is on."""
        self.options = replace(self.options, **fields)  # type: ignore[arg-type]  # its own checks follow
        return self.snapshot()

    async def portal(self, url: str, seconds: int) -> NoReturn:
        """Refuse: nothing is kept from the sign-in page, or lockdown keeps all."""
        raise _off()

    async def join(self, pid: int, group: str) -> NoReturn:
        """Refuse."""
        raise _off()

    async def _ask(self, request: Request) -> None:
        await asyncio.to_thread(self._client.connect)
        self._told, _ = await self._client.ask(request)


def _off(next_step: str = "vigilnet connect") -> ControlError:
    return ControlError(
        ErrorCode.OFF, "VigilNet is off", "nobody would carry this device's traffic", next_step
    )
