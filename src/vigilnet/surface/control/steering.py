"""What the control API does: serves every operation of `operations`, whoever carries it.

The unix socket and the loopback HTTP API both end here, so that neither can do what the other cannot.
A read-only caller is refused what changes or reveals, and private fields are taken out of what it reads.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from vigilnet.base.errors import ConfigurationError, RemoteProtocolError, VigilnetError
from vigilnet.node.modes import EXIT_NOTICE, InvalidModeError, Mode, parse_mode
from vigilnet.node.option_list import text_of
from vigilnet.node.options import RUN_TIME
from vigilnet.surface.control import models
from vigilnet.surface.control.device import changed_fields, serve_device
from vigilnet.surface.control.host import SteeredHost
from vigilnet.surface.control.operations import (
    OPERATIONS,
    CircuitParams,
    DeviceParams,
    DoctorParams,
    ExitParams,
    ExitsParams,
    HopsParams,
    KeepParams,
    KeyParams,
    LogParams,
    ModeParams,
    OptionParams,
    PeerParams,
    Role,
    SessionParams,
    UriParams,
    WantedParams,
    WatchParams,
)
from vigilnet.surface.control.schema import ControlError, ErrorCode, Plain, plain, read, without_private
from vigilnet.surface.control.sessions import LIFE_S
from vigilnet.surface.control.showing import Showing, is_locked, reach_findings

Handler = Callable[[Any], Awaitable[object]]


class Steering:
    """Serves operations.

    Args:
        host: the process: the node that runs, its settings, its end.
        version: of the program.
    """

    def __init__(self, host: SteeredHost, version: str) -> None:
        self._host = host
        self._version = version
        self.changes = 0  # that were asked for so far, done or not
        self.showing = Showing(host)
        self._plain_settings: tuple[models.Settings, Plain] | None = (
            None  # long, and seldom other than before
        )
        self._handlers: dict[str, Handler] = {
            "version": self._version_of, "status": self._status, "circuits": self._circuits,
            "streams": self._streams, "paths": self._paths, "peers": self._peers,
            "find-peer": self._find_peer, "reachability": self._reachability, "exits": self._exits,
            "settings": self._settings, "traffic": self._traffic, "logs": self._logs,
            "doctor": self._doctor, "new-identity": self._new_identity, "new-path": self._new_path,
            "keep-path": self._keep_path,
            "close-circuit": self._close_circuit, "set-hops": self._set_hops, "set-exit": self._set_exit,
            "set-mode": self._set_mode, "set-option": self._set_option,
            "reset-option": self._reset_option, "connect": self._connect,
            "disconnect": self._disconnect, "device": self._device,
            "restart": self._restart, "invite": self._invite,
            "add-invite": self._add_invite, "welcome-list": self._welcome_list,
            "open-session": self._open_session, "watch": self._watch, "stop": self._stop,
        }  # fmt: skip

    async def do(self, name: str, params: dict[str, Any], role: Role = Role.FULL) -> object:
        """Serve one operation; returns the result as `as_json` takes it: models, or plain values.

        Raises:
            ControlError: refused; the code says why.
        """
        operation = OPERATIONS.get(name)
        if operation is None:
            raise ControlError(ErrorCode.UNKNOWN_METHOD, f"method: unknown, expected {', '.join(OPERATIONS)}")
        if operation.needs_full and role is not Role.FULL:
            raise ControlError(ErrorCode.FORBIDDEN, f"{name}: needs the full role, this one may only read")
        try:
            given: object = read(operation.params, params, name)
        except RemoteProtocolError as error:
            reason = str(error).removeprefix("control reply: ")
            raise ControlError(ErrorCode.BAD_REQUEST, f"request: parameter {reason}") from error
        if isinstance(given, DoctorParams) and given.repair and role is not Role.FULL:
            raise ControlError(ErrorCode.FORBIDDEN, "doctor: repairing needs the full role")
        try:
            result = await self._handlers[name](given)
        except ControlError:
            raise
        except ConfigurationError as error:
            said = str(error).removesuffix(f" ({RUN_TIME})")  # where it would have come from says nothing
            raise ControlError(ErrorCode.BAD_OPTION, said) from error
        except VigilnetError as error:
            raise ControlError(ErrorCode.FAILED, str(error)) from error
        finally:
            self.changes += operation.is_change
        return result if role is Role.FULL else without_private(operation.result, plain(result))

    # --- reading ---------------------------------------------------------------------------------

    async def _version_of(self, _: object) -> object:
        return models.Version(self._version)

    async def _status(self, _: object) -> object:
        return self.showing.status()

    async def _circuits(self, _: object) -> object:
        return self._host.node.circuits()

    async def _streams(self, _: object) -> object:
        return self._host.node.streams()

    async def _paths(self, _: object) -> object:
        return self.showing.paths()

    async def _peers(self, _: object) -> object:
        return self.showing.peers()

    async def _exits(self, params: ExitsParams) -> object:
        return self.showing.exits(params.country.upper(), params.port)

    async def _settings(self, _: object) -> object:
        settings = self.showing.settings()
        if self._plain_settings is None or self._plain_settings[0] is not settings:
            self._plain_settings = (settings, Plain(plain(settings)))
        return self._plain_settings[1]

    async def _traffic(self, _: object) -> object:
        return self.showing.history()

    async def _logs(self, params: LogParams) -> object:
        return self._host.logs.last(params.after, params.level, params.limit)

    async def _doctor(self, params: DoctorParams) -> object:
        showing = self.showing
        return await self._host.examine(
            showing.status(), showing.peers(), showing.exits("", 0), repair=params.repair
        )

    async def _watch(self, params: WatchParams) -> object:
        return models.Watching(params.topics)

    # --- paths -----------------------------------------------------------------------------------

    async def _new_identity(self, _: object) -> object:
        return models.NewIdentity(await self._host.node.new_identity())

    async def _new_path(self, params: CircuitParams) -> object:
        if not self._host.node.new_path(params.circuit):
            raise _no_circuit(params.circuit)
        return models.Changed(True, "what is new takes another path; open connections stay until they end")

    async def _keep_path(self, params: KeepParams) -> object:
        if not self._host.node.keep_path(params.circuit, is_kept=params.is_kept):
            raise _no_circuit(params.circuit)
        if params.is_kept:
            said = "this app stays on its path until it breaks, or you let go or ask for another"
        else:
            said = "this app takes another path in due time"
        return models.Changed(True, said)

    async def _close_circuit(self, params: CircuitParams) -> object:
        if not self._host.node.close_circuit(params.circuit):
            raise _no_circuit(params.circuit)
        return models.Changed(True, f"circuit {params.circuit} is closed, and its connections with it")

    async def _set_hops(self, params: HopsParams) -> object:
        changed = await self._host.change({"circuits.hops": str(params.hops)}, keep=params.keep)
        said = "new paths have 1 hop" if params.hops == 1 else f"new paths have {params.hops} hops"
        return models.Changed(bool(changed), said)

    async def _set_exit(self, params: ExitParams) -> object:
        country = params.country.upper()
        if country or params.peer_id:
            self.showing.check_exit(country, params.peer_id)
        wanted = {"circuits.exit_country": country, "circuits.exit_peer": params.peer_id}
        changed = await self._host.change(wanted, keep=params.keep)
        if country:
            said = f"new paths leave through exits in {country}"
        else:
            said = f"new paths leave through {'this exit' if params.peer_id else 'any exit'}"
        return models.Changed(bool(changed), said)

    # --- the node --------------------------------------------------------------------------------

    async def _set_mode(self, params: ModeParams) -> object:
        try:
            mode = parse_mode(params.mode)
        except InvalidModeError as error:
            raise ControlError(ErrorCode.BAD_REQUEST, str(error)) from error
        wanted: dict[str, str | None] = {"node.mode": mode.value}
        if mode.supports_exit:
            wanted |= self._consent(params, mode)
        if params.advertise:
            wanted["relay.advertise"] = params.advertise
        # a mode that the command line named is changed until the process ends, not in the file
        keep = params.keep and not any(map(self._is_locked, wanted))
        changed = await self._host.change(wanted, keep=keep, restart=True)
        return models.Changed(bool(changed), _MODES[mode.value])

    def _consent(self, params: ModeParams, mode: Mode) -> dict[str, str | None]:
        """Return the options of an exit, if its owner consents now or did before."""
        exits = self._host.options.exit
        contact = params.abuse_contact or exits.abuse_contact
        if not params.accept_exit and not exits.accept_notice:
            raise ControlError(
                ErrorCode.EXIT_WARNING, f"mode {mode.value}: the warning was not accepted", EXIT_NOTICE
            )
        if not contact:
            raise ControlError(
                ErrorCode.EXIT_WARNING,
                f"mode {mode.value}: an e-mail address for complaints is missing",
                "whoever complains about what leaves here must reach you",
            )
        return {"exit.accept_notice": "true", "exit.abuse_contact": contact}

    def _is_locked(self, key: str) -> bool:
        """Whether the file does not count: something above it says otherwise, or was changed before."""
        origin = self._host.loaded.origins.get(key, "default")
        return is_locked(origin) or origin == RUN_TIME

    async def _set_option(self, params: OptionParams) -> object:
        return await self._change_option(params.key, params.value, keep=params.keep)

    async def _reset_option(self, params: KeyParams) -> object:
        return await self._change_option(params.key, None, keep=True)

    async def _change_option(self, key: str, value: str | None, *, keep: bool) -> models.Changed:
        setting = self.showing.setting(key)
        if key in _CONSENT and (value or "").lower() not in _HARMLESS:
            raise ControlError(
                ErrorCode.EXIT_WARNING,
                f"{key}: become an exit by its own command, which shows what it means",
                EXIT_NOTICE,
                "vigilnet mode exit",
            )
        changed = await self._host.change({key: value}, keep=keep)
        waits = bool(changed) and not setting.is_live
        now = self.showing.setting(key).value
        said = (f"{key} = {now}" if now else f"{key} is empty") + (
            "; in effect after a restart" if waits else ""
        )
        return models.Changed(bool(changed), said, waits)

    async def _connect(self, _: object) -> object:
        changed = await self._host.switch(on=True)
        return models.Changed(changed, "building a path" if changed else "is on already")

    async def _disconnect(self, _: object) -> object:
        changed = await self._host.switch(on=False)
        return models.Changed(changed, "off: apps are served no more" if changed else "is off already")

    async def _device(self, params: DeviceParams) -> object:
        given = {name: value for name, value in plain(params).items() if value is not None}
        if given.get("action") == "change":
            fields: dict[str, str | None] = {
                f"device.{name}": text_of(tuple(value) if isinstance(value, list) else value)
                for name, value in changed_fields(given).items()
            }
            keep = params.keep and not any(map(self._is_locked, fields))
            await self._host.change(fields, keep=keep)
            given = {"action": "status"}
        return await serve_device(self._host.controlled_device, given)

    async def _restart(self, _: object) -> object:
        await self._host.restart()
        return models.Changed(True, "started again with the settings of now")

    async def _stop(self, _: object) -> object:
        return models.Stopping()

    def stop(self) -> None:
        """End the process; called when the answer to `stop` is on its way."""
        self._host.stop()

    # --- others ----------------------------------------------------------------------------------

    async def _invite(self, params: PeerParams) -> object:
        return self._host.node.invite(params.peer_id)

    async def _reachability(self, _: object) -> object:
        return reach_findings(self._host.node.reachability())

    async def _find_peer(self, params: WantedParams) -> object:
        return await self._host.node.find_peer(params.peer_id)

    async def _add_invite(self, params: UriParams) -> object:
        return self._host.node.add_invite(params.uri)

    async def _welcome_list(self, _: object) -> object:
        return self._host.node.welcome_list()

    async def _open_session(self, params: SessionParams) -> object:
        if params.role not in tuple(Role):
            raise ControlError(
                ErrorCode.BAD_REQUEST, f"role: got {params.role!r}, expected full or read-only"
            )
        base = self._host.dashboard
        if not base:
            raise ControlError(
                ErrorCode.OFF, "the dashboard is off", "status.enabled is false",
                "vigilnet config set status.enabled true",
            )  # fmt: skip
        token = self._host.sessions.open(Role(params.role), self._host.clock.now())
        until = int(self._host.clock.wall() + LIFE_S)
        return models.Session(token, params.role, until, f"{base}#token={token}")


_CONSENT: Final = ("exit.enabled", "exit.accept_notice", "node.mode")
_HARMLESS: Final = ("", "false", "0", "no", "off", "client", "relay", "bootstrap")
_MODES: Final = {
    "client": "this node is now a client: it serves this device alone",
    "relay": "this node is now a relay: it forwards for others",
    "bootstrap": "this node is now a relay with a directory",
    "exit": "this node is now an exit: it lets others' traffic out",
    "super": "this node is now an exit with a directory",
}


def _no_circuit(identifier: int) -> ControlError:
    return ControlError(
        ErrorCode.NOT_FOUND, f"circuit {identifier}: there is none of this number", "", "vigilnet circuits"
    )
