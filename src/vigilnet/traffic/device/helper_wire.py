"""What the daemon may ask of the privileged helper, and nothing else (sans-IO; docs/spec/device.md 3).

One request is one message of JSON on a unix socket that keeps messages apart (SOCK_SEQPACKET); so is its
reply, `{"ok": true, ...}` or `{"error": "..."}`. Descriptors travel beside it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final, Self

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.device.settings import (
    DeviceSettings,
    check_plain,
    is_bound_group,
    take_flag,
    take_many,
    take_number,
    take_text,
)

MAX_MESSAGE: Final = 64 * 1024
MAX_ADDRESSES: Final = 256  # in one message
MAX_LIFE_S: Final = 3600
MAX_SOCKETS: Final = 128  # in one message; the kernel takes 253
MAX_PID: Final = 1 << 22  # the kernel's PID_MAX_LIMIT


class Operation(StrEnum):
    """All that the helper does; there is no other way to ask it for anything."""

    HELLO = "hello"  # who are you; joins the daemon to the group whose sockets go around the tunnel
    UP = "up"  # settings; gives the TUN descriptor back
    UPDATE = "update"  # settings, while up
    DOWN = "down"
    MARK = "mark"  # descriptors of sockets that were made before HELLO
    JOIN = "join"  # pid, group: one process into a split-tunnel group
    OPEN = "open"  # purpose, addresses, seconds: learnt or portal addresses go around the tunnel
    LOCKDOWN = "lockdown"  # on or off
    STATUS = "status"


class Group(StrEnum):
    """Control groups that programs are put into."""

    OWN = "own"
    OUTSIDE = "outside"
    INSIDE = "inside"


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the helper: `{"op": ..., ...}`, at most `MAX_MESSAGE` octets of JSON."""

    operation: Operation
    settings: DeviceSettings | None = None
    pid: int = 0
    group: str = ""  # a `Group`, or "exit0" and on for the bound ones
    purpose: str = ""
    addresses: tuple[str, ...] = ()
    seconds: int = 0
    is_on: bool = False

    def encode(self) -> bytes:
        """Return the octets."""
        value: dict[str, Any] = {"op": self.operation.value}
        if self.settings is not None:
            value["settings"] = self.settings.encode()
        for name in ("pid", "group", "purpose", "addresses", "seconds", "is_on"):
            if getattr(self, name):
                value[name] = getattr(self, name)
        return json.dumps(value, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, octets: bytes) -> Self:
        """Parse and check one request.

        Raises:
            RemoteProtocolError: not one of the allowed operations with allowed values.
        """
        if len(octets) > MAX_MESSAGE:
            raise RemoteProtocolError(f"helper request: {len(octets)} octets, at most {MAX_MESSAGE}")
        try:
            value = json.loads(octets)
        except (ValueError, RecursionError) as error:
            raise RemoteProtocolError("helper request: not JSON") from error
        if not isinstance(value, dict):
            raise RemoteProtocolError("helper request: not an object")
        taken: dict[str, Any] = {}
        for name, item in value.items():
            if name not in _REQUEST_TAKE:
                raise RemoteProtocolError("helper request: unknown field")
            taken[name] = _REQUEST_TAKE[name](item)
        if "op" not in taken:
            raise RemoteProtocolError("helper request: no operation")
        request = cls(taken.pop("op"), **taken)
        request.check()
        return request

    def check(self) -> None:
        """Refuse values that do not belong to the operation."""
        if (self.settings is not None) != (self.operation in (Operation.UP, Operation.UPDATE)):
            raise RemoteProtocolError(f"helper request {self.operation}: with or without settings")
        has_group = self.group in tuple(Group) or is_bound_group(self.group)
        if self.operation is Operation.JOIN and not (1 < self.pid <= MAX_PID and has_group):
            raise RemoteProtocolError("helper request join: no such process or group")
        if self.operation is Operation.OPEN:
            if self.purpose not in ("learnt", "portal") or not 1 <= self.seconds <= MAX_LIFE_S:
                raise RemoteProtocolError("helper request open: unknown purpose or time")
            if not 1 <= len(self.addresses) <= MAX_ADDRESSES:
                raise RemoteProtocolError(f"helper request open: {len(self.addresses)} addresses")


def _operation(value: object) -> Operation:
    try:
        return Operation(take_text(value))
    except ValueError as error:
        raise RemoteProtocolError("helper request: unknown operation") from error


def _address(value: object) -> str:
    text = take_text(value)
    check_plain(text)
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise RemoteProtocolError("helper request: not an address") from error


_REQUEST_TAKE: Final[Mapping[str, Callable[[object], Any]]] = {
    "op": _operation,
    "settings": DeviceSettings.decode,
    "pid": take_number,
    "group": take_text,
    "purpose": take_text,
    "addresses": take_many(_address),
    "seconds": take_number,
    "is_on": take_flag,
}
