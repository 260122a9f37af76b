from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.exit.policy import (
    MAX_RULES,
    PRESETS,
    ExitPolicy,
    PortSummary,
    parse_rule,
    parse_rules,
    policy_rules,
)

PUBLIC4 = ip_address("93.184.216.34")
PUBLIC6 = ip_address("2606:4700::1")


def policy(*rules: str, allow_private: bool = False) -> ExitPolicy:
    return ExitPolicy(parse_rules(rules), allow_private)


@pytest.mark.parametrize(
    ("rules", "address", "port", "allowed"),
    [
        (["accept *:80"], "93.184.216.34", 80, True),
        (["accept *:80"], "2606:4700::1", 80, True),
        (["accept *:80"], "93.184.216.34", 81, False),
        (["accept *"], "93.184.216.34", 65535, True),
        (["accept *:*"], "93.184.216.34", 1, True),
        (["accept *:*"], "93.184.216.34", 0, False),
        (["accept *:*"], "93.184.216.34", 65536, False),
        (["accept *:80-90"], "93.184.216.34", 90, True),
        (["accept *:80-90"], "93.184.216.34", 91, False),
        (["accept *4:80"], "2606:4700::1", 80, False),
        (["accept *6:80"], "2606:4700::1", 80, True),
        (["accept6 *:80"], "93.184.216.34", 80, False),
        (["accept6 *:80"], "2606:4700::1", 80, True),
        (["reject6 *:*", "accept *:*"], "2606:4700::1", 80, False),
        (["reject6 *:*", "accept *:*"], "93.184.216.34", 80, True),
        (["reject 93.184.0.0/16:*", "accept *:*"], "93.184.216.34", 80, False),
        (["reject 93.184.0.0/16:*", "accept *:*"], "93.185.216.34", 80, True),
        (["reject 93.184.216.34:*", "accept *:*"], "93.184.216.34", 80, False),
        (["accept *:*", "reject 93.184.0.0/16:*"], "93.184.216.34", 80, True),  # first match wins
        (["reject [2606:4700::]/32:443", "accept *:*"], "2606:4700::1", 443, False),
        (["reject [2606:4700::]/32:443", "accept *:*"], "2606:4700::1", 80, True),
        (["reject6 [2606:4700::1]", "accept *:*"], "2606:4700::1", 80, False),
        (["accept *:*, reject *:*"], "93.184.216.34", 80, True),
        (["reject *:80 # no\naccept *:*\n\n"], "93.184.216.34", 80, False),
        ([], "93.184.216.34", 80, False),
        (["accept 10.0.0.0/8:*"], "10.1.2.3", 80, False),  # no rule opens private addresses
        (["reject 8.8.8.0/24:*", "accept *:*"], "64:ff9b::8.8.8.8", 80, False),
        (["accept *:*"], "64:ff9b::8.8.8.8", 80, True),
        (["accept6 *:*"], "64:ff9b::8.8.8.8", 80, False),  # it reaches IPv4, which no rule accepts
    ],
)
def test_rules(rules: list[str], address: str, port: int, allowed: bool) -> None:
    assert policy(*rules).allows(ip_address(address), port) is allowed


@pytest.mark.parametrize(
    "text",
    [
        "accept",
        "accept *:0",
        "accept *:65536",
        "accept *:90-80",
        "accept *:http",
        "accept *:80-",
        "permit *:80",
        "accept 1.2.3:80",
        "accept 1.2.3.4/33:80",
        "accept 1.2.3.4/8:80",  # host bits set
        "accept 2606:4700::/32:80",  # needs brackets
        "accept [2606:4700::]/129:80",
        "accept [zz]:80",
        "accept6 1.2.3.4:80",
        "reject6 *4:80",
        "accept example.com:80",
        "accept *:80 extra",
    ],
)
def test_malformed_rules_are_named(text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse_rule(text)
    assert "exit policy" in str(refusal.value)
    assert text.split()[-1][:4] in str(refusal.value)


def test_number_of_rules_is_limited() -> None:
    assert len(parse_rules(["accept *:80"] * MAX_RULES)) == MAX_RULES
    with pytest.raises(ConfigurationError, match="257 rules"):
        parse_rules(["accept *:80"] * (MAX_RULES + 1))


def test_presets() -> None:
    web = ExitPolicy(policy_rules("web", []))
    assert [port for port in range(1, 65536) if web.allows(PUBLIC4, port)] == [80, 443]
    common = ExitPolicy(policy_rules("common", []))
    assert all(common.allows(PUBLIC6, port) for port in (22, 53, 80, 443, 853, 993, 995, 5222))
    assert ExitPolicy(policy_rules("open", [])).allows(PUBLIC4, 9999)
    assert not ExitPolicy(policy_rules("none", [])).allows(PUBLIC4, 443)
    for preset in PRESETS:
        for port in (25, 110, 143):
            assert not ExitPolicy(policy_rules(preset, [])).allows(PUBLIC4, port)


def test_the_users_rules_go_before_the_preset() -> None:
    mine = ExitPolicy(policy_rules("web", ["reject *:80", "accept *:22"]))
    assert [mine.allows(PUBLIC4, port) for port in (22, 80, 443)] == [True, False, True]


def test_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'all', expected one of web, common, open, none"):
        policy_rules("all", [])


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "fd00::1", "100.64.0.1", "192.0.2.1"]
)
def test_private_addresses_need_the_option(text: str) -> None:
    assert not policy("accept *:*").allows(ip_address(text), 80)
    assert policy("accept *:*", allow_private=True).allows(ip_address(text), 80)
    assert not policy("accept *:81", allow_private=True).allows(ip_address(text), 80)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",  # noqa: S104 - a target
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "::ffff:127.0.0.1",
        "2002::1",
    ],
)
def test_what_is_not_unicast_stays_refused_in_test_networks(text: str) -> None:
    assert not policy("accept *:*", allow_private=True).allows(ip_address(text), 80)


