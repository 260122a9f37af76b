import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.message
import dns.query
import pytest

from tests.support.edge_clients import LOOPS, connect, proxies, run, socks_reply, socks_request, until
from tests.support.edge_network import OPEN_EXIT, DirectNetwork
from tests.support.edge_servers import dns_server, udp_echo
from vigilnet.traffic.exit.options import Options as ExitOptions
from vigilnet.traffic.ingress import associate_io
from vigilnet.traffic.ingress.service import IngressService
from vigilnet.traffic.ingress.socks5_udp import decode_datagram, encode_datagram
from vigilnet.traffic.stream.datagrams import DatagramFlow


class Client:
    """An application with a UDP association."""

    def __init__(self, relay: tuple[str, int], sock: socket.socket, writer: asyncio.StreamWriter) -> None:
        self.relay = relay
        self.sock = sock
        self.writer = writer

    async def exchange(self, datagram: bytes) -> bytes:
        self.send(datagram)
        return await self.receive()

    def send(self, datagram: bytes) -> None:
        self.sock.sendto(datagram, self.relay)

    async def receive(self) -> bytes:
        async with asyncio.timeout(60):
            return await asyncio.get_running_loop().sock_recv(self.sock, 65536)


@asynccontextmanager
async def association(
    service: IngressService, host: str = "127.0.0.1", *, names_port: bool = False
) -> AsyncIterator[Client]:
    reader, writer = await connect(service.socks_address)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, 0))
    writer.write(b"\x05\x01\x00")
    assert await reader.readexactly(2) == b"\x05\x00"
    port = sock.getsockname()[1] if names_port else 0
    writer.write(socks_request("0.0.0.0", port, command=3))  # noqa: S104 - "any", as clients send it
    code, relay_host, relay_port = await socks_reply(reader)
    assert code == 0
    try:
        yield Client((relay_host, relay_port), sock, writer)
    finally:
        writer.close()
        sock.close()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("names_port", [True, False])
def test_datagrams_are_echoed(new_loop: Callable[[], asyncio.AbstractEventLoop], names_port: bool) -> None:
    async def scenario() -> None:
        async with udp_echo() as port, DirectNetwork() as network, proxies(network) as service:
            async with association(service, names_port=names_port) as client:
                for size in (1, 1200, 9000):
                    sent = encode_datagram("127.0.0.1", port, bytes(size))
                    assert await client.exchange(sent) == sent
            await until(lambda: service.snapshot().connections == 0)
            await until(lambda: network.exit.snapshot().datagram_flows == 0)

    run(scenario(), new_loop)


def test_ipv6_clients_and_targets() -> None:
    async def scenario() -> None:
        async with (
            udp_echo("::1") as port,
            DirectNetwork() as network,
            proxies(network, socks_host="::1") as service,
            association(service, "::1") as client,
        ):
            sent = encode_datagram("::1", port, b"six")
            assert await client.exchange(sent) == sent

    run(scenario())


def test_dig_like_questions_are_answered_through_the_association() -> None:
    async def scenario() -> None:
        async with (
            dns_server(answers={("a.example", "A"): [["93.184.216.34"]]}) as dns_,
            DirectNetwork() as network,
            proxies(network) as service,
            association(service) as client,
        ):
            query = dns.message.make_query("a.example", "A")
            answer = await client.exchange(encode_datagram("127.0.0.1", dns_.port, query.to_wire()))
            response = dns.message.from_wire(decode_datagram(answer).payload)
            assert response.id == query.id
            assert response.answer[0][0].to_text() == "93.184.216.34"

    run(scenario())


@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_names_are_resolved_by_the_exit_once(kind: str) -> None:
    async def scenario() -> None:
        host = "127.0.0.1" if kind == "A" else "::1"
        async with dns_server(answers={("udp.example", kind): [[host]]}) as dns_, udp_echo(host) as port:
            options = ExitOptions(
                enabled=True, policy="open", allow_private_targets=True, resolvers=(f"127.0.0.1:{dns_.port}",)
            )
            async with (
                DirectNetwork(options) as network,
                proxies(network) as service,
                association(service) as client,
            ):
                named = bytes([0, 0, 0, 3, 11]) + b"udp.example" + port.to_bytes(2)
                client.send(named + b"1")
                client.send(named + b"2")
                assert await client.receive() == encode_datagram(host, port, b"1")
                assert await client.receive() == encode_datagram(host, port, b"2")
                asked = len(dns_.asked)
                assert await client.exchange(named + b"3") == encode_datagram(host, port, b"3")
                assert len(dns_.asked) == asked

    run(scenario())


