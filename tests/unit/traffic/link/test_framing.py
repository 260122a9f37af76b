"""Frames: byte for byte as the vectors, opened in place, refused when anything is off."""

from typing import Any

import pytest

from tests.support.links import Gatherer
from tests.support.vectors import protocol_vectors
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import CELL_SIZE
from vigilnet.traffic.link.framing import FrameOpener, FrameSealer, FrameType, KeyLimits

VECTORS = protocol_vectors("link")


def vector_sealer(vector: dict[str, Any], *, tls: bool) -> FrameSealer:
    key = bytes.fromhex(vector["key_initiator_to_responder"])
    return FrameSealer(Suite(vector["suite"] & 3), key, has_tls_records=tls, limits=KeyLimits(), now=0.0)


def vector_opener(vector: dict[str, Any], *, tls: bool) -> FrameOpener:
    key = bytes.fromhex(vector["key_initiator_to_responder"])
    return FrameOpener(Suite(vector["suite"] & 3), key, has_tls_records=tls, limits=KeyLimits())


def vector_frames(vector: dict[str, Any], *, tls: bool) -> list[dict[str, Any]]:
    return [frame for frame in vector["frames_initiator_to_responder"] if frame["tls_shape"] == tls]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_frames_are_sealed_as_the_vectors_over_two_updates(vector: dict[str, Any], tls: bool) -> None:
    sealer = vector_sealer(vector, tls=tls)
    for frame in vector_frames(vector, tls=tls):
        if frame["type"] == FrameType.UPDATE:
            sealed = sealer._seal_update(0.0)
        else:
            (sealed,) = sealer.seal(FrameType(frame["type"]), bytes.fromhex(frame["body"]), 0.0)
        assert bytes(sealed).hex() == frame["frame"], frame["n"]
    assert sealer.updates == 2


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_frames_of_the_vectors_open_over_two_updates(vector: dict[str, Any], tls: bool) -> None:
    opener = vector_opener(vector, tls=tls)
    for frame in vector_frames(vector, tls=tls):
        octets = memoryview(bytearray.fromhex(frame["frame"]))
        body = bytes.fromhex(frame["body"])
        seen: list[tuple[int, bytes]] = []

        def control(kind: int, octets: memoryview, seen: list[tuple[int, bytes]] = seen) -> None:
            seen.append((kind, bytes(octets)))

        if len(body) == CELL_SIZE:  # random octets: they open, and then they are no cell
            with pytest.raises(RemoteProtocolError, match="cell header"):
                opener.open_frames(octets, 0, len(octets), Gatherer(), control)
        else:
            assert opener.open_frames(octets, 0, len(octets), Gatherer(), control) == len(octets)
        header = 5 if tls else 2
        assert bytes(octets[header:-16]) == bytes((frame["type"],)) + body
        if frame["type"] not in (FrameType.RUNS, FrameType.UPDATE):
            assert seen == [(frame["type"], body)]
    assert opener.updates == 2
