"""The firewall as text: golden files, since each line of it is somebody's safety."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from vigilnet.traffic.backends import ruleset
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule, Scope

GOLDEN = Path(__file__).parents[3] / "vectors" / "device"
PLAIN = DeviceSettings(40_000, 40_001)
FULL = DeviceSettings(
    40_000,
    40_001,
    allow_lan=True,
    outside_networks=("192.0.2.0/24", "2001:db8::/32"),
    outside_users=(1000,),
    open_ports=(4001,),
    binding_ports=(40_002,),
    binding_dns_ports=(40_003,),
    underlay_marks=(51_820,),
    rules=(FirewallRule("out", "tcp", "198.51.100.0/24", 25), FirewallRule("in", "any", "::/0")),
)
INCLUDED = DeviceSettings(
    40_000, 40_001, Scope.INCLUDED, inside_networks=("198.51.100.0/24",), inside_users=(1001,)
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.nft", ruleset.protected(PLAIN, ["eth0"])),
        ("full.nft", ruleset.protected(FULL, ["eth0", "wlan0"])),
        ("included.nft", ruleset.protected(INCLUDED, ["eth0"])),
        ("lockdown.nft", ruleset.lockdown(None, ["eth0"])),
        ("disabled.nft", ruleset.disabled()),
    ],
)
def test_the_rule_set_is_the_one_that_was_reviewed(name: str, text: str) -> None:
    assert text == (GOLDEN / name).read_text()


@pytest.mark.parametrize("text", [ruleset.protected(PLAIN), ruleset.protected(FULL), ruleset.lockdown(None)])
def test_what_is_not_let_out_is_dropped(text: str) -> None:
    for hook in ("output", "input", "forward"):
        assert f"hook {hook} priority filter; policy drop;" in text


def test_the_whole_set_is_replaced_in_one_transaction() -> None:
    text = ruleset.protected(PLAIN, ["eth0"])
    assert text.index("delete table inet vigilnet") < text.index("table inet vigilnet {\n")


def test_only_our_own_tables_are_named() -> None:
    assert set(re.findall(r"table \w+ (\w+)", ruleset.protected(FULL, ["eth0"]))) == {"vigilnet"}


def test_addresses_are_let_out_for_a_time_by_family() -> None:
    assert ruleset.opened("portal", ["192.0.2.1", "2001:db8::1"], 60) == (
        "add element inet vigilnet portal4 { 192.0.2.1 timeout 60s }\n"
        "add element inet vigilnet portal6 { 2001:db8::1 timeout 60s }\n"
    )


def test_groups_are_matched_by_path_where_sockets_cannot_be_marked() -> None:
    line = ruleset.cgroup_marks("unified/vigilnet/outside", 2, ruleset.MARK_OUTSIDE)
    assert line in ruleset.protected(PLAIN, cgroups=[line])


def test_lockdown_closes_also_where_only_what_is_included_was_taken() -> None:
    """It let everything out that was not included, until the next start of the machine."""
    assert ruleset.lockdown(INCLUDED, ["eth0"]) == ruleset.lockdown(
        replace(INCLUDED, scope=Scope.ALL), ["eth0"]
    )


def test_what_comes_in_by_the_way_out_is_not_carried_further() -> None:
    text = ruleset.protected(PLAIN, ["eth0", "wlan0"])
    _, _, forwarded = text.partition("chain capture_forwarded {")
    assert forwarded.index('iifname { "lo", "vigilnet0", "eth0", "wlan0" } return') < forwarded.index(
        "redirect"
    )
    _, _, forward = text.partition("chain forward {")
    assert forward.index('iifname { "eth0", "wlan0" } oifname "vigilnet0" drop') < forward.index("accept")
