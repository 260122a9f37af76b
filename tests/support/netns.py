"""Small networks out of Linux namespaces, for tests with real processes (needs root).

    with Lab() as lab:
        client, relay = lab.namespace("client"), lab.namespace("relay")
        lab.wire(client, relay, v4=False, wan=Wan(delay_s=0.02, loss=0.01))
        client.run("ping", "-c1", relay.v6)

A wire joins two namespaces; a switch joins many. Whatever was started or made is gone when the `with` block
ends, however it ends; what a killed run left behind is swept up by the next one. Delay, loss and rate come
from a process of our own between the two ends (tests/support/wan.py): not every kernel has netem.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

RUN_NETNS = Path("/run/netns")
PREFIX = "vnlab"
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def ip(*arguments: object) -> str:
    """Run iproute2's `ip`; its own words are in the error when it fails."""
    done = subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Wan:
    """How a wire behaves, each way: `rate_bps` in bits, `queue_octets` is where it starts to drop."""

    delay_s: float = 0.0
    loss: float = 0.0
    jitter_s: float = 0.0
    rate_bps: float = 0.0
    queue_octets: int = 4_000_000
    seed: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether a bare veth does the same."""
        return not (self.delay_s or self.loss or self.jitter_s or self.rate_bps)


class Namespace:
    """One host: its own interfaces, routes, ports and firewall."""

    def __init__(self, lab: "Lab", name: str) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{name}"
        self.v4 = self.v6 = ""  # the first address of each family
        self.interfaces: list[str] = []
        self._lab = lab
        ip("netns", "add", self.name)
        for which in ("all", "default"):  # no second of waiting for duplicates of addresses that we gave out
            self.sysctl(f"net.ipv6.conf.{which}.accept_dad", 0)
        ip("-n", self.name, "link", "set", "lo", "up")

    def command(self, *arguments: object) -> list[str]:
        """The words that run a command in here."""
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]

    def run(
        self, *arguments: object, timeout: float = 60.0, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and give what it printed; a failure shows its output."""
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            input=stdin,
        )
        if check and done.returncode:
            words = " ".join(map(str, arguments))
            raise AssertionError(f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(
        self, *arguments: object, stdout: IO[bytes] | int = subprocess.DEVNULL, **environment: str
    ) -> "subprocess.Popen[bytes]":
        """Start a process in here; it is stopped with the lab, and dies with the test run."""
        process = subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT if stdout not in (subprocess.DEVNULL, subprocess.PIPE) else None,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # no threads hold locks here
            env={**os.environ, **environment},
        )
        self._lab.processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread makes within the block belong to this namespace."""
        with Path("/proc/thread-self/ns/net").open() as home, (RUN_NETNS / self.name).open() as there:
            _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())

    def sysctl(self, key: str, value: object) -> None:
        """Set one `net.…` key in here."""
        self.run("sysctl", "-qw", f"{key}={value}")

    def pids(self) -> list[int]:
        """Processes that run in here."""
        return [int(pid) for pid in ip("netns", "pids", self.name).split()]


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Lab:
    """A set of namespaces and wires that is taken down as a whole."""

    def __init__(self) -> None:
        self.namespaces: list[Namespace] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._wires = 0

    def __enter__(self) -> Self:
        sweep()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def namespace(self, name: str) -> Namespace:
        """A new host without any wire."""
        made = Namespace(self, name)
        self.namespaces.append(made)
        return made

    def wire(
        self, a: Namespace, b: Namespace, *, v4: bool = True, v6: bool = True, wan: Wan | None = None
    ) -> tuple[str, str]:
        """Join two hosts by a network of their own; gives the names of the two interfaces."""
        self._wires += 1
        net = self._wires
        first, second = f"w{net}a", f"w{net}b"
        if wan is None or wan.is_plain:
            ip("link", "add", first, "netns", a.name, "type", "veth", "peer", "name", second, "netns", b.name)
            middle = None
        else:
            middle = self.namespace(f"wan{net}")
            for end, outside, inside in ((a, first, "left"), (b, second, "right")):
                ip("link", "add", outside, "netns", end.name, "type", "veth", "peer", "name", inside,
                   "netns", middle.name)  # fmt: skip
        self._address(a, first, net, 1, v4=v4, v6=v6)
        self._address(b, second, net, 2, v4=v4, v6=v6)
        if middle is not None and wan is not None:
            self._start_wan(middle, wan, ((a, first), (b, second)))
        return first, second

    def switch(self, *hosts: Namespace, v4: bool = True, v6: bool = True) -> None:
        """Join many hosts by one network."""
        self._wires += 1
        net = self._wires
        middle = self.namespace(f"switch{net}")
        ip("-n", middle.name, "link", "add", "br0", "type", "bridge", "forward_delay", 0)
        ip("-n", middle.name, "link", "set", "br0", "up")
        for place, host in enumerate(hosts, 1):
            inside, outside = f"p{place}", f"w{net}p{place}"
            ip("link", "add", outside, "netns", host.name, "type", "veth", "peer", "name", inside,
               "netns", middle.name)  # fmt: skip
            ip("-n", middle.name, "link", "set", inside, "master", "br0", "up")
            self._address(host, outside, net, place, v4=v4, v6=v6)

    def star(self, *hosts: Namespace, wan: Wan, v4: bool = True, v6: bool = True) -> Namespace:
        """Join hosts through a router, each by a wire of its own; two hosts are twice the wire apart."""
        router = self.namespace("router")
        router.sysctl("net.ipv4.ip_forward", 1)
        router.sysctl("net.ipv6.conf.all.forwarding", 1)
        for host in hosts:
            interface, _ = self.wire(host, router, v4=v4, v6=v6, wan=wan)
            net = self._wires
            if v4:
                ip("-n", host.name, "route", "add", "default", "via", f"10.77.{net}.2")
            if v6:
                ip(
                    "-n",
                    host.name,
                    "-6",
                    "route",
                    "add",
                    "default",
                    "via",
                    f"fd77:{net:x}::2",
                    "dev",
                    interface,
                )
        return router

    def _address(self, host: Namespace, interface: str, net: int, place: int, *, v4: bool, v6: bool) -> None:
        ip("-n", host.name, "link", "set", interface, "up")
        host.interfaces.append(interface)
        if v4:
            host.v4 = host.v4 or f"10.77.{net}.{place}"
            ip("-n", host.name, "addr", "add", f"10.77.{net}.{place}/24", "dev", interface)
        if v6:
            host.v6 = host.v6 or f"fd77:{net:x}::{place:x}"
            ip("-n", host.name, "addr", "add", f"fd77:{net:x}::{place:x}/64", "dev", interface, "nodad")
        else:
            host.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)

    def _start_wan(self, middle: Namespace, wan: Wan, ends: tuple[tuple[Namespace, str], ...]) -> None:
        for inside in ("left", "right"):
            middle.sysctl(f"net.ipv6.conf.{inside}.disable_ipv6", 1)
            ip("-n", middle.name, "link", "set", inside, "up")
        if wan.loss or wan.rate_bps:
            # One packet at a time: a lost 64 KiB super-packet would not be the loss that was asked for.
            for host, interface in ends:
                ip("-n", host.name, "link", "set", interface, "gso_max_segs", 1)
        process = middle.start(
            sys.executable, str(Path(__file__).with_name("wan.py")), "left", "right",
            "--delay", wan.delay_s, "--loss", wan.loss, "--jitter", wan.jitter_s, "--rate", wan.rate_bps,
            "--queue", wan.queue_octets, "--seed", wan.seed, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise OSError("wan: did not start")

    def close(self) -> None:
        """Stop all processes, remove all namespaces; safe to call again."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for namespace in self.namespaces:
            _remove(namespace.name)
        self.processes.clear()
        self.namespaces.clear()


def _remove(name: str) -> None:
    """Take a namespace away with whatever still runs in it."""
    with contextlib.suppress(OSError):
        for pid in ip("netns", "pids", name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ip("netns", "del", name)


def sweep() -> None:
    """Remove what runs that no longer live have left behind."""
    if not RUN_NETNS.is_dir():
        return
    for entry in RUN_NETNS.iterdir():
        owner = entry.name.removeprefix(PREFIX).partition("-")[0]
        if entry.name.startswith(PREFIX) and owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove(entry.name)


def wait_for_port(host: Namespace, address: str, port: int, timeout: float = 60.0) -> None:
    """Wait until something accepts on a port, as seen from a host; there is no event for it, so poll."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.entered():
        for _ in range(int(timeout / 0.05)):
            with socket.socket(family) as probe:
                probe.settimeout(0.5)
                if probe.connect_ex((address, port)) == 0:
                    return
            signal.sigtimedwait([], 0.05)
    raise TimeoutError(f"nothing accepts on {address} port {port} after {timeout} s")
