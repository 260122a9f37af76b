"""The interface's flows: a socket pair stands in for the kernel, a real exit room for the far end."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support import ports
from tests.support.edge_clients import until
from tests.support.edge_network import OPEN_EXIT, DirectNetwork
from tests.support.edge_servers import udp_echo
from vigilnet.base.clock import SystemClock
from vigilnet.traffic.device import packets, tun_io
from vigilnet.traffic.device.flows_io import UdpFlow
from vigilnet.traffic.device.interface_io import VirtioInterface
from vigilnet.traffic.device.tun_io import TunPort, Way, _target
from vigilnet.traffic.exit.options import Options

NEAR = socket.inet_aton("198.18.86.1")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await scenario

    asyncio.run(within())


class Kernel:
    """What applications put in, and what comes out for them; `SOCK_SEQPACKET` keeps packets apart."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)

    def put(self, octets: bytes) -> None:
        self._socket.send(octets)

    def udp(self, far: str, ports: tuple[int, int], *payloads: bytes) -> None:
        self.put(b"".join(packets.UdpMaker(NEAR, socket.inet_aton(far), *ports).packet(payloads)))

    async def get(self) -> packets.Packet:
        octets = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 17)
        return packets.parse(memoryview(octets))

    def is_quiet(self) -> bool:
        try:
            return not self._socket.recv(1)
        except BlockingIOError:
            return True


@asynccontextmanager
async def port_on(
    options: Options = OPEN_EXIT, names: dict[str, str] | None = None, **limits: float
) -> AsyncIterator[tuple[Kernel, TunPort, DirectNetwork]]:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    async with DirectNetwork(options) as network:
        port = TunPort(
            VirtioInterface(os.dup(ours.fileno())),
            Way(network, "", lambda address: (names or {}).get(address, "")), SystemClock(),
            int(limits.get("max_flows", 8)), limits.get("idle_s", 60.0),
        )  # fmt: skip
        try:
            with ours, kernel:
                yield Kernel(kernel), port, network
        finally:
            await port.close()


def test_datagrams_of_one_socket_share_a_flow_and_come_back_from_where_they_went() -> None:
    async def scenario() -> None:
        async with udp_echo() as one, udp_echo() as two, port_on() as (kernel, port, _):
            for far in (one, two):
                kernel.udp("127.0.0.1", (5000, far), b"hello")
                back = await kernel.get()
                assert packets.datagrams_of(back) == (far, 5000, [b"hello"])
                assert (back.source, back.target) == (socket.inet_aton("127.0.0.1"), NEAR)
            assert port.flows == 1

    # Loopback is where the test's servers are; a real device never sends it to the interface.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tun_io, "is_carried", lambda target: True)
        run(scenario())


def test_a_server_of_these_tests_is_at_no_port_that_has_flows_of_its_own() -> None:
    given = range(ports.FIRST, ports.FIRST + ports.WORKERS * ports.RANGE)
    assert given[0] >= tun_io.WELL_KNOWN
    assert not set(given) & set(tun_io.TRACEROUTE)

    async def scenario() -> None:
        async with udp_echo() as far:
            assert far in given

    run(scenario())


def test_many_datagrams_in_one_packet_arrive_one_by_one_and_come_back_together() -> None:
    async def scenario() -> None:
        async with udp_echo() as far, port_on() as (kernel, _, _):
            payloads = [bytes([number]) * 500 for number in range(20)]
            kernel.udp("127.0.0.1", (5000, far), *payloads)
            got: list[bytes] = []
            while len(got) < len(payloads):
                got += packets.datagrams_of(await kernel.get())[2]
            assert got == payloads

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tun_io, "is_carried", lambda target: True)
        run(scenario())


def test_an_exit_does_not_speak_for_hosts_of_private_networks() -> None:
    """An application would take it for the printer, and what it answered there went to the exit."""

    async def scenario() -> None:
        async with udp_echo() as far, port_on() as (kernel, port, _):
            kernel.udp("127.0.0.1", (5000, far), b"hello")
            await kernel.get()
            (flow,) = port._flows.values()
            assert isinstance(flow, UdpFlow)
            for host in ("192.168.1.1", "127.0.0.1"):
                flow.datagram_received(host, 6000, b"forged")
            back = await kernel.get()
            assert packets.datagrams_of(back) == (6000, 5000, [b"forged"])
            assert back.source == socket.inet_aton("127.0.0.1")
            assert kernel.is_quiet()
            kernel.udp("192.168.1.1", (5000, 6000), b"to the printer")
            assert bytes((await kernel.get()).body[:2]) == bytes(packets.PROHIBITED.ipv4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tun_io, "is_carried", lambda target: target == socket.inet_aton("127.0.0.1"))
        run(scenario())


