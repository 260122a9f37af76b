"""The last door of an interface where there is no nftables: a classic BPF program for `tc` (sans-IO).

It is kept by the kernel with the interface, whatever becomes of the helper, and sees what every socket sends
there, packet sockets included. What bears the mark of our own or of outside traffic passes, and what keeps
this machine's address and neighbours; the rest is dropped (docs/spec/device.md section 4).

The text is `LENGTH,CODE JT JF K,...`, as tc-bpf(8) takes it. Codes: linux/bpf_common.h.
"""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends.ruleset import (
    BYPASS,
    GROUPS4,
    GROUPS6,
    LAN4,
    LAN6,
    MARK_BYPASS,
    MARK_TAKEN,
    TAKEN,
)
from vigilnet.traffic.device.settings import DeviceSettings, Scope

MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS
ETHERNET_HEADER: Final = 14
HEADERS: Final = {
    1: ETHERNET_HEADER,
    512: 0,
    519: 0,
    65534: 0,
}  # by kind of link: Ethernet, PPP, raw IP, none
_LOAD_WORD, _LOAD_HALF, _LOAD_OCTET, _LENGTH = 0x20, 0x28, 0x30, 0x80
_AND, _JUMP, _JUMP_IF_EQUAL, _JUMP_IF_ABOVE, _JUMP_IF_SET, _RETURN = 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
_PASS, _DROP = 0, 2  # TC_ACT_OK, TC_ACT_SHOT
_KIND, _MARK = 0xFFFF_F000, 0xFFFF_F014  # SKF_AD_OFF + SKF_AD_PROTOCOL, + SKF_AD_MARK
_ETHERTYPE_AT: Final = 12
_IPV4, _ARP, _IPV6, _LOGIN = 0x0800, 0x0806, 0x86DD, 0x888E  # the last: of WLANs, 802.1X
_UDP, _ICMPV6 = 17, 58
_NEIGHBOUR_TALK: Final = (133, 135, 136)  # router and neighbour solicitation, neighbour advertisement
# A load from behind a packet's end would end the program with 0, which passes: so much must be there.
_LENGTH4, _LENGTH6 = 24, 44

Instruction = tuple[int, int, int, int]


def bytecode(program: Iterable[Instruction]) -> str:
    """Return a program as text for `tc`.

    Raises:
        EnvironmentRefusedError: the kernel takes no program of this length.
    """
    lines = list(program)
    if len(lines) > MAX_INSTRUCTIONS:
        raise EnvironmentRefusedError(
            f"tc: {len(lines)} instructions, at most {MAX_INSTRUCTIONS}; exclude fewer networks, "
            "or install nftables"
        )
    return ",".join([str(len(lines)), *(" ".join(map(str, line)) for line in lines)])


def protected(settings: DeviceSettings, header: int | None = ETHERNET_HEADER) -> list[Instruction]:
    """Return the program of a device that is up.

    Args:
        settings: see there.
        header: octets before the IP header on this interface, of `HEADERS`; None: not known.
    """
    if settings.scope is Scope.INCLUDED:
        return [
            (_LOAD_WORD, 0, 0, _MARK),
            (_AND, 0, 0, TAKEN),
            (_JUMP_IF_EQUAL, 0, 1, MARK_TAKEN),  # of an included program that bound itself to this interface
            (_RETURN, 0, 0, _DROP),
            (_RETURN, 0, 0, _PASS),
        ]
    lan = (*LAN4, *GROUPS4, *LAN6, *GROUPS6) if settings.allow_lan else ()
    return _closed(settings.underlay_marks, [*settings.outside_networks, *lan], header)


def lockdown(settings: DeviceSettings | None, header: int | None = ETHERNET_HEADER) -> list[Instruction]:
    """Return the program that lets only links out, and what the user excluded."""
    return protected(replace(settings or DeviceSettings(1, 1), scope=Scope.ALL), header)


