"""Command lines for a Mac, as they are run."""

from vigilnet.traffic.backends import macos_commands
from vigilnet.traffic.backends.macos_commands import Gateway, gateway_in, token_in
from vigilnet.traffic.device.settings import DeviceSettings, Scope

GATEWAYS = [Gateway("192.168.1.1", "en0"), Gateway("fe80::1", "en0")]


def lines(commands: list[list[str]]) -> list[str]:
    return [" ".join(command) for command in commands]


def test_the_interface_gets_its_addresses() -> None:
    assert lines(macos_commands.interface_up("utun9", 1400)) == [
        "ifconfig utun9 inet 198.18.86.1 198.18.86.2 netmask 255.255.255.255 mtu 1400 up",
        "ifconfig utun9 inet6 fd56:4e45:5400::1 prefixlen 64",
    ]


def test_both_halves_of_the_address_space_lead_into_the_tunnel_and_exclusions_around_it() -> None:
    settings = DeviceSettings(1, 1, outside_networks=("192.0.2.0/24", "2001:db8::/32"))
    assert lines(macos_commands.routes_up(settings, "utun9", GATEWAYS)) == [
        "route -n add -inet -net 0.0.0.0/1 -interface utun9",
        "route -n add -inet -net 128.0.0.0/1 -interface utun9",
        "route -n add -inet6 -net ::/1 -interface utun9",
        "route -n add -inet6 -net 8000::/1 -interface utun9",
        "route -n add -inet -net 192.0.2.0/24 192.168.1.1",
        "route -n add -inet6 -net 2001:db8::/32 fe80::1",
    ]
    assert len(macos_commands.routes_up(settings, "utun9", [])) == 4  # nowhere to lead them around to
    assert lines(macos_commands.routes_down(settings)) == [
        "route -n delete -inet -net 192.0.2.0/24",
        "route -n delete -inet6 -net 2001:db8::/32",
    ]
    assert macos_commands.around("192.0.2.7", GATEWAYS[0])[-2:] == ["192.0.2.7/32", "192.168.1.1"]


def test_with_inclusion_only_what_was_included_and_names_lead_into_it() -> None:
    settings = DeviceSettings(1, 1, scope=Scope.INCLUDED, inside_networks=("198.51.100.0/24",))
    assert lines(macos_commands.routes_up(settings, "utun9", GATEWAYS)) == [
        "route -n add -inet -net 198.51.100.0/24 -interface utun9",
        "route -n add -inet -net 198.18.86.3/32 -interface utun9",
    ]


def test_names_are_asked_of_the_daemon_and_then_no_longer() -> None:
    assert 'd.add SupplementalMatchDomains * ""\n' in macos_commands.names_up()
    assert macos_commands.names_up().splitlines()[-2:] == [f"set {macos_commands.STORE_KEY}", "quit"]
    assert macos_commands.names_down() == f"remove {macos_commands.STORE_KEY}\nquit\n"


def test_what_the_system_says_is_read() -> None:
    text = "   route to: default\n    gateway: fe80::1%en0\n  interface: en0\n      flags: <UP>\n"
    assert gateway_in(text) == Gateway("fe80::1", "en0")
    assert gateway_in("route: writing to routing socket: not in table\n") is None
    assert token_in("pfctl: pf already enabled\nToken : x\n") == ""
