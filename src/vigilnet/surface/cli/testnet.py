"""`vigilnet testnet`: a whole network of separate processes on this machine.

Relays, exits among them, and one client, joined by a shared folder of records; a network name of its
own, no work on identities, loopback addresses. Prints and writes one JSON object when the client's
first circuit is up (a stable interface), and stops everything when it ends, however it ends.
"""

import argparse
import contextlib
import json
import math
import os
import secrets
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.base.system_io import take_lock
from vigilnet.surface.cli.decoy import HOST_NAME, Decoy
from vigilnet.surface.cli.output import paint, write
from vigilnet.surface.cli.processes import Daemon, end_all
from vigilnet.surface.control.client import ControlClient, NotRunningError
from vigilnet.surface.control.models import Status
from vigilnet.surface.control.schema import ControlError
from vigilnet.surface.exits import ExitCode

START_TIMEOUT_S: Final = 60.0
HERE: Final = ["127.0.0.1:0"]
OBFS4: Final = ["obfs4 = obfs4proxy"]
MAX_RELAYS: Final = 200
POLL_S: Final = 0.02
MARKER: Final = "testnet.json"
LOCK: Final = "testnet.lock"
SITE: Final = "site"  # the origin of relays over HTX
PASSING: Final = "vigilnet-testnet-"
TRANSPORTS: Final = ("tcp", "htx", "shadowsocks", "obfs4", "quic")

_now = time.monotonic  # noqa: TID251 a command, not a machine


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    command = commands.add_parser(
        "testnet", help="a whole network on this machine, for trying out and for tests",
        description="Starts relays and a client as separate processes on this machine, says when the first "
        "circuit is up, and stops them all at Ctrl-C.",
    )  # fmt: skip
    number = command.add_argument
    number(
        "--relays", type=_count(1, MAX_RELAYS), default=3, help="relays in all (more if --hops needs them)"
    )
    number("--exits", type=_count(1, MAX_RELAYS), default=2, help="how many of them are exits")
    number("--hops", type=_count(1, 10), default=3, help="hops of the client's circuits")
    command.add_argument("--transport", choices=TRANSPORTS, default="tcp", help="what carries the links")
    command.add_argument(
        "--dir", type=Path, metavar="DIR", help="keep everything here (default: a passing folder)"
    )
    number("--socks-port", type=_count(0, 65_535), default=0, help="0 takes a free one")
    number("--http-port", type=_count(0, 65_535), default=0, help="0 takes a free one")
    command.add_argument("--allow-private-targets", action="store_true", help="exits may reach this machine")
    command.add_argument(
        "--countries", type=_countries, default=(), metavar="DE,NL,...",
        help="what the relays say of where they stand, in turn (default: nothing)",
    )  # fmt: skip
    command.add_argument("--ready-file", type=Path, metavar="FILE", help="write the JSON object here too")
    command.add_argument(
        "--duration",
        type=_seconds,
        metavar="SECONDS",
        help="stop by itself so long after the first circuit is up",
    )
    command.add_argument("--json", action="store_true", help="nothing but the JSON object, no progress")
    command.set_defaults(command=run_testnet)


def _count(least: int, most: int) -> Any:  # noqa: ANN401 argparse takes any callable
    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value}, expected {least} to {most}")
        return value

    parse.__name__ = "number"  # argparse names it in its error
    return parse


def _countries(text: str) -> tuple[str, ...]:
    codes = tuple(text.upper().split(","))
    if not all(len(code) == 2 and code.isascii() and code.isalpha() for code in codes):
        raise argparse.ArgumentTypeError(f"{text}, expected codes of two letters with commas between them")
    return codes


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text}, expected a time above 0")
    return value