def _closed(marks: Iterable[int], networks: Iterable[str], header: int | None) -> list[Instruction]:
    program: list[Instruction] = [
        (_LOAD_WORD, 0, 0, _MARK),
        (_AND, 0, 0, BYPASS),
        *_pass_if(MARK_BYPASS),
        (_LOAD_WORD, 0, 0, _MARK),
    ]
    for mark in marks:
        program += _pass_if(mark)
    kind = (_LOAD_HALF, 0, 0, _ETHERTYPE_AT) if header == ETHERNET_HEADER else (_LOAD_WORD, 0, 0, _KIND)
    if header is None:
        return [*program, (_RETURN, 0, 0, _DROP)]
    ranges = [ip_network(text) for text in networks]
    four = _ipv4([one for one in ranges if isinstance(one, IPv4Network)], header)
    six = _ipv6([one for one in ranges if isinstance(one, IPv6Network)], header)
    program += [*_at_least(header), kind, *_pass_if(_ARP), *_pass_if(_LOGIN)]
    program += [(_JUMP_IF_EQUAL, 1, 0, _IPV4), (_JUMP, 0, 0, len(four)), *four]
    return [*program, kind, (_JUMP_IF_EQUAL, 1, 0, _IPV6), (_RETURN, 0, 0, _DROP), *six]


def _at_least(octets: int) -> list[Instruction]:
    return [(_LENGTH, 0, 0, 0), (_JUMP_IF_ABOVE, 1, 0, octets), (_RETURN, 0, 0, _DROP)]


def _pass_if(value: int) -> list[Instruction]:
    return [(_JUMP_IF_EQUAL, 0, 1, value), (_RETURN, 0, 0, _PASS)]


def _all_of(*tests: tuple[Instruction, ...]) -> list[Instruction]:
    """Return what passes a packet if every test holds, and goes on behind itself if one does not."""
    flat = [line for test in tests for line in test]
    size = len(flat) + 1  # and the return
    program = []
    for at, (code, _, _, value) in enumerate(flat):
        away = size - at - 1
        on_true, on_false = {_JUMP_IF_SET: (away, 0), _JUMP_IF_EQUAL: (0, away)}.get(code, (0, 0))
        program.append((code, on_true, on_false, value))
    return [*program, (_RETURN, 0, 0, _PASS)]


def _holds(code: int, at: int, value: int) -> tuple[Instruction, ...]:
    return (code, 0, 0, at), (_JUMP_IF_EQUAL, 0, 0, value)


def _within(network: IPv4Network | IPv6Network, at: int) -> list[tuple[Instruction, ...]]:
    """Return the tests whether the address at `at` lies in a network, word by word."""
    tests: list[tuple[Instruction, ...]] = []
    address, mask = network.network_address.packed, network.netmask.packed
    for word in range(0, len(address), 4):
        wanted, bits = (int.from_bytes(octets[word : word + 4], "big") for octets in (address, mask))
        if bits:
            tests.append(((_LOAD_WORD, 0, 0, at + word), (_AND, 0, 0, bits), (_JUMP_IF_EQUAL, 0, 0, wanted)))
    return tests


def _ipv4(networks: list[IPv4Network], header: int) -> list[Instruction]:
    program = _at_least(header + _LENGTH4)
    for text in (*LAN4, "255.255.255.255/32"):  # DHCP
        program += _all_of(
            _holds(_LOAD_OCTET, header + 9, _UDP),
            ((_LOAD_HALF, 0, 0, header + 6), (_JUMP_IF_SET, 0, 0, 0x1FFF)),  # no later fragment
            _holds(_LOAD_OCTET, header, 0x45),
            _holds(_LOAD_WORD, header + 20, 68 << 16 | 67),
            *_within(ip_network(text), header + 16),
        )
    for network in networks:
        program += _all_of(*_within(network, header + 16))
    return [*program, (_RETURN, 0, 0, _DROP)]


def _ipv6(networks: list[IPv6Network], header: int) -> list[Instruction]:
    program = _at_least(header + _LENGTH6)
    for kind in _NEIGHBOUR_TALK:
        program += _all_of(
            _holds(_LOAD_OCTET, header + 6, _ICMPV6),
            _holds(_LOAD_OCTET, header + 7, 255),
            _holds(_LOAD_OCTET, header + 40, kind),
        )
    for text in ("fe80::/10", "ff02::1:2/128"):  # DHCPv6
        program += _all_of(
            _holds(_LOAD_OCTET, header + 6, _UDP),
            _holds(_LOAD_WORD, header + 40, 546 << 16 | 547),
            *_within(ip_network(text), header + 24),
        )
    for network in networks:
        program += _all_of(*_within(network, header + 24))
    return [*program, (_RETURN, 0, 0, _DROP)]
