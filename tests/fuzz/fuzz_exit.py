"""Fuzz targets of the exit: no text makes it dial a local address or ask for a local name."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from vigilnet.base.errors import ConfigurationError
from vigilnet.peer.special_addresses import special_purpose
from vigilnet.traffic.exit.policy import ExitPolicy, parse_rules
from vigilnet.traffic.exit.prelude import PreludeError, PreludeReader, answer
from vigilnet.traffic.exit.resolver_io import hosts_addresses
from vigilnet.traffic.exit.targets import TargetRefusedError, is_local_name, parse_host

EVERYTHING = ExitPolicy(parse_rules(["accept *:*"]))


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    """What the standard library says, as a second opinion."""
    return address.is_private or address.is_loopback or address.is_link_local or address.is_multicast


def _host(data: bytes) -> None:
    try:
        host = parse_host(data.decode("latin-1"))
    except TargetRefusedError:
        return
    if isinstance(host, str):
        assert not is_local_name(host)
        assert not host.replace(".", "").isdigit()
    elif _is_local(host):
        assert not EVERYTHING.allows(host, 80)


def _address(data: bytes) -> None:
    if len(data) not in (4, 16):
        data = data[:16].ljust(16, b"\0") if len(data) > 4 else data.ljust(4, b"\0")
    address = ip_address(data)
    if _is_local(address):
        assert special_purpose(address) is not None
        assert not EVERYTHING.allows(address, 443)


def _rules(data: bytes) -> None:
    try:
        rules = parse_rules([data.decode("latin-1")])
    except ConfigurationError:
        return
    policy = ExitPolicy(rules)
    summary = policy.summary()
    assert len(summary.ranges) <= 16
    assert not policy.allows(ip_address("127.0.0.1"), 80)


def _hosts_file(data: bytes) -> None:
    hosts_addresses(data.decode("latin-1"), "localhost")


def _prelude(data: bytes) -> None:
    reader = PreludeReader()
    cut = len(data) // 2
    try:
        found = reader.feed(data[:cut]) or reader.feed(data[cut:])
    except PreludeError as error:
        answer(error.status)
        return
    if found is not None:
        assert 0 < found.port <= 65_535
        assert found.host.isascii()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "host": _host,
    "address": _address,
    "rules": _rules,
    "hosts file": _hosts_file,
    "prelude": _prelude,
}
SEEDS: dict[str, list[bytes]] = {
    "host": [b"a.example", b"0177.0.0.1", b"::ffff:127.0.0.1", b"64:ff9b::7f00:1", b"printer.local"],
    "address": [bytes([127, 0, 0, 1]), bytes(15) + b"\x01", b"\x20\x02\x7f\0\0\x01" + bytes(10)],
    "rules": [b"accept *:80, reject 10.0.0.0/8:*", b"accept6 [2001:db8::]/32:1-5\nreject *:*"],
    "prelude": [
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nX: y\r\n\r\nrest",
        b"CONNECT [2001:db8::1]:80 HTTP/1.1\r\n\r\n",
    ],
    "hosts file": [b"127.0.0.1 localhost # x\n::1 localhost\n"],
}