def test_unknown_names_fragments_and_nonsense_are_dropped() -> None:
    async def scenario() -> None:
        async with dns_server() as dns_, udp_echo() as port:
            options = ExitOptions(
                enabled=True, policy="open", allow_private_targets=True, resolvers=(f"127.0.0.1:{dns_.port}",)
            )
            async with (
                DirectNetwork(options) as network,
                proxies(network) as service,
                association(service) as client,
            ):
                good = encode_datagram("127.0.0.1", port, b"good")
                client.send(b"nonsense")
                client.send(good[:2] + b"\x01" + good[3:])
                client.send(bytes([0, 0, 0, 3, 9]) + b"x.example" + port.to_bytes(2) + b"lost")
                assert await client.exchange(good) == good
                await until(lambda: dns_.asked)
                assert await client.exchange(good) == good

    run(scenario())


def test_datagrams_of_strangers_are_not_taken() -> None:
    async def scenario() -> None:
        async with udp_echo() as port, DirectNetwork() as network, proxies(network) as service:
            sent = encode_datagram("127.0.0.1", port, b"mine")
            async with association(service, "127.0.0.1", names_port=True) as client:
                for source in ("127.0.0.1", "127.0.0.2"):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                        stranger.bind((source, 0))
                        stranger.sendto(encode_datagram("127.0.0.1", port, b"not mine"), client.relay)
                assert await client.exchange(sent) == sent
            async with association(service, "127.0.0.1") as client:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.bind(("127.0.0.2", 0))
                    stranger.sendto(encode_datagram("127.0.0.1", port, b"not mine"), client.relay)
                assert await client.exchange(sent) == sent

    run(scenario())


def test_datagrams_that_wait_for_names_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(associate_io, "MAX_NAMES", 2)
        monkeypatch.setattr(associate_io, "MAX_WAITING", 2)
        made: list[associate_io.Association] = []
        start = associate_io.Association._start

        def spy(self: associate_io.Association, flow: DatagramFlow) -> None:
            made.append(self)
            start(self, flow)

        monkeypatch.setattr(associate_io.Association, "_start", spy)
        async with dns_server(is_silent=True) as dns_:
            options = ExitOptions(enabled=True, policy="open", resolvers=(f"127.0.0.1:{dns_.port}",))
            async with (
                DirectNetwork(options) as network,
                proxies(network) as service,
                association(service) as client,
            ):
                for name in (b"a.example", b"a.example", b"a.example", b"b.example", b"c.example"):
                    client.send(bytes([0, 0, 0, 3, 9]) + name + b"\x00\x35x")
                await until(lambda: made and made[0].dropped == 2)
                assert len(made[0]._waiting) == 2

    run(scenario())


def test_the_association_ends_with_its_connection_and_with_its_circuit() -> None:
    async def scenario() -> None:
        async with DirectNetwork(OPEN_EXIT) as network, proxies(network) as service:
            async with association(service) as client:
                client.writer.write(b"octets that mean nothing")
                await client.writer.drain()
                assert network.exit.snapshot().datagram_flows == 1
                client.writer.transport.abort()
                await until(lambda: network.exit.snapshot().datagram_flows == 0)
            async with association(service):
                network.circuits[""][0].close()
                await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_an_application_that_goes_while_the_flow_is_opened_leaves_nothing() -> None:
    async def scenario() -> None:
        class Slow(DirectNetwork):
            async def open_datagrams(self, isolation: str, target: object = None) -> DatagramFlow:
                opening.set()
                await asyncio.Event().wait()
                raise AssertionError

        opening = asyncio.Event()
        async with Slow() as network, proxies(network) as service:
            _, writer = await connect(service.socks_address)
            writer.write(b"\x05\x01\x00" + socks_request("0.0.0.0", 0, command=3))  # noqa: S104 - as above
            await opening.wait()
            writer.close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_no_circuit_is_a_general_failure() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network, proxies(network) as service:
            network.is_down = True
            reader, writer = await connect(service.socks_address)
            writer.write(b"\x05\x01\x00" + socks_request("0.0.0.0", 0, command=3))  # noqa: S104 - as above
            await reader.readexactly(2)
            assert (await socks_reply(reader))[0] == 1
            writer.close()

    run(scenario())
