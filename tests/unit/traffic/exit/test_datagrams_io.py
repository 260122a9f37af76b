"""An exit whose circuit has no room: answers wait in the socket's buffer; what that cannot hold is lost."""

import asyncio
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.support.edge_clients import until
from tests.support.edge_network import DirectNetwork
from vigilnet.traffic.exit.segments_io import lost_before
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.messages import ANY_FAMILY, BeginFlag, Target
from vigilnet.traffic.stream.outbox import MAX_DATAGRAMS_READ, MAX_QUEUED_DATAGRAMS
from vigilnet.traffic.stream.wire import EndReason

SIZE = 100
ROOM = MAX_QUEUED_DATAGRAMS - MAX_DATAGRAMS_READ + 1
MORE = 60  # that any kernel's buffer holds
FLAGS = {"bound": ANY_FAMILY | BeginFlag.CONNECTED_UDP, "unbound": ANY_FAMILY}


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await scenario

    asyncio.run(within())


class Counted:
    """A client that remembers the first octets of what came."""

    def __init__(self) -> None:
        self.came: list[int] = []

    def flow_connected(self) -> None:
        pass

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        self.came.append(int.from_bytes(payload[:4], "big"))

    def flow_closed(self, reason: EndReason) -> None:
        pass


class Held:
    """A flow to a server of the test's whose circuit stands still on its way back."""

    def __init__(self, network: DirectNetwork, kind: str) -> None:
        self.network = network
        self.kind = kind
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.sent = 0

    async def open(self) -> None:
        host, port = self.server.getsockname()
        target = Target(host, port, 17, FLAGS[self.kind]) if self.kind == "bound" else Target("", 0, 17)
        flow: DatagramFlow = await self.network.open_datagrams("", target)
        self.flow, self.client = flow, Counted()
        flow.set_consumer(self.client)
        flow.send(host, port, b"hello")
        await until(lambda: bool(self.network.exit._flows))
        _, self.asker = await asyncio.get_running_loop().sock_recvfrom(self.server, 100)
        (self.served,) = self.network.exit._flows
        (circuit,) = self.network.circuits[""]
        self.wire: Any = circuit.exit._carriage
        self._wake = self.wire.wake
        self.wire.wake = lambda: None  # type: ignore[method-assign]

    async def answer(self, count: int) -> None:
        """Send so many, as fast as the exit reads, or as its buffer takes them."""
        for _ in range(count):
            self.server.sendto(self.sent.to_bytes(4, "big") + bytes(SIZE - 4), self.asker)
            self.sent += 1
            if self.flow_has_room and self.sent % 30 == 0:
                await until(lambda: self.served.received == self.sent * SIZE or not self.flow_has_room)

    @property
    def flow_has_room(self) -> bool:
        return self.served._flow.has_room

    def release(self) -> None:
        self.wire.wake = self._wake
        self.wire.wake()


@pytest.mark.parametrize("kind", ["bound", "unbound"])
def test_answers_wait_for_the_circuit_and_none_is_lost(kind: str) -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            held = Held(network, kind)
            with held.server:
                await held.open()
                await held.answer(ROOM + MORE)
                assert not held.flow_has_room
                assert held.served.received == ROOM * SIZE
                held.release()
                await until(lambda: len(held.client.came) == ROOM + MORE)
                assert held.client.came == list(range(ROOM + MORE))
                assert network.exit.snapshot().lost_datagrams == 0

    run(scenario())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what its buffers lost")
@pytest.mark.parametrize("kind", ["bound", "unbound"])
def test_what_the_sockets_buffer_has_no_room_for_is_counted(kind: str) -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            held = Held(network, kind)
            with held.server:
                await held.open()
                await held.answer(ROOM + 6000)
                lost = network.exit.snapshot().lost_datagrams
                assert 0 < lost < 6000
                held.release()
                await until(lambda: len(held.client.came) == held.sent - lost)
                assert network.exit.snapshot().lost_datagrams == lost
                held.flow.close()
                await until(lambda: not network.exit.snapshot().datagram_flows)
                assert network.exit.snapshot().lost_datagrams == lost, "kept when the flow has ended"

    run(scenario())


def test_a_flow_that_is_closed_while_it_waits_is_left_alone() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            held = Held(network, "unbound")
            with held.server:
                await held.open()
                await held.answer(ROOM)
                held.flow.close()
                await until(lambda: not network.exit.snapshot().datagram_flows)
                held.release()
                flow = await network.open_datagrams("")  # the circuit goes on
                flow.close()

    run(scenario())


def test_a_system_that_does_not_tell_what_it_lost_counts_as_none() -> None:
    near, far = socket.socketpair()
    with far:
        near.close()
        assert lost_before(near) == 0