def test_what_the_exit_refuses_is_refused_to_the_application() -> None:
    async def scenario() -> None:
        async with port_on(Options(enabled=True, policy="open")) as (kernel, port, _):
            kernel.udp("10.0.0.1", (5000, 443), b"x")
            said = await kernel.get()
            assert bytes(said.body[:2]) == bytes(packets.PROHIBITED.ipv4)
            kernel.udp("10.0.0.1", (5000, 443), b"y")  # again within the pause: answered at once
            assert bytes((await kernel.get()).body[:2]) == bytes(packets.PROHIBITED.ipv4)
            assert port.refused == 2

    run(scenario())


@pytest.mark.parametrize("ask_again", [False, True])
def test_a_refusal_by_the_host_is_heard_of_the_first_datagram(ask_again: bool) -> None:
    async def scenario() -> None:
        async with port_on() as (kernel, port, _):
            kernel.udp("127.0.0.1", (5000, 33_440), b"anybody?")
            said = await kernel.get()
            assert bytes(said.body[:2]) == bytes(packets.NO_PORT.ipv4)
            assert bytes(said.body[8 + 28 :]) == b"anybody?"
            if ask_again:
                kernel.udp("127.0.0.1", (5000, 33_440), b"still nobody?")
                assert bytes((await kernel.get()).body[8 + 28 :]) == b"still nobody?"
            assert port.refused == 1 + ask_again

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tun_io, "is_carried", lambda target: True)
        run(scenario())


@pytest.mark.parametrize("far", ["224.0.0.251", "255.255.255.255", "127.0.0.1", "169.254.1.1", "0.0.0.0"])  # noqa: S104
def test_what_is_for_many_or_for_this_link_opens_no_flow(far: str) -> None:
    async def scenario() -> None:
        async with port_on() as (kernel, port, _):
            kernel.udp(far, (5000, 5353), b"x")
            kernel.put(bytes(4))
            await until(lambda: bool(port.dropped))
            assert port.flows == 0

    run(scenario())


def test_the_flow_unused_for_longest_makes_room() -> None:
    async def scenario() -> None:
        async with port_on(max_flows=2) as (kernel, port, _):
            for number in range(3):
                kernel.udp("192.0.2.1", (5000 + number, 4000), b"x")
            await until(lambda: port.read >= 3)
            assert port.flows == 2

    run(scenario())


def test_other_protocols_old_connections_and_far_hops_are_answered() -> None:
    def ip(protocol: int, body: bytes, hops: int = 64) -> bytes:
        far = socket.inet_aton("192.0.2.1")
        header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, hops, protocol, 0, NEAR, far)
        return bytes(packets.VNET_SIZE) + header + body

    async def scenario() -> None:
        async with port_on() as (kernel, _, _):
            kernel.put(ip(132, bytes(12)))
            assert bytes((await kernel.get()).body[:2]) == bytes(packets.NO_PROTOCOL.ipv4)
            kernel.put(ip(6, struct.pack(">HHIIBBHHH", 1, 2, 3, 4, 0x50, 0x10, 0, 0, 0)))
            assert (await kernel.get()).body[13] == 0x04
            kernel.put(ip(17, struct.pack(">HHHH", 1, 33434, 8, 0), hops=1))
            said = await kernel.get()
            assert bytes(said.body[:2]) == bytes(packets.TOO_FAR.ipv4)
            assert said.source == socket.inet_aton("198.18.86.2")

    run(scenario())


def test_a_name_that_an_address_came_from_goes_to_the_exit() -> None:
    async def scenario() -> None:
        names = {"192.0.2.1": "host.example"}
        async with port_on(names=names) as (kernel, port, _):
            kernel.udp("192.0.2.1", (5000, 443), b"x")
            await until(lambda: bool(port.read))
            target = _target((NEAR, socket.inet_aton("192.0.2.1"), 5000, 443), 4, port._way)
            assert (target.host, target.port, target.flags & 8) == ("host.example", 443, 8)

    run(scenario())


