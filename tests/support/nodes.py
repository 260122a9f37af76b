"""A VigilNet of real processes, each in a host of its own, for tests in namespaces.

The records travel through a shared folder; the target runs a web, a DNS and an iperf3 server.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns import Lab, Namespace, Wan, wait_for_port
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient

SUPPORT = Path(__file__).parent
VIGILNETD = Path(sys.executable).with_name("vigilnetd")
SOCKS_PORT, HTTP_PORT = 1080, 8118
SOCKS = f"127.0.0.1:{SOCKS_PORT}"
HTTP_PROXY = f"127.0.0.1:{HTTP_PORT}"
WEB_PORT, DNS_PORT = 80, 53
BULK = 20_000_000


@dataclass
class Network:
    """A running network and its hosts."""

    client: Namespace
    relays: list[Namespace]
    exit: Namespace
    target: Namespace
    folder: Path

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


def write_config(folder: Path, name: str, tables: dict[str, dict[str, object]]) -> Path:
    """A node's TOML file; plain values are JSON's as well."""
    node: dict[str, object] = {"state_folder": str(folder / name), "peers_folder": str(folder / "peers")}
    node |= {"network": "netns", "work_bits": 0}
    everything: dict[str, dict[str, object]] = {
        "node": node,
        "link": {"allow_private_addresses": True},
        **tables,
    }
    lines = []
    for table, keys in everything.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    file = folder / f"{name}.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def start_node(host: Namespace, folder: Path, name: str, tables: dict[str, dict[str, object]]) -> None:
    """Start one vigilnetd with a log of its own."""
    log = (folder / f"{name}.log").open("wb")
    with log:
        host.start(VIGILNETD, "--config", write_config(folder, name, tables), stdout=log)


def serve_target(target: Namespace, folder: Path) -> None:
    """Start the target's web, ssh and iperf3 servers."""
    site = folder / "site"
    site.mkdir()
    (site / "page.txt").write_text("found\n")
    (site / "bulk").write_bytes(os.urandom(BULK))
    bind = "::" if target.v6 else "0.0.0.0"  # noqa: S104  # inside a namespace of the test
    target.start(
        sys.executable, "-m", "http.server", WEB_PORT, "--bind", bind, "--directory", site,
    )  # fmt: skip
    target.start("iperf3", "-s")
    target.start(sys.executable, SUPPORT / "dns_server.py", DNS_PORT, target.v4, target.v6)
    wait_for_port(target, target.v4 or target.v6, WEB_PORT)


def start_network(
    lab: Lab, folder: Path, *, v4: bool = True, v6: bool = True, wan: Wan | None = None
) -> Network:
    """Bring up client, two relays, exit and target: on one switch, or in a star of delayed wires."""
    names = ("client", "relay1", "relay2", "exit", "target")
    hosts = {name: lab.namespace(name) for name in names}
    if wan is None:
        lab.switch(*hosts.values(), v4=v4, v6=v6)
    else:
        lab.star(*hosts.values(), wan=wan, v4=v4, v6=v6)
    (folder / "peers").mkdir()
    serve_target(hosts["target"], folder)
    target = hosts["target"].v4 or hosts["target"].v6
    for name in ("relay1", "relay2", "exit"):
        listen = [f"{host}:4001" for host in (hosts[name].v4, f"[{hosts[name].v6}]") if len(host) > 2]
        tables: dict[str, dict[str, object]] = {"relay": {"enabled": True, "listen": listen}}
        tables["ingress"] = {"socks_enabled": False, "http_enabled": False}
        if name == "exit":
            tables["exit"] = {
                "enabled": True, "policy": "open", "allow_private_targets": True, "resolvers": [target],
            }  # fmt: skip
        start_node(hosts[name], folder, name, tables)
    proxies: dict[str, object] = {"socks_port": SOCKS_PORT, "http_port": HTTP_PORT}
    start_node(hosts["client"], folder, "client", {"ingress": proxies})
    network = Network(
        hosts["client"], [hosts["relay1"], hosts["relay2"]], hosts["exit"], hosts["target"], folder
    )
    wait_for_circuit(folder / "client")
    return network


def wait_for_circuit(state: Path, timeout: float = 30.0) -> None:
    """Wait until a client tells that its first circuit is up."""
    for _ in range(int(timeout / 0.1)):
        with contextlib.suppress(VigilnetError), ControlClient(state) as control:
            if control.status().first_circuit_ms is not None:
                return
        signal.sigtimedwait([], 0.1)
    raise TimeoutError(f"no circuit after {timeout} s")
