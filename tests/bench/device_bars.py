"""Every bar and line of the whole device, with its figure and what proves it; for the page of bench_device.

Figures of the bench are those of its last run; the others are of the tests that are named, which CI runs with
nothing skipped (`make test`; each file also alone: `pytest tests/netns/FILE`, as root).
"""

from collections.abc import Mapping
from typing import Any, Final

_BENCH: Final = "python -m tests.bench.bench_device"
_N: Final = "tests/netns/test_device"

_BARS: Final = (  # what is wanted; the figure, with {names} of _measured; what gives it
    (
        "leaks: at least 40 probes, each seen by the sniffer without protection",
        "59 probes, 59 seen",
        f"{_N}_leaks.py::test_every_probe_is_seen_when_the_device_is_not_protected",
    ),
    (
        (
            "leaks: none while up (DNS local, overlay, custom), while settings change, relays die, the way "
            "out flaps, "
            "after the daemon, the helper or both were killed, while others take over, before, in and after "
            "lockdown, "
            "with a DHCP lease had and renewed, in a suspend"
        ),
        "0 packets that are not links, ARP, neighbour discovery; with nftables and without",
        f"{_N}_leaks.py, {_N}_networks.py, {_N}_suspend.py, {_N}_boot.py",
    ),
    (
        (
            "leaks: local DNS asks only port 53 of the one resolver; DHCP its server; what is excluded is "
            "counted apart"
        ),
        "exactly those packets",
        f"{_N}_leaks.py, {_N}_split.py",
    ),
    ("bulk TCP at most 1.3 times SOCKS, 1 hop and 3", "down {down}, up {up} (1 hop, 3 hops)", _BENCH),
    ("the same without nftables", "down {down_plain}, up {up_plain}", f"{_BENCH} --interface"),
    (
        "capture alone at most 1.0 CPU-s/GB",
        "{alone} (1 hop down, up, 3 hops down, up); {alone_plain} without nftables",
        _BENCH,
    ),
    ("25,000 datagrams of 1350 octets a second through 3 hops, 50,000 wished", "{datagrams}", _BENCH),
    ("lost at half of that: below 1 %", "{losses}", _BENCH),
    ("ping adds less than 1 ms to the echo over SOCKS", "{ping} ms (1 hop, 3 hops)", _BENCH),
    ("`up` to the first octet below 3 s with known peers", "{up_s} s (1 hop, 3 hops)", _BENCH),
    (
        "100 times up and down leave nothing",
        (
            "routes, rules, nft, filters, resolver, groups, processes, files, descriptors, settings "
            "are equal; "
            "0.4 s each time; 20 times without nftables"
        ),
        f"{_N}_networks.py::test_a_hundred_times_up_and_down_leave_nothing_behind",
    ),
    (
        "curl by HTTP/1.0, 1.1, 2 and 3",
        "octets equal; HTTP/3 by curl's own library, through 3 hops",
        f"{_N}_programs.py::test_curl, test_curl_by_tls, test_curl_by_http3",
    ),
    ("dig by UDP and TCP, with EDNS and without", "answers, and NXDOMAIN", f"{_N}_programs.py::test_dig"),
    (
        "ssh, and scp of 500 MB",
        "512 MiB, digest equal (CI; 16 MiB where VIGILNET_TEST_BULK_MIB is not set)",
        f"{_N}_programs.py::test_ssh_and_scp",
    ),
    ("git clone over ssh and https", "and over http", f"{_N}_programs.py::test_git_clones"),
    ("ping", "56 to 8000 octets, both families", f"{_N}_programs.py::test_ping"),
    (
        "traceroute says what it can",
        "two hops by UDP and ICMP, one by TCP and to port 53",
        f"{_N}_programs.py::test_traceroute_says_what_it_can",
    ),
    ("iperf3", "TCP both ways, UDP", f"{_N}_programs.py::test_iperf3_by_tcp, test_iperf3_by_udp"),
    (
        "Chromium loads a local site",
        "by HTTP/2 and by HTTP/3, its script runs",
        f"{_N}_programs.py::test_chromium_loads_a_site",
    ),
)

