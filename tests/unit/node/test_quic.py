"""A relay's certificate, and what its record says."""

import asyncio
import builtins
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import Store
from vigilnet.node.options import Options, RelayOptions
from vigilnet.node.quic import STORE_NAME, NodeQuic
from vigilnet.node.transports import NodeTransports
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.traffic.link.options import Options as LinkOptions
from vigilnet.traffic.transport.carrier import Listener
from vigilnet.traffic.transport.quic.options import Options as QuicOptions


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    opened.lock()
    opened.unlock(None)
    yield opened
    opened.close()


def addresses(store: Store, settings: QuicOptions) -> list[PeerAddress]:
    async def scenario() -> list[PeerAddress]:
        ours = NodeQuic(settings, store, SystemClock(), is_relay=True)
        opened: list[Listener] = []

        class Links:
            """What is used of the link service."""

            async def listen(self, host: str, port: int, transport: TransportKind) -> Listener:
                opened.append(await ours.transport.listen(host, port, lambda _: None))
                return opened[-1]

        try:
            return await ours.listen(Links())  # type: ignore[arg-type]
        finally:
            for listener in opened:
                listener.close()
            await asyncio.sleep(0)

    return asyncio.run(scenario())


def test_a_certificate_is_made_once_for_its_name(store: Store) -> None:
    settings = QuicOptions(listen=("127.0.0.1:0",), server_name="relay.example")
    (first,), (again,) = addresses(store, settings), addresses(store, settings)
    assert first.transport is TransportKind.QUIC
    assert first.params == again.params
    assert first.params[1] == "relay.example"
    other = QuicOptions(listen=("127.0.0.1:0",), advertise=("192.0.2.1:443",))
    (changed,) = addresses(store, other)
    assert changed.params[0] != first.params[0]
    assert (changed.host, changed.port) == ("192.0.2.1", 443)
    assert addresses(store, QuicOptions()) == []


def test_a_damaged_certificate_is_told(store: Store) -> None:
    store.write_atomic(STORE_NAME, b"\xff")
    with pytest.raises(ConfigurationError, match="damaged"):
        addresses(store, QuicOptions(listen=("127.0.0.1:0",)))


def test_without_its_package_quic_says_what_to_install(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> object:  # noqa: ANN401
        if name == "vigilnet.node.quic":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    clock = SystemClock()
    NodeTransports(Options(), store, store.folder, clock, os.urandom)
    for options in (
        Options(link=LinkOptions(transports=("quic", "tcp"))),
        Options(relay=RelayOptions(enabled=True), quic=QuicOptions(listen=("127.0.0.1:0",))),
    ):
        with pytest.raises(ConfigurationError, match=r"pip install vigilnet\[quic\]"):
            NodeTransports(options, store, store.folder, clock, os.urandom)
