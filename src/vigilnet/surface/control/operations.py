"""What can be asked of a node: every operation of the control API, once (docs/spec/control.md).

The unix socket, the loopback HTTP API, the command line and the OpenAPI document are all read from this
table; the steering serves it and a test proves that nothing is missing on either side.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final

from vigilnet.surface.control import models
from vigilnet.surface.control.device import Device


class Role(StrEnum):
    """What a caller may do."""

    FULL = "full"
    READ_ONLY = "read-only"  # no changes; no keys, tokens, targets, logins or addresses


@dataclass(frozen=True, slots=True)
class Nothing:
    """No parameters."""


@dataclass(frozen=True, slots=True)
class CircuitParams:
    """Which circuit."""

    circuit: Annotated[int, "its id"]


@dataclass(frozen=True, slots=True)
class ExitsParams:
    """Which exits; all if empty."""

    country: Annotated[str, "two letters"] = ""
    port: Annotated[int, "that the exit must accept; 0: any"] = 0


@dataclass(frozen=True, slots=True)
class LogParams:
    """Which lines."""

    after: Annotated[int, "only lines with a higher number"] = 0
    level: Annotated[str, "error, warning, info or debug: this and graver ones"] = "debug"
    limit: Annotated[int, "at most so many, the last ones"] = 200


@dataclass(frozen=True, slots=True)
class DoctorParams:
    """How to look."""

    repair: Annotated[bool, "repair what is safe to repair; needs the full role"] = False


@dataclass(frozen=True, slots=True)
class HopsParams:
    """How many hops new paths have."""

    hops: Annotated[int, "1 to 10; 1 is fast and not anonymous"]
    keep: Annotated[bool, "also after a restart"] = True


@dataclass(frozen=True, slots=True)
class ExitParams:
    """Where to leave; both empty: anywhere."""

    country: Annotated[str, "two letters"] = ""
    peer_id: Annotated[str, "this exit and no other"] = ""
    keep: Annotated[bool, "also after a restart"] = True


@dataclass(frozen=True, slots=True)
class ModeParams:
    """What this node is for others."""

    mode: Annotated[str, "client, relay, bootstrap, exit or super"]
    accept_exit: Annotated[bool, "the person has read the warning of the exit mode and agrees"] = False
    advertise: Annotated[str, "host:port as others reach this node; empty: as set"] = ""
    abuse_contact: Annotated[str, "an exit's e-mail address for complaints; empty: as set"] = ""
    keep: Annotated[bool, "also after a restart, unless the command line says otherwise"] = True


@dataclass(frozen=True, slots=True)
class OptionParams:
    """One option and its new value."""

    key: Annotated[str, "like circuits.hops"]
    value: Annotated[str, "as one writes it with --set; lists with commas"]
    keep: Annotated[bool, "write it to the settings file"] = True


@dataclass(frozen=True, slots=True)
class KeyParams:
    """One option."""

    key: Annotated[str, "like circuits.hops"]


@dataclass(frozen=True, slots=True)
class PeerParams:
    """One relay."""

    peer_id: Annotated[str, "12D3KooW...; empty: this one"] = ""


@dataclass(frozen=True, slots=True)
class WantedParams:
    """Which relay."""

    peer_id: Annotated[str, "12D3KooW..."] = ""


@dataclass(frozen=True, slots=True)
class UriParams:
    """An invite."""

    uri: Annotated[str, "vigilnet:..."]


@dataclass(frozen=True, slots=True)
class KeepParams:
    """A path in use, and whether to stay on it."""

    circuit: int
    is_kept: bool = True


@dataclass(frozen=True, slots=True)
class SessionParams:
    """What the token may do."""

    role: Annotated[str, "full or read-only"] = "full"


@dataclass(frozen=True, slots=True)
class WatchParams:
    """Which events; none named: all."""

    topics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceParams:
    """What to do with the whole device."""

    action: Annotated[str, "status, up, down, change, lockdown, portal or join"] = "status"
    fields: Annotated[dict[str, Any], "of change: settings of the table [device] from now on"] = field(
        default_factory=dict
    )
    keep: Annotated[bool, "of change: write it to the settings file"] = True
    is_on: Annotated[bool | None, "of lockdown"] = None
    url: Annotated[str | None, "of portal: the sign-in page; left out: look for it"] = None
    seconds: Annotated[int | None, "of portal: for how long"] = None
    pid: Annotated[int | None, "of join: the process"] = None
    group: Annotated[str | None, "of join: outside, inside or exit SE"] = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked.

    Attributes:
        name: the method on the socket, and the last part of the path over HTTP.
        purpose: one line for people.
        result: the model of the answer; a tuple type for lists.
        params: the model of the parameters.
        is_change: changes something: POST over HTTP, and only for the full role.
        is_secret: reading it is for the full role alone.
        is_socket_only: not served over HTTP.
    """

    name: str
    purpose: str
    result: object
    params: type = Nothing
    is_change: bool = False
    is_secret: bool = False
    is_socket_only: bool = False

    @property
    def needs_full(self) -> bool:
        """Whether a read-only caller is refused."""
        return self.is_change or self.is_secret


