"""Faults are found, and the advice fits."""

from dataclasses import replace

import pytest

from vigilnet.routing.discovery.reachability import (
    PATIENCE_S,
    UNDIALLED_S,
    Mapping,
    ReachFacts,
    is_public,
    judge,
)

WELL = ReachFacts(
    is_relay=True, uptime_s=UNDIALLED_S, local=("198.51.100.1", ""), advertised=("8.8.8.8",), known=40,
    linked=8, dialled=9, was_dialled=True,
)  # fmt: skip
HOME = replace(WELL, local=("192.168.1.5", ""), advertised=("192.168.1.5",), was_dialled=False)

FAULTS: dict[str, tuple[ReachFacts, str, str]] = {
    "no network": (replace(WELL, local=("", "")), "network.none", "connect it to a network"),
    "no source": (replace(WELL, known=0, has_sources=False), "network.sources", "invite add"),
    "sources know nobody": (replace(WELL, known=0, uptime_s=PATIENCE_S), "network.sources", "ask somebody"),
    "off for too long": (replace(WELL, known=0, expired_only=True), "network.sources", "new invite"),
    "blocked, no cover": (replace(WELL, linked=0, dialled=0, failed=3), "network.outward", "htx"),
    "blocked, cover": (
        replace(WELL, linked=0, dialled=0, failed=3, has_cover=True), "network.outward", "another network",
    ),
    "firewall": (replace(WELL, was_dialled=False), "network.inward", "open its port"),
    "router not asked": (HOME, "network.inward", "relay.map_port"),
    "no library": (replace(HOME, mapping=Mapping.MISSING), "network.inward", "vigilnet[nat]"),
    "router without upnp": (replace(HOME, mapping=Mapping.NO_ROUTER), "network.inward", "by hand"),
    "router refuses": (replace(HOME, mapping=Mapping.REFUSED), "network.inward", "allow UPnP or PCP"),
    "two routers": (
        replace(HOME, mapping=Mapping.MAPPED, external="10.0.0.2"), "network.inward", "IPv6",
    ),
    "provider's router": (
        replace(HOME, mapping=Mapping.MAPPED, external="100.64.1.2"), "network.inward", "provider",
    ),
    "introduced": (replace(HOME, introducers=3), "network.inward", "relay.map_port"),
    "no dht": (replace(WELL, dht="UDP port 4001 is taken"), "network.dht", "free the UDP port"),
    "no multicast": (replace(WELL, lan="no socket for mDNS"), "network.lan", "5353"),
}  # fmt: skip


def test_a_relay_that_is_well_has_no_problem() -> None:
    assert {finding.level for finding in judge(WELL)} == {"pass"}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_the_one_problem_found_and_has_its_advice(fault: str) -> None:
    facts, identifier, advice = FAULTS[fault]
    problems = [finding for finding in judge(facts) if finding.level != "pass"]
    assert [problem.id for problem in problems] == [identifier]
    assert advice in problems[0].next
    assert problems[0].meaning


def test_the_gravest_comes_first_and_clients_need_not_be_reached() -> None:
    facts = replace(HOME, local=("", ""), dht="x")
    assert [finding.level for finding in judge(facts)][:3] == ["fail", "fail", "note"]
    assert not [finding for finding in judge(replace(HOME, is_relay=False)) if finding.level == "fail"]


def test_nothing_is_said_too_early() -> None:
    young = replace(WELL, uptime_s=1.0, known=0, linked=0, dialled=0, was_dialled=False)
    assert {finding.level for finding in judge(young)} == {"pass"}


def test_tries_from_both_ends_are_told_by_what_came_of_them() -> None:
    facts = replace(HOME, introducers=3, punches=4)
    assert {finding.id: finding.level for finding in judge(facts)}["network.punch"] == "note"
    worked = replace(facts, punched=1)
    assert {finding.id: finding.level for finding in judge(worked)}["network.punch"] == "pass"


def test_public_addresses() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2a00::1")
    assert is_public("relay.example")
    assert not any(map(is_public, ("192.168.1.1", "100.64.0.1", "fe80::1%eth0", "127.0.0.1", "")))
