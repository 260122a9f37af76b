"""The small world in which the pages' commands run: hosts in namespaces, each with a shell of its own.

you, friend ── switch ── relay1, relay2, berlin, stockholm, site

relay1, relay2 are relays; berlin and stockholm are exits that declare DE and SE; site serves the web, names
and a sign-in page. Nobody has told `you` anything: `$INVITE` is what a page's reader was handed.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.netns import Lab, Namespace
from tests.support.nodes import EXIT_CONSENT, VIGILNETD, Tables, serve_target
from tests.support.origins import make_certificates
from tests.support.waiting import wait_until
from tests.support.walkthrough import Shell
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Status

BIN = Path(sys.executable).parent
RELAYS = ("relay1", "relay2", "berlin", "stockholm")
COUNTRIES = {"berlin": "DE", "stockholm": "SE"}
LABORATORY = {
    "VIGILNET_NODE_NETWORK": "lab",
    "VIGILNET_NODE_WORK_BITS": "0",
    "VIGILNET_LINK_ALLOW_PRIVATE_ADDRESSES": "true",
    "VIGILNET_DEVICE_ALLOW_PRIVATE_TARGETS": "true",
    "VIGILNET_DEVICE_PORTAL_PROBE": "http://portal.test:8080/success.txt",
}
SUDO = """#!/bin/sh
# As sudo, for who is root already; the helper's group of processes is this test's own.
if [ "$(basename "$1") $2" = "vigilnet up" ]; then
    program=$1
    shift 2
    exec "$program" up --helper-argument=--group --helper-argument={group} "$@"
fi
exec "$@"
"""
SIGN_IN = """
import http.server
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/login" else 302)
        self.send_header("Location", "/login")
        self.end_headers()
        self.wfile.write(b"sign in\\n")
