"""The same packet over every system's framing; a datagram socket pair stands in for the interface."""

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from vigilnet.traffic.device import packets
from vigilnet.traffic.device.backend import Framing
from vigilnet.traffic.device.interface_io import (
    FamilyInterface,
    PlainInterface,
    VirtioInterface,
    interface_of,
)

NEAR4, FAR4 = socket.inet_aton("198.18.86.1"), socket.inet_aton("192.0.2.1")
NEAR6, FAR6 = (socket.inet_pton(socket.AF_INET6, text) for text in ("fd56:4e45:5400::1", "2001:db8::1"))
BEFORE = {Framing.VIRTIO: 10, Framing.FAMILY: 4, Framing.NOTHING: 0}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernel:
        ours.setblocking(False)
        yield ours, kernel


def checksum(octets: bytes) -> int:
    total = packets.words_sum(octets)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("framing", [*Framing])
@pytest.mark.parametrize(("near", "far"), [(NEAR4, FAR4), (NEAR6, FAR6)])
@pytest.mark.parametrize("payload", [b"", b"x", b"odd", b"even"])
def test_a_datagram_goes_out_with_its_checksum_and_comes_in(
    pair: tuple[socket.socket, socket.socket], framing: Framing, near: bytes, far: bytes, payload: bytes
) -> None:
    ours, kernel = pair
    interface = interface_of(os.dup(ours.fileno()), framing)
    try:
        interface.write(packets.UdpMaker(far, near, 53, 5000).packet([payload]))
        sent = kernel.recv(4096)
        packet = sent[BEFORE[framing] :]
        udp = packet[20 if len(near) == 4 else 40 :]
        assert udp[8:] == payload
        if framing is not Framing.VIRTIO:
            pseudo = far + near + struct.pack(">HH", len(udp), packets.UDP)
            assert checksum(pseudo + udp) == 0xFFFF
        if framing is Framing.FAMILY:
            assert sent[:4] == bytes((0, 0, 0, 2 if len(near) == 4 else 30))
        assert interface.merges is (framing is Framing.VIRTIO)
        kernel.send(bytes(BEFORE[framing]) + packet)
        buffer = bytearray(b"\xff" * 4096)
        size = interface.read(buffer)
        read = packets.parse(memoryview(buffer)[:size])
        assert packets.datagrams_of(read) == (53, 5000, [payload])
        assert (read.source, read.target, read.gso_size) == (far, near, 0)
        with pytest.raises(BlockingIOError):
            interface.read(buffer)
    finally:
        interface.close()


def test_what_was_summed_before_stays_as_it_is(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, kernel = pair
    interface = interface_of(os.dup(ours.fileno()), Framing.NOTHING)
    reply = packets.echo_reply(FAR4, NEAR4, 1, 2, b"ping")
    interface.write(reply)
    assert kernel.recv(4096) == b"".join(reply)[10:]
    interface.close()


def test_an_unknown_framing_is_that_of_linux() -> None:
    reader, writer = os.pipe()
    try:
        assert isinstance(interface_of(reader, "None"), VirtioInterface)
        assert isinstance(interface_of(reader, "family"), FamilyInterface)
        with pytest.raises(OSError, match="socket"):
            interface_of(reader, "nothing")
        assert PlainInterface.merges is False
    finally:
        os.close(reader)
        os.close(writer)
