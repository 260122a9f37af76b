"""Fuzz targets of the circuit room: any octets parse or blame the peer, and nothing else happens."""

from collections.abc import Callable
from typing import Any

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.circuit import handshake, puzzle
from vigilnet.traffic.circuit import messages as circuit_messages
from vigilnet.traffic.stream import messages, wire


def _blames(decode: Callable[[bytes], Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            value = decode(data)
        except RemoteProtocolError:
            return
        if hasattr(value, "encode") and not isinstance(
            value, bytes | handshake.CreateBody | handshake.HopParameters
        ):
            assert value.encode() == data, "a second encoding was accepted"

    return run


def _area(data: bytes) -> None:
    try:
        found = wire.split_area(memoryview(data))
    except RemoteProtocolError:
        return
    packed = b"".join(wire.encode_message(kind, stream, bytes(body)) for kind, stream, body in found)
    assert packed.ljust(len(data), b"\0") == data


def _destroy(data: bytes) -> None:
    circuit_messages.Refusal.from_cell(data.ljust(handshake.CELL_BODY_SIZE, b"\0"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "area": _area,
    "destroy": _destroy,
    "begin": _blames(messages.Target.decode),
    "connected": _blames(messages.Connected.decode),
    "end": _blames(messages.decode_end),
    "credit": _blames(messages.decode_credit),
    "resolve": _blames(messages.Resolve.decode),
    "resolved": _blames(messages.Resolved.decode),
    "datagram": _blames(messages.Datagram.decode),
    "echo": _blames(messages.Echo.decode),
    "extend": _blames(circuit_messages.Extend.decode),
    "sendme": _blames(messages.Sendme.decode),
    "pad_negotiate": _blames(circuit_messages.PadNegotiate.decode),
    "record": _blames(circuit_messages.decode_record),
    "refusal": _blames(circuit_messages.Refusal.decode),
    "create_body": _blames(handshake.CreateBody.decode),
    "created_body": _blames(handshake.created_head),
    "hop_parameters": _blames(handshake.HopParameters.decode),
    "solution": _blames(puzzle.Solution.decode),
}

SEEDS: dict[str, list[bytes]] = {
    "area": [
        wire.encode_message(3, 1, b"octets").ljust(200, b"\0"),
        wire.encode_message(4, 1, b"\0") + wire.encode_message(20, 0, bytes(20)),
    ],
    "begin": [messages.Target("example.org", 443).encode(), messages.Target("2001:db8::1", 80).encode()],
    "connected": [messages.Connected("192.0.2.1", 60).encode()],
    "resolve": [messages.Resolve("a.example", 1).encode()],
    "resolved": [messages.Resolved(0, (messages.ResourceRecord(1, 60, bytes(4)),) * 2).encode()],
    "datagram": [messages.Datagram("2001:db8::1", 53, b"payload").encode()],
    "echo": [messages.Echo(False, 1, 2, b"payload").encode()],
    "extend": [circuit_messages.Extend(bytes(32), 0, bytes(1261)).encode()],
    "refusal": [
        circuit_messages.Refusal(
            circuit_messages.DestroyReason.PUZZLE, circuit_messages.PuzzleDemand(bytes(16), 8)
        ).encode()
    ],
    "create_body": [handshake.CreateBody(1, 2, bytes(8), bytes(13), bytes(1252)).encode().ljust(2032, b"\1")],
    "created_body": [(1156).to_bytes(2, "big") + bytes(2030)],
    "hop_parameters": [handshake.HopParameters().encode() + b"\5\1\0"],
    "solution": [puzzle.Solution(b"seed", 7).encode()],
}
