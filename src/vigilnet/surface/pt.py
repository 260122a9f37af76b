"""`vigilnet pt`: VigilNet as a pluggable transport of Tor's (or anybody's): HTX carries the parent's octets.

A program of its own that `vigilnet pt` becomes; the parent starts it and says in the environment what it is
to be (version 1 of the interface). Transport `htx`; docs/spec/pluggable.md section 5.
"""

import argparse
import asyncio
import base64
import binascii
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError, LocalProtocolError, RemoteProtocolError
from vigilnet.base.store_io import write_file
from vigilnet.base.tasks import TaskGroup
from vigilnet.base.windows_loop_io import new_loop
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.noise import Pattern
from vigilnet.peer.address import is_host_name, prefix_of
from vigilnet.surface.endings import on_closed_input, on_signals
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded
from vigilnet.traffic.ingress.socks5 import Socks5Machine, SocksReply
from vigilnet.traffic.link.admission import Admission
from vigilnet.traffic.link.handshake import Channel, Initiator, Responder
from vigilnet.traffic.link.options import Options as LinkOptions
from vigilnet.traffic.link.pipe import NETWORK, Pipe
from vigilnet.traffic.link.pipe_io import PipeEnd
from vigilnet.traffic.link.wire import LinkSuite
from vigilnet.traffic.transport.carrier import Carrier, CarrierKind
from vigilnet.traffic.transport.htx.authenticator import Authenticator
from vigilnet.traffic.transport.htx.dial_io import (
    BORROWED,
    HOST_NAME,
    KEY,
    MODE,
    OWN_SITE,
    Browser,
    load_anchors,
)
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.options import Options as HtxOptions
from vigilnet.traffic.transport.htx.server_io import Relay
from vigilnet.traffic.transport.htx.shaping import PROFILES
from vigilnet.traffic.transport.htx.templates_io import bundled_templates
from vigilnet.traffic.transport.pluggable.messages import (
    from_credentials,
    read_address,
    read_arguments,
    write_arguments,
)
from vigilnet.traffic.transport.pluggable.or_client_io import OrAddress, open_or
from vigilnet.traffic.transport.pluggable.proxy import read_proxy
from vigilnet.traffic.transport.pluggable.proxy_io import ProxiedTcp

TRANSPORT: Final = "htx"
VERSION: Final = "1"
KEY_FILE: Final = "htx_pt_keys"
SOCKS_S: Final = 15.0
_SUITE: Final = LinkSuite(Pattern.XK_HFS, Suite.CHACHA20_POLY1305)


def say(line: str) -> None:
    """Tell the parent."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def new_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser: argparse.ArgumentParser = OneLineParser(
        prog="vigilnet pt",
        description="A pluggable transport (version 1): another program starts this, as tor does with "
        "ClientTransportPlugin and ServerTransportPlugin.",
    )
    parser.add_argument("--trust-anchors", type=Path, metavar="FILE", help="roots to believe (PEM)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the parent ends us; return the exit code."""
    arguments = new_parser().parse_args(argv)
    return run_guarded("vigilnet", lambda: _run(arguments.trust_anchors, os.environ))


def _run(anchors: Path | None, environment: Mapping[str, str]) -> ExitCode:
    if VERSION not in environment.get("TOR_PT_MANAGED_TRANSPORT_VER", "").split(","):
        say("VERSION-ERROR no-version")
        return ExitCode.USAGE
    say(f"VERSION {VERSION}")
    state = environment.get("TOR_PT_STATE_LOCATION", "")
    if not state:
        say("ENV-ERROR TOR_PT_STATE_LOCATION is missing")
        return ExitCode.USAGE
    Path(state).mkdir(mode=0o700, parents=True, exist_ok=True)
    return _run_loop(_serve(anchors, environment, Path(state)))


def _run_loop(serving: Coroutine[Any, Any, ExitCode]) -> ExitCode:
    with asyncio.Runner(loop_factory=new_loop if sys.platform == "win32" else None) as runner:
        return runner.run(serving)


async def _serve(anchors: Path | None, environment: Mapping[str, str], state: Path) -> ExitCode:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    on_signals(loop, {signal.SIGTERM: ended.set, signal.SIGINT: ended.set})
    if environment.get("TOR_PT_EXIT_ON_STDIN_CLOSE") == "1":
        with contextlib.suppress(PermissionError):  # a file, which cannot close
            on_closed_input(loop, ended.set)
    tasks = TaskGroup("pt")
    try:
        if "TOR_PT_CLIENT_TRANSPORTS" in environment:
            try:
                await _offer_client(environment, tasks, _browser(anchors))
            except RemoteProtocolError as error:  # the proxy: never dial past it
                say(f"PROXY-ERROR {error}")
                return ExitCode.USAGE
        elif "TOR_PT_SERVER_TRANSPORTS" in environment:
            await _offer_server(environment, tasks, state, _browser(anchors))
        else:
            say("ENV-ERROR neither TOR_PT_CLIENT_TRANSPORTS nor TOR_PT_SERVER_TRANSPORTS")
            return ExitCode.USAGE
        await ended.wait()
    except RemoteProtocolError as error:  # an OR port that cannot be read
        say(f"ENV-ERROR {error}")
        return ExitCode.USAGE
    finally:
        await tasks.close()
    return ExitCode.OK


