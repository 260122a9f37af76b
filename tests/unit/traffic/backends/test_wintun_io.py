"""The adapter's rings and the pump, over a library that is two lists."""

import ctypes
import socket

import pytest

from tests.support.fake_wintun import FakeWintun
from tests.support.waiting import wait_until
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import wintun_io
from vigilnet.traffic.backends.wintun_io import Pump, Wintun, datagram_pair


def adapter_of(library: FakeWintun) -> Wintun:
    return Wintun(library, library, library.last_error)


def test_packets_are_read_and_written_whole_and_given_back() -> None:
    library = FakeWintun()
    adapter = adapter_of(library)
    assert adapter.luid == 77
    library.from_applications = [b"E" * 1500, b"E" * 20]
    assert [adapter.read(), adapter.read(), adapter.read()] == [b"E" * 1500, b"E" * 20, b""]
    assert adapter.write(b"\x45answer")
    assert library.to_applications == [b"\x45answer"]
    assert not adapter.write(b"")
    assert not adapter.write(bytes(65_536))
    library.refuses = "AllocateSendPacket"  # the ring is full
    assert not adapter.write(b"more")
    adapter.close()
    assert library.calls == [
        "CreateAdapter",
        "StartSession",
        "GetReadWaitEvent",
        "EndSession 12",
        "CloseAdapter 11",
    ]


@pytest.mark.parametrize("step", ["CreateAdapter", "StartSession"])
def test_a_refusal_is_told_and_leaves_nothing(step: str) -> None:
    library = FakeWintun()
    library.refuses, library.error = step, 5
    with pytest.raises(EnvironmentRefusedError, match="error 5"):
        adapter_of(library)
    assert ("CloseAdapter 11" in library.calls) is (step == "StartSession")


def test_an_adapter_that_is_gone_is_told() -> None:
    library = FakeWintun()
    adapter = adapter_of(library)
    library.error = 38
    with pytest.raises(EnvironmentRefusedError, match="read: error 38"):
        adapter.read()


@pytest.mark.slow
def test_the_pump_carries_packets_both_ways_until_it_is_closed() -> None:
    library = FakeWintun()
    pump = Pump(adapter_of(library))
    library.from_applications.append(b"\x45out")
    wait_until(lambda: bool(_received(pump.far)), "the packet is at the daemon's end")
    pump.far.send(b"\x45in")
    assert library.came.wait(60)
    assert library.to_applications == [b"\x45in"]
    pump.close()
    assert library.calls[-1] == "CloseAdapter 11"


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(100)
    except BlockingIOError:
        return b""


def test_the_pair_takes_nothing_from_others() -> None:
    near, far = datagram_pair()
    with near, far, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"forged", far.getsockname())
        near.send(b"true")
        wait_until(lambda: _received(far) == b"true", "only the other end is heard")


def test_elsewhere_it_is_told_that_there_is_none() -> None:
    if not hasattr(ctypes, "WinDLL"):
        with pytest.raises(EnvironmentRefusedError, match="not on this system"):
            wintun_io.open_wintun()
