"""macOS: a utun interface, routes, a pf anchor and a resolver in the dynamic store (needs root).

Not tried on a real machine: its command lines and rules are tested, and what they do there is not.
docs/spec/device.md section 14.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io, macos_commands, pf_rules
from vigilnet.traffic.backends.macos_commands import Gateway
from vigilnet.traffic.backends.written_io import Journal, LockdownMark, refuse_wishes
from vigilnet.traffic.device.backend import Capture, Framing
from vigilnet.traffic.device.settings import DeviceSettings

_PF_SYSTEM, _SYSPROTO_CONTROL, _UTUN_OPT_IFNAME = 32, 2, 2  # sys/socket.h, net/if_utun.h
_UTUN_CONTROL: Final = "com.apple.net.utun_control"
_IP_BOUND_IF, _IPV6_BOUND_IF = 25, 125  # netinet/in.h, netinet6/in6.h


class Mac:
    """This Mac's routes, firewall and interface.

    Args:
        run_folder: where what must be put back is written down; empty after a reboot.
        state_folder: where it is written down that lockdown is on; survives a reboot.
    """

    capture: Final = Capture.INTERFACE
    framing: Final = Framing.FAMILY
    can_split: Final = False

    def __init__(self, run_folder: Path, state_folder: Path) -> None:
        self._journal = Journal(run_folder)
        self._lockdown = LockdownMark(state_folder)
        self._tunnel: socket.socket | None = None
        self._name = ""
        self._settings: DeviceSettings | None = None

    @property
    def is_up(self) -> bool:
        """Whether traffic is being taken."""
        return self._settings is not None

    @property
    def is_locked(self) -> bool:
        """Whether lockdown is on."""
        return self._lockdown.is_on

    def outer_interface(self) -> int:
        """The interface of the default route, to which our own sockets bind themselves."""
        for gateway in default_gateways():
            with contextlib.suppress(OSError):
                return socket.if_nametoindex(gateway.interface)
        return 0

    # ---- up and down

    def up(self, settings: DeviceSettings, asker: int) -> int:
        """Protect the device; the firewall closes before anything else changes, and a failure is undone."""
        if self._settings is not None and self._tunnel is not None:
            self.update(settings, asker)
            return self._tunnel.fileno()
        _check(settings)
        was_left = self._journal.read() is not None  # closed by a helper that was killed: it stays so
        try:
            self._tunnel, self._name = _open_utun()
            self._close_firewall(pf_rules.protected(settings, self._name))
            for command in macos_commands.interface_up(self._name, settings.mtu):
                commands_io.run(command)
            self._lead(settings)
            commands_io.run(["scutil"], macos_commands.names_up())
        except BaseException:
            if was_left:
                self._close_interface()
            else:
                self.restore()
            raise
        self._settings = settings
        return self._tunnel.fileno()

    def update(self, settings: DeviceSettings, asker: int) -> None:
        """Change the settings of a protected device without opening it in between."""
        del asker
        _check(settings)
        commands_io.run(_pfctl("-f", "-"), pf_rules.protected(settings, self._name))
        self._take_back_routes()
        self._lead(settings)
        self._settings = settings

    def refresh(self) -> None:
        """Write the firewall anew if it is up."""
        if self._settings is not None:
            commands_io.run(_pfctl("-f", "-"), pf_rules.protected(self._settings, self._name))

    def down(self) -> None:
        """Put everything back; with lockdown on, nothing leaves."""
        self.restore()

    def restore(self, *, everybody: bool = False) -> None:
        """Remove whatever of ours is there, also what a killed helper has left."""
        del everybody
        if self.is_locked:
            self._close_firewall(pf_rules.lockdown())
        self._settings = None
        self._take_back_routes()
        with contextlib.suppress(EnvironmentRefusedError):
            commands_io.run(["scutil"], macos_commands.names_down())
        self._close_interface()
        if not self.is_locked:
            self._open_firewall()

    def _close_interface(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.close()  # its routes go with it

    def set_lockdown(self, *, is_on: bool) -> None:
        """Keep the device closed while it is not protected, until told otherwise."""
        self._lockdown.set(is_on=is_on)
        if self.is_up:
            return
        if is_on:
            self._close_firewall(pf_rules.lockdown())
        else:
            self._open_firewall()

    def open_addresses(self, purpose: str, addresses: Iterable[str], seconds: int) -> None:
        """Refuse: pf has no end of its own for a table's entries, and nobody would end it after a crash."""
        del addresses, seconds
        raise EnvironmentRefusedError(f"device: letting {purpose} addresses out is not possible on macOS yet")

    def counters(self) -> dict[str, int]:
        """Return nothing: they are not read yet."""
        return {}

    # ---- whose a packet is

    def adopt(self, pid: int, asker: int) -> None:
        """Check that the daemon is in the group that pf lets out; a process cannot be put there from outside.

        Raises:
            EnvironmentRefusedError: it is not; launchd must start it in that group.
        """
        said = commands_io.run(["ps", "-o", "gid=", "-p", str(pid)]).strip()
        if sys.platform == "win32":
            raise EnvironmentRefusedError("device: for macOS alone")
        import grp

        try:
            wanted = grp.getgrnam(pf_rules.GROUP).gr_gid
        except KeyError as error:
            raise EnvironmentRefusedError(f"device: no group {pf_rules.GROUP} here; install it") from error
        if said != str(wanted):
            raise EnvironmentRefusedError(
                f"device: the node is not in the group {pf_rules.GROUP}; start it by its launchd service"
            )

    def mark_sockets(self, descriptors: Sequence[int]) -> None:
        """Bind sockets that were made too early to the interface that leads out."""
        index = self.outer_interface()
        for descriptor in descriptors:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as taken:
                if taken.family == socket.AF_INET:
                    taken.setsockopt(socket.IPPROTO_IP, _IP_BOUND_IF, index)
                elif taken.family == socket.AF_INET6:
                    taken.setsockopt(socket.IPPROTO_IPV6, _IPV6_BOUND_IF, index)

    def join(self, pid: int, group: str, asker: int) -> None:
        """Refuse: there are no control groups here."""
        del pid, group, asker
        raise EnvironmentRefusedError(
            "programs: they cannot be told apart on macOS; exclude networks instead"
        )

    # ---- pieces

    def _lead(self, settings: DeviceSettings) -> None:
        self._write_down(excluded=list(settings.outside_networks))
        for command in macos_commands.routes_up(settings, self._name, default_gateways()):
            commands_io.run(command)

    def _take_back_routes(self) -> None:
        excluded = self._written().get("excluded")
        if isinstance(excluded, list):
            for network in excluded:
                with contextlib.suppress(EnvironmentRefusedError, ValueError):
                    commands_io.run(
                        macos_commands.routes_down(DeviceSettings(1, 1, outside_networks=(str(network),)))[0]
                    )
        self._write_down(excluded=[])

    def _close_firewall(self, rules: str) -> None:
        commands_io.run(_pfctl("-f", "-"), rules)
        if not self._written().get("token"):
            token = macos_commands.token_in(commands_io.run_both(["pfctl", "-E"]))
            self._write_down(token=token)

    def _open_firewall(self) -> None:
        with contextlib.suppress(EnvironmentRefusedError):
            commands_io.run(_pfctl("-F", "all"))
        token = self._written().get("token")
        if isinstance(token, str) and token.isdecimal():
            with contextlib.suppress(EnvironmentRefusedError):
                commands_io.run(["pfctl", "-X", token])
        self._journal.forget()

    def _written(self) -> dict[str, Any]:
        found = self._journal.read()
        return found if isinstance(found, dict) else {}

    def _write_down(self, **values: object) -> None:
        self._journal.write({**self._written(), **values})


