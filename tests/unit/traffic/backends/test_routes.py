"""The routes of a protected device: rules of our own before the system's, nothing of the system's touched."""

from vigilnet.traffic.backends import routes
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule, Scope


def test_everything_unmarked_goes_to_our_table() -> None:
    assert routes.rules_up(DeviceSettings(1, 1)) == [
        "-4 rule add pref 5624 iif vigilnet0 lookup main",
        "-4 rule add pref 5621 ipproto udp sport 68 dport 67 lookup main",
        "-4 rule add pref 5625 not fwmark 0x56000000/0xfe000000 lookup 22089",
        "-6 rule add pref 5624 iif vigilnet0 lookup main",
        "-6 rule add pref 5625 not fwmark 0x56000000/0xfe000000 lookup 22089",
    ]


def test_exclusions_go_to_the_systems_own_table_so_that_sources_are_right_from_the_start() -> None:
    settings = DeviceSettings(
        1, 1, allow_lan=True, outside_networks=("192.0.2.0/24", "2001:db8::/32"), outside_users=(1000,)
    )
    assert routes.rules_up(settings, has_ipv6=False) == [
        "-4 rule add pref 5624 iif vigilnet0 lookup main",
        "-4 rule add pref 5621 ipproto udp sport 68 dport 67 lookup main",
        "-4 rule add pref 5620 uidrange 1000-1000 lookup main",
        "-4 rule add pref 5621 to 192.0.2.0/24 lookup main",
        "-4 rule add pref 5622 lookup main suppress_prefixlength 0",
        "-4 rule add pref 5625 not fwmark 0x56000000/0xfe000000 lookup 22089",
    ]
    assert "-6 rule add pref 5621 to 2001:db8::/32 lookup main" in routes.rules_up(settings)


def test_with_inclusion_only_what_was_included_goes_to_our_table() -> None:
    settings = DeviceSettings(
        1, 1, Scope.INCLUDED, inside_users=(1001,), inside_networks=("198.51.100.0/24",)
    )
    assert routes.rules_up(settings, has_ipv6=False) == [
        "-4 rule add pref 5624 iif vigilnet0 lookup main",
        "-4 rule add pref 5625 fwmark 0x58000000/0xfe000000 lookup 22089",
        "-4 rule add pref 5626 uidrange 1001-1001 lookup 22089",
        "-4 rule add pref 5627 to 198.51.100.0/24 lookup 22089",
    ]


def test_outer_packets_of_other_vpns_keep_their_way() -> None:
    settings = DeviceSettings(1, 1, underlay_marks=(51_820,))
    assert "-4 rule add pref 5623 fwmark 0xca6c lookup main" in routes.rules_up(settings)


def test_without_the_tunnel_there_is_no_way_out_of_our_table() -> None:
    assert "-4 route replace unreachable default metric 4000 scope global table 22089" in routes.table_up()
    assert "-6 route replace unreachable default metric 4000 table 22089" in routes.table_up()


def test_only_our_own_rules_are_deleted() -> None:
    listed = (
        "0:\tfrom all lookup local\n5619:\tx\n5620:\ty\n5629:\tz\n5630:\tw\n32766:\tfrom all lookup main\n"
    )
    assert routes.rules_down(listed, "-4") == ["-4 rule del pref 5620", "-4 rule del pref 5629"]


def test_the_interface_gets_its_addresses_before_it_is_up() -> None:
    assert routes.interface_up(1400)[-1] == "link set dev vigilnet0 mtu 1400 up txqueuelen 1000"


def test_without_a_firewall_rules_do_what_marks_and_redirects_would() -> None:
    settings = DeviceSettings(
        1, 2, allow_lan=True, binding_ports=(3, 4), binding_dns_ports=(1003, 1004),
        rules=(FirewallRule("out", "tcp", "192.0.2.0/24", 25), FirewallRule("out", "any", "2001:db8::/32")),
    )  # fmt: skip
    lines = [line for line in routes.rules_up(settings, Capture.INTERFACE) if line.startswith("-4")]
    assert lines == [
        "-4 rule add pref 5624 iif vigilnet0 lookup main",
        "-4 rule add pref 5628 to 198.18.86.2 lookup 22089",
        "-4 rule add pref 5620 fwmark 0x56000000/0xff000000 goto 5624",
        "-4 rule add pref 5620 to 192.0.2.0/24 ipproto tcp dport 25 prohibit",
        "-4 rule add pref 5624 fwmark 0x59000000 lookup 22090",
        "-4 rule add pref 5624 fwmark 0x59000001 lookup 22091",
        "-4 rule add pref 5624 fwmark 0x59000000/0xff000000 prohibit",
        "-4 rule add pref 5622 fwmark 0x56000000/0xfe000000 goto 5624",
        "-4 rule add pref 5622 fwmark 0x59000000/0xff000000 goto 5624",
        "-4 rule add pref 5622 ipproto udp dport 53 lookup 22089",
        "-4 rule add pref 5622 ipproto tcp dport 53 lookup 22089",
        "-4 rule add pref 5621 ipproto udp sport 68 dport 67 lookup main",
        "-4 rule add pref 5622 lookup main suppress_prefixlength 0",
        "-4 rule add pref 5625 not fwmark 0x56000000/0xfe000000 lookup 22089",
    ]
    assert "-6 rule add pref 5620 to 2001:db8::/32 prohibit" in routes.rules_up(settings, Capture.INTERFACE)
    assert routes.bindings_up(settings)[2:4] == [
        "-6 addr replace fd56:4e45:5400::10/128 dev vigilnet0 nodad",
        "-6 route replace default dev vigilnet0 src fd56:4e45:5400::10 table 22090",
    ]


def test_without_a_firewall_rules_keep_what_comes_in_by_the_way_out_from_the_tunnel() -> None:
    lines = routes.rules_up(DeviceSettings(1, 1), Capture.INTERFACE, ["eth0"])
    for option in ("-4", "-6"):
        before = lines.index(f"{option} rule add pref 5624 iif eth0 lookup main")
        assert before < lines.index(
            f"{option} rule add pref 5625 not fwmark 0x56000000/0xfe000000 lookup 22089"
        )
    assert not [line for line in routes.rules_up(DeviceSettings(1, 1), doors=["eth0"]) if "eth0" in line]
