"""Our side of a parent's OR ports, against our own OR port as the parent."""

import asyncio
from pathlib import Path

import pytest

from tests.support.carriers import Keeper, close_all, until
from tests.support.edge_servers import tcp_server
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.carrier import Carrier
from vigilnet.traffic.transport.pluggable.extended_or import COOKIE_HEAD
from vigilnet.traffic.transport.pluggable.or_client_io import OrAddress, open_or
from vigilnet.traffic.transport.pluggable.ports_io import OrPort

COOKIE = bytes(range(32))


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
@pytest.mark.parametrize("cookie", [COOKIE, b""])
def test_a_client_is_introduced(cookie: bytes, host: str) -> None:
    async def scenario() -> None:
        accepted: list[Carrier] = []
        port = OrPort("x", cookie or None, accepted.append)
        _, writer = await open_or(OrAddress("127.0.0.1", port.port, cookie), "x", host)
        writer.write(b"hello")
        await until(lambda: bool(accepted))
        keeper = Keeper(accepted[0])
        assert await keeper.wait_octets(5) == b"hello"
        assert accepted[0].remote_host == (host if cookie else "127.0.0.1")
        writer.close()
        await close_all([keeper])
        await port.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("cookie", "name"), [(bytes(32), "x"), (COOKIE, "y")])
def test_a_wrong_cookie_or_name_is_told(cookie: bytes, name: str) -> None:
    async def scenario() -> None:
        port = OrPort("x", COOKIE, lambda _: None)
        with pytest.raises((RemoteProtocolError, ConnectionResetError)):
            await open_or(OrAddress("127.0.0.1", port.port, cookie), name, "192.0.2.7")
        await port.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [b"\2\0", b"\1\0" + bytes(64), b"\1\0\0"])
def test_a_parent_that_does_not_keep_to_the_protocol_is_left(answer: bytes) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await reader.read(33)
            writer.close()

        async with tcp_server(serve) as port:
            with pytest.raises((RemoteProtocolError, ConnectionResetError)):
                await open_or(OrAddress("127.0.0.1", port, COOKIE), "x", "192.0.2.7")

    asyncio.run(scenario())


def test_the_environment_names_the_port(tmp_path: Path) -> None:
    file = tmp_path / "cookie"
    file.write_bytes(COOKIE_HEAD + COOKIE)
    environment = {
        "TOR_PT_ORPORT": "127.0.0.1:1",
        "TOR_PT_EXTENDED_SERVER_PORT": "127.0.0.1:2",
        "TOR_PT_AUTH_COOKIE_FILE": str(file),
    }
    assert OrAddress.from_environment(environment) == OrAddress("127.0.0.1", 2, COOKIE)
    assert OrAddress.from_environment({"TOR_PT_ORPORT": "127.0.0.1:1"}) == OrAddress("127.0.0.1", 1)
    file.write_bytes(b"x" + COOKIE_HEAD + COOKIE)
    with pytest.raises(RemoteProtocolError, match="none"):
        OrAddress.from_environment(environment)
    file.unlink()
    with pytest.raises(RemoteProtocolError, match="read"):
        OrAddress.from_environment(environment)
    with pytest.raises(RemoteProtocolError):
        OrAddress.from_environment({})