@dataclass(frozen=True)
class Plan:
    """What is to be started."""

    folder: Path
    network: str
    relays: int
    exits: int
    hops: int
    socks_port: int
    http_port: int
    allow_private_targets: bool
    transport: str = "tcp"
    site: tuple[int, Path] | None = None  # links over HTX: port and root certificate of the origin
    countries: tuple[str, ...] = ()  # of the relays, in turn

    def relay_names(self) -> list[str]:
        """relay1, relay2, ...; the last ones are the exits."""
        return [f"relay{number}" for number in range(1, self.relays + 1)]

    def is_exit(self, name: str) -> bool:
        """Whether this relay is an exit."""
        return int(name.removeprefix("relay")) > self.relays - self.exits

    def config_of(self, name: str) -> str:
        """The settings file of one process."""
        is_client = name == "client"
        tables: dict[str, dict[str, object]] = {
            "node": {
                "state_folder": str(self.state_of(name)),
                "network": self.network,
                "peers_folder": str(self.folder / "records"),
                "work_bits": 0,
            },
            "link": {"allow_private_addresses": True},
            "status": {"enabled": name == "client", "port": 0},
            "log": {"level": "info"},
        }
        if is_client:
            tables["circuits"] = {"hops": self.hops}
            tables["ingress"] = {"socks_port": self.socks_port, "http_port": self.http_port}
        else:
            tables["relay"] = self._relay_table() | self._country_of(name)
            tables |= self._listener_tables()
            tables["ingress"] = {"socks_enabled": False, "http_enabled": False}
        if not is_client and self.is_exit(name):
            tables["exit"] = {
                "enabled": True,
                "accept_notice": True,  # of a network that only this machine reaches
                "abuse_contact": "testnet@localhost",
                "policy": "open",
                "allow_private_targets": self.allow_private_targets,
            }
        if self.transport == "quic":
            tables["link"]["transports"] = ["quic"]
        if self.transport == "obfs4":
            tables.setdefault("pluggable", {})["client"] = OBFS4
        if self.site is not None:
            port, root = self.site
            tables["htx"] = {
                "origin": f"127.0.0.1:{port}",
                "host_name": HOST_NAME,
                "trust_anchors": str(root),
            }
        return _as_toml(tables)

    def _relay_table(self) -> dict[str, object]:
        if self.transport == "tcp":
            return {"enabled": True, "listen": HERE}
        return {"enabled": True, "listen": []} | ({"listen_htx": HERE} if self.transport == "htx" else {})

    def _country_of(self, name: str) -> dict[str, object]:
        if not self.countries:
            return {}
        number = int(name.removeprefix("relay")) - 1
        return {"country": self.countries[number % len(self.countries)]}

    def _listener_tables(self) -> dict[str, dict[str, object]]:
        """The tables of a relay's listener, where it has one of its own."""
        if self.transport == "obfs4":
            table: dict[str, object] = {"server": OBFS4, "listen": ["obfs4 = 127.0.0.1:0"]}
            return {"pluggable": table}
        return {self.transport: {"listen": HERE}} if self.transport in ("shadowsocks", "quic") else {}

    def state_of(self, name: str) -> Path:
        """The state folder of one process."""
        return self.folder / name


def _as_toml(tables: dict[str, dict[str, object]]) -> str:
    # JSON's texts, numbers, booleans and lists are TOML's too.
    lines = []
    for table, values in tables.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


