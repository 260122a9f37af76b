"""Settings of a protected device."""

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.device.options import Options, parse_server
from vigilnet.traffic.device.settings import FirewallRule


@pytest.mark.parametrize(
    "change",
    [
        {"dns": "none"},
        {"dns": "custom"},
        {"dns_server": "dns.example"},
        {"scope": "some"},
        {"outside_networks": ("192.0.2.1/24",)},
        {"mtu": 1279},
        {"firewall": ("out tcp",)},
        {"firewall": ("out tcp 192.0.2.0/24 http",)},
        {"firewall": ("both tcp 192.0.2.0/24",)},
        {"max_flows": 0},
        {"max_connections": 0},
        {"flow_idle_s": 0.5},
    ],
)
def test_what_cannot_work_is_named(change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Options(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("192.0.2.1", ("192.0.2.1", 53)), ("192.0.2.1:5353", ("192.0.2.1", 5353)),
     ("2001:db8::1", ("2001:db8::1", 53)), ("[2001:db8::1]:853", ("2001:db8::1", 853))],
)  # fmt: skip
def test_a_server_is_an_address_with_or_without_a_port(text: str, parsed: tuple[str, int]) -> None:
    assert parse_server(text) == parsed


def test_firewall_rules_are_taken_word_by_word() -> None:
    rules = Options(firewall=("out tcp 192.0.2.0/24 25", "in any ::/0")).firewall_rules()
    assert rules == (FirewallRule("out", "tcp", "192.0.2.0/24", 25), FirewallRule("in", "any", "::/0"))
