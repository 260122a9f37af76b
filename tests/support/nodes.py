"""A VigilNet of real processes, each in a host of its own, for tests in namespaces.

The records travel through a shared folder; the target runs a web, a DNS, an iperf3 and an octet server.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import socks_shim
from tests.support.netns import Lab, Namespace, Wan, wait_for_port
from tests.support.waiting import wait_until
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Circuit, Status, Stream

SUPPORT = Path(__file__).parent
VIGILNETD = Path(sys.executable).with_name("vigilnetd")
SOCKS_PORT, HTTP_PORT = 1080, 8118
SOCKS = f"127.0.0.1:{SOCKS_PORT}"
HTTP_PROXY = f"127.0.0.1:{HTTP_PORT}"
WEB_PORT, DNS_PORT, OCTETS_PORT = 80, 53, 7000
BULK = 20_000_000

EXIT_CONSENT: dict[str, object] = {"accept_notice": True, "abuse_contact": "abuse@lab.example"}
Tables = dict[str, dict[str, object]]


@dataclass
class Node:
    """One vigilnetd in a host of its own: it can be killed, stopped and started again."""

    host: Namespace
    folder: Path
    name: str
    tables: Tables
    process: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.folder / self.name

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / f"{self.name}.log").read_text()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, with the settings that `tables` has now; its log goes on."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            config = write_config(self.folder, self.name, self.tables)
            words = (VIGILNETD, "--config", config)
            self.process = self.host.start(*words, stdout=log, **self.environment)

    def kill(self) -> None:
        """End it without giving it a chance to say anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end and wait; gives its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def status(self) -> Status | None:
        """How it is; None when it does not answer."""
        with contextlib.suppress(VigilnetError), ControlClient(self.state, timeout=2.0) as control:
            return control.status()
        return None

    def circuits(self) -> tuple[Circuit, ...]:
        """Its own circuits."""
        with ControlClient(self.state) as control:
            return control.circuits()

    def streams(self) -> tuple[Stream, ...]:
        """The streams on its own circuits."""
        with ControlClient(self.state) as control:
            return control.streams()

    def resident_octets(self) -> int:
        """How much memory it takes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Wait for a relay to listen, or for a client to have a circuit."""

        def is_ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} ended: {self.log}"
            status = self.status()
            return status is not None and bool(
                status.listen if "relay" in status.roles else status.first_circuit_ms is not None
            )

        wait_until(is_ready, f"{self.name} is ready", timeout)


