"""The rules for pf, as whole texts; read line by line after pf.conf(5) when they were made."""

from pathlib import Path

import pytest

from vigilnet.traffic.backends import pf_rules
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule, Scope

VECTORS = Path(__file__).parents[3] / "vectors" / "device"
FULL = DeviceSettings(
    1000, 1001, allow_lan=True, outside_networks=("192.0.2.0/24", "2001:db8::/32"), open_ports=(4001,),
    rules=(
        FirewallRule("out", "tcp", "198.51.100.0/24", 25), FirewallRule("out", "any", "2001:db8:1::/48"),
        FirewallRule("in", "udp", "203.0.113.0/24"),
    ),
)  # fmt: skip
TEXTS = {
    "plain": pf_rules.protected(DeviceSettings(1000, 1001), "utun9"),
    "full": pf_rules.protected(FULL, "utun9"),
    "lockdown": pf_rules.lockdown(),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_what_it_was(name: str) -> None:
    assert TEXTS[name] == (VECTORS / f"{name}.pf").read_text()


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_not_let_out_is_refused_last(name: str) -> None:
    assert TEXTS[name].endswith("block return out quick all\nblock drop in quick all\n")


def test_with_the_scope_included_the_rest_is_left_alone() -> None:
    assert "all\nblock" not in pf_rules.protected(DeviceSettings(1, 1, scope=Scope.INCLUDED), "utun9")
