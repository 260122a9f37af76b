"""Old names of settings: qnet's environment variables and config.toml keys that still have a meaning.

A new name always wins over an old one. An old name that means nothing in this version is named in a warning,
so that nobody believes it works.
"""

from collections.abc import Iterator, Mapping

from vigilnet.base.errors import ConfigurationError

KEYS = {
    "mesh.max_circuits": "circuits.max_circuits",
    "mesh.circuit_idle_timeout": "circuits.idle_s",
    "mesh.enabled": "",
    "mesh.build_circuits": "",
    "relay.max_bandwidth_mbps": "",
}

MODES = ("client", "relay", "bootstrap", "exit", "super")
CONNECTION_MODES = ("direct", "masked", "htx-http-echo", "stealth", "qnet", "htx_http_echo")
WITHOUT_EFFECT = (
    "STEALTH_STATUS_PORT",
    "STEALTH_BOOTSTRAP",
    "STEALTH_DISABLE_BOOTSTRAP",
    "STEALTH_OPERATORS",
    "QNET_MESH_ENABLED",
    "QNET_STATUS_BIND",
    "QNET_EXPECTED_PEER_IP",
)

Assignment = tuple[str, str, str]  # dotted key, text, where it came from


def from_environment(environment: Mapping[str, str]) -> tuple[list[Assignment], list[str]]:
    """What the old variables say, as assignments to today's keys; and warnings.

    Raises:
        ConfigurationError: a mode that never was one.
    """
    assignments = [*_proxy(environment), *_exit(environment)]
    warnings = [
        f"environment {name}: has no effect in this version" for name in WITHOUT_EFFECT if name in environment
    ]
    for name in ("QNET_MODE", "STEALTH_MODE"):
        mode = environment.get(name, "").strip().lower()
        if mode in CONNECTION_MODES:
            warnings.append(f"environment {name}: the connection mode {mode!r} has no effect in this version")
        elif mode:
            assignments += _mode(mode, environment[name], f"environment {name}")
            if mode in ("bootstrap", "super"):
                warnings.append(f"environment {name}: {mode!r} runs no directory in this version")
    if environment.get("QNET_NO_MDNS", "").strip().lower() in ("1", "true", "yes", "on"):
        assignments.append(("discovery.without", "mdns", "environment QNET_NO_MDNS"))
    if "QNET_KEYPAIR_PATH" in environment:
        warnings.append(
            "environment QNET_KEYPAIR_PATH: not read; import the key once: vigilnet keys import FILE"
        )
    return assignments, warnings


def _mode(mode: str, written: str, origin: str) -> Iterator[Assignment]:
    if mode not in MODES:
        raise ConfigurationError(f"Invalid helper mode: '{written}'. Valid modes: {', '.join(MODES)}")
    yield "relay.enabled", "false" if mode == "client" else "true", origin
    yield "exit.enabled", "true" if mode in ("exit", "super") else "false", origin


def _proxy(environment: Mapping[str, str]) -> Iterator[Assignment]:
    if "QNET_SOCKS_BIND" in environment:
        yield "ingress.socks_host", environment["QNET_SOCKS_BIND"], "environment QNET_SOCKS_BIND"
    if "STEALTH_SOCKS_PORT" in environment:
        yield "ingress.socks_port", environment["STEALTH_SOCKS_PORT"], "environment STEALTH_SOCKS_PORT"


def _exit(environment: Mapping[str, str]) -> Iterator[Assignment]:
    if "EXIT_MAX_CONNECTIONS" in environment:
        yield "exit.max_streams", environment["EXIT_MAX_CONNECTIONS"], "environment EXIT_MAX_CONNECTIONS"
    if "EXIT_ALLOWED_PORTS" in environment:
        ports = [port.strip() for port in environment["EXIT_ALLOWED_PORTS"].split(",") if port.strip()]
        rules = ", ".join([f"accept *:{port}" for port in ports])
        yield "exit.rules", rules, "environment EXIT_ALLOWED_PORTS"
        yield "exit.policy", "none", "environment EXIT_ALLOWED_PORTS"
