import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.hellos import NAMES
from tests.support.htx import browser
from tests.support.modern_server import modern_server
from tests.support.needs import needs_programs
from tests.support.origins import HOST, PAGE, Certificates, make_certificates, nginx
from vigilnet.traffic.transport.htx.htx_io import HtxTransport

pytestmark = needs_programs("nginx")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="module")
def origin(certificates: Certificates) -> Iterator[int]:
    with nginx(certificates.folder) as port:
        yield port


@pytest.mark.parametrize("name", NAMES)
def test_every_template_can_visit_the_site(origin: int, certificates: Certificates, name: str) -> None:
    transport = HtxTransport(browser(certificates, name))
    handshake, page = asyncio.run(transport.look_at_origin("127.0.0.1", origin, HOST))
    assert handshake.alpn == b"h2"
    assert (page.status, page.is_done, page.body_octets) == (200, True, len(PAGE))
    assert page.date is not None
    assert abs(page.date - datetime.now(UTC).timestamp()) < 60


@pytest.mark.parametrize("name", NAMES)
def test_a_server_of_today_takes_the_hybrid_share(certificates: Certificates, name: str) -> None:
    """OpenSSL 3.5 and later choose X25519MLKEM768 where it is offered."""
    with modern_server(certificates.folder) as server:
        transport = HtxTransport(browser(certificates, name))
        handshake, page = asyncio.run(transport.look_at_origin("127.0.0.1", server.port, HOST))
    is_hybrid = name in ("chromium", "firefox", "safari")
    assert handshake.group == (0x11EC if is_hybrid else 0x1D)
    assert server.groups == ["X25519MLKEM768" if is_hybrid else "x25519"]
    assert handshake.alpn == b"http/1.1"
    assert (page.status, page.date) == (200, 784_111_777.0)


def test_a_visit_that_fails_says_why(origin: int, certificates: Certificates) -> None:
    transport = HtxTransport(browser(certificates))
    with pytest.raises(ConnectionAbortedError, match="not trusted"):
        asyncio.run(transport.look_at_origin("127.0.0.1", origin, "other.example.test"))