@dataclass
class Network:
    """A running network and its hosts."""

    client: Namespace
    relays: list[Namespace]
    exit: Namespace
    target: Namespace
    folder: Path
    nodes: dict[str, Node] = field(default_factory=dict)  # by name: client, relay1, ..., exit, exit2, ...
    others: dict[str, Namespace] = field(default_factory=dict)  # hosts without a node of ours, by name

    @property
    def user(self) -> Node:
        """The client's process."""
        return self.nodes["client"]

    @property
    def address(self) -> str:
        """The target's address, of the family there is."""
        return self.target.v4 or self.target.v6

    @property
    def in_url(self) -> str:
        """The same as URLs write it."""
        return f"[{self.address}]" if ":" in self.address else self.address

    def curl(self, *arguments: object) -> str:
        """What curl prints in the client's host."""
        return self.client.run("curl", "-sS", "--fail", "--max-time", "20", *arguments).stdout

    def fetch(self, timeout: float = 20.0) -> str:
        """The target's page through SOCKS, by its address."""
        url = f"http://{self.in_url}/page.txt"
        return self.client.run(
            "curl", "-sS", "--fail", "--max-time", timeout, "--socks5-hostname", SOCKS, url,
            timeout=timeout + 5,
        ).stdout  # fmt: skip

    def can_fetch(self, timeout: float = 10.0) -> bool:
        """Whether one try to fetch the page works within the time."""
        try:
            return self.fetch(timeout) == "found\n"
        except AssertionError:
            return False

    def dial(
        self, words: str, *, login: tuple[str, str] | None = None, timeout: float = 60.0
    ) -> socket.socket:
        """A connection to the target's octet server through SOCKS, told `words`."""
        with self.client.entered():
            connection, _ = socks_shim.ask(("127.0.0.1", SOCKS_PORT), 1, self.address, OCTETS_PORT, login)
        connection.settimeout(timeout)
        connection.sendall(words.encode() + b"\n")
        return connection

    def path_of_stream(self) -> list[Node]:
        """The relays, guard first, of the circuit that carries the client's only stream now."""

        def carrying() -> list[Circuit]:
            return [circuit for circuit in self.user.circuits() if circuit.streams]

        (circuit,) = wait_until(carrying, "a circuit with a stream")
        return self.nodes_of(circuit)

    def nodes_of(self, circuit: Circuit) -> list[Node]:
        """The relays of a circuit, guard first."""
        by_id = {
            status.peer_id: node
            for node in self.nodes.values()
            if node is not self.user and (status := node.status()) is not None
        }
        return [by_id[hop.peer_id] for hop in circuit.hops]

    def restart_user(self, **tables: dict[str, object]) -> None:
        """Start the client anew with other settings, and wait for its first circuit."""
        self.user.stop()
        self.user.tables = {**self.user.tables, **tables}
        self.user.start()
        self.user.wait_ready()

    @contextlib.contextmanager
    def shim(self, kind: str, port: int, target_port: int) -> Iterator[None]:
        """A local port in the client's host that leads through SOCKS to a port of the target."""
        words = (sys.executable, SUPPORT / "socks_shim.py", kind, port, SOCKS, self.address, target_port)
        process = self.client.start(*words, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()
            process.wait()


def write_config(folder: Path, name: str, tables: Tables) -> Path:
    """A node's TOML file; plain values are JSON's as well."""
    node: dict[str, object] = {"state_folder": str(folder / name), "peers_folder": str(folder / "peers")}
    node |= {"network": "netns", "work_bits": 0}
    everything: Tables = {**tables, "node": node | tables.get("node", {})}
    everything["status"] = {"enabled": False} | tables.get("status", {})
    everything["link"] = {"allow_private_addresses": True} | tables.get("link", {})
    lines = []
    for table, keys in everything.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    file = folder / f"{name}.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def serve_target(target: Namespace, folder: Path) -> None:
    """Start the target's servers."""
    site = folder / "site"
    site.mkdir()
    (site / "page.txt").write_text("found\n")
    (site / "bulk").write_bytes(os.urandom(BULK))
    bind = "::" if target.v6 else "0.0.0.0"  # noqa: S104  # inside a namespace of the test
    target.start(
        sys.executable, "-m", "http.server", WEB_PORT, "--bind", bind, "--directory", site,
    )  # fmt: skip
    target.start("iperf3", "-s")
    target.start(sys.executable, SUPPORT / "octet_server.py", OCTETS_PORT)
    target.start(sys.executable, SUPPORT / "dns_server.py", DNS_PORT, target.v4, target.v6)
    for port in (WEB_PORT, OCTETS_PORT):
        wait_for_port(target, target.v4 or target.v6, port)


def start_network(
    lab: Lab,
    folder: Path,
    *,
    v4: bool = True,
    v6: bool = True,
    wan: Wan | None = None,
    relays: int = 2,
    exits: int = 1,
    tables: Mapping[str, Tables] | None = None,
    others: Sequence[str] = (),
    before_nodes: Callable[[Network], None] = lambda network: None,
) -> Network:
    """Bring up client, relays, exits and target: on one switch, or in a star of delayed wires.

    Args:
        lab: where.
        folder: for settings, states, logs, records and what the target serves.
        v4: whether the hosts have IPv4 addresses.
        v6: whether they have IPv6 addresses.
        wan: the wires of a star; None: a switch.
        relays: how many relays that are no exits.
        exits: how many exits.
        tables: further settings of a node, by its name, or "relays" for all but the client.
        others: names of further hosts on the same network, without a node.
        before_nodes: called when all hosts are there and no node runs yet.
    """
    relay_names = [f"relay{number}" for number in range(1, relays + 1)]
    exit_names = ["exit", *(f"exit{number}" for number in range(2, exits + 1))]
    hosts = {name: lab.namespace(name) for name in ("client", *relay_names, *exit_names, "target", *others)}
    if wan is None:
        lab.switch(*hosts.values(), v4=v4, v6=v6)
    else:
        lab.star(*hosts.values(), wan=wan, v4=v4, v6=v6)
    (folder / "peers").mkdir()
    serve_target(hosts["target"], folder)
    target = hosts["target"].v4 or hosts["target"].v6
    network = Network(
        hosts["client"], [hosts[name] for name in relay_names], hosts["exit"], hosts["target"], folder
    )
    for name in (*relay_names, *exit_names):
        listen = [f"{host}:4001" for host in (hosts[name].v4, f"[{hosts[name].v6}]") if len(host) > 2]
        settings: Tables = {"relay": {"enabled": True, "listen": listen}}
        settings["ingress"] = {"socks_enabled": False, "http_enabled": False}
        if name in exit_names:
            settings["exit"] = {
                "enabled": True, "policy": "open", "allow_private_targets": True, "resolvers": [target],
                **EXIT_CONSENT,
            }  # fmt: skip
        network.nodes[name] = Node(hosts[name], folder, name, settings)
    proxies: dict[str, object] = {"socks_port": SOCKS_PORT, "http_port": HTTP_PORT}
    network.nodes["client"] = Node(hosts["client"], folder, "client", {"ingress": proxies})
    network.others.update({name: hosts[name] for name in others})
    before_nodes(network)
    for name, node in network.nodes.items():
        for wanted in ("relays", name) if name != "client" else (name,):
            for table, keys in (tables or {}).get(wanted, {}).items():
                node.tables[table] = {**node.tables.get(table, {}), **keys}
        node.start()
    network.user.wait_ready()
    return network
