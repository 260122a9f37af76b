"""What the helper takes from the daemon: each value of its own type, within its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.device.settings import MAX_NETWORKS, DeviceSettings, FirewallRule, Program, Scope

FULL = DeviceSettings(
    capture_port=1000,
    dns_port=1001,
    scope=Scope.INCLUDED,
    mtu=1400,
    allow_lan=True,
    outside_networks=("192.0.2.0/24", "2001:db8::/32"),
    inside_networks=("198.51.100.0/24",),
    outside_users=(1000,),
    inside_users=(1001, 1002),
    open_ports=(4001,),
    binding_ports=(2000,),
    binding_dns_ports=(2001,),
    binding_names=("SE",),
    underlay_marks=(51820,),
    rules=(FirewallRule("out", "tcp", "192.0.2.0/24", 25),),
    programs=(Program("/usr/bin/foo", "outside"), Program("/opt/bar baz", "exit15")),
)


def test_settings_come_back_as_they_went() -> None:
    assert DeviceSettings.decode(FULL.encode()) == FULL


@pytest.mark.parametrize(
    "change",
    [
        {"capture_port": 0},
        {"capture_port": 65_536},
        {"capture_port": True},
        {"capture_port": "1"},
        {"dns_port": 1.5},
        {"mtu": 1279},
        {"mtu": 65_522},
        {"scope": "none"},
        {"allow_lan": 1},
        {"outside_networks": ["192.0.2.1/24"]},
        {"outside_networks": ["any; flush ruleset"]},
        {"outside_networks": "192.0.2.0/24"},
        {"outside_networks": ["192.0.2.0/24"] * (MAX_NETWORKS + 1)},
        {"outside_users": [-1]},
        {"programs": [{"path": "foo", "group": "outside"}]},
        {"programs": [{"path": "/a\n", "group": "outside"}]},
        {"programs": [{"path": "/" + "a" * 256, "group": "outside"}]},
        {"programs": [{"path": "/a", "group": "own"}]},
        {"programs": [{"path": "/a", "group": "exit100"}]},
        {"programs": [{"path": 7, "group": "outside"}]},
        {"programs": [{"path": "/a"}]},
        {"programs": ["/a"]},
        {"programs": [{"path": "/a", "group": "outside"}] * 65},
        {"outside_users": ["root"]},
        {"open_ports": [0]},
        {"binding_dns_ports": []},
        {"binding_dns_ports": [2001, 2002]},
        {"binding_dns_ports": [0]},
        {"rules": [{"direction": "out", "protocol": "tcp"}]},
        {"rules": [{"direction": "up", "protocol": "tcp", "network": "::/0"}]},
        {"rules": [{"direction": "out", "protocol": "any", "network": "::/0", "port": 5}]},
        {"rules": [{"direction": "out", "protocol": "tcp", "network": "::/0", "text": "accept"}]},
        {"interface": "eth0"},
    ],
)
def test_what_is_not_a_plain_value_in_its_bounds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        DeviceSettings.decode(FULL.encode() | change)


@pytest.mark.parametrize("limit", [1280, 65_521])
def test_the_bounds_of_the_mtu_are_allowed(limit: int) -> None:
    assert DeviceSettings(1, 1, mtu=limit).mtu == limit


def test_as_many_networks_as_allowed_are_taken() -> None:
    many = ("192.0.2.0/24",) * MAX_NETWORKS
    assert DeviceSettings(1, 1, outside_networks=many).outside_networks == many


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([*FULL.encode(), "more"]), JSON, max_size=6).map(
        lambda changed: FULL.encode() | changed
    )
    | JSON
)
def test_any_value_is_taken_or_blamed_on_the_daemon(value: object) -> None:
    try:
        taken = DeviceSettings.decode(value)
    except RemoteProtocolError:
        return
    assert DeviceSettings.decode(taken.encode()) == taken
