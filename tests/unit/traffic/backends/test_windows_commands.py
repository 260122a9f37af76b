"""Command lines for Windows, as they are run."""

from vigilnet.traffic.backends import windows_commands
from vigilnet.traffic.backends.macos_commands import Gateway
from vigilnet.traffic.device.settings import DeviceSettings, Scope

GATEWAYS = [Gateway("192.168.1.1", "12"), Gateway("fe80::1", "12")]


def lines(commands: list[list[str]]) -> list[str]:
    return [" ".join(command) for command in commands]


def test_the_interface_gets_its_addresses() -> None:
    assert lines(windows_commands.interface_up(1400)) == [
        "netsh interface ipv4 set address name=VigilNet static 198.18.86.1 255.255.255.252 store=active",
        "netsh interface ipv6 add address interface=VigilNet address=fd56:4e45:5400::1/126 store=active",
        "netsh interface ipv4 set subinterface VigilNet mtu=1400 store=active",
        "netsh interface ipv6 set subinterface VigilNet mtu=1400 store=active",
    ]


def test_both_halves_of_the_address_space_lead_into_the_tunnel_and_exclusions_around_it() -> None:
    settings = DeviceSettings(1, 1, outside_networks=("192.0.2.0/24", "2001:db8::/32"))
    assert lines(windows_commands.routes_up(settings, GATEWAYS)) == [
        "netsh interface ipv4 add route 0.0.0.0/1 VigilNet metric=0 store=active",
        "netsh interface ipv4 add route 128.0.0.0/1 VigilNet metric=0 store=active",
        "netsh interface ipv6 add route ::/1 VigilNet metric=0 store=active",
        "netsh interface ipv6 add route 8000::/1 VigilNet metric=0 store=active",
        "netsh interface ipv4 add route 192.0.2.0/24 12 192.168.1.1 metric=0 store=active",
        "netsh interface ipv6 add route 2001:db8::/32 12 fe80::1 metric=0 store=active",
    ]
    assert lines(windows_commands.routes_down(settings, GATEWAYS[:1])) == [
        "netsh interface ipv4 delete route 192.0.2.0/24 12 192.168.1.1 store=active",
    ]


def test_with_inclusion_only_what_was_included_and_names_lead_into_it() -> None:
    settings = DeviceSettings(1, 1, scope=Scope.INCLUDED, inside_networks=("198.51.100.0/24",))
    assert lines(windows_commands.routes_up(settings, GATEWAYS)) == [
        "netsh interface ipv4 add route 198.51.100.0/24 VigilNet metric=0 store=active",
        "netsh interface ipv4 add route 198.18.86.3/32 VigilNet metric=0 store=active",
    ]


def test_names_are_asked_of_the_daemon_and_then_no_longer() -> None:
    assert windows_commands.names_up()[:3] == ["powershell.exe", "-NoProfile", "-NonInteractive"]
    assert "-NameServers '198.18.86.3' -Comment 'vigilnet'" in windows_commands.names_up()[-1]
    assert windows_commands.names_down()[-1].endswith("Remove-DnsClientNrptRule -Force")


def test_what_the_system_says_is_read() -> None:
    text = "192.168.1.1 12\r\nfe80::1%12 12\r\n\r\nGet-NetRoute : error\r\n"
    assert windows_commands.gateways_in(text) == GATEWAYS
    assert "Get-NetRoute" in windows_commands.default_routes()[-1]
