"""A client that takes its whole device's traffic, and a sniffer on the only way out of its host."""

import contextlib
import functools
import os
import shlex
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.capture import Tap
from tests.support.leak_probes import PROBES, Where
from tests.support.netns import Lab, Namespace
from tests.support.nodes import Network, Tables, start_network
from tests.support.waiting import wait_until
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.device import Device
from vigilnet.surface.control.schema import read

RELAY_PORT = 4001
_NEIGHBOUR_TALK = range(133, 138)


class Sniffer(Tap):
    """Counts what leaves a host, seen from the other end of its wire; links and neighbour talk apart."""

    def __init__(self, switch: Namespace, port: str, relays: set[str]) -> None:
        super().__init__(switch, socket.SOCK_RAW, port)
        self._relays = relays
        self.leaks: Counter[str] = Counter()
        self.links = 0
        self.neighbours = 0

    def packet_read(self, octets: bytes, interface: str, kind: int, *, is_sent: bool) -> None:
        """Judge what the host sent."""
        del interface, kind
        if not is_sent:
            self._judge(octets)

    def _judge(self, octets: bytes) -> None:
        kind = octets[12:14]
        if kind == b"\x08\x06":
            self.neighbours += 1
        elif kind == b"\x08\x00":
            header = (octets[14] & 15) * 4
            self._judge_packet(
                octets[23],
                socket.inet_ntoa(octets[26:30]),
                socket.inet_ntoa(octets[30:34]),
                octets[14 + header :],
            )
        elif kind == b"\x86\xdd":
            source, target = (socket.inet_ntop(socket.AF_INET6, octets[at : at + 16]) for at in (22, 38))
            self._judge_packet(octets[20], source, target, octets[54:])
        else:
            self.leaks[f"ethertype {kind.hex()}"] += 1

    def _judge_packet(self, protocol: int, source: str, target: str, body: bytes) -> None:
        if protocol == 58 and body and body[0] in _NEIGHBOUR_TALK:
            self.neighbours += 1
            return
        ports = struct.unpack(">HH", body[:4]) if len(body) >= 4 else (0, 0)
        if protocol == 6 and target in self._relays and ports[1] == RELAY_PORT:
            self.links += 1
            return
        where = f":{ports[1]}" if protocol in (6, 17) else f" type {body[0] if body else '-'}"
        self.leaks[f"protocol {protocol} {source} > {target}{where}"] += 1


