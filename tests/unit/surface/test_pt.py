"""VigilNet as a pluggable transport: hosted by ourselves, by tor, and by parents that say too little."""

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.carriers import Echo, Keeper, close_all
from tests.support.needs import needs_programs
from tests.support.ports import free_port
from tests.support.sing_box import has_led_to, needs_sing_box, proxy
from tests.support.waiting import wait_until
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.surface.cli.decoy import HOST_NAME, Decoy
from vigilnet.surface.pt import KEY_FILE, Bridge, read_bridge, server_settings
from vigilnet.traffic.transport.pluggable.options import Options
from vigilnet.traffic.transport.pluggable.pluggable_io import PluggableTransport

PATH = os.pathsep.join([str(Path(__file__).parents[3] / "src"), os.environ.get("PYTHONPATH", "")])
PROGRAM = f"/usr/bin/env PYTHONPATH={PATH} {sys.executable} -m vigilnet.surface.pt"
DATA = os.urandom(2_000_000)


def test_a_bridge_line_comes_back() -> None:
    arguments = Bridge.arguments(b"h" * 32, b"l" * 32, "www.example.test", 1)
    bridge = read_bridge(arguments)
    assert bridge.link_key == b"l" * 32
    assert bridge.params == {0: b"h" * 32, 1: "www.example.test", 2: 1}
    for key, value in (("key", "AAAA"), ("key", "!"), ("host", "no host"), ("mode", "3")):
        with pytest.raises(RemoteProtocolError):
            read_bridge({**arguments, key: value})


def test_a_servers_settings_are_read() -> None:
    environment = {
        "TOR_PT_SERVER_BINDADDR": "obfs4-127.0.0.1:1,htx-[::1]:443",
        "TOR_PT_SERVER_TRANSPORT_OPTIONS": "htx:origin=127.0.0.1:8443;htx:host=www.example.test;x:a=b",
    }
    settings = server_settings(environment)
    assert settings.bind == ("::1", 443)
    assert settings.origin == ("127.0.0.1", 8443)
    assert settings.is_own
    borrowed = environment["TOR_PT_SERVER_TRANSPORT_OPTIONS"] + ";htx:mode=1"
    assert not server_settings({"TOR_PT_SERVER_TRANSPORT_OPTIONS": borrowed}).is_own
    with pytest.raises(ConfigurationError, match="origin=HOST:PORT"):
        server_settings({})
    with pytest.raises(RemoteProtocolError):
        server_settings({**environment, "TOR_PT_SERVER_BINDADDR": "htx-nowhere"})


