"""What can be wrong with this machine: folder, disk, ports, kernel, rights, what others left behind."""

import errno
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vigilnet.base.system_io import has_rights
from vigilnet.node.options import Options
from vigilnet.surface.control.client import connect
from vigilnet.surface.control.models import Finding
from vigilnet.surface.control.socket_path import socket_of
from vigilnet.surface.doctor.finding import Situation, failed, noted, passed

LEAST_FREE: Final = 16 * 1024 * 1024
LEAST_FILES: Final = 1024
OLDEST_KERNEL: Final = (5, 4)
BUILT_AT: Final = (
    1_790_000_000.0  # our choice: no machine's clock is honestly before this program was written
)
HUNG_S: Final = 2.0


@dataclass(frozen=True)
class Machine:
    """What is asked of the machine, so that a test can ask another one."""

    wall: Callable[[], float]
    release: Callable[[], str] = platform.release
    system: Callable[[], str] = platform.system
    has_rights: Callable[[], bool] = has_rights
    which: Callable[[str], str | None] = shutil.which
    interfaces: Path = Path("/sys/class/net")
    routes: Path = Path("/proc/net/route")
    helper: Path | None = None
    kept: dict[str, object] = field(default_factory=dict)


def check_machine(situation: Situation, machine: Machine) -> Iterator[Finding]:
    """Look at the machine."""
    yield from _check_clock(machine)
    yield from _check_folder(situation.folder)
    yield from _check_socket(situation)
    yield from _check_limits()
    if situation.loaded is not None:
        if situation.node is None:
            yield from _check_ports(situation.loaded.options)
        yield from _check_device(situation, situation.loaded.options, machine)
    if machine.system() == "Linux":
        yield from _check_kernel(machine)
        yield from _check_other_tunnels(machine)


def _check_clock(machine: Machine) -> Iterator[Finding]:
    now = machine.wall()
    if now < BUILT_AT:
        yield failed(
            "device.clock", "The clock is wrong by months",
            "Records of relays are good for a day or two, so none looks good to this device.",
            "timedatectl set-ntp true", f"the clock says {int(now)} s since 1970",
        )  # fmt: skip
    else:
        yield passed("device.clock", "The clock is not behind this program")


def _check_folder(folder: Path) -> Iterator[Finding]:
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path("/"))
    if not there.is_dir():
        yield failed(
            "device.folder", "The state folder is not a folder",
            "Keys and relays cannot be kept there.", "name another: vigilnet run --state-folder DIR",
            str(there),
        )  # fmt: skip
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield failed(
            "device.rights", "The state folder belongs to someone else",
            "The node cannot write its keys there.",
            f"run as the user it belongs to, or: sudo chown {_user()} {there}", str(there),
        )  # fmt: skip
        return
    yield passed("device.folder", "The state folder can be used")
    if sys.platform != "win32" and folder.is_dir() and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        yield failed(
            "device.open", "Other users can look into the state folder",
            "It holds the node's keys.", f"chmod 700 {folder}",
            f"mode {stat.S_IMODE(folder.stat().st_mode):o}", repair="close it to other users",
        )  # fmt: skip
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE:
        yield failed(
            "device.disk", "The disk is full",
            "The node cannot write down its keys and relays.", f"free some space on the disk of {there}",
            f"{free} octets are free",
        )  # fmt: skip
    else:
        yield passed("device.disk", "There is room on the disk")


def _user() -> str:
    if sys.platform == "win32":
        return os.environ.get("USERNAME", "")
    return str(os.geteuid())


def _check_socket(situation: Situation) -> Iterator[Finding]:
    if situation.node is not None:
        return
    path = socket_of(situation.folder)
    if not path.exists():
        yield noted(
            "node.off", "No node is running",
            "Apps go out directly, or not at all if lockdown is on.", "vigilnet up",
            str(situation.folder),
        )  # fmt: skip
    elif _answers(path):
        yield failed(
            "node.hung", "The node does not answer",
            "Its process is there, but does not serve its control socket in time.",
            "end it and start it again: vigilnet stop, or kill its process", str(path),
        )  # fmt: skip
    else:
        yield failed(
            "node.stale", "A node ended without cleaning up",
            "Its control socket is left over. Nothing serves it.", "vigilnet up", str(path),
            repair="remove the socket that nobody serves",
        )  # fmt: skip


def _answers(path: Path) -> bool:
    """Whether somebody listens there."""
    try:
        connect(path, HUNG_S).close()
    except (TimeoutError, PermissionError):
        return True
    except OSError:
        return False
    return True


def _check_limits() -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < LEAST_FILES:
        yield failed(
            "device.files", "This user may open too few files",
            "Every connection takes one or two; beyond the limit new ones fail.", f"ulimit -n {LEAST_FILES}",
            f"{files} may be open",
        )  # fmt: skip
    else:
        yield passed("device.files", "Enough files may be open")


