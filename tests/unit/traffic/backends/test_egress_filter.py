"""The filter at an interface's door, run by an interpreter of the few instructions that it has."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.classic_bpf import run
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import egress_filter
from vigilnet.traffic.backends.egress_filter import bytecode, lockdown, protected
from vigilnet.traffic.device.settings import DeviceSettings, Scope

VECTORS = Path(__file__).parents[3] / "vectors" / "device"
PLAIN = DeviceSettings(1000, 1001)
PASS, DROP = 0, 2


def frame(target: str, body: bytes, protocol: int = 17, *, hops: int = 64, header: int = 14) -> bytes:
    """One packet with what comes before it on the wire."""
    far = ip_address(target)
    if far.version == 4:
        start = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, hops, protocol, 0, b"\x0a\0\0\7", far.packed
        )
    else:
        start = struct.pack(">IHBB16s16s", 6 << 28, len(body), protocol, hops, bytes(16), far.packed)
    kind = struct.pack(">12xH", 0x0800 if far.version == 4 else 0x86DD) if header else b""
    return kind + start + body


def udp(source: int, target: int) -> bytes:
    return struct.pack(">HHHH", source, target, 12, 0) + b"leak"


def test_only_our_own_and_outside_marks_pass() -> None:
    program = protected(PLAIN)
    packet = frame("203.0.113.1", udp(1, 2))
    verdicts = {mark: run(program, packet, mark=mark << 24) for mark in (0, 0x55, 0x56, 0x57, 0x58, 0x59)}
    assert verdicts == {0: DROP, 0x55: DROP, 0x56: PASS, 0x57: PASS, 0x58: DROP, 0x59: DROP}


@pytest.mark.parametrize(
    ("packet", "verdict"),
    [
        (frame("255.255.255.255", udp(68, 67)), PASS),
        (frame("192.168.1.1", udp(68, 67)), PASS),
        (frame("203.0.113.1", udp(68, 67)), DROP),
        (frame("192.168.1.1", udp(67, 68)), DROP),
        (frame("192.168.1.1", udp(68, 67), 6), DROP),
        (frame("192.168.1.1", udp(4000, 53)), DROP),
        (frame("ff02::1:2", udp(546, 547)), PASS),
        (frame("fe80::1", udp(546, 547)), PASS),
        (frame("2001:db8::1", udp(546, 547)), DROP),
        (frame("fe80::1", bytes([135, 0]) + bytes(22), 58, hops=255), PASS),
        (frame("fe80::1", bytes([135, 0]) + bytes(22), 58, hops=64), DROP),
        (frame("fe80::1", bytes([128, 0]) + bytes(22), 58, hops=255), DROP),
        (bytes(12) + b"\x08\x06" + bytes(28), PASS),  # ARP
        (bytes(12) + b"\x88\x8e" + bytes(28), PASS),
        (bytes(12) + b"\x81\x00" + bytes(60), DROP),
        (bytes(12) + b"\x88\xb5" + b"leak" * 12, DROP),
    ],
)
def test_what_keeps_address_and_neighbours_passes_and_nothing_like_it(packet: bytes, verdict: int) -> None:
    assert run(protected(PLAIN), packet) == verdict


def test_links_without_a_header_of_their_own_are_read_from_the_start() -> None:
    program = protected(PLAIN, 0)
    assert run(program, frame("192.168.1.1", udp(68, 67), header=0)) == PASS
    assert run(program, frame("203.0.113.1", udp(68, 67), header=0)) == DROP
    assert (
        run(program, frame("fe80::1", bytes([133]) + bytes(7), 58, hops=255, header=0), kind=0x86DD) == PASS
    )


def test_on_a_link_of_unknown_kind_only_marks_pass() -> None:
    program = protected(PLAIN, None)
    assert run(program, frame("255.255.255.255", udp(68, 67))) == DROP
    assert run(program, b"", mark=0x5600_0000) == PASS


@pytest.mark.parametrize("header", [0, 14])
@pytest.mark.parametrize("lan", [False, True])
@given(packet=st.binary(max_size=80), kind=st.sampled_from([0x0800, 0x86DD, 0x88B5]))
def test_a_packet_that_is_cut_short_does_not_pass(header: int, lan: bool, packet: bytes, kind: int) -> None:
    """A load from behind the end would pass it, so none may ever happen."""
    program = protected(DeviceSettings(1, 1, allow_lan=lan, outside_networks=("2001:db8::/64",)), header)
    octets = packet if not header else packet[:12] + kind.to_bytes(2, "big") + packet[14:]
    verdict = run(program, octets, kind=kind)
    assert verdict == DROP or len(octets) >= header + 20


@given(
    network=st.one_of(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
            lambda made: ip_network((made[0], made[1]), strict=False)
        ),
        st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
            lambda made: ip_network((IPv6Address(made[0]), made[1]), strict=False)
        ),
    ),
    number=st.integers(0, 2**128 - 1),
    is_near=st.booleans(),
)
def test_an_excluded_network_passes_and_its_neighbours_do_not(
    network: object, number: int, is_near: bool
) -> None:
    text = str(network)
    excluded = ip_network(text)
    size = excluded.max_prefixlen
    near = int(excluded.network_address) ^ (number & 3)
    made = near if is_near else number % 2**size
    address = IPv4Address(made) if size == 32 else IPv6Address(made)
    program = protected(DeviceSettings(1, 1, outside_networks=(text,)))
    verdict = run(program, frame(str(address), udp(1, 2)))
    assert verdict == (PASS if address in excluded else DROP)


def test_the_local_network_passes_only_if_it_may() -> None:
    for target in ("192.168.1.9", "224.0.0.251", "fe80::1", "ff02::fb"):
        assert run(protected(PLAIN), frame(target, udp(1, 5353))) == DROP
        assert run(protected(DeviceSettings(1, 1, allow_lan=True)), frame(target, udp(1, 5353))) == PASS


def test_marks_of_other_vpns_pass_as_a_whole() -> None:
    program = protected(DeviceSettings(1, 1, underlay_marks=(51820,)))
    packet = frame("203.0.113.1", udp(1, 2))
    assert (run(program, packet, mark=51820), run(program, packet, mark=51821)) == (PASS, DROP)


def test_with_the_scope_included_only_included_programs_are_stopped() -> None:
    program = protected(DeviceSettings(1, 1, scope=Scope.INCLUDED))
    packet = frame("203.0.113.1", udp(1, 2))
    assert [run(program, packet, mark=mark << 24) for mark in (0, 0x56, 0x58, 0x59)] == [0, 0, 2, 2]
    assert run(lockdown(DeviceSettings(1, 1, scope=Scope.INCLUDED)), packet) == DROP
    assert run(lockdown(None), packet) == DROP


def test_the_text_is_what_it_was() -> None:
    assert bytecode(protected(PLAIN)) + "\n" == (VECTORS / "plain.bpf").read_text()


def test_more_instructions_than_the_kernel_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    program = protected(PLAIN)
    monkeypatch.setattr(egress_filter, "MAX_INSTRUCTIONS", len(program))
    assert bytecode(program)
    with pytest.raises(EnvironmentRefusedError, match="exclude fewer networks"):
        bytecode([*program, program[0]])