_LINES: Final = (
    (
        "1 capture",
        (
            "TCP by redirect, UDP and echoes by the interface with offloads, the rest refused; by "
            "the interface "
            "alone where nftables is missing"
        ),
        f"{_N}.py, {_N}_interface.py",
    ),
    (
        "2 UDP",
        ("HTTP/3 (curl, Chromium), WireGuard, a flow that outlives the exit's patience, any size to 65,507"),
        f"{_N}_programs.py, {_N}_udp.py, {_N}.py",
    ),
    (
        "3 DNS",
        (
            "local, overlay, custom; UDP and TCP; dead overlay told at once; names kept to the exit; "
            "nobody is led "
            "to this machine or its network"
        ),
        f"{_N}.py, {_N}_leaks.py, tests/unit/traffic/device/test_resolver_io.py",
    ),
    (
        "4 split tunnel",
        (
            "by program (`exec`, by path), user, network, domain; the LAN; connections of "
            "excluded programs "
            "outlive changes; bound to an exit or country"
        ),
        f"{_N}_split.py, {_N}_remembered.py, {_N}_interface.py",
    ),
    (
        "5 kill switch",
        "closed at boot, on crashes, while reconnecting; lockdown; sign-in pages",
        f"{_N}_boot.py, {_N}_leaks.py, {_N}_networks.py",
    ),
    (
        "6 restore",
        ("after `down`, SIGTERM, a start that fails half-way; after kill -9 by `vigilnet doctor --repair`"),
        f"{_N}.py",
    ),
    (
        "7 coexistence",
        (
            "containers, another tunnel, IPv6 or IPv4 alone, NAT64, MTU 1280 to 9000, a new "
            "address, suspend; "
            "a neighbour on the network is carried nowhere"
        ),
        f"{_N}_networks.py, {_N}_families.py, {_N}_suspend.py",
    ),
    (
        "8 portability",
        ("Linux with nftables and without; macOS written, never run on a Mac; Windows: parts, no helper yet"),
        "tests/unit/traffic/backends; [spec](../spec/device.md#15-windows)",
    ),
    (
        "9 least privilege",
        "a helper with nine operations on plain values, hardened by its unit (3.7 of 10)",
        (
            f"{_N}_boot.py, tests/unit/traffic/device/test_helper_wire.py; "
            "[decision](../decisions/0013-a-helper-for-rights.md)"
        ),
    ),
)


def _measured(lengths: Mapping[str, Any]) -> dict[str, str]:
    """Return the bench's figures by the names that stand in _BARS."""

    def of(keys: tuple[str, ...], *path: str) -> str:
        values = []
        for key in keys:
            value: Any = lengths[key]
            for name in path:
                value = value[name]
            values.append(", ".join(map(str, value)) if isinstance(value, list) else str(value))
        return ", ".join(values)

    plain, interface = ("1", "3"), ("1 interface", "3 interface")
    return {
        "down": of(plain, "tcp", "down", "ratio"),
        "up": of(plain, "tcp", "up", "ratio"),
        "down_plain": of(interface, "tcp", "down", "ratio"),
        "up_plain": of(interface, "tcp", "up", "ratio"),
        "alone": ", ".join(
            of((key,), "tcp", way, "capture_alone") for key in plain for way in ("down", "up")
        ),
        "alone_plain": ", ".join(
            of((key,), "tcp", way, "capture_alone") for key in interface for way in ("down", "up")
        ),
        "datagrams": of(("3",), "udp", "most_per_s"),
        "losses": of(("3",), "udp", "losses_at_half"),
        "ping": of(plain, "echo", "added_ms"),
        "up_s": of(plain, "up_to_first_page_s"),
    }


def bars(lengths: Mapping[str, Any]) -> list[str]:
    """Return the tables as Markdown; none before all path lengths were measured."""
    if not {"1", "3", "1 interface", "3 interface"} <= lengths.keys():
        return []
    measured = _measured(lengths)
    lines = ["", "## Every bar", "", "| bar | figure | given by |", "|---|---|---|"]
    lines += [f"| {bar} | {figure.format_map(measured)} | `{given}` |" for bar, figure, given in _BARS]
    lines += ["", "## Every line", "", "| line | what is there | proven by |", "|---|---|---|"]
    return [*lines, *(f"| {line} | {what} | {given} |" for line, what, given in _LINES)]