def _check_ports(options: Options) -> Iterator[Finding]:
    wanted: list[tuple[str, str, int]] = []
    for name in ("socks", "http"):
        if getattr(options.ingress, f"{name}_enabled"):
            host, port = getattr(options.ingress, f"{name}_host"), getattr(options.ingress, f"{name}_port")
            wanted.append((f"ingress.{name}_port", host, port))
    if options.status.enabled:
        wanted.append(("status.port", options.status.host, options.status.port))
    if options.relay.enabled:
        for key in ("listen", "listen_htx"):
            for text in getattr(options.relay, key):
                host, _, port = text.rpartition(":")
                wanted.append((f"relay.{key}", host.removeprefix("[").removesuffix("]"), int(port)))
    bad = list(_unbindable(wanted))
    yield from bad
    if not bad:
        yield passed("device.port", "Every port that the node wants is free")


def _unbindable(wanted: list[tuple[str, str, int]]) -> Iterator[Finding]:
    for key, host, port in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind((host, port))
        except PermissionError:
            yield failed(
                "device.low_port", f"Port {port} needs rights",
                "Ports below 1024 are kept for the system.",
                f"choose another {key}, or: sudo sysctl net.ipv4.ip_unprivileged_port_start={port}",
                f"{key} = {host}:{port}",
            )  # fmt: skip
        except OSError as error:
            yield failed(
                "device.port", f"Port {port} is used by another program",
                "The node does not start while it is.",
                f"end that program (ss -ltnp), or choose another {key}",
                f"{key} = {host}:{port}: {error.strerror}",
            )  # fmt: skip


def _check_device(situation: Situation, options: Options, machine: Machine) -> Iterator[Finding]:
    """Look at what the whole device needs, and at what a killed helper may have left."""
    if machine.system() != "Linux":
        return
    missing = [program for program in ("nft", "ip") if machine.which(program) is None]
    if missing == ["nft"] and machine.which("tc") is not None:
        yield passed("device.programs", "The device can be protected, with fewer settings than with nft")
    elif missing:
        yield noted(
            "device.programs", "The whole device cannot be protected yet",
            f"That needs {' and '.join(missing)}. Apps that are set to use the proxy work without.",
            "sudo apt install nftables iproute2",
        )  # fmt: skip
    else:
        yield passed("device.programs", "The programs for the whole device are there")
    helper = machine.helper or options.device.helper
    if not machine.has_rights() and not helper.exists():
        yield noted(
            "device.helper", "The whole device cannot be protected without rights",
            "A small helper has them; it does not run.", "sudo vigilnet up", str(helper),
        )  # fmt: skip
    has_doors = helper.with_name("doors.json").exists()
    is_closed = has_doors or ("nft" not in missing and machine.has_rights() and _is_left_behind())
    if machine.has_rights() and not _is_served(helper) and is_closed:
        yield failed(
            "device.leftover", "A helper was killed and left the firewall closed",
            "Nothing leaves this device, so that nothing leaks.", "sudo vigilnet helper --repair",
            "our filters are there, and nobody keeps them",
            repair="put the firewall and the routes back",
        )  # fmt: skip


def _is_served(path: Path) -> bool:
    """Whether a helper listens there: one that was killed leaves its socket behind."""
    if sys.platform != "linux":
        return path.exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        return asking.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR)


def _is_left_behind() -> bool:
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)  # noqa: S607
    return re.search(r"^table inet vigilnet$", listed.stdout, re.MULTILINE) is not None


def _check_kernel(machine: Machine) -> Iterator[Finding]:
    found = re.match(r"(\d+)\.(\d+)", machine.release())
    if found and (int(found[1]), int(found[2])) < OLDEST_KERNEL:
        yield noted(
            "device.kernel", "The kernel is old",
            "Protecting the whole device and single apps needs Linux 5.4; the proxy works without.",
            "update the system", machine.release(),
        )  # fmt: skip
    else:
        yield passed("device.kernel", "The kernel is new enough")


def _check_other_tunnels(machine: Machine) -> Iterator[Finding]:
    """Look for another VPN that takes the default route."""
    try:
        lines = machine.routes.read_text().splitlines()[1:]
        default = {line.split()[0] for line in lines if line.split()[1] == "00000000"}
        others = [
            entry.name
            for entry in machine.interfaces.iterdir()
            if (entry / "tun_flags").exists() and not entry.name.startswith("vigilnet")
        ]
    except (OSError, IndexError):
        return
    taking = sorted(default.intersection(others))
    if taking:
        yield noted(
            "device.vpn", "Another VPN carries everything",
            "VigilNet runs inside it: its provider sees that you use VigilNet, and both must work.",
            "end the other VPN, or set device.underlay_marks if it shall stay", *taking,
        )  # fmt: skip
    else:
        yield passed("device.vpn", "No other VPN takes the traffic")
