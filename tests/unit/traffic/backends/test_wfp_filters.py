"""The filters for Windows, as a whole list; read line by line when it was made."""

from pathlib import Path

import pytest

from vigilnet.traffic.backends import wfp_filters
from vigilnet.traffic.backends.wfp_filters import IN, OUT, Filter
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule, Scope

VECTORS = Path(__file__).parents[3] / "vectors" / "device"
PROGRAM = r"C:\Program Files\VigilNet\vigilnetd.exe"
FULL = DeviceSettings(
    1000, 1001, allow_lan=True, outside_networks=("192.0.2.0/24", "2001:db8::/32"), open_ports=(4001,),
    rules=(FirewallRule("out", "tcp", "198.51.100.0/24", 25), FirewallRule("out", "any", "2001:db8:1::/48")),
)  # fmt: skip
LAYERS = {OUT[4]: "out4", OUT[6]: "out6", IN[4]: "in4", IN[6]: "in6"}
FIELDS = {
    wfp_filters.APPLICATION: "program", wfp_filters.INTERFACE: "interface", wfp_filters.ADDRESS: "far",
    wfp_filters.PROTOCOL: "protocol", wfp_filters.NEAR_PORT: "near port", wfp_filters.FAR_PORT: "far port",
    wfp_filters.FLAGS: "flags",
}  # fmt: skip


def told(filters: list[Filter]) -> str:
    """One line a filter, the heaviest first, as the platform judges them."""
    lines = []
    for one in sorted(filters, key=lambda one: (LAYERS[one.layer], -one.weight, one.name)):
        conditions = ", ".join(f"{FIELDS[field]} {value}" for field, value in one.conditions)
        verb = "permit" if one.permits else "block"
        lines.append(f"{LAYERS[one.layer]} {one.weight:2} {verb} {one.name}: {conditions or 'everything'}\n")
    return "".join(lines)


TEXTS = {
    "plain": told(wfp_filters.protected(DeviceSettings(1000, 1001), PROGRAM, 77)),
    "full": told(wfp_filters.protected(FULL, PROGRAM, 77)),
    "lockdown": told(wfp_filters.lockdown(PROGRAM)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_list_is_what_it_was(name: str) -> None:
    assert TEXTS[name] == (VECTORS / f"{name}.wfp").read_text()


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("layer", LAYERS.values())
def test_the_lightest_of_every_layer_blocks_everything(name: str, layer: str) -> None:
    last = [line for line in TEXTS[name].splitlines() if line.startswith(layer)][-1]
    assert last == f"{layer}  1 block closed: everything"


def test_each_filter_has_a_key_of_its_own_the_same_at_every_start() -> None:
    keys = [one.key for one in wfp_filters.protected(FULL, PROGRAM, 77)]
    assert len(set(keys)) == len(keys)
    assert keys == [one.key for one in wfp_filters.protected(FULL, "other.exe", 78)]


def test_with_the_scope_included_the_rest_is_left_alone() -> None:
    filters = wfp_filters.protected(DeviceSettings(1, 1, scope=Scope.INCLUDED), PROGRAM, 77)
    assert all(one.permits for one in filters)
