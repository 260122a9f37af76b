"""Old names of settings: qnet's environment variables and config.toml keys that still have a meaning.

A new name always wins over an old one. An old name that means nothing in this version is named in a warning,
so that nobody believes it works.
"""

from collections.abc import Iterator, Mapping

from vigilnet.base.errors import ConfigurationError
from vigilnet.node.modes import parse_mode

KEYS = {
    "mesh.max_circuits": "circuits.max_circuits",
    "mesh.circuit_idle_timeout": "circuits.idle_s",
    "mesh.enabled": "",
    "mesh.build_circuits": "",
    "relay.max_bandwidth_mbps": "",
}

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
MESH_SOURCES = "gossip,mdns,beacon"  # what "no mesh" leaves out
CONNECTION_MODES = ("direct", "masked", "htx-http-echo", "stealth", "qnet", "htx_http_echo")
WITHOUT_EFFECT = (
    "STEALTH_BOOTSTRAP",
    "STEALTH_DISABLE_BOOTSTRAP",
    "QNET_EXPECTED_PEER_IP",
)

GATEWAY = "0.0.0.0:4443"  # where an edge gateway listens unless BIND says otherwise

Assignment = tuple[str, str, str]  # dotted key, text, where it came from


def from_environment(environment: Mapping[str, str]) -> tuple[list[Assignment], list[str]]:
    """What the old variables say, as assignments to today's keys; and warnings.

    Raises:
        ConfigurationError: a mode that never was one.
    """
    assignments = [*_proxy(environment), *_exit(environment), *_gateway(environment)]
    warnings = [
        f"environment {name}: has no effect in this version" for name in WITHOUT_EFFECT if name in environment
    ]
    for name in ("QNET_MODE", "STEALTH_MODE"):
        mode = environment.get(name, "").strip().lower()
        if mode in CONNECTION_MODES:
            warnings.append(f"environment {name}: the connection mode {mode!r} has no effect in this version")
        elif mode:
            assignments.append(("node.mode", parse_mode(environment[name]).value, f"environment {name}"))
            if name == "QNET_MODE":
                warnings.append("environment QNET_MODE: old name, use STEALTH_MODE or VIGILNET_NODE_MODE")
    if environment.get("QNET_MESH_ENABLED", "").strip().lower() in _NO:
        assignments.append(("discovery.without", MESH_SOURCES, "environment QNET_MESH_ENABLED"))
    elif environment.get("QNET_NO_MDNS", "").strip().lower() in _YES:
        assignments.append(("discovery.without", "mdns", "environment QNET_NO_MDNS"))
    return assignments, warnings


def _proxy(environment: Mapping[str, str]) -> Iterator[Assignment]:
    if "QNET_SOCKS_BIND" in environment:
        yield "ingress.socks_host", environment["QNET_SOCKS_BIND"], "environment QNET_SOCKS_BIND"
    if "STEALTH_SOCKS_PORT" in environment:
        yield "ingress.socks_port", environment["STEALTH_SOCKS_PORT"], "environment STEALTH_SOCKS_PORT"
    if "QNET_KEYPAIR_PATH" in environment:
        yield "node.key_file", environment["QNET_KEYPAIR_PATH"], "environment QNET_KEYPAIR_PATH"
    if "QNET_STATUS_BIND" in environment:
        yield from _bind(environment["QNET_STATUS_BIND"], "environment QNET_STATUS_BIND")
    if "STEALTH_STATUS_PORT" in environment:
        yield "status.port", environment["STEALTH_STATUS_PORT"], "environment STEALTH_STATUS_PORT"
    if "STEALTH_OPERATORS" in environment:
        yield "operators.urls", environment["STEALTH_OPERATORS"], "environment STEALTH_OPERATORS"


def _bind(text: str, origin: str) -> Iterator[Assignment]:
    """An address, or an address and a port."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or (":" in host.strip("[]") and not host.startswith("[")):  # no port: the colons are of IPv6
        host, port = text.strip(), ""
    yield "status.host", host.strip("[]"), origin
    if port:
        yield "status.port", port, origin


def _gateway(environment: Mapping[str, str]) -> Iterator[Assignment]:
    """The edge gateway: an exit over HTX before a site of its own, with the operator's certificate."""
    if "HTX_TRUST_PEM" in environment:
        yield "htx.trust_anchors", environment["HTX_TRUST_PEM"], "environment HTX_TRUST_PEM"
    names = ("HTX_TLS_CERT", "HTX_TLS_KEY")
    given = [name for name in names if environment.get(name, "").strip()]
    if not given:
        return
    if len(given) == 1:
        raise ConfigurationError(f"environment {given[0]}: needs the other of {' and '.join(names)}")
    origin = f"environment {names[0]}"
    yield "relay.enabled", "true", origin
    yield "exit.enabled", "true", origin
    yield "relay.listen", "", origin
    yield "relay.listen_htx", environment.get("BIND", "").strip() or GATEWAY, "environment BIND"
    yield "htx.certificate", environment[names[0]], origin
    yield "htx.certificate_key", environment[names[1]], f"environment {names[1]}"


def _exit(environment: Mapping[str, str]) -> Iterator[Assignment]:
    if "EXIT_ABUSE_EMAIL" in environment:
        yield "exit.abuse_contact", environment["EXIT_ABUSE_EMAIL"], "environment EXIT_ABUSE_EMAIL"
    if "EXIT_MAX_CONNECTIONS" in environment:
        yield "exit.max_streams", environment["EXIT_MAX_CONNECTIONS"], "environment EXIT_MAX_CONNECTIONS"
    if "EXIT_ALLOWED_PORTS" in environment:
        ports = [port.strip() for port in environment["EXIT_ALLOWED_PORTS"].split(",") if port.strip()]
        rules = ", ".join([f"accept *:{port}" for port in ports])
        yield "exit.rules", rules, "environment EXIT_ALLOWED_PORTS"
        yield "exit.policy", "none", "environment EXIT_ALLOWED_PORTS"