http.server.HTTPServer(("", 8080), Page).serve_forever()
"""
CENSOR = "table inet censor {{ chain in {{ type filter hook input priority 0; {rule}; }}; }}"
PREPARE = """
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/vigilnet /var/lib/vigilnet
mount -t tmpfs -o mode=0755 none /run/vigilnet
mount -t tmpfs -o mode=0755 none /var/lib/vigilnet
mount --bind {resolver} /etc/resolv.conf
"""


class World:
    """Hosts and their shells, up while the `with` block of `world` runs."""

    def __init__(self, lab: Lab, folder: Path, stack: ExitStack) -> None:
        self.lab = lab
        self.folder = folder
        self.hosts: dict[str, Namespace] = {}
        self.invite = ""
        self._stack = stack
        self._shells: dict[str, Shell] = {}

    def shell(self, name: str) -> Shell:
        """The terminal of a host; made when it is first used."""
        if name not in self._shells:
            home = self.folder / f"home-{name}"
            home.mkdir()
            if name == "friend":
                for ours, theirs in (("chain.pem", "blog.pem"), ("key.pem", "blog.key")):
                    (home / theirs).write_bytes((self.folder / ours).read_bytes())
            words = self.hosts[name].command("bash", "--norc", "--noprofile")
            shell = self._stack.enter_context(Shell(words, self.environment(home), home))
            resolver = self.folder / "resolv.conf"
            _, code = shell.run(PREPARE.format(resolver=resolver).strip().replace("\n", " && "))
            assert code == 0
            self._shells[name] = shell
        return self._shells[name]

    def act(self, what: str) -> None:
        """Have something happen that is not the reader's doing."""
        you, friend = self.hosts["you"], self.hosts["friend"]
        if what == "no-internet":
            for host in self.hosts.values():
                host.run("ip", "route", "del", "default")
        elif what == "censor":
            for name in (*RELAYS, "site"):
                rule = f"ip saddr {you.v4} udp dport != 53 drop; ip saddr {you.v4} tcp dport != 53 drop"
                self.hosts[name].run("nft", "-f", "-", stdin=CENSOR.format(rule=rule))
            friend.run("nft", "-f", "-", stdin=CENSOR.format(rule=f"ip saddr {you.v4} tcp dport != 443 drop"))
        elif what == "outage":
            you.run("nft", "-f", "-", stdin=CENSOR.format(rule="tcp sport 4001 drop"))
            wait_until(lambda: self._state() != "connected", "the path is gone", 60)
        else:
            raise KeyError(what)

    def _state(self) -> str:
        home = self.folder / next(name for name in ("home-you", "home") if (self.folder / name).exists())
        status = status_of(home / ".local" / "share" / "vigilnet")
        return status.protection.api if status is not None and status.protection is not None else ""

    def environment(self, home: Path) -> dict[str, str]:
        """What a person of this world has set."""
        kept = {name: os.environ[name] for name in ("LANG", "PYTHONPATH") if name in os.environ}
        return {
            **kept, "HOME": str(home), "USER": "you", "TERM": "dumb", "LC_ALL": "C.UTF-8",
            "PATH": f"{self.folder}/bin:{BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "INVITE": self.invite,
            "FRIEND": self.hosts["friend"].v4, "STICK": str(self.folder / "stick"),
            "ROOT": str(self.folder / "root.pem"),
            "VIGILNET_HTX_TRUST_ANCHORS": str(self.folder / "root.pem"),
            **LABORATORY,
        }  # fmt: skip


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Bring it up."""
    folder.mkdir(exist_ok=True)
    with Lab() as lab, ExitStack() as stack:
        made = World(lab, folder, stack)
        names = ("you", "friend", *RELAYS, "site")
        made.hosts = {name: lab.namespace(name) for name in names}
        lab.switch(*made.hosts.values(), v6=False)
        for name, host in made.hosts.items():
            other = "site" if name != "site" else "relay1"
            host.run("ip", "route", "add", "default", "via", made.hosts[other].v4)
        site = made.hosts["site"]
        serve_target(site, folder)
        (folder / "resolv.conf").write_text(f"nameserver {site.v4}\n")
        site.start(sys.executable, "-c", SIGN_IN)
        (folder / "stick").mkdir()
        make_certificates(folder, "blog.test")
        (folder / "bin").mkdir()
        sudo = folder / "bin" / "sudo"
        sudo.write_text(SUDO.format(group=f"vn{os.getpid()}"))
        sudo.chmod(0o755)
        start_relays(made)
        yield made


def start_relays(made: World) -> None:
    """Start the relays and the exits, which hear of each other from the first one's invite."""
    states = [start_relay(made, name) for name in RELAYS]
    for state in states:
        wait_until(lambda state=state: knows_all(state), f"{state.name} knows the others", 60)  # type: ignore[misc]  # bound at once


def start_relay(made: World, name: str) -> Path:
    """Start one; returns its state folder. The first one's invite is everybody's."""
    host, state = made.hosts[name], made.folder / name
    tables: Tables = {
        "node": {"state_folder": str(state), "invites": [made.invite] if made.invite else []},
        "relay": {"enabled": True, "listen": [f"{host.v4}:4001"], "country": COUNTRIES.get(name, "")},
        "ingress": {"socks_enabled": False, "http_enabled": False},
        "status": {"enabled": False},
        "discovery": {"without": ["dht"]},
    }
    if name in COUNTRIES:
        resolvers = [made.hosts["site"].v4]
        tables["exit"] = {"enabled": True, "policy": "open", "allow_private_targets": True,
                          "resolvers": resolvers, **EXIT_CONSENT}  # fmt: skip
    lines = [f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
             for table, keys in tables.items()]  # fmt: skip
    config = made.folder / f"{name}.toml"
    config.write_text("".join(lines))
    with (made.folder / f"{name}.log").open("wb") as log:
        host.start(VIGILNETD, "--config", config, stdout=log, **LABORATORY)
    wait_until(lambda: (status := status_of(state)) is not None and status.listen, f"{name} listens", 30)
    if not made.invite:
        with ControlClient(state) as control:
            made.invite = control.invite().uri
    return state


def status_of(state: Path) -> Status | None:
    """How a node is; None when it does not answer."""
    with contextlib.suppress(VigilnetError), ControlClient(state, timeout=2.0) as control:
        return control.status()
    return None


def knows_all(state: Path) -> bool:
    """Whether a relay knows all others."""
    status = status_of(state)
    return status is not None and status.peers >= len(RELAYS) - 1