class Testnet:
    """The processes of one network."""

    def __init__(self, plan: Plan, *, is_quiet: bool) -> None:
        self.plan = plan
        self._is_quiet = is_quiet
        self.relays: list[Daemon] = []
        self.client: Daemon | None = None

    def start(self, ending: "Ending") -> dict[str, object] | None:
        """Start everything and wait for the first circuit; return what is to be announced.

        Returns None if it was told to end meanwhile.

        Raises:
            EnvironmentRefusedError: a process ended, or nothing came up in time.
        """
        plan = self.plan
        self._say(f"starting {plan.relays} relays, {plan.exits} of them exits")
        self.relays = [self._spawn(name) for name in plan.relay_names()]
        give_up = _now() + START_TIMEOUT_S
        for relay in self.relays:
            if not self._wait_for(relay, self._knows_the_others, give_up, ending):
                return None
        self._say(f"relays are up, starting the client with {plan.hops} hops")
        self.client = self._spawn("client")
        if not self._wait_for(
            self.client, lambda status: status.first_circuit_ms is not None, give_up, ending
        ):
            return None
        with ControlClient(plan.state_of("client")) as control:
            status = control.status()
        return {
            "socks": status.socks,
            "http_proxy": status.http_proxy,
            "dir": str(plan.folder),
            "pids": {"client": self.client.pid, "relays": {relay.name: relay.pid for relay in self.relays}},
            "first_circuit_ms": status.first_circuit_ms,
        }

    def _knows_the_others(self, status: Status) -> bool:
        """Whether a relay can extend circuits to all others: the first one then needs no second try."""
        return bool(status.listen) and status.peers >= self.plan.relays - 1

    def watch(self, ending: "Ending", until: float) -> ExitCode:
        """Wait for the end; say so if a process ends before."""
        gone: set[str] = set()
        while not ending.is_asked and _now() < until:
            ending.wait(min(1.0, until - _now()))
            for daemon in self._all():
                if daemon.exit_code is None or daemon.name in gone or ending.is_asked:
                    continue
                gone.add(daemon.name)
                write(f"vigilnet: testnet: {daemon.name} ended: {daemon.last_line()}", stream=sys.stderr)
                if daemon is self.client:
                    return ExitCode.FAILED
        return ExitCode.OK

    def stop(self) -> None:
        """End every process."""
        end_all(self._all())

    def _all(self) -> list[Daemon]:
        return [*self.relays, *([self.client] if self.client else [])]

    def _spawn(self, name: str) -> Daemon:
        config = self.plan.folder / f"{name}.toml"
        config.write_text(self.plan.config_of(name))
        return Daemon(name, config, self.plan.folder / f"{name}.log")

    def _wait_for(self, daemon: Daemon, is_ready: Any, give_up: float, ending: "Ending") -> bool:  # noqa: ANN401
        while not ending.is_asked:
            for other in self._all():
                if other.exit_code is not None:
                    raise EnvironmentRefusedError(f"testnet: {other.name} ended: {other.last_line()}")
            if (status := self._status_of(daemon)) is not None and is_ready(status):
                return True
            if _now() > give_up:
                raise EnvironmentRefusedError(
                    f"testnet: {daemon.name} not ready after {START_TIMEOUT_S:.0f} s: {daemon.last_line()}"
                )
            ending.wait(POLL_S)
        return False

    def _status_of(self, daemon: Daemon) -> Status | None:
        try:
            with ControlClient(self.plan.state_of(daemon.name)) as control:
                return control.status()
        except (NotRunningError, ControlError):
            return None  # not yet

    def _say(self, text: str) -> None:
        if not self._is_quiet:
            write(paint(f"testnet: {text}", "dim", sys.stderr), stream=sys.stderr)