def _pfctl(*words: str) -> list[str]:
    return ["pfctl", "-q", "-a", pf_rules.ANCHOR, *words]


def _check(settings: DeviceSettings) -> None:
    """Refuse what this system cannot keep.

    Raises:
        EnvironmentRefusedError: see above.
    """
    wishes = {
        "users": settings.outside_users or settings.inside_users,
        "programs": settings.programs or settings.binding_ports,
        "marks of other VPNs": settings.underlay_marks,
    }
    refuse_wishes(wishes, "macOS")


def default_gateways() -> list[Gateway]:
    """Return where the default routes of both families lead."""
    found = []
    for family in ("-inet", "-inet6"):
        with contextlib.suppress(EnvironmentRefusedError):
            gateway = macos_commands.gateway_in(commands_io.run(["route", "-n", "get", family, "default"]))
            if gateway is not None and not gateway.interface.startswith("utun"):
                found.append(gateway)
    return found


def _open_utun() -> tuple[socket.socket, str]:
    try:
        tunnel = socket.socket(_PF_SYSTEM, socket.SOCK_DGRAM, _SYSPROTO_CONTROL)
    except OSError as error:
        raise EnvironmentRefusedError(f"utun interface: {error.strerror}; use the SOCKS proxy") from error
    try:
        tunnel.connect(_UTUN_CONTROL)
        name = tunnel.getsockopt(_SYSPROTO_CONTROL, _UTUN_OPT_IFNAME, 64).rstrip(b"\0").decode("ascii")
        tunnel.setblocking(False)
    except OSError as error:
        tunnel.close()
        raise EnvironmentRefusedError(f"utun interface: {error.strerror}; it needs root") from error
    return tunnel, name
