"""Readdressed TCP: checksums stay right, both directions fit, and the table is bounded."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.traffic.device import packets
from vigilnet.traffic.device.settings import NEIGHBOUR_IPV4, NEIGHBOUR_IPV6, TUN_IPV4, TUN_IPV6
from vigilnet.traffic.device.translation import IDLE_S, MAX_NUMBER, Translation, Verdict

LISTENER = 4321
SYN, ACK, RST = 2, 16, 4
NEAR = {4: (NEIGHBOUR_IPV4, TUN_IPV4), 6: (NEIGHBOUR_IPV6, TUN_IPV6)}


def summed(octets: bytes) -> int:
    total = packets.words_sum(octets)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def segment(
    source: str,
    target: str,
    ports: tuple[int, int],
    flags: int,
    payload: bytes = b"",
    *,
    partial: bool = False,
) -> bytearray:
    """A TCP packet behind a virtio header; with `partial` the kernel has left the checksum to the device."""
    near, far = ip_address(source).packed, ip_address(target).packed
    tcp = struct.pack(">HHIIBBHHH", *ports, 7, 9, 0x50, flags, 1000, 0, 0) + payload
    pseudo = near + far + struct.pack(">HH", len(tcp), packets.TCP)
    field = summed(pseudo) if partial else summed(pseudo + tcp) ^ 0xFFFF
    tcp = tcp[:16] + field.to_bytes(2, "big") + tcp[18:]
    if len(near) == 4:
        start = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 5, 0x4000, 64, 6, 0, near, far)
        start = start[:10] + (summed(start) ^ 0xFFFF).to_bytes(2, "big") + start[12:]
    else:
        start = struct.pack(">IHBB16s16s", 6 << 28, len(tcp), 6, 64, near, far)
    vnet = struct.pack("<BBHHHH", int(partial), 0, 0, 0, len(start), 16)
    return bytearray(vnet + start + tcp)


def ends_of(buffer: bytearray) -> tuple[str, int, str, int]:
    """Addresses and ports, after every checksum was found right."""
    packet = packets.parse(memoryview(buffer))
    assert packet.protocol == packets.TCP
    tcp = bytes(packet.body)
    pseudo = packet.source + packet.target + struct.pack(">HH", len(tcp), packets.TCP)
    if buffer[0]:
        assert int.from_bytes(tcp[16:18], "big") % 0xFFFF == summed(pseudo) % 0xFFFF
    else:
        assert summed(pseudo + tcp) == 0xFFFF
    if packet.version == 4:
        assert summed(bytes(packet.octets[:20])) == 0xFFFF
    source, target = struct.unpack_from(">HH", tcp)
    return str(ip_address(packet.source)), source, str(ip_address(packet.target)), target


def translation(most: int = 100, listener: int = LISTENER) -> Translation:
    return Translation(lambda _, port: 53 if port == 53 else listener, lambda _: True, most)


def translate(made: Translation, buffer: bytearray, now: float = 0.0) -> Verdict:
    return made.translate(buffer, len(buffer), now)


def addresses(version: int) -> st.SearchStrategy[str]:
    size = 32 if version == 4 else 128
    return st.integers(1, 2**size - 2).map(lambda number: str(ip_address(number.to_bytes(size // 8, "big"))))


@given(st.data(), st.sampled_from([4, 6]), st.booleans())
def test_there_and_back_again(data: st.DataObject, version: int, partial: bool) -> None:
    near, far = data.draw(addresses(version)), data.draw(addresses(version))
    ports = data.draw(st.tuples(st.integers(1, 65535), st.integers(54, 65535)))
    payload = data.draw(st.binary(max_size=60))
    neighbour, tunnel = NEAR[version]
    made = translation()
    sent = segment(near, far, ports, SYN, payload, partial=partial)
    if (near, far) == (tunnel, neighbour):
        return
    assert translate(made, sent) is Verdict.WRITE
    assert ends_of(sent) == (neighbour, 1, tunnel, LISTENER)
    assert bytes(sent[-len(payload) or len(sent) :]) == payload
    answer = segment(tunnel, neighbour, (LISTENER, 1), SYN | ACK, payload, partial=partial)
    assert translate(made, answer) is Verdict.WRITE
    assert ends_of(answer) == (far, ports[1], near, ports[0])
    assert made.accept(neighbour, 1) == (far, ports[1])


def test_each_connection_has_a_number_of_its_own_and_keeps_it() -> None:
    made = translation()
    for number in (1, 2, 3):
        for flags in (SYN, ACK, SYN):
            buffer = segment("10.0.0.1", "192.0.2.1", (1000 + number, 80), flags)
            assert translate(made, buffer) is Verdict.WRITE
            assert ends_of(buffer)[1] == number
    names = segment("10.0.0.1", "192.0.2.1", (1000, 53), SYN)
    assert translate(made, names) is Verdict.WRITE
    assert ends_of(names)[3] == 53
    assert len(made) == 4


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, RST, RST | ACK, SYN | RST, 1, 0])
def test_what_begins_no_connection_belongs_to_none(flags: int) -> None:
    made = translation()
    assert translate(made, segment("10.0.0.1", "192.0.2.1", (1, 80), flags)) is Verdict.RESET
    assert len(made) == 0


def test_what_may_not_be_reached_or_has_no_listener_is_reset() -> None:
    buffer = segment("10.0.0.1", "192.0.2.1", (1, 80), SYN)
    assert translate(Translation(lambda *_: LISTENER, lambda _: False, 9), buffer) is Verdict.RESET
    assert translate(translation(listener=0), buffer) is Verdict.RESET
    assert translate(translation(), segment("10.0.0.1", "192.0.2.1", (1, 0), SYN)) is Verdict.RESET


def test_only_the_listener_itself_answers() -> None:
    made = translation()
    translate(made, segment("10.0.0.1", "192.0.2.1", (1000, 80), SYN))
    for ports in ((LISTENER + 1, 1), (LISTENER, 2)):
        assert translate(made, segment(TUN_IPV4, NEIGHBOUR_IPV4, ports, ACK)) is Verdict.RESET
    assert translate(made, segment(TUN_IPV6, NEIGHBOUR_IPV6, (LISTENER, 1), ACK)) is Verdict.RESET


def test_who_is_not_the_neighbour_is_no_connection_of_ours() -> None:
    made = translation()
    translate(made, segment("10.0.0.1", "192.0.2.1", (1000, 80), SYN))
    for neighbour, number in (("10.0.0.9", 1), (NEIGHBOUR_IPV6, 1), (NEIGHBOUR_IPV4, 2)):
        assert made.accept(neighbour, number) is None


def test_what_is_no_plain_tcp_is_left_to_others() -> None:
    made = translation()
    whole = segment("10.0.0.1", "192.0.2.1", (1000, 80), SYN)
    for at, value in ((10, 0x46), (19, 17), (16, 0x20), (17, 1), (10, 0x75)):
        buffer = bytearray(whole)
        buffer[at] = value
        assert translate(made, buffer) is Verdict.OTHER
    assert made.translate(whole, len(whole) - 1, 0.0) is Verdict.OTHER  # cut short


def test_a_full_table_forgets_what_nobody_accepted_and_else_refuses() -> None:
    made = translation(most=2)
    for number in (1, 2, 3):
        buffer = segment("10.0.0.1", "192.0.2.1", (number, 80), SYN)
        assert translate(made, buffer, float(number)) is Verdict.WRITE
        assert ends_of(buffer)[1] == number
    assert len(made) == 2
    assert made.accept(NEIGHBOUR_IPV4, 1) is None  # the oldest made room
    assert made.accept(NEIGHBOUR_IPV4, 2)
    assert made.accept(NEIGHBOUR_IPV4, 3)
    assert translate(made, segment("10.0.0.1", "192.0.2.1", (4, 80), SYN)) is Verdict.RESET
    made.release(2)
    assert translate(made, segment("10.0.0.1", "192.0.2.1", (4, 80), SYN)) is Verdict.WRITE


def test_connections_are_kept_while_their_socket_is_open_and_for_a_while_after() -> None:
    made = translation()
    translate(made, segment("10.0.0.1", "192.0.2.1", (1000, 80), SYN), 0.0)
    made.accept(NEIGHBOUR_IPV4, 1)
    made.sweep(10 * IDLE_S)
    assert len(made) == 1
    made.release(1)
    made.release(7)  # of nobody
    translate(made, segment("10.0.0.1", "192.0.2.1", (1000, 80), ACK), 10 * IDLE_S)
    made.sweep(11 * IDLE_S)
    assert len(made) == 1
    made.sweep(11 * IDLE_S + 1)
    assert len(made) == 0


def test_numbers_begin_anew_when_they_end_and_none_is_given_twice() -> None:
    made = translation(most=3)
    translate(made, segment("10.0.0.1", "192.0.2.1", (1, 80), SYN))
    made.accept(NEIGHBOUR_IPV4, 1)
    made._number = MAX_NUMBER - 1
    numbers = []
    for port in (2, 3):
        buffer = segment("10.0.0.1", "192.0.2.1", (port, 80), SYN)
        translate(made, buffer)
        numbers.append(ends_of(buffer)[1])
    assert numbers == [MAX_NUMBER, 2]


@given(st.binary(max_size=120))
def test_any_octets_are_left_alone_or_answered(octets: bytes) -> None:
    made = translation()
    buffer = bytearray(octets)
    verdict = translate(made, buffer)
    assert len(buffer) == len(octets)
    assert verdict is Verdict.WRITE or bytes(buffer) == octets