def _browser(anchors: Path | None) -> Browser:
    return Browser(
        bundled_templates(),
        {},
        cache(lambda: load_anchors(anchors)),
        SystemClock(),
        NETWORK,
        os.urandom,
        PROFILES[HtxOptions().shaping],
    )


# --- the client's side ----------------------------------------------------------------------------


async def _offer_client(environment: Mapping[str, str], tasks: TaskGroup, browser: Browser) -> None:
    tcp = None
    if text := environment.get("TOR_PT_PROXY"):
        tcp = ProxiedTcp(read_proxy(text))
        say("PROXY DONE")
    wanted = environment["TOR_PT_CLIENT_TRANSPORTS"].split(",")
    if TRANSPORT in wanted:
        transport = HtxTransport(browser, tcp=tcp)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.start("client", _carry_client(transport, reader, writer))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        say(f"CMETHOD {TRANSPORT} socks5 {host}:{port}")
    for name in wanted:
        if name != TRANSPORT:
            say(f"CMETHOD-ERROR {name} no such transport")
    say("CMETHODS DONE")


async def _carry_client(
    transport: HtxTransport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    machine = Socks5Machine()
    try:
        async with asyncio.timeout(SOCKS_S):
            while (request := machine.receive(await _some(reader))) is None:
                writer.write(machine.data_to_send())
        reply, end = SocksReply.SUCCEEDED, None
        try:
            keys = read_bridge(from_credentials(*(machine.login or (b"", b""))))
            carrier = await transport.dial(request.host, request.port, keys.params)
            end = PipeEnd(carrier, _dialler(keys, carrier), SystemClock().now)
            await end.opened()
        except RemoteProtocolError:
            reply = SocksReply.GENERAL_FAILURE
        except OSError:
            reply = SocksReply.HOST_UNREACHABLE
        machine.reply(reply)
        writer.write(machine.data_to_send())
        await writer.drain()
        if end is not None and reply is SocksReply.SUCCEEDED:
            await end.join(reader, writer)
    except (RemoteProtocolError, OSError):
        writer.write(machine.data_to_send())
    finally:
        writer.close()


async def _some(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(4096)
    if not data:
        raise ConnectionResetError("the parent closed")
    return data


class Bridge:
    """What a bridge line says: `key=... host=... mode=...`."""

    def __init__(self, htx_key: bytes, link_key: bytes, host_name: str, mode: int) -> None:
        self.link_key: Final = link_key
        self.params: Final[Mapping[int, object]] = {KEY: htx_key, HOST_NAME: host_name, MODE: mode}

    @staticmethod
    def arguments(htx_key: bytes, link_key: bytes, host_name: str, mode: int) -> dict[str, str]:
        """Return the line's arguments."""
        keys = base64.urlsafe_b64encode(htx_key + link_key).decode().rstrip("=")
        return {"key": keys, "host": host_name, "mode": str(mode)}


def read_bridge(arguments: Mapping[str, str]) -> Bridge:
    """Read a bridge line's arguments.

    Raises:
        RemoteProtocolError: one is missing or not of its form.
    """
    try:
        keys = base64.b64decode(arguments.get("key", "") + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        keys = b""
    host, mode = arguments.get("host", ""), arguments.get("mode", "")
    if len(keys) != 64 or not is_host_name(host) or mode not in ("1", "2"):
        raise RemoteProtocolError("bridge line: key, host or mode is missing or not of its form")
    return Bridge(keys[:32], keys[32:], host, int(mode))


def _dialler(bridge: Bridge, carrier: Carrier) -> Pipe:
    handshake = Initiator(
        _SUITE,
        X25519PrivateKey.generate(),
        b"",
        responder=bridge.link_key,
        responder_key=bridge.link_key,
        channel=Channel(carrier.kind, carrier.binding, NETWORK),
    )
    return Pipe(handshake, has_tls_records=carrier.has_tls_records)


# --- the server's side ----------------------------------------------------------------------------


async def _offer_server(
    environment: Mapping[str, str], tasks: TaskGroup, state: Path, browser: Browser
) -> None:
    wanted = environment["TOR_PT_SERVER_TRANSPORTS"].split(",")
    or_address = OrAddress.from_environment(environment)
    for name in wanted:
        if name != TRANSPORT:
            say(f"SMETHOD-ERROR {name} no such transport")
    if TRANSPORT in wanted:
        try:
            settings = server_settings(environment)
            say(await _listen(settings, or_address, state, tasks, browser))
        except (ConfigurationError, RemoteProtocolError, OSError) as error:
            say(f"SMETHOD-ERROR {TRANSPORT} {' '.join(str(error).split())}")
    say("SMETHODS DONE")


class ServerSettings:
    """What the parent says of our listener."""

    def __init__(
        self, bind: tuple[str, int], origin: tuple[str, int], host_name: str, *, is_own: bool
    ) -> None:
        self.bind, self.origin, self.host_name, self.is_own = bind, origin, host_name, is_own


def server_settings(environment: Mapping[str, str]) -> ServerSettings:
    """Read where to listen and what is behind us.

    Raises:
        ConfigurationError: `origin` or `host` is missing; the text says how to give it.
        RemoteProtocolError: an address that cannot be read.
    """
    options: dict[str, str] = {}
    for part in filter(None, environment.get("TOR_PT_SERVER_TRANSPORT_OPTIONS", "").split(";")):
        name, _, argument = part.partition(":")
        if name == TRANSPORT:
            options |= read_arguments(argument)
    if "origin" not in options or not is_host_name(options.get("host", "")):
        raise ConfigurationError("needs ServerTransportOptions htx origin=HOST:PORT host=NAME [mode=1]")
    binds = dict(
        part.split("-", 1) for part in environment.get("TOR_PT_SERVER_BINDADDR", "").split(",") if "-" in part
    )
    host, _, port = binds.get(TRANSPORT, "127.0.0.1:0").rpartition(":")
    bind = (host.strip("[]"), int(port)) if port.isdecimal() else read_address("")
    return ServerSettings(
        bind, read_address(options["origin"]), options["host"], is_own=options.get("mode") != "1"
    )


def _keys(state: Path) -> tuple[X25519PrivateKey, X25519PrivateKey]:
    """Return the htx key and the link key, made at the first start: bridge lines stay true."""
    file = state / KEY_FILE
    if not file.exists():
        write_file(file, os.urandom(64))
    octets = file.read_bytes()
    if len(octets) != 64:
        raise ConfigurationError(f"{KEY_FILE}: damaged; remove it for new keys")
    return X25519PrivateKey.from_private_bytes(octets[:32]), X25519PrivateKey.from_private_bytes(octets[32:])


async def _listen(
    settings: ServerSettings, or_address: OrAddress, state: Path, tasks: TaskGroup, browser: Browser
) -> str:
    htx_key, link_key = _keys(state)
    public = link_key.public_key().public_bytes_raw()
    clock = SystemClock()
    admission = Admission(LinkOptions(), public, NETWORK, os.urandom, clock.now())
    relay = Relay(
        authenticator=Authenticator(lambda: (htx_key,), NETWORK),
        origin=settings.origin,
        kind=CarrierKind.HTX_OWN_SITE if settings.is_own else CarrierKind.HTX_BORROWED,
        options=HtxOptions(),
        clock=clock,
        network=NETWORK,
        random_bytes=os.urandom,
        prefix_of=prefix_of,
    )

    def accept(carrier: Carrier) -> None:
        tasks.start("server", _carry_server(carrier, admission, link_key, or_address))

    listener = await HtxTransport(browser, relay).listen(*settings.bind, accept)
    host = f"[{settings.bind[0]}]" if ":" in settings.bind[0] else settings.bind[0]
    mode = OWN_SITE if settings.is_own else BORROWED
    told = Bridge.arguments(htx_key.public_key().public_bytes_raw(), public, settings.host_name, mode)
    return f"SMETHOD {TRANSPORT} {host}:{listener.port} ARGS:{write_arguments(told, ',')}"


async def _carry_server(
    carrier: Carrier, admission: Admission, link_key: X25519PrivateKey, or_address: OrAddress
) -> None:
    clock = SystemClock()
    now = clock.now()
    ticket = admission.enter(carrier.remote_host, now, carrier.close)
    if ticket is None:
        carrier.close()
        return

    def refuse(_: bytes) -> None:
        raise RemoteProtocolError("pipe: a record")

    handshake = Responder(
        link_key.public_key().public_bytes_raw(),
        link_key,
        channel=Channel(carrier.kind, carrier.binding, NETWORK),
        admission=admission,
        ticket=ticket,
        admit=refuse,  # type: ignore[arg-type]
        wall_minus_now=clock.wall() - now,
    )
    end = PipeEnd(carrier, Pipe(handshake, has_tls_records=carrier.has_tls_records), clock.now)
    try:
        await end.opened()
    finally:
        admission.leave(ticket)
    try:
        reader, writer = await open_or(or_address, TRANSPORT, carrier.remote_host)
    except (OSError, RemoteProtocolError, LocalProtocolError):
        carrier.close()
        return
    await end.join(reader, writer)


if __name__ == "__main__":
    sys.exit(main())
