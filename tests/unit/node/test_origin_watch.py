import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.htx import browser, htx_relay
from tests.support.modern_server import modern_server
from tests.support.needs import needs_programs
from tests.support.origins import HOST, Certificates, make_certificates, nginx, s_server
from vigilnet.base.errors import ConfigurationError
from vigilnet.node.origin_watch import OriginWatch
from vigilnet.traffic.transport.htx.certificates import issuer_digest
from vigilnet.traffic.transport.htx.htx_io import HtxTransport

pytestmark = needs_programs("nginx", "openssl")


@dataclass(frozen=True)
class Address:
    host: str
    port: int


@dataclass(frozen=True)
class Record:
    addresses: tuple[Address, ...]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="module")
def origin(certificates: Certificates) -> Iterator[int]:
    with nginx(certificates.folder) as port:
        yield port


def watch_of(
    certificates: Certificates, port: int, *records: Record, host_name: str = HOST, name: str = "chromium"
) -> OriginWatch:
    transport = HtxTransport(browser(certificates, name))
    return OriginWatch(transport, ("127.0.0.1", port), host_name, lambda: records, os.urandom)  # type: ignore[arg-type, return-value]


def test_an_origin_that_is_well_is_up_and_its_issuer_known(origin: int, certificates: Certificates) -> None:
    watch = watch_of(certificates, origin)
    assert watch.state == ""
    assert asyncio.run(watch.look())
    assert watch.state == "up"
    handshake, _ = asyncio.run(HtxTransport(browser(certificates)).look_at_origin("127.0.0.1", origin, HOST))
    assert watch.issuer == issuer_digest(handshake.chain)


def test_an_origin_that_is_down_is_said(certificates: Certificates) -> None:
    watch = watch_of(certificates, 1)
    assert not asyncio.run(watch.look())
    assert watch.state == "down: Connection refused"


def test_a_certificate_for_another_name_is_said(origin: int, certificates: Certificates) -> None:
    watch = watch_of(certificates, origin, host_name="other.example.test")
    assert not asyncio.run(watch.look())
    assert "for another name" in watch.state


def test_an_origin_that_asks_for_another_hello_is_up(certificates: Certificates) -> None:
    with s_server(certificates.folder, "-groups", "P-384", "-www", "-tls1_3") as (port, _):
        watch = watch_of(certificates, port)
        assert asyncio.run(watch.look())


def test_an_origin_of_today_is_up(certificates: Certificates) -> None:
    with modern_server(certificates.folder) as server:
        watch = watch_of(certificates, server.port)
        assert asyncio.run(watch.look())


def test_an_origin_that_is_a_relay_is_refused(origin: int, certificates: Certificates) -> None:
    relay = Record((Address("127.0.0.1", origin),))
    watch = watch_of(certificates, origin, Record((Address("127.0.0.1", 1),)), relay)
    assert not asyncio.run(watch.look())
    assert "is a relay" in watch.state
    with pytest.raises(ConfigurationError, match="is a relay"):
        asyncio.run(watch.refuse_loops())


def test_a_record_that_names_the_origin_beside_other_addresses_proves_nothing(
    origin: int, certificates: Certificates
) -> None:
    """Or anybody could shut every relay that borrows a site, by naming it."""
    liar = Record((Address("192.0.2.1", 443), Address("127.0.0.1", origin)))
    watch = watch_of(certificates, origin, liar)
    asyncio.run(watch.refuse_loops())
    assert asyncio.run(watch.look())


def test_a_listener_whose_origin_refuses_says_so_at_once(certificates: Certificates, origin: int) -> None:
    async def scenario() -> None:
        transport = HtxTransport(browser(certificates))
        watch = OriginWatch(transport, ("127.0.0.1", origin), HOST, tuple, os.urandom)
        async with htx_relay(origin) as relay:
            transport._listeners.append(relay.listener)
            good = relay.listener.origin
            nobody = (good[0], ("127.0.0.1", 1))
            for address, state in ((nobody, "down: Connection refused"), (good, "up")):
                relay.listener.origin = address
                await watch.look()
                with contextlib.suppress(ConnectionResetError):  # at once, where the origin refuses
                    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
                    with contextlib.closing(writer):
                        writer.write(b"GET / HTTP/1.0\r\n\r\n")
                        await reader.read()
                assert watch.state == state

    asyncio.run(scenario())
