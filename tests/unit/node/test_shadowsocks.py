"""A relay's password, and what its record says."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.base.store_io import Store
from vigilnet.node.options import Options, RelayOptions
from vigilnet.node.shadowsocks import STORE_NAME, NodeShadowsocks
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.traffic.transport.carrier import Carrier, Listener
from vigilnet.traffic.transport.shadowsocks.options import Options as ShadowsocksOptions

WORD = "x"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    opened.lock()
    opened.unlock(None)
    yield opened
    opened.close()


def node(store: Store, **settings: Any) -> NodeShadowsocks:  # noqa: ANN401
    options = Options(relay=RelayOptions(enabled=True), shadowsocks=ShadowsocksOptions(**settings))
    return NodeShadowsocks(options, store, SystemClock(), os.urandom)


def addresses(ours: NodeShadowsocks) -> list[PeerAddress]:
    class Links:
        """What is used of the link service."""

        listeners: list[Listener]

        def __init__(self) -> None:
            self.listeners = []

        async def listen(self, host: str, port: int, transport: TransportKind) -> Listener:
            assert transport is TransportKind.SHADOWSOCKS
            return await self.listen_by(lambda accept: ours.transport.listen(host, port, accept))

        async def listen_by(
            self, begin: Callable[[Callable[[Carrier], None]], Awaitable[Listener]]
        ) -> Listener:
            self.listeners.append(await begin(lambda _: None))
            return self.listeners[-1]

    async def scenario() -> list[PeerAddress]:
        links = Links()
        try:
            return await ours.listen(links)  # type: ignore[arg-type]
        finally:
            for listener in links.listeners:
                listener.close()

    return asyncio.run(scenario())


def test_a_password_is_made_once_and_kept(store: Store) -> None:
    first = addresses(node(store, listen=("127.0.0.1:0",)))
    again = addresses(node(store, listen=("127.0.0.1:0",)))
    assert first[0].params == again[0].params
    assert first[0].transport is TransportKind.SHADOWSOCKS
    assert first[0].params[0] == "2022-blake3-aes-256-gcm"
    other = addresses(node(store, listen=("127.0.0.1:0",), method="aes-128-gcm"))
    assert other[0].params[1] != first[0].params[1]


def test_what_is_advertised_is_what_the_record_says(store: Store) -> None:
    ours = node(
        store, listen=("127.0.0.1:0",), advertise=("relay.example:443",), method="aes-256-gcm", password=WORD
    )
    (address,) = addresses(ours)
    assert (address.host, address.port) == ("relay.example", 443)
    assert address.params == {0: "aes-256-gcm", 1: "x"}
    assert len(ours.listening) == 1
    assert addresses(node(store, listen=("0.0.0.0:0",))) == []


def test_behind_another_server_the_record_names_the_target(store: Store) -> None:
    ours = node(
        store, behind="127.0.0.1:18389", advertise=("192.0.2.1:8388",), method="aes-256-gcm", password=WORD
    )
    (address,) = addresses(ours)
    assert address.params == {0: "aes-256-gcm", 1: "x", 2: ["127.0.0.1", 18389]}
    assert ours.listening == []


@pytest.mark.parametrize(
    "settings",
    [
        {"behind": "127.0.0.1:8389"},
        {"behind": "127.0.0.1:8389", "password": "x"},
        {
            "behind": "127.0.0.1:8389",
            "password": "x",
            "advertise": ("a.example:1",),
            "listen": ("127.0.0.1:0",),
        },
        {"listen": ("127.0.0.1:0",), "password": "no base64"},
        {"clients": ("192.0.2.1:8388",)},
        {"clients": ("192.0.2.1=socks5://127.0.0.1:1080",)},
        {"clients": ("192.0.2.1:8388=ss://127.0.0.1:1080",)},
    ],
)
def test_settings_that_do_not_fit_are_told(store: Store, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="shadowsocks"):
        node(store, **settings)


def test_a_method_nobody_knows_is_told() -> None:
    with pytest.raises(ConfigurationError, match="method"):
        ShadowsocksOptions(method="rc4")
    with pytest.raises(ConfigurationError, match="max_unproven"):
        ShadowsocksOptions(max_unproven=0)


def test_a_damaged_password_is_told(store: Store) -> None:
    store.write_atomic(STORE_NAME, b"\xff")
    with pytest.raises(ConfigurationError, match="damaged"):
        node(store, listen=("127.0.0.1:0",))


def test_a_port_that_is_taken_is_told(store: Store) -> None:
    ours = node(store, listen=("192.0.2.200:1",))
    with pytest.raises(EnvironmentRefusedError, match=r"shadowsocks.listen 192.0.2.200:1: cannot listen"):
        addresses(ours)