def test_own_addresses_are_refused() -> None:
    everything = parse_rules(["accept *:*"])
    assert not ExitPolicy(everything, is_own=lambda address: address == PUBLIC4).allows(PUBLIC4, 80)
    assert not ExitPolicy(everything, is_own=lambda address: address == PUBLIC4).allows(
        ip_address(f"64:ff9b::{PUBLIC4}"), 80
    )
    assert ExitPolicy(everything, True, lambda address: address == PUBLIC4).allows(PUBLIC4, 80)


@pytest.mark.parametrize(
    ("rules", "port", "possible"),
    [
        (["accept *:80"], 80, True),
        (["accept *:80"], 81, False),
        (["reject *:80", "accept *:*"], 80, False),
        (["reject *4:80", "accept *:*"], 80, True),
        (["reject 1.2.3.4:80", "accept *:80"], 80, True),
        (["accept 1.2.3.4:80"], 80, True),
    ],
)
def test_port_can_be_judged_before_resolving(rules: list[str], port: int, possible: bool) -> None:
    assert policy(*rules).may_allow_port(port) is possible


@pytest.mark.parametrize(
    ("rules", "summary"),
    [
        ([], PortSummary(0, ())),
        (["accept *:80", "accept *:443"], PortSummary(0, ((80, 80), (443, 443)))),
        (["accept *:80-90", "accept *:91"], PortSummary(0, ((80, 91),))),
        (["accept *:*"], PortSummary(0, ((1, 65535),))),
        (["reject *:25", "accept *:*"], PortSummary(0, ((1, 24), (26, 65535)))),
        (["accept *4:80"], PortSummary(0, ((80, 80),))),
        (["accept 1.2.3.4:80"], PortSummary(0, ())),
        (["reject 1.2.3.4:*", "accept *:65535"], PortSummary(0, ((65535, 65535),))),
    ],
)
def test_summary(rules: list[str], summary: PortSummary) -> None:
    assert policy(*rules).summary() == summary


def test_summary_lists_what_is_refused_when_that_is_shorter() -> None:
    rules = [f"reject *:{port}" for port in (1, *range(100, 1500, 100), 65535)]
    summary = policy(*rules, "accept *:*").summary()
    assert summary.kind == 0
    assert len(summary.ranges) == 15
    rules = [f"reject *:{port}" for port in (1, *range(100, 1600, 100))]
    summary = policy(*rules, "accept *:*").summary()
    assert summary == PortSummary(0, summary.ranges)
    assert len(summary.ranges) == 16
    summary = policy(*[f"reject *:{port}" for port in range(100, 1700, 100)], "accept *:*").summary()
    assert summary == PortSummary(1, tuple((port, port) for port in range(100, 1700, 100)))


def test_summary_that_does_not_fit_keeps_the_widest_ranges() -> None:
    rules = [f"accept *:{port}-{port + port // 100}" for port in range(100, 4100, 200)]
    summary = policy(*rules).summary()
    assert summary.kind == 0
    assert len(summary.ranges) == 16
    assert summary.ranges[0][0] == 900


RULES = st.builds(
    lambda accepts, low, width: f"{'accept' if accepts else 'reject'} *:{low}-{low + width}",
    st.booleans(),
    st.integers(1, 60),
    st.integers(0, 20),
)


@given(st.lists(RULES, max_size=8))
def test_a_summary_that_fits_says_what_the_rules_say(rules: list[str]) -> None:
    decider = policy(*rules)
    summary = decider.summary()
    for port in range(1, 85):
        listed = any(low <= port <= high for low, high in summary.ranges)
        assert (listed == (summary.kind == 0)) is decider.allows(PUBLIC4, port)
