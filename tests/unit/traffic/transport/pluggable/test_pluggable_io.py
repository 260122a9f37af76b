"""Dialling and listening through programs: Debian's obfs4proxy at both ends, and what can go wrong."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.carriers import Echo, Keeper, close_all, until
from tests.support.edge_servers import tcp_server
from tests.support.needs import needs_programs
from vigilnet.base.errors import (
    ConfigurationError,
    EnvironmentRefusedError,
    LocalProtocolError,
    RemoteProtocolError,
)
from vigilnet.traffic.transport.carrier import Carrier, CarrierKind
from vigilnet.traffic.transport.pluggable import pluggable_io, ports_io
from vigilnet.traffic.transport.pluggable.extended_or import COOKIE_HEAD
from vigilnet.traffic.transport.pluggable.options import Options
from vigilnet.traffic.transport.pluggable.pluggable_io import (
    MAX_PAIRS,
    PluggableTransport,
    ServedTransport,
    read_pairs,
)
from vigilnet.traffic.transport.pluggable.ports_io import OrPort
from vigilnet.traffic.transport.tcp_io import TcpTransport

OBFS4 = ("obfs4 = obfs4proxy",)
DATA = os.urandom(200_000)
SAYS = "echo VERSION 1; echo {}; echo {}S DONE; cat"


def script(method: str, line: str) -> str:
    return f"x = sh -c '{SAYS.format(line, method)}'"


async def serve(
    stack: AsyncExitStack, ours: PluggableTransport, name: str = "obfs4", host: str = "127.0.0.1"
) -> tuple[ServedTransport, list[Keeper]]:
    """Echo whatever comes until the test is over."""
    echoes: list[Keeper] = []
    stack.push_async_callback(ours.close)
    served = await ours.serve(name, host, 0, lambda carrier: echoes.append(Echo(carrier)))
    stack.push_async_callback(close_all, echoes)
    return served, echoes


async def say(
    stack: AsyncExitStack, ours: PluggableTransport, served: ServedTransport, host: str = "127.0.0.1"
) -> None:
    carrier = await ours.dial(host, served.port, served.params)
    keeper = Keeper(carrier)
    stack.push_async_callback(close_all, [keeper])
    assert carrier.kind is CarrierKind.PLUGGABLE
    assert carrier.remote_host == host
    carrier.write([DATA])
    assert await keeper.wait_octets(len(DATA)) == DATA


@pytest.mark.slow
@needs_programs("obfs4proxy")
@pytest.mark.parametrize(("is_extended", "host"), [(True, "127.0.0.1"), (False, "127.0.0.1"), (True, "::1")])
def test_debians_obfs4proxy_carries_octets(is_extended: bool, host: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        options = Options(
            client=OBFS4, server=OBFS4, extended_or_port=is_extended, server_options=("obfs4 = iat-mode=1",)
        )
        async with AsyncExitStack() as stack:
            ours = PluggableTransport(options, tmp_path)
            assert ours.can_dial({0: "obfs4"})
            assert not ours.can_dial({0: "meek"})
            served, echoes = await serve(stack, ours, host=host)
            assert dict(served.params[1])["iat-mode"] == "1"  # type: ignore[call-overload]
            await say(stack, ours, served, host)
            await say(stack, ours, served, host)
            assert [echo.carrier.kind for echo in echoes if echo.carrier] == [CarrierKind.PLUGGABLE] * 2
            cert = served.params[1]
        again = PluggableTransport(options, tmp_path)
        async with AsyncExitStack() as stack:
            served, _ = await serve(stack, again)
            assert served.params[1] == cert  # its keys are kept

    asyncio.run(scenario())
    cookie = tmp_path / "obfs4-server" / "extended_or_cookie"
    assert cookie.exists() == is_extended
    if is_extended:
        assert cookie.read_bytes().startswith(COOKIE_HEAD)
        assert cookie.stat().st_mode & 0o077 == 0


@pytest.mark.slow
@needs_programs("obfs4proxy")
def test_programs_that_end_are_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pluggable_io, "RESTART_FIRST_S", 0.01)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            ours = PluggableTransport(Options(client=OBFS4, server=OBFS4), tmp_path)
            served, _ = await serve(stack, ours)
            await say(stack, ours, served)
            for proxy in (ours._clients["obfs4"], served._source._proxy):  # type: ignore[union-attr]
                assert proxy is not None
                assert proxy._process is not None
                proxy._process.kill()
                await until(lambda proxy=proxy: not proxy.is_running)  # type: ignore[misc]
            await until(lambda: served._source._proxy.output.is_ready and served._source._proxy.is_running)  # type: ignore[union-attr]
            await say(stack, ours, served)

    asyncio.run(scenario())


def refused_dial(options: Options, params: Mapping[int, Any], tmp_path: Path) -> str:
    async def scenario() -> str:
        ours = PluggableTransport(options, tmp_path)
        with pytest.raises(OSError) as caught:  # noqa: PT011 the text is looked at
            await ours.dial("192.0.2.1", 1, params)
        await ours.close()
        return str(caught.value)

    return asyncio.run(scenario())


def test_what_cannot_be_dialled_is_an_os_error(tmp_path: Path) -> None:
    assert "not one of ours" in refused_dial(Options(), {0: "obfs4"}, tmp_path)
    assert "not one of ours" in refused_dial(Options(), {}, tmp_path)
    bad = Options(client=("x = sh -c 'exit 1'",))
    assert "ended before" in refused_dial(bad, {0: "x"}, tmp_path)
    assert "pair" in refused_dial(bad, {0: "x", 1: [1]}, tmp_path)
    assert "fit" in refused_dial(bad, {0: "x", 1: [["a", "b" * 600]]}, tmp_path)
    old = Options(client=(script("CMETHOD", "CMETHOD x socks4 127.0.0.1:9"),))
    assert "no socks5" in refused_dial(old, {0: "x"}, tmp_path)
    no = Options(client=(script("CMETHOD", "CMETHOD-ERROR x out of order"),))
    assert "out of order" in refused_dial(no, {0: "x"}, tmp_path)


def test_a_proxy_that_refuses_or_leaves_is_an_os_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        answers = [b"\5\xff", b"", b"junk"]

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(answers.pop(0))
            writer.close()

        async with tcp_server(answer) as port:
            options = Options(client=(script("CMETHOD", f"CMETHOD x socks5 127.0.0.1:{port}"),))
            ours = PluggableTransport(options, tmp_path)
            for _ in range(3):
                with pytest.raises(OSError, match=r"socks|closed"):
                    await ours.dial("192.0.2.1", 1, {0: "x"})
            await ours.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (Options(), ConfigurationError, "no program is set for x"),
        (Options(server=("x = sh -c 'exit 1'",)), EnvironmentRefusedError, "ended before"),
        (Options(server=(script("SMETHOD", "SMETHOD-ERROR x no"),)), EnvironmentRefusedError, "x: no"),
        (Options(server=(script("SMETHOD", "LOG x"),)), EnvironmentRefusedError, "does not listen"),
    ],
)
def test_what_does_not_listen_is_told(
    options: Options, error: type[Exception], said: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        ours = PluggableTransport(options, tmp_path)
        with pytest.raises(error, match=said):
            await ours.serve("x", "127.0.0.1", 0, lambda _: None)
        with pytest.raises(LocalProtocolError):
            await ours.listen("127.0.0.1", 0, lambda _: None)
        await ours.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_nobody_gets_past_the_extended_or_port_without_the_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports_io, "HANDSHAKE_S", 0.2)
    accepted: list[Carrier] = []

    async def scenario() -> None:
        port = OrPort("x", bytes(32), accepted.append)
        for said in (b"\1" + bytes(64), b"", b"\2" + bytes(32)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
            writer.write(said)
            async with asyncio.timeout(60):
                await reader.read()
            writer.close()
        await port.close()

    asyncio.run(scenario())
    assert not accepted
    with pytest.raises(ValueError, match="cookie"):
        asyncio.run(make_port(b"short"))


async def make_port(cookie: bytes) -> None:
    OrPort("x", cookie, lambda _: None)


def test_connections_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports_io, "MAX_UNDER_WAY", 2)

    async def scenario() -> None:
        port = OrPort("x", bytes(32), lambda _: None)
        held = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(2)]
        for reader, _ in held:
            await reader.readexactly(2)
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        for _, other in [*held, (reader, writer)]:
            other.close()
        await port.close()

    asyncio.run(scenario())


class Plain(TcpTransport):
    """A plug-in that hides nothing."""

    def __init__(self) -> None:
        super().__init__(CarrierKind.PLUGGABLE)

    def address_params(self) -> Mapping[int, object]:
        return {1: "hello"}


def test_a_plug_in_is_dialled_and_served_by_its_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            ours = PluggableTransport(Options(), tmp_path, {"plain": Plain()})
            assert ours.can_dial({0: "plain"})
            served, _ = await serve(stack, ours, "plain")
            assert served.params == {0: "plain", 1: "hello"}
            await say(stack, ours, served)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "value", [None, "a", [["a"]], [["a", 1]], [["a", "b", "c"]], [["a", "b"]] * (MAX_PAIRS + 1)]
)
def test_arguments_of_an_address_are_pairs(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        read_pairs(value)
    assert read_pairs([["a", "b"]] * MAX_PAIRS) == {"a": "b"}