@dataclass
class ProtectedDevice:
    """The client of a network, whose whole device can go up and down."""

    network: Network
    lab: Lab
    run_folder: Path
    capture: str = ""  # "interface": as where there is no nftables

    @property
    def host(self) -> Namespace:
        """The client's host."""
        return self.network.client

    @property
    def group(self) -> str:
        """The folder of its control groups."""
        return f"vn{os.getpid()}"

    def sniff(self) -> Sniffer:
        """A sniffer on the client's only wire."""
        relays = set()
        for name, node in self.network.nodes.items():
            if name != "client":
                relays |= {node.host.v4, node.host.v6} - {""}
        switch = next(host for host in self.lab.namespaces if "switch" in host.name)
        return Sniffer(switch, "p1", relays)

    def cli(self, *words: object, timeout: float = 100.0, check: bool = True) -> str:
        """Run `vigilnet ...` in the client's host, as somebody with a cgroup tree would."""
        command = shlex.join(
            [str(Path(sys.executable)), "-m", "vigilnet.surface.cli.main", *map(str, words),
             "--state-folder", str(self.network.user.state)]
        )  # fmt: skip
        return self.shell(command, timeout=timeout, check=check)

    def shell(self, command: str, timeout: float = 100.0, *, check: bool = True) -> str:
        """Run a line of shell in the client's host, with cgroup v2 mounted."""
        mount = "mount -t cgroup2 none /sys/fs/cgroup"
        return self.host.run("sh", "-c", f"{mount} && {command}", timeout=timeout, check=check).stdout

    def start_helper(self) -> None:
        """Start the helper by itself, as its service would."""
        self.run_folder.mkdir(exist_ok=True)
        words = [sys.executable, "-m", "vigilnet.surface.device_helper", *self.helper_words]
        line = f"mount -t cgroup2 none /sys/fs/cgroup && exec {shlex.join(words)}"
        with (self.run_folder / "helper.log").open("ab") as log:
            self.helper = self.host.start("sh", "-c", line, stdout=log)
        wait_until(self._is_served, "the helper listens")  # one that was killed leaves its socket behind

    def _is_served(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            return asking.connect_ex(str(self.run_folder / "helper.sock")) == 0

    @property
    def helper_words(self) -> list[str]:
        """Arguments of the helper that keep it apart from those of other tests."""
        return [
            "--run-folder", str(self.run_folder), "--keep-folder", str(self.run_folder / "keep"),
            "--group", self.group, *(["--capture", self.capture] if self.capture else []),
        ]  # fmt: skip

    def repair(self) -> None:
        """Run `vigilnet doctor --repair`'s work."""
        words = [sys.executable, "-m", "vigilnet.surface.device_helper", *self.helper_words, "--repair"]
        self.shell(shlex.join(words))

    def ask(self, action: str, **params: object) -> Device:
        """Ask the client's node about the device."""
        with ControlClient(self.network.user.state, timeout=40.0) as control:
            return read(Device, control.call("device", {"action": action, **params}))

    def state(self, *, with_groups: bool = True) -> str:
        """Everything of the kernel that must be equal before and after."""
        said = []
        for command in (
            "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all",
            "ip -br addr", "nft list ruleset", "tc qdisc show", "cat /etc/resolv.conf",
            "sysctl net.ipv4.conf.all.src_valid_mark net.ipv4.conf.all.rp_filter net.ipv4.ip_forward",
            f"ls -d /sys/fs/cgroup/{self.group} 2>&1 || true" if with_groups else "true",
        ):  # fmt: skip
            out = self.shell(command)
            said.append(
                f"# {command}\n"
                + "\n".join(sorted(line.partition("expires")[0] for line in out.splitlines()))
            )
        return "\n".join(said)

    def traces(self) -> dict[str, list[str]]:
        """Processes, files, descriptors, settings of the system: what else must be equal before and after."""
        settings = self.host.run("sysctl", "-a", "--pattern", r"^net\.ipv[46]\.").stdout.splitlines()
        processes: list[str] = []
        helper: list[str] = []
        for pid in self.host.pids():
            words = _words_of(pid)
            processes.append(" ".join(words))
            if "vigilnet.surface.device_helper" in words:
                helper = [
                    path.readlink().name.partition(":")[0] for path in Path(f"/proc/{pid}/fd").iterdir()
                ]
        return {
            "processes": sorted(processes),
            "files": sorted(map(str, self.run_folder.rglob("*"))),
            "descriptors of the helper": sorted(helper),
            # Not what the kernel offers, which grows as others load its modules.
            "system settings": [line for line in settings if "available" not in line],
        }

    def stop_helper(self, number: int = signal.SIGTERM) -> None:
        """End the helper."""
        for pid in self.host.pids():
            if "vigilnet.surface.device_helper" in _words_of(pid):
                os.kill(pid, number)
                wait_until(functools.partial(_has_ended, pid), "the helper ends")


def _words_of(pid: int) -> list[str]:
    with contextlib.suppress(OSError):  # others may end meanwhile
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    return []


def _has_ended(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


def name_server_of_its_own(ends: contextlib.ExitStack) -> Callable[[Network], None]:
    """Work before the nodes of `start_device`: the client's host has a resolv.conf that names the target."""

    def write(network: Network) -> None:
        file = Path("/etc/netns") / network.client.name / "resolv.conf"
        file.parent.mkdir(parents=True)
        ends.callback(file.parent.rmdir)
        ends.callback(file.unlink)
        file.write_text(f"nameserver {network.target.v4}\n")

    return write


def start_device(
    lab: Lab,
    folder: Path,
    *,
    tables: dict[str, Tables] | None = None,
    v4: bool = True,
    v6: bool = True,
    exits: int = 1,
    others: Sequence[str] = (),
    before_nodes: Callable[[Network], None] = lambda network: None,
) -> ProtectedDevice:
    """Bring up a network whose client can take its whole device."""
    run_folder = folder / "run"
    run_folder.mkdir()
    client = dict((tables or {}).get("client", {}))
    device: dict[str, object] = {"helper": str(run_folder / "helper.sock"), "allow_private_targets": True}
    client["device"] = {**device, **client.get("device", {})}
    network = start_network(
        lab, folder, tables={**(tables or {}), "client": client}, v4=v4, v6=v6, exits=exits, others=others,
        before_nodes=before_nodes,
    )  # fmt: skip
    return ProtectedDevice(network, lab, run_folder)


def where_of(device: ProtectedDevice) -> Where:
    """Addresses that the probes need."""
    client, target = device.host, device.network.target
    interface = client.interfaces[0]

    def mac(host: object, name: str) -> bytes:
        said = client.run if host is client else target.run
        return bytes.fromhex(said("cat", f"/sys/class/net/{name}/address").stdout.strip().replace(":", ""))

    return Where(
        interface, mac(client, interface), mac(target, target.interfaces[0]), client.v4, client.v6,
        target.v4, target.v6, client.v4.rpartition(".")[0] + ".255",
    )  # fmt: skip


def run_probes(device: ProtectedDevice, names: list[str] | None = None) -> None:
    """Try to get something out of the client's host in every way, or in those that are named."""
    where = where_of(device)
    with device.host.entered():
        for name in names or PROBES:
            with contextlib.suppress(OSError):  # refused, as it should be
                PROBES[name](where)
