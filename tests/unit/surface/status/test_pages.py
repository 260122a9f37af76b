"""The shapes of the pages, against qnet's."""

import json
from pathlib import Path

from vigilnet.surface.status.facts import ExitFacts, Facts, History, State
from vigilnet.surface.status.pages import (
    config_values,
    dashboard,
    mesh_state,
    prometheus,
    status_text,
    status_values,
)

API = json.loads((Path(__file__).parents[3] / "vectors" / "operators" / "http_api.json").read_text())
ENDPOINTS = {endpoint["path"]: endpoint for endpoint in API["endpoints"]}
CONNECTED = Facts(
    "super", has_sources=True, is_relay=True, socks="127.0.0.1:1088", socks_port=1088, relays=3, links=2,
    circuits=1, built=5, failed=1, last_error="why <b>", exit=ExitFacts(4, 3, 1, 99), operators=1,
)  # fmt: skip
HISTORY = History(State.CONNECTED, 10.0, 2, 20.0, 30.0)


def test_status_has_what_qnets_always_has_and_no_target() -> None:
    status = ENDPOINTS["/status"]
    for facts, history in ((Facts(), History()), (CONNECTED, HISTORY)):
        values = status_values(facts, history, 31.0)
        assert set(status["always"]) <= set(values)
        assert set(values) <= {*status["always"], *status["conditional"]}
        assert values["state"] in status["state_enum"]
        assert values["mesh_state"] in status["mesh_state_enum"]
        assert not [name for name in values if "target" in name]


def test_conditional_fields_of_status() -> None:
    values = status_values(CONNECTED, HISTORY, 31.0)
    assert values["exit_stats"] == {
        "requests_total": 4, "requests_success": 3, "requests_blocked": 1, "bandwidth_bytes": 99,
        "datagrams_lost": 0,
    }  # fmt: skip
    assert values["connection_uptime_secs"] == 21
    assert (values["reconnection_attempts"], values["last_reconnection_secs_ago"]) == (2, 11)
    assert values["last_checked_ms_ago"] == 1000
    assert "exit_stats" not in status_values(Facts(), History(), 0.0)
    assert "reconnection_attempts" not in status_values(Facts(), History(), 0.0)
    looking = status_values(Facts(has_sources=True), History(State.CALIBRATING), 0.0)
    assert looking["checkup_phase"] == "looking for relays"


def test_text_has_qnets_lines() -> None:
    lines = status_text(CONNECTED, HISTORY, 31.0).splitlines()
    assert [
        line[: len(start)] for line, start in zip(lines, ENDPOINTS["/status.txt"]["lines"], strict=True)
    ] == (ENDPOINTS["/status.txt"]["lines"])
    assert lines[0] == "State: connected"


def test_config_has_qnets_fields() -> None:
    assert set(ENDPOINTS["/config"]["json"]) <= set(config_values(CONNECTED))
    assert config_values(CONNECTED)["disable_bootstrap"] is False


def test_neighbours_in_words() -> None:
    assert [mesh_state(facts) for facts in (Facts(), Facts(relays=1), Facts(links=1))] == [
        "disconnected",
        "connecting",
        "connected",
    ]


def test_prometheus_lines_are_of_its_format() -> None:
    lines = prometheus(CONNECTED, HISTORY, 1, 7).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert "vigilnet_up 1" in samples
    assert "vigilnet_status_connections_total 7" in samples
    assert all(len(sample.split()) == 2 and sample.split()[1].isdecimal() for sample in samples)
    assert len(lines) == 3 * len(samples)


def test_page_shows_the_state_and_escapes_what_it_shows() -> None:
    page = dashboard(CONNECTED, HISTORY, 31.0)
    assert "QNet Status Dashboard" in page
    assert "why &lt;b&gt;" in page
    assert "<script" not in page