class Ending:
    """Knows whether we were told to end; wakes the waiting at once."""

    def __init__(self) -> None:
        self.is_asked = False
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    def wait(self, seconds: float) -> None:
        """Wait for a signal (also of a child that ended), at most so long."""
        if select.select([self._woken], [], [], max(0.0, seconds))[0]:
            with contextlib.suppress(BlockingIOError):
                while self._woken.recv(1024):
                    pass

    def _asked(self, number: int, _: FrameType | None) -> None:
        if sys.platform == "win32" or number != signal.SIGCHLD:
            self.is_asked = True

    @contextlib.contextmanager
    def installed(self) -> Iterator["Ending"]:
        """Take the signals within the `with` block."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if sys.platform != "win32":
            numbers.append(signal.SIGCHLD)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants us to stay
                numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._asked) for number in numbers}
        old_fd = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            yield self
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._woken.close()
            self._waker.close()


def run_testnet(arguments: argparse.Namespace) -> ExitCode:
    """Start a network, announce it, wait, stop it."""
    relays = max(arguments.relays, arguments.hops, arguments.exits)
    with (
        _folder(arguments.dir) as folder,
        Ending().installed() as ending,
        _site(folder, arguments.transport) as site,
    ):
        plan = Plan(
            folder, f"testnet-{secrets.token_hex(6)}", relays, arguments.exits, arguments.hops,
            arguments.socks_port, arguments.http_port, arguments.allow_private_targets,
            arguments.transport, site, arguments.countries,
        )  # fmt: skip
        net = Testnet(plan, is_quiet=arguments.json)
        try:
            facts = net.start(ending)
            if facts is None:
                return ExitCode.OK
            _announce(facts, folder, arguments.ready_file)
            until = _now() + arguments.duration if arguments.duration else math.inf
            return net.watch(ending, until)
        finally:
            net.stop()


@contextlib.contextmanager
def _site(folder: Path, transport: str) -> Iterator[tuple[int, Path] | None]:
    """Run the origin of a testnet over HTX until the block ends."""
    if transport != "htx":
        yield None
        return
    decoy = Decoy(folder / SITE)
    try:
        yield decoy.port, decoy.root
    finally:
        decoy.stop()


def _announce(facts: dict[str, object], folder: Path, ready_file: Path | None) -> None:
    line = json.dumps(facts)
    for path in (folder / MARKER, ready_file):
        if path is not None:
            _write_whole(path, line + "\n")
    write(line)


def _write_whole(path: Path, text: str) -> None:
    """Write a file that readers see whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EnvironmentRefusedError(f"{path}: cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """Give the network's folder; one that nobody named is removed at the end."""
    if given is None:
        _sweep(Path(tempfile.gettempdir()))
        passing = Path(tempfile.mkdtemp(prefix=PASSING))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, passing, ignore_errors=True)
            _take(passing, stack)
            (passing / "records").mkdir()
            yield passing
        return
    folder = given.absolute()
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_contents(folder)
            _take(folder, stack)
            _clear(folder)
            (folder / "records").mkdir()
        except OSError as error:
            raise EnvironmentRefusedError(f"{folder}: cannot be used: {error.strerror}") from error
        yield folder


def _check_contents(folder: Path) -> None:
    """Refuse a folder that holds anything but what an earlier testnet left."""
    names = {"client", *(f"relay{number}" for number in range(1, MAX_RELAYS + 1))}
    ours = {MARKER, LOCK, SITE, "records"} | {
        name + suffix for name in names for suffix in ("", ".toml", ".log")
    }
    if any(path.name not in ours for path in folder.iterdir()):
        raise ConfigurationError(f"--dir {folder}: holds other files; name an empty or a new folder")


def _take(folder: Path, stack: contextlib.ExitStack) -> None:
    """Take the folder for this process, until the stack closes or the process ends."""
    lock = stack.enter_context((folder / LOCK).open("w"))
    try:
        take_lock(lock.fileno())
    except OSError as error:
        raise EnvironmentRefusedError(f"--dir {folder}: another testnet is running there") from error


def _sweep(folder: Path) -> None:
    """Remove the passing folders of testnets that were killed: those that nobody holds any more."""
    for path in folder.glob(f"{PASSING}*"):
        with contextlib.suppress(OSError, EnvironmentRefusedError), contextlib.ExitStack() as stack:
            if _is_ours(path) and (path / LOCK).is_file():
                _take(path, stack)
                shutil.rmtree(path)


def _is_ours(folder: Path) -> bool:
    """Whether it is of our user; on Windows the folder for passing files is already."""
    return sys.platform == "win32" or folder.stat().st_uid == os.geteuid()


def _clear(folder: Path) -> None:
    """Remove what an earlier testnet left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
