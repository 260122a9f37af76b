"""Asking a router on loopback: what it gives, what it does not, and whom we hear."""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.unit.routing.discovery.test_port_control import pcp
from vigilnet.routing.discovery import port_control_io, port_mapping_io
from vigilnet.routing.discovery.port_control import Given, RefusedError
from vigilnet.routing.discovery.port_control_io import PortControl, default_gateway, gateway_of
from vigilnet.routing.discovery.port_mapping_io import Mapped, PortMapper
from vigilnet.routing.discovery.reachability import Mapping

Answer = Callable[[bytes], bytes | None]
PMP_ADDRESS = bytes.fromhex("00800000" + "0000004d" + "05010002")


def by_pcp(request: bytes) -> bytes:
    """Gives what is wished, for half the time."""
    lifetime = int.from_bytes(request[4:8], "big") // 2
    return pcp(lifetime=lifetime, nonce=request[24:36], port=4001, outer=40_001 if lifetime else 0)


def by_pmp(request: bytes) -> bytes:
    if request[0] == 2:
        return bytes.fromhex("0081000100000001")
    if request == b"\0\0":
        return PMP_ADDRESS
    return bytes.fromhex("00820000" + "0000004d") + request[4:6] + bytes.fromhex("9c42") + request[8:12]


@contextmanager
def router(answer: Answer) -> Iterator[tuple[int, list[bytes]]]:
    """A router on loopback; gives its port, and what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.02)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    request, client = sock.recvfrom(2000)
                except TimeoutError:
                    continue
                asked.append(request)
                said = answer(request)
                if said is not None:
                    sock.sendto(said, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1], asked
        finally:
            over.set()
            thread.join()


def control(port: int) -> PortControl:
    return PortControl("127.0.0.1", 4001, lambda size: b"n" * size, port)


def test_a_port_is_asked_for_and_given_back_by_pcp() -> None:
    with router(by_pcp) as (port, asked):

        async def main() -> None:
            ours = control(port)
            assert await ours.map(3600) == Given("5.1.0.2", 40_001, 1800)
            assert ours.protocol == "PCP"
            await ours.map(3600)
            await ours.unmap()
            await ours.unmap()  # once

        asyncio.run(main())
        lifetimes = [int.from_bytes(request[4:8], "big") for request in asked]
        wished = [int.from_bytes(request[42:44], "big") for request in asked]
    assert lifetimes == [3600, 3600, 0]
    assert wished == [4001, 40_001, 40_001]


def test_a_router_of_before_is_asked_by_nat_pmp() -> None:
    with router(by_pmp) as (port, asked):

        async def main() -> None:
            ours = control(port)
            assert await ours.map(3600) == Given("5.1.0.2", 40_002, 3600)
            assert ours.protocol == "NAT-PMP"
            await ours.unmap()

        asyncio.run(main())
    assert asked[-1].hex() == "00020000" + "0fa1" + "0000" + "00000000"


def test_one_that_refuses_or_is_silent_is_told() -> None:
    refuses = router(lambda request: pcp(result=2, nonce=request[24:36]))
    with refuses as (port, _), pytest.raises(RefusedError):
        asyncio.run(control(port).map(3600))


def test_a_silent_router_is_asked_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_control_io, "WAITS_S", (0.01, 0.02))
    with router(lambda _: None) as (port, asked), pytest.raises(TimeoutError):
        asyncio.run(control(port).map(3600))
    assert [request[0] for request in asked] == [2, 2, 0, 0]


def test_where_no_router_is_the_system_says_so() -> None:
    with pytest.raises(OSError):  # noqa: PT011  refused or timed out
        asyncio.run(control(free_port()).map(3600))


ROUTES = """Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
"""


def test_the_router_is_that_of_the_best_default_route(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert gateway_of(ROUTES) == "192.168.2.1"
    assert gateway_of(ROUTES.partition("wlan0")[0]) == ""
    assert gateway_of("") == ""
    monkeypatch.setattr(port_control_io, "ROUTES", tmp_path / "none")
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_gateway() == ""
    monkeypatch.setattr(sys, "platform", "win32")
    assert default_gateway() == ""


def test_the_mapper_takes_what_is_there_before_it_looks_for_upnp(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library() -> object:
        raise AssertionError("UPnP was looked for")

    with router(by_pcp) as (port, asked):
        monkeypatch.setattr(port_mapping_io, "PortControl", partial(PortControl, server_port=port))

        async def main() -> None:
            told: list[Mapped] = []
            mapper = PortMapper(4001, told.append, no_library, lambda: "127.0.0.1", os.urandom)
            mapper.start()
            async with asyncio.timeout(60):
                while not told:  # noqa: ASYNC110  it is told by a callback
                    await asyncio.sleep(0.01)
            assert told == [Mapped(Mapping.MAPPED, "5.1.0.2", 40_001, "PCP")]
            await mapper.close()

        asyncio.run(main())
        assert int.from_bytes(asked[-1][4:8], "big") == 0