_ALL: Final = (
    Operation("version", "versions of the program and of this protocol", models.Version),
    Operation("status", "how the node is", models.Status),
    Operation("circuits", "the node's own circuits, guard first", tuple[models.Circuit, ...]),
    Operation("streams", "the node's own streams", tuple[models.Stream, ...]),
    Operation("paths", "the paths in use and ready, with who sees what", tuple[models.Path, ...]),
    Operation("peers", "the relays that the node knows, direct or relayed and why", tuple[models.Peer, ...]),
    Operation("find-peer", "one relay, looked for in the DHT if it is not known",
              tuple[models.Peer, ...], WantedParams),
    Operation("reachability", "how this node is connected, and what would help",
              tuple[models.Finding, ...]),
    Operation("exits", "where one can leave", models.Exits, ExitsParams),
    Operation("settings", "every option, its value and where that was set", models.Settings),
    Operation("traffic", "the last minute, second by second", models.TrafficHistory),
    Operation("logs", "the last lines of the log", models.Log, LogParams),
    Operation("doctor", "look for what is wrong", models.Diagnosis, DoctorParams),
    Operation(
        "new-identity", "nothing new on any present circuit", models.NewIdentity, is_change=True
    ),
    Operation("new-path", "another path for whoever uses this one", models.Changed, CircuitParams, True),
    Operation("keep-path", "have an app stay on its path, or no longer", models.Changed, KeepParams, True),
    Operation("close-circuit", "end a circuit and its connections", models.Changed, CircuitParams, True),
    Operation("set-hops", "how many hops new paths have", models.Changed, HopsParams, True),
    Operation("set-exit", "where to leave", models.Changed, ExitParams, True),
    Operation("set-mode", "be a client, a relay, a directory or an exit", models.Changed, ModeParams, True),
    Operation("set-option", "change one option", models.Changed, OptionParams, True),
    Operation("reset-option", "put one option back to its default", models.Changed, KeyParams, True),
    Operation("connect", "serve applications on this device", models.Changed, is_change=True),
    Operation("disconnect", "stop serving applications; a relay goes on", models.Changed, is_change=True),
    Operation("device", "steer what takes the whole device's traffic", Device, DeviceParams, True),
    Operation("restart", "start again with the settings of now", models.Changed, is_change=True),
    Operation("invite", "an invite to this relay, or to one it knows", models.Invite, PeerParams,
              is_secret=True),
    Operation("add-invite", "take in an invite", models.Invite, UriParams, True),
    Operation("welcome-list", "invites of relays that it knows", models.WelcomeList, is_secret=True),
    Operation("open-session", "a token for the loopback HTTP API", models.Session, SessionParams,
              is_change=True, is_socket_only=True),
    Operation("watch", "send events on this session from now on", models.Watching, WatchParams,
              is_socket_only=True),
    Operation("stop", "the node ends", models.Stopping, is_change=True),
)  # fmt: skip

OPERATIONS: Final = {operation.name: operation for operation in _ALL}

TOPICS: Final[dict[str, object]] = {
    "status": models.Status,
    "traffic": models.TrafficSample,
    "paths": tuple[models.Path, ...],
    "streams": tuple[models.Stream, ...],
    "peers": tuple[models.Peer, ...],
    "log": models.LogLine,
}
"""Events: each carries the whole new value of its topic, when it changed; a log line comes once."""
