"""Fuzz targets of the device: queries of applications, answers of servers, requests to the helper."""

import json
from collections.abc import Callable
from contextlib import suppress

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.device import dns, packets
from vigilnet.traffic.device.helper_wire import Operation, Request
from vigilnet.traffic.device.settings import DeviceSettings, FirewallRule
from vigilnet.traffic.device.translation import Translation, Verdict

QUERY = bytes.fromhex("12340100000100000000000003777777076578616d706c65036f72670000010001")
ANSWER = bytes.fromhex(
    "12348180000100010000000003777777076578616d706c65036f72670000010001c00c00010001000000780004c0000201"
)
PING = bytes.fromhex("4500001c0000400040015cccc0000201c61256010800f7fd00010001")
SYN = bytes(10) + bytes.fromhex(
    "450000280001000040060000c6125601c00002011388005000000007000000005002100000000000"
)
SYN_ACK = bytes(10) + bytes.fromhex(
    "450000280001000040060000c6125601c612560200500001000000070000000850121000000000 00"
)
SETTINGS = DeviceSettings(1, 1, rules=(FirewallRule("out", "tcp", "192.0.2.0/24", 25),))


def _question(data: bytes) -> None:
    try:
        question = dns.Question.decode(data)
    except RemoteProtocolError:
        dns.refusal(data, dns.FORMERR)
        return
    said = dns.reply(question, dns.NOERROR, limit=question.max_udp)
    assert said[:2] == data[:2]


def _answer(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        dns.answered_addresses(data)


def _request(data: bytes) -> None:
    try:
        request = Request.decode(data)
    except RemoteProtocolError:
        return
    assert Request.decode(request.encode()) == request


def _settings(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        taken = DeviceSettings.decode(value)
    except RemoteProtocolError:
        return
    assert DeviceSettings.decode(taken.encode()) == taken


def _packet(data: bytes) -> None:
    """Fragments by turns, too: the octets say how often they come."""
    reassembly = packets.Reassembly()
    try:
        packet = packets.parse(memoryview(data))
        for turn in range(1 + data[0] % 3):
            whole = reassembly.add(packet, float(turn))
            if whole is not None:
                packets.echo_of(whole)
                packets.refuse(whole, packets.PROHIBITED)
                packets.reset(whole)
                packets.datagrams_of(whole)
    except RemoteProtocolError:
        return


def _translation(data: bytes) -> None:
    """Two packets, of which the second may answer the first."""
    made = Translation(lambda source, port: port or source[0], lambda target: bool(target[0]), 2)
    for part in (data[: len(data) // 2], data[len(data) // 2 :]):
        buffer = bytearray(part)
        verdict = made.translate(buffer, len(buffer), 0.0)
        assert len(buffer) == len(part)
        assert verdict is Verdict.WRITE or buffer == part
    made.sweep(1e9)
    assert len(made) == 0


TARGETS: dict[str, Callable[[bytes], None]] = {
    "dns question": _question,
    "packet": _packet,
    "translation": _translation,
    "dns answer": _answer,
    "helper request": _request,
    "device settings": _settings,
}
SEEDS: dict[str, list[bytes]] = {
    "dns question": [QUERY],
    "packet": [
        bytes(10) + PING,
        b"".join(packets.UdpMaker(bytes(4), bytes(4), 1, 2).packet([b"a" * 9, b"b"])),
    ],
    "translation": [SYN + SYN_ACK, SYN + SYN],
    "dns answer": [ANSWER],
    "helper request": [Request(Operation.UP, SETTINGS).encode()],
    "device settings": [json.dumps(SETTINGS.encode()).encode()],
}
