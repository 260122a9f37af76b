"""QUIC on loopback: the contract of transports, certificates, floods."""

import asyncio
import os
import socket
from collections.abc import Mapping

import pytest

from tests.support.carriers import Keeper, close_all, until
from vigilnet.base.errors import LocalProtocolError
from vigilnet.testing.transports import TransportContract
from vigilnet.traffic.transport.carrier import Carrier, CarrierKind, Transport
from vigilnet.traffic.transport.quic import quic_io
from vigilnet.traffic.transport.quic.certificate import make_certificate
from vigilnet.traffic.transport.quic.quic_io import QuicListener, QuicTransport

pytestmark = pytest.mark.slow  # real sockets or processes: in all, seconds

CERTIFICATE = make_certificate("relay.example", 1.8e9)
PARAMS = {0: CERTIFICATE.digest, 1: "relay.example"}


class TestQuic(TransportContract):
    kind = CarrierKind.QUIC

    def make(self) -> Transport:
        return QuicTransport(CERTIFICATE)

    def params_of(self, transport: Transport) -> Mapping[int, object]:
        return PARAMS

    def _stranger(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.sendto(os.urandom(1200), (self.host, port))
        return sock

    def test_nobody_there_is_an_os_error(self) -> None:
        """UDP tells nothing: whoever dials gives up by time (`link.dial_io`)."""


class TestQuic6(TestQuic):
    host = "::1"

    def _stranger(self, port: int) -> socket.socket:
        return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)


def test_a_relay_with_another_certificate_is_refused() -> None:
    async def scenario() -> None:
        listener = await QuicTransport(CERTIFICATE).listen("127.0.0.1", 0, lambda _: None)
        with pytest.raises(ConnectionAbortedError, match="another certificate"):
            await QuicTransport().dial("127.0.0.1", listener.port, {0: bytes(32)})
        listener.close()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())


@pytest.mark.parametrize("params", [{}, {0: b"short"}, {0: bytes(32), 1: 5}, {0: bytes(32), 1: "x" * 254}])
def test_params_that_are_none_fail_the_dial(params: dict[int, object]) -> None:
    with pytest.raises(ConnectionAbortedError):
        asyncio.run(QuicTransport().dial("127.0.0.1", 1, params))


def test_a_close_that_nobody_answers_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_io, "LINGER_S", 0.05)

    async def scenario() -> None:
        listener = await QuicTransport(CERTIFICATE).listen("127.0.0.1", 0, lambda _: None)
        keeper = Keeper(await QuicTransport().dial("127.0.0.1", listener.port, PARAMS))
        assert listener._transport is not None
        listener._transport.abort()  # the relay is gone, without a word
        await close_all([keeper])
        assert keeper.closed == [None]

    asyncio.run(scenario())


def test_under_a_flood_newcomers_show_that_they_hear_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_io, "RETRY_ABOVE", -1)

    async def scenario() -> None:
        accepted: list[Carrier] = []
        listener = await QuicTransport(CERTIFICATE).listen("127.0.0.1", 0, accepted.append)
        carrier = await QuicTransport().dial("127.0.0.1", listener.port, PARAMS)
        keeper = Keeper(carrier)
        carrier.write([b"hello"])
        await until(lambda: bool(accepted))
        listener.close()
        await close_all([keeper, Keeper(accepted[0])])

    asyncio.run(scenario())


def test_clients_that_open_no_stream_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_io, "UNPROVEN_S", 0.1)
    monkeypatch.setattr(quic_io, "MAX_UNPROVEN", 2)

    async def scenario() -> None:
        listener: QuicListener = await QuicTransport(CERTIFICATE).listen("127.0.0.1", 0, lambda _: None)
        carriers = [await QuicTransport().dial("127.0.0.1", listener.port, PARAMS) for _ in range(3)]
        assert listener.unproven <= 2
        keepers = [Keeper(carrier) for carrier in carriers]
        await until(lambda: all(map(Keeper.is_closed, keepers)))
        assert not listener.unproven
        listener.close()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_a_carrier_that_ended_before_it_had_a_user_tells_so() -> None:
    async def scenario() -> None:
        accepted: list[Carrier] = []
        listener = await QuicTransport(CERTIFICATE).listen("127.0.0.1", 0, accepted.append)
        carrier = await QuicTransport().dial("127.0.0.1", listener.port, PARAMS)
        carrier.write([b"hello"])
        keeper = Keeper(carrier)
        await until(lambda: bool(accepted))
        carrier.close()
        await asyncio.sleep(0.1)
        late = Keeper(accepted[0])
        await until(late.is_closed)
        assert bytes(late.received) == b"hello"
        await until(keeper.is_closed)
        listener.close()
        await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_a_node_without_a_certificate_does_not_listen() -> None:
    with pytest.raises(LocalProtocolError):
        asyncio.run(QuicTransport().listen("127.0.0.1", 0, lambda _: None))