def told(state: Path, **environment: str) -> tuple[int, list[str]]:
    """What the program says to a parent that then closes its input."""
    ran = subprocess.run(
        [sys.executable, "-m", "vigilnet.surface.pt"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": PATH, "TOR_PT_EXIT_ON_STDIN_CLOSE": "1"} | environment,
        input="", cwd=state, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.stderr == ""
    return ran.returncode, ran.stdout.splitlines()


@pytest.mark.slow
def test_parents_that_say_too_little_are_told_so(tmp_path: Path) -> None:
    assert told(tmp_path) == (2, ["VERSION-ERROR no-version"])
    version = {"TOR_PT_MANAGED_TRANSPORT_VER": "1,2"}
    assert told(tmp_path, **version) == (2, ["VERSION 1", "ENV-ERROR TOR_PT_STATE_LOCATION is missing"])
    version["TOR_PT_STATE_LOCATION"] = str(tmp_path / "state")
    assert told(tmp_path, **version)[1][1].startswith("ENV-ERROR neither")
    code, lines = told(tmp_path, **version, TOR_PT_CLIENT_TRANSPORTS="obfs4")
    assert (code, lines[1:]) == (0, ["CMETHOD-ERROR obfs4 no such transport", "CMETHODS DONE"])
    proxied = {**version, "TOR_PT_CLIENT_TRANSPORTS": "htx"}
    code, lines = told(tmp_path, **proxied, TOR_PT_PROXY="socks5://127.0.0.1:1")
    assert (code, lines[1]) == (0, "PROXY DONE")
    assert lines[2].startswith("CMETHOD htx socks5 ")
    code, lines = told(tmp_path, **proxied, TOR_PT_PROXY="gopher://127.0.0.1:1")
    assert code == 2
    assert lines[1].startswith("PROXY-ERROR proxy: expected socks5")
    assert len(lines) == 2  # and no way past it
    assert told(tmp_path, **version, TOR_PT_SERVER_TRANSPORTS="htx")[1][1].startswith("ENV-ERROR")
    code, lines = told(tmp_path, **version, TOR_PT_SERVER_TRANSPORTS="htx,x", TOR_PT_ORPORT="127.0.0.1:1")
    assert lines[1] == "SMETHOD-ERROR x no such transport"
    assert lines[2].startswith("SMETHOD-ERROR htx needs ServerTransportOptions")
    assert lines[3] == "SMETHODS DONE"


@contextmanager
def site(folder: Path) -> Iterator[Decoy]:
    decoy = Decoy(folder / "site")
    try:
        yield decoy
    finally:
        decoy.stop()


@pytest.mark.slow
@needs_programs("nginx")
def test_our_own_host_carries_octets_through_it(tmp_path: Path) -> None:
    async def scenario(decoy: Decoy) -> None:
        program = (f"htx = {PROGRAM} --trust-anchors {decoy.root}",)
        given = (f"htx = origin=127.0.0.1:{decoy.port};host={HOST_NAME}",)
        ours = PluggableTransport(Options(client=program, server=program, server_options=given), tmp_path)
        echoes: list[Keeper] = []
        served = await ours.serve("htx", "127.0.0.1", 0, lambda carrier: echoes.append(Echo(carrier)))
        carrier = await ours.dial("127.0.0.1", served.port, served.params)
        keeper = Keeper(carrier)
        carrier.write([DATA])
        assert await keeper.wait_octets(len(DATA)) == DATA
        assert echoes[0].carrier is not None
        assert echoes[0].carrier.remote_host == "127.0.0.1"
        stranger = {**served.params, 1: [["key", "x"], ["host", HOST_NAME], ["mode", "2"]]}
        with pytest.raises(OSError, match="failed"):
            await ours.dial("127.0.0.1", served.port, stranger)
        other = Bridge.arguments(bytes(32), bytes(32), HOST_NAME, 2)
        with pytest.raises(OSError, match=r"unreachable|failed"):
            await ours.dial(
                "127.0.0.1", served.port, {**served.params, 1: [list(pair) for pair in other.items()]}
            )
        await close_all([keeper, *echoes])
        await ours.close()

    with site(tmp_path) as decoy:
        asyncio.run(scenario(decoy))


@contextmanager
def tor(folder: Path, name: str, settings: str) -> Iterator[Path]:
    """Run tor without the network; give its log."""
    data = folder / name
    data.mkdir(mode=0o700)
    log = folder / f"{name}.log"
    config = folder / f"{name}.rc"
    config.write_text(f"DataDirectory {data}\nLog notice file {log}\n{settings}")
    with subprocess.Popen(
        ["tor", "-f", str(config), "--defaults-torrc", "/dev/null"], stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield log
        finally:
            process.terminate()
            process.wait(60)


def says(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text()


@pytest.mark.slow
@needs_programs("nginx", "tor")
@pytest.mark.parametrize(
    "option", ["", *(pytest.param(name, marks=needs_sing_box) for name in ("Socks5Proxy", "HTTPSProxy"))]
)
def test_tor_fetches_a_bridges_descriptor_through_it(tmp_path: Path, option: str) -> None:
    """tor is the parent at both ends: a bridge on loopback, and a client that knows nothing but its line.

    With a proxy of tor's settings (TOR_PT_PROXY) between the client's end and the bridge, too.
    """
    or_port, port = free_port(), free_port()
    with ExitStack() as stack:
        proxied = f"{option} 127.0.0.1:{stack.enter_context(proxy(tmp_path))}\n" if option else ""
        decoy = stack.enter_context(site(tmp_path))
        program = f"htx exec {PROGRAM} --trust-anchors {decoy.root}"
        bridge_log = stack.enter_context(
            tor(
                tmp_path,
                "bridge",
                f"ORPort 127.0.0.1:{or_port}\nAddress 127.0.0.1\nAssumeReachable 1\nSocksPort 0\n"
                "BridgeRelay 1\nPublishServerDescriptor 0\nBridgeDistribution none\n"
                "ExtORPort 127.0.0.1:auto\n"
                f"ServerTransportPlugin {program}\nServerTransportListenAddr htx 127.0.0.1:{port}\n"
                f"ServerTransportOptions htx origin=127.0.0.1:{decoy.port} host={HOST_NAME}\n",
            )
        )
        wait_until(lambda: says(bridge_log, "Registered server transport 'htx'"), "tor's bridge", 60)
        fingerprint = (tmp_path / "bridge" / "fingerprint").read_text().split()[1]
        keys = (tmp_path / "bridge" / "pt_state" / KEY_FILE).read_bytes()
        public = b"".join(
            X25519PrivateKey.from_private_bytes(keys[at : at + 32]).public_key().public_bytes_raw()
            for at in (0, 32)
        )
        key = base64.urlsafe_b64encode(public).decode().rstrip("=")
        client_log = stack.enter_context(
            tor(
                tmp_path,
                "client",
                f"SocksPort 0\nUseBridges 1\n{proxied}ClientTransportPlugin {program}\n"
                f"Bridge htx 127.0.0.1:{port} {fingerprint} key={key} host={HOST_NAME} mode=2\n",
            )
        )
        wait_until(lambda: says(client_log, "new bridge descriptor"), "tor's client", 60)
        assert not option or has_led_to(tmp_path, port)
