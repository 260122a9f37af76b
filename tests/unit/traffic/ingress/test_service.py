import asyncio
import errno
import socket

import pytest

from tests.support.edge_clients import connect, proxies, run, socks_open, until
from tests.support.edge_network import DirectNetwork
from tests.support.edge_servers import echo_server
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.system_io import accept
from vigilnet.traffic.ingress import service as service_module
from vigilnet.traffic.ingress.options import Options
from vigilnet.traffic.ingress.service import IngressService, bind_listener


def test_both_proxies_listen_where_they_are_told() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network, proxies(network, socks_host="::1") as service:
            snapshot = service.snapshot()
            assert snapshot.socks is not None
            assert snapshot.http is not None
            assert snapshot.socks[0] == "::1"
            assert snapshot.http[0] == "127.0.0.1"
            for address in (snapshot.socks, snapshot.http):
                _, writer = await connect(address)
                writer.close()
            await until(lambda: service.snapshot().accepted == 2)
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_a_proxy_that_is_off_does_not_listen() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network, proxies(network, http_enabled=False) as service:
            assert service.snapshot().http is None
            assert service.snapshot().socks is not None
        async with DirectNetwork() as network, proxies(network, socks_enabled=False) as service:
            assert service.snapshot().socks is None

    run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_named_with_what_to_do_and_nothing_stays_open(host: str) -> None:
    async def scenario() -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as taken:
            port = taken.getsockname()[1]
            async with DirectNetwork() as network:
                service = IngressService(Options(socks_port=0, http_host=host, http_port=port), network)
                with pytest.raises(EnvironmentRefusedError) as refusal:
                    service.start()
                assert f"{port} is in use by another program; stop that one or set ingress.http_port" in str(
                    refusal.value
                )
                assert host in str(refusal.value)
                assert service._listeners == []
                await service.close()

    run(scenario())


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "needs more rights; set ingress.socks_port to a port above 1023"),
        (errno.EADDRNOTAVAIL, "is no address of this machine"),
        (errno.EIO, "cannot be listened on"),
    ],
)
def test_other_refusals_are_named(monkeypatch: pytest.MonkeyPatch, number: int, advice: str) -> None:
    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(number, "no")

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(EnvironmentRefusedError, match=advice):
        bind_listener("127.0.0.1", 80, "SOCKS proxy", "socks_port")


def test_connections_beyond_the_limit_wait_for_room() -> None:
    async def scenario() -> None:
        async with (
            echo_server() as port,
            DirectNetwork() as network,
            proxies(network, max_connections=2) as service,
        ):
            first = await socks_open(service.socks_address, "127.0.0.1", port)
            second = await socks_open(service.socks_address, "127.0.0.1", port)
            third = asyncio.get_running_loop().create_task(
                socks_open(service.socks_address, "127.0.0.1", port)
            )
            await asyncio.sleep(0.05)
            assert not third.done()
            assert service.snapshot().connections == 2
            first[2].close()
            code, _, writer = await third
            assert code == 0
            writer.close()
            second[2].close()
            await until(lambda: service.snapshot().connections == 0)

    run(scenario())


def test_accepting_goes_on_after_the_system_ran_out_of_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(service_module, "PAUSE_S", 0.02)
        async with echo_server() as port, DirectNetwork() as network, proxies(network) as service:
            failures = [OSError(errno.EMFILE, "too many open files")] * 2

            def scarce(listener: socket.socket, family: socket.AddressFamily) -> socket.socket:
                if failures:
                    raise failures.pop()
                return accept(listener, family)

            monkeypatch.setattr(service_module, "accept", scarce)
            code, _, writer = await socks_open(service.socks_address, "127.0.0.1", port)
            assert code == 0
            writer.close()
            await until(lambda: service.snapshot().connections == 0)
            assert not failures

    run(scenario())


def test_closing_drops_handshakes_and_listeners() -> None:
    async def scenario() -> None:
        async with DirectNetwork() as network:
            async with proxies(network) as service:
                address = service.socks_address
                reader, writer = await connect(address)
                writer.write(b"\x05")
                other_reader, other = await connect(service.http_address)
                await until(lambda: service.snapshot().connections == 2)
            assert await reader.read() == b""
            assert await other_reader.read() == b""
            writer.close()
            other.close()
            assert service.snapshot().connections == 0
            with pytest.raises(ConnectionRefusedError):
                await connect(address)
            await service.close()

    run(scenario())
