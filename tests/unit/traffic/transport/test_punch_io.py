"""Dialling out of a port that another connection uses; SYN that cross need routers between (netns)."""

import asyncio
import contextlib
import socket
import struct
import sys

import pytest

from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.punch_io import punch, share_port
from vigilnet.traffic.transport.tcp_io import TcpCarrier, TcpTransport

IP_LOCAL_PORT_RANGE = 51  # linux/in.h


def listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def test_a_second_connection_leaves_by_the_same_port() -> None:
    async def main() -> None:
        with listening() as first, listening() as second:
            transport = TcpTransport(owns_port=True)
            carrier = await transport.dial(*first.getsockname())
            assert isinstance(carrier, TcpCarrier)
            assert carrier.open_ends is not None
            ours, theirs = carrier.open_ends
            assert theirs == first.getsockname()
            beside = await transport.punch(ours, second.getsockname(), 2.0)
            assert isinstance(beside, TcpCarrier)
            assert beside.open_ends == (ours, second.getsockname())
            taken, seen = second.accept()
            taken.close()
            assert seen == ours
            for one in (carrier, beside):
                one.fail(OSError())
                assert one.open_ends is None

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a socket choose from one port")
def test_no_other_program_gets_a_dialled_port() -> None:
    async def main() -> None:
        with listening() as first, listening() as second, socket.socket() as other:
            carrier = await TcpTransport(owns_port=True).dial(*first.getsockname())
            assert isinstance(carrier, TcpCarrier)
            assert carrier.open_ends is not None
            port = carrier.open_ends[0][1]
            try:
                other.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", port << 16 | port))
            except OSError:
                pytest.skip("Linux before 6.3")
            with pytest.raises(OSError, match="assign"):
                other.connect(second.getsockname())
            carrier.fail(OSError())

    asyncio.run(main())


def test_it_dials_until_somebody_answers() -> None:
    async def main() -> None:
        with socket.socket() as late, socket.socket() as ours:
            for sock in (late, ours):
                share_port(sock)
                sock.bind(("127.0.0.1", 0))
            local = ours.getsockname()
            asyncio.get_running_loop().call_later(0.2, late.listen)
            with await punch(local, late.getsockname(), 5.0) as found:
                assert found.getsockname() == local

    asyncio.run(main())


def test_it_gives_up_with_the_last_error() -> None:
    async def main() -> None:
        with socket.socket() as nobody, socket.socket() as ours:
            for sock in (nobody, ours):
                share_port(sock)
                sock.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await punch(ours.getsockname(), nobody.getsockname(), 0.1)

    asyncio.run(main())


def test_an_address_that_is_not_ours_is_told_at_once() -> None:
    with pytest.raises(OSError, match="assign"):
        asyncio.run(punch(("192.0.2.1", 4001), ("127.0.0.1", 9), 5.0))


def test_ends_of_a_connection_by_a_program_are_not_told() -> None:
    async def main() -> None:
        with listening() as target:
            carrier = await TcpTransport(CarrierKind.PLUGGABLE).dial(*target.getsockname())
            with contextlib.closing(carrier):
                assert isinstance(carrier, TcpCarrier)
                assert carrier.open_ends is None
                carrier.fail(OSError())

    asyncio.run(main())
