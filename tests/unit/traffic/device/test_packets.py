"""IP packets of the interface, checked against sums done by hand and headers of the RFCs."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.device import packets
from vigilnet.traffic.stream.segments import mergeable

PLAIN = bytes(packets.VNET_SIZE)
NEAR4, FAR4 = socket.inet_aton("198.18.86.1"), socket.inet_aton("192.0.2.1")
NEAR6, FAR6 = (socket.inet_pton(socket.AF_INET6, text) for text in ("fd56::1", "2001:db8::1"))
ENDS = [(NEAR4, FAR4), (NEAR6, FAR6)]

# An echo request, 192.0.2.1 to 198.18.86.1, made by hand; both checksums are right.
GOLDEN_PING = bytes.fromhex("4500001c0000400040015cccc0000201c61256010800f7fd00010001")


def made(pieces: list[bytes]) -> packets.Packet:
    return packets.parse(memoryview(b"".join(pieces)))


def udp(
    near: bytes, far: bytes, payloads: list[bytes], ports: tuple[int, int] = (1000, 53)
) -> packets.Packet:
    return made(packets.UdpMaker(near, far, *ports).packet(payloads))


def ip_sum_is_right(packet: packets.Packet) -> bool:
    return packet.version == 6 or folded(bytes(packet.octets[:20])) == 0xFFFF


def folded(octets: bytes) -> int:
    total = packets.words_sum(octets)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_packet_made_by_hand_is_read() -> None:
    packet = packets.parse(memoryview(PLAIN + GOLDEN_PING))
    assert (packet.source, packet.target, packet.protocol) == (FAR4, NEAR4, packets.ICMP)
    assert packets.echo_of(packet) == (1, 1, b"")
    assert folded(GOLDEN_PING[:20]) == folded(GOLDEN_PING[20:]) == 0xFFFF


@pytest.mark.parametrize(("near", "far"), ENDS)
def test_datagrams_come_back_as_they_went(near: bytes, far: bytes) -> None:
    packet = udp(near, far, [b"hello"])
    assert packets.datagrams_of(packet) == (1000, 53, [b"hello"])
    assert (packet.source, packet.target) == (near, far)
    assert ip_sum_is_right(packet)


@pytest.mark.parametrize(("near", "far"), ENDS)
def test_many_datagrams_of_one_size_travel_as_one_packet(near: bytes, far: bytes) -> None:
    payloads = [bytes([number]) * 100 for number in range(63)] + [b"last"]
    pieces = packets.UdpMaker(near, far, 1, 2).packet(payloads)
    header = 28 if len(near) == 4 else 48
    assert struct.unpack("<BBHHHH", pieces[0]) == (1, packets.GSO_UDP_L4, header, 100, header - 8, 6)
    assert packets.datagrams_of(made(pieces)) == (1, 2, payloads)


def test_the_kernel_gets_the_sum_of_the_pseudo_header_to_finish() -> None:
    pieces = packets.UdpMaker(NEAR4, FAR4, 1, 2).packet([b"x"])
    assert struct.unpack(">4H", pieces[2])[3] == folded(NEAR4 + FAR4 + struct.pack(">HH", 17, 9))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=80))
def test_merging_loses_nothing_and_keeps_the_order(payloads: list[bytes]) -> None:
    maker, got, at = packets.UdpMaker(NEAR4, FAR4, 1, 2), [], 0
    while at < len(payloads):
        count = mergeable(payloads, at)
        got += packets.datagrams_of(made(maker.packet(payloads[at : at + count])))[2]
        at += count
    assert got == payloads


@pytest.mark.parametrize(("near", "far"), ENDS)
def test_an_echo_is_answered_from_the_host_that_was_asked(near: bytes, far: bytes) -> None:
    packet = made(packets.echo_reply(far, near, 7, 9, b"payload"))
    body = bytes(packet.body)
    assert (packet.source, packet.target) == (far, near)
    assert body[0] == (0 if len(near) == 4 else 129)
    assert body[4:] == struct.pack(">HH", 7, 9) + b"payload"
    pseudo = b"" if len(near) == 4 else far + near + struct.pack(">II", len(body), 58)
    assert folded(pseudo + body) == 0xFFFF


@pytest.mark.parametrize(("near", "far"), ENDS)
@pytest.mark.parametrize(
    "refusal", [packets.NO_PORT, packets.NO_HOST, packets.NO_PROTOCOL, packets.PROHIBITED, packets.TOO_FAR]
)
def test_a_refusal_repeats_what_it_is_about(near: bytes, far: bytes, refusal: packets.Refusal) -> None:
    asked = udp(near, far, [bytes(2000)])
    packet = made(packets.refuse(asked, refusal))
    body = bytes(packet.body)
    assert (packet.source, packet.target) == (far, near)
    assert (body[0], body[1]) == (refusal.ipv4 if len(near) == 4 else refusal.ipv6)
    assert bytes(asked.octets[:40]) == body[8:48]
    assert packet.end <= (576 if len(near) == 4 else 1280)


@pytest.mark.parametrize("text", ["224.0.0.251", "255.255.255.255"])
def test_what_went_to_many_is_not_answered(text: str) -> None:
    assert packets.refuse(udp(NEAR4, socket.inet_aton(text), [b"x"]), packets.PROHIBITED) == []


def test_an_error_is_not_answered_by_an_error() -> None:
    error = made(packets.refuse(udp(NEAR4, FAR4, [b"x"]), packets.NO_PORT))
    assert packets.refuse(error, packets.PROHIBITED) == []


def tcp(flags: int, payload: bytes = b"") -> packets.Packet:
    segment = struct.pack(">HHIIBBHHH", 1000, 80, 5, 77, 0x50, flags, 0, 0, 0) + payload
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0, NEAR4, FAR4)
    return packets.parse(memoryview(PLAIN + header + segment))


@pytest.mark.parametrize(
    ("flags", "payload", "sequence", "acknowledged", "answer"),
    [
        (0x02, b"", 0, 6, 0x14),  # SYN: reset with an acknowledgement of it
        (0x10, b"abc", 77, 0, 0x04),  # ACK: reset at the number that was acknowledged
        (0x01, b"abc", 0, 9, 0x14),
    ],
)
def test_a_tcp_segment_that_we_know_nothing_of_is_reset(
    flags: int, payload: bytes, sequence: int, acknowledged: int, answer: int
) -> None:
    packet = made(packets.reset(tcp(flags, payload)))
    source, target, got, ack, _, said, _, _, _ = struct.unpack(">HHIIBBHHH", packet.body)
    assert (source, target, got, ack, said) == (80, 1000, sequence, acknowledged, answer)
    pseudo = FAR4 + NEAR4 + struct.pack(">HH", 6, 20)
    assert folded(pseudo + bytes(packet.body)) == 0xFFFF


def test_a_reset_is_not_answered() -> None:
    assert packets.reset(tcp(0x04)) == []


def fragments4(payload: bytes, size: int) -> list[packets.Packet]:
    whole = udp(NEAR4, FAR4, [payload])
    body, parts = bytes(whole.body), []
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        word = (0x2000 if at + size < len(body) else 0) | at // 8
        header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(piece), 9, word, 64, 17, 0, NEAR4, FAR4)
        parts.append(packets.parse(memoryview(PLAIN + header + piece)))
    return parts


def fragments6(payload: bytes, size: int) -> list[packets.Packet]:
    body, parts = bytes(udp(NEAR6, FAR6, [payload]).body), []
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        more = int(at + size < len(body))
        extension = struct.pack(">BBHI", 17, 0, at | more, 9)
        header = struct.pack(">IHBB16s16s", 6 << 28, 8 + len(piece), 44, 64, NEAR6, FAR6)
        parts.append(packets.parse(memoryview(PLAIN + header + extension + piece)))
    return parts


@pytest.mark.parametrize("cut", [fragments4, fragments6])
@pytest.mark.parametrize("turn", [1, -1])
def test_fragments_are_put_together_in_whatever_order_they_come(cut: object, turn: int) -> None:
    payload = bytes(range(256)) * 20
    reassembly, whole = packets.Reassembly(), None
    assert callable(cut)
    for part in cut(payload, 1400)[::turn]:
        assert whole is None
        whole = reassembly.add(part, 1.0)
    assert whole is not None
    assert packets.datagrams_of(whole) == (1000, 53, [payload])


def test_fragments_that_never_become_whole_are_forgotten() -> None:
    reassembly = packets.Reassembly()
    first, second = fragments4(bytes(2000), 1400)
    assert reassembly.add(first, 1.0) is None
    assert reassembly.add(second, 1.1 + packets.FRAGMENT_LIFE_S) is None


def test_a_packet_that_is_whole_is_given_back_as_it_is() -> None:
    packet = udp(NEAR4, FAR4, [b"x"])
    assert packets.Reassembly().add(packet, 0.0) is packet


def test_an_ipv6_header_that_changes_nothing_is_skipped() -> None:
    body = bytes(udp(NEAR6, FAR6, [b"x"]).body)
    header = struct.pack(">IHBB16s16s", 6 << 28, 8 + len(body), 60, 64, NEAR6, FAR6)
    packet = packets.parse(memoryview(PLAIN + header + bytes((17, 0, 1, 4, 0, 0, 0, 0)) + body))
    assert packets.datagrams_of(packet)[2] == [b"x"]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        PLAIN + GOLDEN_PING[:19],
        PLAIN + b"\x55" + GOLDEN_PING[1:],
        PLAIN + b"\x44" + GOLDEN_PING[1:],  # header shorter than it can be
        PLAIN + GOLDEN_PING[:3] + b"\x1d" + GOLDEN_PING[4:],  # longer than what was read
        PLAIN + b"\x60" + bytes(4) + b"\x01" + bytes(34),
    ],
)
def test_what_is_no_whole_packet_is_refused(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        packets.parse(memoryview(octets))


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda tail: PLAIN + GOLDEN_PING + tail))
def test_any_octets_are_a_packet_or_refused(octets: bytes) -> None:
    try:
        packet = packets.parse(memoryview(octets))
        packets.Reassembly().add(packet, 0.0)
        packets.echo_of(packet)
        packets.refuse(packet, packets.PROHIBITED)
        packets.reset(packet)
        packets.datagrams_of(packet)
    except RemoteProtocolError:
        pass
