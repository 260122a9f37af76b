"""Connected UDP and echoes at a real exit, over a circuit without a network in between."""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.support.edge_network import OPEN_EXIT, DirectNetwork
from tests.support.edge_servers import dns_server, udp_echo
from tests.support.needs import has_root
from tests.support.ports import free_port
from vigilnet.traffic.exit.bound_flow_io import MAX_ECHO_PAYLOAD, checksum
from vigilnet.traffic.exit.options import Options
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.messages import ANY_FAMILY, BeginFlag, Echo, Target
from vigilnet.traffic.stream.stream import StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

BOUND = ANY_FAMILY | BeginFlag.CONNECTED_UDP
needs_echoes = pytest.mark.skipif(not has_root(), reason="needs the right to send ICMP")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await scenario

    asyncio.run(within())


def udp_to(host: str, port: int, flags: int = BOUND) -> Target:
    return Target(host, port, 17, flags)


class Receiver:
    """A client's end of a flow of either kind."""

    def __init__(self, flow: DatagramFlow | EchoFlow) -> None:
        self.queue: asyncio.Queue[tuple[str, int, bytes]] = asyncio.Queue()
        self.echoes: asyncio.Queue[Echo] = asyncio.Queue()
        self.closed: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        flow.set_consumer(self)

    def flow_connected(self) -> None:
        pass

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        self.queue.put_nowait((host, port, payload))

    def echo_received(self, echo: Echo) -> None:
        self.echoes.put_nowait(echo)

    def flow_closed(self, reason: EndReason) -> None:
        self.closed.set_result(reason)


async def refusal_of(opening: Coroutine[Any, Any, object]) -> EndReason:
    with pytest.raises(StreamEndedError) as refused:
        await opening
    return refused.value.reason


def test_a_connected_flow_carries_payloads_alone_and_hears_nobody_else() -> None:
    async def scenario() -> None:
        async with udp_echo() as port, DirectNetwork() as network:
            flow = await network.open_datagrams("", udp_to("127.0.0.1", port))
            receiver = Receiver(flow)
            assert flow.send("", 0, b"hello")
            assert await receiver.queue.get() == ("127.0.0.1", port, b"hello")
            (served,) = network.exit._flows
            ours = served._socket.getsockname()[1]  # type: ignore[union-attr]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"spam", ("127.0.0.1", ours))
            assert flow.send("", 0, b"again")
            assert (await receiver.queue.get())[2] == b"again"
            flow.close()

    run(scenario())


def test_a_connected_flow_may_go_to_a_name_that_the_exit_resolves() -> None:
    async def scenario() -> None:
        answers = {("host.example", "A"): ["127.0.0.1"], ("host.example", "AAAA"): []}
        async with udp_echo() as port, dns_server(answers={}) as dns_:
            dns_.answers.update({key: [value] for key, value in answers.items()})
            options = Options(
                enabled=True, policy="open", allow_private_targets=True,
                resolvers=(f"127.0.0.1:{dns_.port}",),
            )  # fmt: skip
            async with DirectNetwork(options) as network:
                flow = await network.open_datagrams("", udp_to("host.example", port))
                receiver = Receiver(flow)
                flow.send("", 0, b"hello")
                assert (await receiver.queue.get())[2] == b"hello"
                assert (
                    await refusal_of(network.open_datagrams("", udp_to("none.example", port)))
                    is EndReason.RESOLVE_FAILED
                )

    run(scenario())


def test_a_port_that_nobody_has_is_told() -> None:
    async def scenario() -> None:
        port = free_port()
        async with DirectNetwork() as network:
            flow = await network.open_datagrams("", udp_to("127.0.0.1", port))
            receiver = Receiver(flow)
            flow.send("", 0, b"anybody?")
            assert await receiver.closed is EndReason.REFUSED

    run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "224.0.0.1"])
def test_local_addresses_are_refused_at_the_start(host: str) -> None:
    async def scenario() -> None:
        async with DirectNetwork(Options(enabled=True, policy="open")) as network:
            assert await refusal_of(network.open_datagrams("", udp_to(host, 4000))) is EndReason.POLICY
            assert await refusal_of(network.open_echo(Target(host, 0, 1), "")) is EndReason.POLICY

    run(scenario())


def test_a_port_that_policy_refuses_and_an_exit_that_is_off_refuse() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            assert await refusal_of(network.open_datagrams("", udp_to("127.0.0.1", 25))) is EndReason.POLICY
        async with DirectNetwork(Options()) as network:
            assert await refusal_of(network.open_echo(Target("127.0.0.1", 0, 1), "")) is EndReason.POLICY

    run(scenario())


def test_a_family_that_the_client_does_not_want_is_not_used() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            target = udp_to("127.0.0.1", 4000, BeginFlag.IPV6_OK | BeginFlag.CONNECTED_UDP)
            assert await refusal_of(network.open_datagrams("", target)) is EndReason.NO_ROUTE

    run(scenario())


def test_connected_flows_count_against_the_limit() -> None:
    async def scenario() -> None:
        options = Options(enabled=True, policy="open", allow_private_targets=True, max_datagram_flows=1)
        async with udp_echo() as port, DirectNetwork(options) as network:
            await network.open_datagrams("", udp_to("127.0.0.1", port))
            assert await refusal_of(network.open_datagrams("", udp_to("127.0.0.1", port))) is EndReason.LIMIT

    run(scenario())


@needs_echoes
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_echo_is_answered_under_the_clients_own_numbers(host: str) -> None:
    async def scenario() -> None:
        async with DirectNetwork(OPEN_EXIT) as network:
            flow = await network.open_echo(Target(host, 0, 1), "")
            receiver = Receiver(flow)
            for sequence in (1, 2):
                flow.send(Echo(False, 4711, sequence, b"payload"))
                assert await receiver.echoes.get() == Echo(True, 4711, sequence, b"payload")
            flow.send(Echo(True, 4711, 3, b""))  # a reply that nobody asked for is not sent on
            flow.send(Echo(False, 4711, 3, bytes(MAX_ECHO_PAYLOAD + 1)))
            flow.send(Echo(False, 4711, 4, b"x"))
            assert (await receiver.echoes.get()).sequence == 4

    run(scenario())


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert checksum(b"\x01") == 0xFEFF
