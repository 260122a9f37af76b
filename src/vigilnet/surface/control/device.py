"""What is said of the whole device on the control socket: one method, `device`, with a parameter `action`.

    {"action": "status" | "up" | "down"}
    {"action": "change", "fields": {...}}            settings of the table [device], from now on;
                                                      kept in the settings file unless "keep" is false
    {"action": "lockdown", "is_on": true}
    {"action": "portal", "url": "", "seconds": 300}   a network's sign-in page
    {"action": "join", "pid": 4711, "group": "outside" | "inside" | "exit SE"}

All answer with a `Device`. docs/spec/control.md.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from vigilnet.surface.control.schema import ControlError, ErrorCode, plain

PORTAL_S: Final = 300
CHANGEABLE: Final = {
    "dns": str,
    "dns_server": str,
    "allow_lan": bool,
    "scope": str,
    "outside_networks": list,
    "outside_domains": list,
    "outside_users": list,
    "inside_networks": list,
    "inside_users": list,
    "firewall": list,
    "outside_programs": list,
    "inside_programs": list,
    "bound_programs": list,
    "open_ports": list,
    "underlay_marks": list,
    "mtu": int,
}


@dataclass(frozen=True, slots=True)
class Device:
    """Reply to `device`."""

    is_up: bool
    is_locked: bool
    has_helper: bool
    can_split: bool
    helper: str = ""
    dns: str = ""
    names_visible: bool = False
    scope: str = ""
    allow_lan: bool = False
    connections: int = 0
    taken: int = 0
    flows: int = 0
    datagrams: int = 0
    questions: int = 0
    own: int = 0
    outside: int = 0
    refused: int = 0
    firewall: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()  # by path: "outside /usr/bin/foo", "exit SE /usr/bin/bar"
    capture: str = ""  # "redirect" by nftables, "interface" without; empty: no helper was asked yet
    portal: str = ""  # after `portal`: the sign-in page; empty: none is wanted


class ControlledDevice(Protocol):
    """What the server needs of the device room; its snapshots have the fields of `Device`."""

    async def refreshed(self) -> object:
        """A fresh snapshot."""
        ...

    async def up(self) -> object:
        """Take the device's traffic."""
        ...

    async def down(self) -> object:
        """Put the device back."""
        ...

    async def change(self, **fields: object) -> object:
        """Use other settings from now on."""
        ...

    async def lockdown(self, *, is_on: bool) -> object:
        """Keep the firewall closed, or no longer."""
        ...

    async def portal(self, url: str, seconds: int) -> tuple[str, object]:
        """Let a network's sign-in page be reached."""
        ...

    async def join(self, pid: int, group: str) -> None:
        """Put one program into a split-tunnel group."""
        ...


async def serve_device(device: ControlledDevice | None, params: dict[str, Any]) -> object:
    """Answer one request; `change` is the settings' own work and comes here as `status` once it is done.

    Raises:
        ControlError: malformed, or this node takes no device's traffic.
    """
    if device is None:
        raise ControlError(ErrorCode.FAILED, "device: this node runs no client; set ingress.socks_enabled")
    action = _ACTIONS.get(str(params.get("action")))
    if action is None:
        known = ", ".join((*_ACTIONS, "change"))
        raise ControlError(ErrorCode.BAD_REQUEST, f"device: action unknown, expected {known}")
    return await action(device, params)


async def _status(device: ControlledDevice, _: dict[str, Any]) -> object:
    return await device.refreshed()


async def _up(device: ControlledDevice, _: dict[str, Any]) -> object:
    return await device.up()


async def _down(device: ControlledDevice, _: dict[str, Any]) -> object:
    return await device.down()


def changed_fields(params: dict[str, Any]) -> dict[str, Any]:
    """Return what `change` wants changed.

    Raises:
        ControlError: not fields that can be changed, or values of a wrong kind.
    """
    fields = params.get("fields")
    if not isinstance(fields, dict) or not fields:
        raise ControlError(ErrorCode.BAD_REQUEST, "device: fields must be an object that names some")
    for name, value in fields.items():
        if name not in CHANGEABLE or type(value) is not CHANGEABLE[name]:
            raise ControlError(
                ErrorCode.BAD_REQUEST, f"device: field {str(name)[:32]!r} unknown or malformed"
            )
    return fields


async def _lockdown(device: ControlledDevice, params: dict[str, Any]) -> object:
    is_on = params.get("is_on")
    if not isinstance(is_on, bool):
        raise ControlError(ErrorCode.BAD_REQUEST, "device: is_on must be true or false")
    return await device.lockdown(is_on=is_on)


async def _portal(device: ControlledDevice, params: dict[str, Any]) -> object:
    url, seconds = params.get("url", ""), params.get("seconds", PORTAL_S)
    if not isinstance(url, str) or type(seconds) is not int or not 1 <= seconds <= 3600:
        raise ControlError(ErrorCode.BAD_REQUEST, "device: url must be a text, seconds a number up to 3600")
    found, seen = await device.portal(url, seconds)
    return {**plain(seen), "portal": found}


async def _join(device: ControlledDevice, params: dict[str, Any]) -> object:
    pid, group = params.get("pid"), params.get("group")
    if type(pid) is not int or not isinstance(group, str):
        raise ControlError(ErrorCode.BAD_REQUEST, "device: pid must be a number, group a text")
    await device.join(pid, group)
    return await device.refreshed()


_ACTIONS: Final[dict[str, Callable[[ControlledDevice, dict[str, Any]], Awaitable[object]]]] = {
    "status": _status,
    "up": _up,
    "down": _down,
    "lockdown": _lockdown,
    "portal": _portal,
    "join": _join,
}
