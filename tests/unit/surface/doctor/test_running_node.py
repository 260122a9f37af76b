from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.sick import diagnose, found, situation
from vigilnet.surface.control.models import Exit, ExitChoice, Exits, Finding, Peer, Protection, Status
from vigilnet.surface.doctor.finding import NodeView
from vigilnet.surface.doctor.running_node import _accepts

WELL = NodeView(
    Status(
        "0.1.0", 1, "connected", 9.0, roles=("client",), hops=3, circuits=2,
        protection=Protection("connected", "connected", "ok", "ShieldCheck"),
    ),
    tuple(Peer(f"12D3KooW{name}", name=name, link="direct") for name in ("one", "two", "three")),
    Exits((Exit("12D3KooWthree", "three", "SE", "80,443"),)),
    1.0,
)  # fmt: skip


def changed(**changes: object) -> NodeView:
    return replace(WELL, **changes)  # type: ignore[arg-type]  # a test's shorthand


def status(**changes: object) -> Status:
    return replace(WELL.status, **changes)  # type: ignore[arg-type]  # a test's shorthand


def test_node_that_is_well(tmp_path: Path) -> None:
    diagnosis = diagnose(situation(tmp_path, node=WELL))
    for identifier in ("node.off", "device.clock_offset", "relays.none", "exits.none", "paths.none"):
        assert found(diagnosis, identifier).level == "pass"


@pytest.mark.parametrize(
    ("node", "identifier", "level"),
    [
        (changed(clock_offset_s=48.0), "device.clock_offset", "note"),
        (changed(clock_offset_s=-600.0), "device.clock_offset", "fail"),
        (changed(peers=()), "relays.none", "fail"),
        (changed(peers=WELL.peers[:2]), "relays.few", "fail"),
        (changed(peers=(*WELL.peers, replace(WELL.peers[0], link="failed"))), "relays.silent", "note"),
        (changed(exits=Exits()), "exits.none", "fail"),
        (changed(exits=replace(WELL.exits, choice=ExitChoice("JP"))), "exits.choice", "fail"),
        (changed(status=status(restart_needed=("status.port",))), "settings.waiting", "note"),
    ],
)
def test_what_a_node_says_is_judged(tmp_path: Path, node: NodeView, identifier: str, level: str) -> None:
    assert found(diagnose(situation(tmp_path, node=node)), identifier).level == level


def test_each_relay_is_said_to_be_direct_or_relayed_and_why_and_by_whom_it_was_named(tmp_path: Path) -> None:
    peers = (
        Peer("12D3KooWone", name="one", link="direct", why="Answers.", why_id="dialled", found_by=("mdns",)),
        Peer("12D3KooWtwo", name="two", link="relayed", why="By a path.", why_id="on-path"),
        Peer("12D3KooWsix", name="six", link="failed", why="No answer.", why_id="no-answer"),
        Peer("12D3KooWten", name="ten", link="none", why="Behind.", why_id="behind-router"),
    )
    judged = diagnose(situation(tmp_path, node=changed(peers=peers))).peers
    assert [(one.name, one.link, one.why) for one in judged] == [
        ("one", "direct", "Answers."),
        ("two", "relayed", "By a path."),
        ("six", "failed", "No answer."),
        ("ten", "none", "Behind."),
    ]
    assert judged[0].found_by == ("mdns",)
    assert [one.help for one in judged[:2]] == ["", ""]
    assert "invite add" in judged[2].help
    assert "relay.map_port" in judged[3].help
    assert diagnose(situation(tmp_path)).peers == ()


def test_slow_clock_is_called_slow(tmp_path: Path) -> None:
    diagnosis = diagnose(situation(tmp_path, node=changed(clock_offset_s=48.0)))
    assert found(diagnosis, "device.clock_offset").title == "The clock is 48 s slow"


def test_no_exit_for_a_port(tmp_path: Path) -> None:
    finding = found(diagnose(situation(tmp_path, node=WELL), port=6667), "exits.port")
    assert finding.next == "vigilnet exits --port 6667"
    assert found(diagnose(situation(tmp_path, node=WELL), port=443), "exits.none").level == "pass"


@pytest.mark.parametrize(
    ("ports", "port", "accepted"),
    [("80,443", 443, True), ("80,443", 22, False), ("1-24,26-109", 25, False), ("1-24,26-109", 100, True),
     ("all but 25", 25, False), ("all but 25", 80, True), ("all", 25, True), ("", 25, True),
     ("none", 80, False)],
)  # fmt: skip
def test_ports_in_words(ports: str, port: int, accepted: bool) -> None:
    assert _accepts(ports, port) is accepted


@pytest.mark.parametrize(
    ("state", "api", "identifier"),
    [("blocked", "offline", "paths.blocked"), ("offline", "offline", "paths.off"),
     ("connecting", "connecting", "paths.none")],
)  # fmt: skip
def test_states_without_a_path(tmp_path: Path, state: str, api: str, identifier: str) -> None:
    shown = Protection(state, api, "bad", "", reason="circuit: hop 2 did not answer in time")
    node = changed(status=status(protection=shown))
    assert found(diagnose(situation(tmp_path, node=node)), identifier).level in ("note", "fail")


@pytest.mark.parametrize(
    ("reason", "identifier"),
    [("one-hop", "paths.one_hop"), ("apps-only", "device.apps_only"), ("names-visible", "device.names")],
)
def test_reservations_are_notes(tmp_path: Path, reason: str, identifier: str) -> None:
    shown = replace(WELL.status.protection, reasons=(reason,)) if WELL.status.protection else None
    node = changed(status=status(protection=shown))
    assert found(diagnose(situation(tmp_path, node=node)), identifier).level == "note"


def test_what_the_node_says_of_its_connection_is_shown_and_not_said_twice(tmp_path: Path) -> None:
    why = Finding("network.sources", "fail", "network", "All records are over", "Off for long.", "get one")
    inward = Finding("network.inward", "fail", "network", "Nobody can reach it", "A router.", "ask it")
    diagnosis = diagnose(situation(tmp_path, node=changed(peers=(), reach=(why, inward))))
    assert found(diagnosis, "network.inward") == inward
    assert {"network.sources"} == {
        one.id for one in diagnosis.findings if one.id in ("network.sources", "relays.none")
    }