def test_questions_of_programs_bound_to_an_exit_are_answered_there_alone() -> None:
    async def said(text: bytes) -> bytes:
        return text

    async def scenario() -> None:
        async with port_on() as (kernel, port, network):
            port._way = Way(network, "", lambda _: "", lambda _: said(b"everybody's"))
            port.bind(0, Way(network, "device SE", lambda _: "", lambda _: said(b"of SE")))
            for number, expected in ((1, b"everybody's"), (16, b"of SE"), (17, b"")):
                source = socket.inet_aton(f"198.18.86.{number}")
                asked = packets.UdpMaker(source, socket.inet_aton("192.0.2.53"), 5000, 53).packet([b"who?"])
                kernel.put(b"".join(asked))
                answer = await kernel.get()
                if expected:
                    assert packets.datagrams_of(answer) == (53, 5000, [expected])
                else:  # whose exit nobody knows
                    assert bytes(answer.body[:2]) == bytes(packets.PROHIBITED.ipv4)

    run(scenario())


def test_programs_bound_to_an_exit_have_flows_of_that_exit_alone() -> None:
    async def scenario() -> None:
        async with udp_echo() as far, port_on() as (kernel, port, network):
            bound = [socket.inet_aton(f"198.18.86.{number}") for number in (16, 17)]
            port.bind(0, Way(network, "device SE", lambda _: ""))
            for source in (NEAR, *bound):
                kernel.put(
                    b"".join(
                        packets.UdpMaker(source, socket.inet_aton("127.0.0.1"), 5000, far).packet([b"hello"])
                    )
                )
            answers = [await kernel.get() for _ in range(3)]
            back = {packet.target: packet for packet in answers}
            for source in (NEAR, bound[0]):
                assert packets.datagrams_of(back[source])[2] == [b"hello"]
            assert bytes(back[bound[1]].body[:2]) == bytes(packets.PROHIBITED.ipv4)  # whose exit nobody knows
            assert set(network.circuits) == {"", "device SE"}
            kernel.put(bytes(10) + _echo_request(bound[1], "192.0.2.1"))
            assert bytes((await kernel.get()).body[:2]) == bytes(packets.PROHIBITED.ipv4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tun_io, "is_carried", lambda target: True)
        run(scenario())


def _echo_request(source: bytes, far: str) -> bytes:
    message = struct.pack(">BBHHH", 8, 0, 0, 1, 1)
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 1, 0, source, socket.inet_aton(far)) + message


def test_datagrams_wait_a_moment_for_a_circuit_that_takes_no_more() -> None:
    """They were lost at once, while the kernel's queue before the interface was empty."""

    async def scenario() -> None:
        async with udp_echo() as far, port_on() as (kernel, port, network):
            kernel.udp("127.0.0.1", (5000, far), b"first")
            await kernel.get()
            outbox = network.circuits[""][0].client.outbox
            room: Any = outbox.queue_datagrams

            full: Any = lambda *_: 0  # noqa: E731
            outbox.queue_datagrams = full  # type: ignore[method-assign]
            payloads = [bytes([number]) * 500 for number in range(8)]
            kernel.udp("127.0.0.1", (5000, far), *payloads)
            await until(lambda: port._is_paused)
            outbox.queue_datagrams = room  # type: ignore[method-assign]
            got: list[bytes] = []
            while len(got) < len(payloads):
                got += packets.datagrams_of(await kernel.get())[2]
            assert (got, port.dropped) == (payloads, 0)
            outbox.queue_datagrams = full  # type: ignore[method-assign]
            kernel.udp("127.0.0.1", (5000, far), *payloads)
            await until(lambda: port.dropped == len(payloads))  # but not for ever
            outbox.queue_datagrams = room  # type: ignore[method-assign]
            kernel.udp("127.0.0.1", (5000, far), b"last")
            assert packets.datagrams_of(await kernel.get())[2] == [b"last"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tun_io, "is_carried", lambda target: True)
        run(scenario())
