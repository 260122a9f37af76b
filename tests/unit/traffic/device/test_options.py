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


def test_programs_are_told_where_they_go() -> None:
    options = Options(
        outside_programs=("/usr/bin/a",), inside_programs=("/opt/b c",), bound_programs=("SE /usr/bin/d",)
    )
    assert options.programs() == {
        "/usr/bin/a": "outside", "/opt/b c": "inside", "/usr/bin/d": "exit SE",
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"outside_programs": ("firefox",)},
        {"outside_programs": ("/a,b",)},
        {"outside_programs": ("/a\n",)},
        {"outside_programs": ("/" + "a" * 256,)},
        {"outside_programs": ("/a", "/a")},
        {"outside_programs": ("/a",), "bound_programs": ("SE /a",)},
        {"bound_programs": ("SE",)},
        {"outside_programs": tuple(f"/{number}" for number in range(65))},
    ],
)
def test_programs_that_cannot_be_remembered_are_refused(fields: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ConfigurationError, match="programs"):
        Options(**fields)  # type: ignore[arg-type]
