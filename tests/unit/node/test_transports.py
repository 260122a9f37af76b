"""Which transports a node dials with, and what a relay's programs put into its record."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.links import FakeAddress
from tests.support.needs import needs_programs
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.base.store_io import Store
from vigilnet.node.options import Options, RelayOptions
from vigilnet.node.transports import NodeTransports
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.traffic.link.options import Options as LinkOptions
from vigilnet.traffic.transport.carrier import Carrier, Listener
from vigilnet.traffic.transport.pluggable.options import Options as PluggableOptions

OBFS4 = ("obfs4 = obfs4proxy",)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    opened.lock()
    opened.unlock(None)
    yield opened
    opened.close()


def transports(store: Store, options: Options) -> NodeTransports:
    return NodeTransports(options, store, store.folder, SystemClock(), os.urandom)


def addresses(store: Store, pluggable: PluggableOptions) -> list[PeerAddress]:
    class Links:
        """What is used of the link service."""

        async def listen_by(
            self, begin: Callable[[Callable[[Carrier], None]], Awaitable[Listener]]
        ) -> Listener:
            return await begin(lambda _: None)

    async def scenario() -> list[PeerAddress]:
        ours = transports(store, Options(relay=RelayOptions(enabled=True), pluggable=pluggable))
        try:
            return await ours.listen(Links())  # type: ignore[arg-type]
        finally:
            await ours.close()

    return asyncio.run(scenario())


def test_we_dial_with_what_the_settings_name_in_their_order(store: Store) -> None:
    ours = transports(store, Options(link=LinkOptions(transports=("tcp", "shadowsocks"))))
    assert list(ours.by_kind)[:2] == [TransportKind.TCP, TransportKind.SHADOWSOCKS]
    assert ours.can_dial(FakeAddress(TransportKind.TCP, "192.0.2.1", 1))
    assert not ours.can_dial(FakeAddress(TransportKind.HTX, "192.0.2.1", 1))


def test_an_address_of_a_program_that_we_do_not_have_is_not_dialled(store: Store) -> None:
    ours = transports(store, Options(pluggable=PluggableOptions(client=OBFS4)))
    assert ours.can_dial(FakeAddress(TransportKind.PLUGGABLE, "192.0.2.1", 1, {0: "obfs4"}))
    assert not ours.can_dial(FakeAddress(TransportKind.PLUGGABLE, "192.0.2.1", 1, {0: "meek"}))


def test_a_transport_nobody_knows_is_told() -> None:
    with pytest.raises(ConfigurationError, match="pigeon"):
        LinkOptions(transports=("pigeon",))


@needs_programs("obfs4proxy")
def test_a_relays_record_says_what_its_program_says(store: Store) -> None:
    listen = ("obfs4 = 127.0.0.1:0",)
    (address,) = addresses(store, PluggableOptions(server=OBFS4, listen=listen))
    assert address.transport is TransportKind.PLUGGABLE
    assert address.params[0] == "obfs4"
    advertise = ("obfs4 = relay.example:443",)
    (again,) = addresses(store, PluggableOptions(server=OBFS4, listen=listen, advertise=advertise))
    assert (again.host, again.port) == ("relay.example", 443)
    assert again.params == address.params
    assert addresses(store, PluggableOptions(server=OBFS4, listen=("obfs4 = 0.0.0.0:0",))) == []


@needs_programs("obfs4proxy")
def test_a_program_that_cannot_listen_is_told(store: Store) -> None:
    with pytest.raises(EnvironmentRefusedError, match="obfs4"):
        addresses(store, PluggableOptions(server=OBFS4, listen=("obfs4 = 192.0.2.200:1",)))
