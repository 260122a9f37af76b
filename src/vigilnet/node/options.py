"""All settings of a node as one tree, and where they are read from (DESIGN 8).

Precedence: defaults < file < environment < command line. A room's `Options` is one line here; the settings
that belong to no room are declared here. docs/vigilnet.example.toml is written from this tree.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import platformdirs

from vigilnet.base.config import Settings
from vigilnet.base.errors import ConfigurationError
from vigilnet.crypto.aead import Suite
from vigilnet.node import legacy
from vigilnet.node.modes import Mode, mode_of
from vigilnet.routing.circuits.pool import Options as CircuitsOptions
from vigilnet.routing.discovery.options import Options as DiscoveryOptions
from vigilnet.routing.operators.options import Options as OperatorsOptions
from vigilnet.traffic.device.options import Options as DeviceOptions
from vigilnet.traffic.exit.options import Options as ExitOptions
from vigilnet.traffic.ingress.options import Options as IngressOptions
from vigilnet.traffic.link.options import Options as LinkOptions
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.transport.htx.options import Options as HtxOptions
from vigilnet.traffic.transport.pluggable.options import Options as PluggableOptions
from vigilnet.traffic.transport.quic.options import Options as QuicOptions
from vigilnet.traffic.transport.shadowsocks.options import Options as ShadowsocksOptions

RUN_TIME = "until the next start"  # origin of what a running node was told and does not keep
MAX_LOG_DAYS = 366
NOT_SETTINGS = ("VIGILNET_TEST_", "VIGILNET_BENCH_", "VIGILNET_CONFIG")


class Phase(Enum):
    """How far a node goes; each phase is of use by itself."""

    DISCOVER = 1  # hears of relays: files, invites, the LAN; opens no link
    MESH = 2  # and has links, relays and gossips if it is a relay
    FULL = 3  # and serves applications


@dataclass(frozen=True)
class NodeOptions:
    """This node itself: where its state is and which network it is in."""

    state_folder: Path | None = None  # "": the platform's data folder
    network: str = ""  # the name of a private network; "" is the public one
    work_bits: int = 12  # identity work asked of relays; lower only in a private network
    peers_folder: Path | None = None  # NAME.record files of peers; a relay puts its own there too
    peer_files: tuple[Path, ...] = ()  # single record files
    phase: Phase = (
        Phase.FULL
    )  # discover: only hears of relays; mesh: and relays and gossips; full: and proxies
    invites: tuple[str, ...] = ()  # vigilnet:... texts, each the record of one relay
    mode: Mode | None = None  # client, relay, bootstrap, exit or super: wins over relay.enabled, exit.enabled
    key_file: Path | None = None  # libp2p's key file with a relay's identity; "": made at the first start
    compat: bool = False  # serve what clients of before need: unsigned registrations, GET /terminate


@dataclass(frozen=True)
class RelayOptions:
    """Forwarding for others; a client leaves it off."""

    enabled: bool = False  # what node.mode says, where it says something
    listen: tuple[str, ...] = ("0.0.0.0:4001", "[::]:4001")
    advertise: tuple[str, ...] = ()  # host:port as others reach us; empty: what we listen on
    introduced: bool = True  # where nobody can dial us: have neighbours tell us who wants a link
    map_port: bool = (
        False  # ask the router for a port (PCP, NAT-PMP, UPnP) when this machine has no public address
    )
    listen_htx: tuple[str, ...] = ()  # where links pass for HTTPS, like "0.0.0.0:443"; wants [htx]
    advertise_htx: tuple[str, ...] = ()  # host:port as others reach it; empty: what we listen on
    is_unlisted: bool = False  # known by its invites alone, reached over htx alone; see docs/spec/htx.md
    family: str = ""  # relays of one operator: never two of a family on one path
    suite: Suite = Suite.AES_256_GCM  # cipher of links to us; chacha20_poly1305: processors without AES
    country: str = ""  # two letters of where it stands, like SE; told to all, empty: not told

    def __post_init__(self) -> None:
        code = self.country
        if code and not (len(code) == 2 and code.isascii() and code.isalpha() and code.isupper()):
            raise ConfigurationError(f"country: got {code!r}, expected two capital letters")


@dataclass(frozen=True)
class StatusOptions:
    """The status interface: how this node is, for people and programs on this machine."""

    enabled: bool = True
    host: str = (
        "127.0.0.1"  # from elsewhere only /ping, /ready and a directory answer, unless the token is shown
    )
    port: int = 8088  # 0: any free one

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigurationError(f"port: got {self.port}, 0 to 65535 expected")


@dataclass(frozen=True)
class LogOptions:
    """What is told of a run; addresses, targets and names are never shown unless asked for."""

    level: str = "info"  # error, warning, info or debug
    file: Path | None = None  # "": standard error
    keep_days: int = 7  # a log file begins anew each day (UTC), those of so many days stay; 0: one for ever
    show_sensitive: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.keep_days <= MAX_LOG_DAYS:
            raise ConfigurationError(f"keep_days: got {self.keep_days}, expected 0 to {MAX_LOG_DAYS}")
        if self.level not in ("error", "warning", "info", "debug"):
            raise ConfigurationError(f"level: got {self.level!r}, expected error, warning, info or debug")


@dataclass(frozen=True)
class Options:
    """The whole tree: one field for each table of the file."""

    node: NodeOptions = field(default_factory=NodeOptions)
    relay: RelayOptions = field(default_factory=RelayOptions)
    discovery: DiscoveryOptions = field(default_factory=DiscoveryOptions)
    link: LinkOptions = field(default_factory=LinkOptions)
    htx: HtxOptions = field(default_factory=HtxOptions)
    shadowsocks: ShadowsocksOptions = field(default_factory=ShadowsocksOptions)
    pluggable: PluggableOptions = field(default_factory=PluggableOptions)
    quic: QuicOptions = field(default_factory=QuicOptions)
    circuits: CircuitsOptions = field(default_factory=CircuitsOptions)
    streams: MuxOptions = field(default_factory=MuxOptions)
    ingress: IngressOptions = field(default_factory=IngressOptions)
    device: DeviceOptions = field(default_factory=DeviceOptions)
    exit: ExitOptions = field(default_factory=ExitOptions)
    operators: OperatorsOptions = field(default_factory=OperatorsOptions)
    status: StatusOptions = field(default_factory=StatusOptions)
    log: LogOptions = field(default_factory=LogOptions)


@dataclass(frozen=True)
class Loaded:
    """Options, what to tell the user about them, and where each one that was set came from."""

    options: Options
    warnings: tuple[str, ...]
    origins: Mapping[str, str]


def default_file() -> Path:
    """Where the settings are looked for when no file is named."""
    return platformdirs.user_config_path("vigilnet", appauthor=False) / "vigilnet.toml"


def load_options(
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    assignments: Iterable[tuple[str, str]] = (),
    changes: Iterable[tuple[str, str]] = (),
) -> Loaded:
    """Read all layers.

    Args:
        file: the file named by the user, who is told if it is missing; None looks for `default_file()`.
        environment: variables by name; old names (legacy.py) count less than new ones.
        assignments: (dotted key, text) pairs of the command line.
        changes: the same of a running node that was told so; they win over everything.

    Raises:
        ConfigurationError: names the key or the file, what was got, what is expected, and where.
    """
    settings = Settings(Options())
    content = _read(file)
    if content is not None:
        settings.add_file(content, str(file or default_file()), legacy.KEYS)
    old_names, warnings = legacy.from_environment(environment)
    for dotted, text, origin in old_names:
        settings.set_text(dotted, text, origin)
    settings.add_environment(environment, NOT_SETTINGS)
    for dotted, text in assignments:
        settings.set_text(dotted, text, "command line")
    for dotted, text in changes:
        settings.set_text(dotted, text, RUN_TIME)
    options = with_mode(settings.build())
    return Loaded(options, (*settings.warnings, *warnings), dict(settings.origins))


def with_mode(options: Options) -> Options:
    """Return the options with what the mode says; without a mode, with the mode that they amount to."""
    mode = options.node.mode
    if mode is None:
        mode = mode_of(is_relay=options.relay.enabled, is_exit=options.exit.enabled)
        return replace(options, node=replace(options.node, mode=mode))
    return replace(
        options,
        relay=replace(options.relay, enabled=mode.supports_relay),
        exit=replace(options.exit, enabled=mode.supports_exit),
    )


def _read(file: Path | None) -> bytes | None:
    try:
        return (file or default_file()).read_bytes()
    except FileNotFoundError as error:
        if file is None:
            return None
        raise ConfigurationError(f"{file}: no such file; name an existing one with --config") from error
    except OSError as error:
        raise ConfigurationError(f"{file or default_file()}: cannot be read: {error.strerror}") from error
