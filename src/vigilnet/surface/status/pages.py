"""The pages, from facts: JSON, text, HTML and Prometheus' format."""

import html
import json
from typing import Final

from vigilnet.surface.status.facts import Facts, History, State

CONNECTION_MODE: Final = "masked"  # the only one there is: nothing leaves past the network
_COLOURS: Final = {
    State.OFFLINE: "#c0392b",
    State.CALIBRATING: "#e67e22",
    State.CONNECTING: "#e6b422",
    State.CONNECTED: "#27ae60",
}
_METRICS: Final = (
    ("up", "gauge", "Whether the node is connected."),
    ("relays_known", "gauge", "Relays with a current record."),
    ("links", "gauge", "Links with neighbours."),
    ("circuits", "gauge", "Open circuits of the node's own."),
    ("relayed_circuits", "gauge", "Circuits of others."),
    ("relayed_cells_total", "counter", "Cells forwarded for others."),
    ("circuits_built_total", "counter", "Circuits built."),
    ("circuits_failed_total", "counter", "Circuits that could not be built."),
    ("exit_datagrams_lost_total", "counter", "Datagrams that found no room on their circuit, on exits."),
    ("status_connections", "gauge", "Open connections to this interface."),
    ("status_connections_total", "counter", "Connections to this interface."),
)


def status_values(facts: Facts, history: History, now: float) -> dict[str, object]:
    """Return what `/status` shows."""
    values: dict[str, object] = {
        "socks_addr": facts.socks,
        "mode": CONNECTION_MODE,
        "state": history.state.value,
        "peers_online": facts.links,
        "active_circuits": facts.circuits,
        "relay_packets_relayed": facts.relayed_cells,
        "relay_route_count": facts.relayed_circuits,
        "config_mode": CONNECTION_MODE,
        "helper_mode": facts.mode,
        "mesh_enabled": facts.is_on,
        "bootstrap_peers": facts.operators,
        "qnet_peers": facts.relays,
        "peers_total": facts.relays,
        "mesh_peer_count": facts.relays,
        "mesh_state": mesh_state(facts),
        "bootstrap_connected": facts.operator_answered,
        "masked": True,
        "masked_attempts": facts.built + facts.failed,
        "masked_successes": facts.built,
        "masked_failures": facts.failed,
    }
    if facts.last_error:
        values["last_masked_error"] = facts.last_error
    if history.state is State.CALIBRATING:
        values["checkup_phase"] = "looking for relays"
    if history.checked_at is not None:
        values["last_checked_ms_ago"] = _ms(now - history.checked_at)
    if history.state is State.CONNECTED and history.connected_at is not None:
        values["connection_uptime_secs"] = int(now - history.connected_at)
    if history.reconnections and history.reconnected_at is not None:
        values["reconnection_attempts"] = history.reconnections
        values["last_reconnection_secs_ago"] = int(now - history.reconnected_at)
    if facts.exit is not None:
        values["exit_stats"] = {
            "requests_total": facts.exit.total,
            "requests_success": facts.exit.success,
            "requests_blocked": facts.exit.blocked,
            "bandwidth_bytes": facts.exit.octets,
            "datagrams_lost": facts.exit.lost_datagrams,
        }
    return values


def mesh_state(facts: Facts) -> str:
    """Return how it is with neighbours."""
    if facts.links:
        return "connected"
    return "connecting" if facts.is_on and facts.relays else "disconnected"


def status_text(facts: Facts, history: History, now: float) -> str:
    """Return `/status.txt`; targets are never told, so those lines stay empty."""
    checked = "" if history.checked_at is None else str(_ms(now - history.checked_at))
    lines = (
        ("State", history.state.value),
        ("Mode", CONNECTION_MODE),
        ("Current Target", ""),
        ("Current Target IP", ""),
        ("Peers online", str(facts.links)),
        ("Last masked error", facts.last_error),
        ("Last checked ms ago", checked),
    )
    return "".join(f"{name}: {value}\n" for name, value in lines)


def config_values(facts: Facts) -> dict[str, object]:
    """Return what `/config` shows."""
    return {
        "socks_port": facts.socks_port,
        "status_port": facts.status_port,
        "mode": CONNECTION_MODE,
        "bootstrap": bool(facts.operators),
        "disable_bootstrap": not facts.operators,
        "helper_mode": facts.mode,
    }


def prometheus(facts: Facts, history: History, active: int, total: int) -> str:
    """Return `/metrics` for Prometheus."""
    numbers = (
        int(history.state is State.CONNECTED),
        facts.relays,
        facts.links,
        facts.circuits,
        facts.relayed_circuits,
        facts.relayed_cells,
        facts.built,
        facts.failed,
        facts.exit.lost_datagrams if facts.exit is not None else 0,
        active,
        total,
    )
    lines = []
    for (name, kind, text), number in zip(_METRICS, numbers, strict=True):
        full = f"vigilnet_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {number}"]
    return "\n".join([*lines, ""])


def dashboard(facts: Facts, history: History, now: float) -> str:
    """Return `/`: one page without scripts that loads itself anew each 5 s."""
    colour = _COLOURS[history.state]
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(_shown(value))}</td></tr>"
        for name, value in status_values(facts, history, now).items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        "<title>VigilNet: QNet Status Dashboard</title><style>body{font:16px sans-serif;margin:2em}"
        "th{text-align:left;padding-right:2em;font-weight:normal}"
        f".state{{color:{colour};font-weight:bold}}</style></head><body>"
        f'<h1>VigilNet is <span class="state">{history.state.value}</span></h1>'
        f"<table>{rows}</table></body></html>"
    )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _ms(seconds: float) -> int:
    return max(0, int(seconds * 1000))
