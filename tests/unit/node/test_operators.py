"""What each mode serves, registers and asks; the peer table and the keys are real."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.operators import Relay
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import Store
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.modes import Mode
from vigilnet.node.operators import Operators
from vigilnet.node.options import Options, with_mode
from vigilnet.node.own_record import OwnRecord
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import Capability
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView
from vigilnet.routing.operators.wire import verified_record


class NoLinks:
    def get(self, identity: bytes) -> object | None:
        return None

    async def connect(self, identity: bytes) -> object:
        raise OSError("nobody is there")


def _made(folder: Path, mode: Mode, *, is_unlisted: bool = False) -> tuple[Operators, PeerView]:
    clock = SystemClock()
    options = Options()
    options = replace(options, node=replace(options.node, mode=mode, network="lab", work_bits=0))
    options = with_mode(replace(options, relay=replace(options.relay, is_unlisted=is_unlisted)))
    view = PeerView("lab", 0, None)
    own = None
    if mode.supports_relay and not is_unlisted:
        store = Store(folder)
        store.lock()
        own = OwnRecord(store, clock, os.urandom, "lab", 0)
        own.describe([PeerAddress.tcp("192.0.2.1", 4001)], Capability.RELAY, None, "test")
        own.prepare()
        own.refresh()
        store.close()
    return Operators(options, mode, clock, os.urandom, KnownRelays(view, clock, None, ()), own), view


@pytest.mark.parametrize("mode", list(Mode))
def test_only_bootstrap_and_super_run_a_directory(tmp_path: Path, mode: Mode) -> None:
    async def main() -> bool:
        operators, _ = _made(tmp_path, mode)
        operators.start(tmp_path, None, NoLinks())
        runs = operators.directory is not None
        await operators.close()
        return runs

    assert asyncio.run(main()) == mode.runs_directory


def test_relay_signs_its_registration_and_a_client_has_none(tmp_path: Path) -> None:
    relay, _ = _made(tmp_path, Mode.RELAY)
    said = relay.registration()
    assert said is not None
    record = verified_record(said, "lab")
    assert record is not None
    assert record.encoded == relay.own()
    client, _ = _made(tmp_path / "client", Mode.CLIENT)
    assert (client.registration(), client.own(), client.circuits()) == (None, b"", None)


def test_unlisted_relay_tells_no_operator_of_itself_and_runs_none(tmp_path: Path) -> None:
    hidden, _ = _made(tmp_path, Mode.RELAY, is_unlisted=True)
    assert (hidden.registration(), hidden.own()) == (None, b"")
    directory, _ = _made(tmp_path, Mode.BOOTSTRAP, is_unlisted=True)
    with pytest.raises(ConfigurationError, match=r"relay\.is_unlisted: mode bootstrap"):
        directory.start(tmp_path, None, NoLinks())


def test_relays_that_fell_silent_are_left_out(tmp_path: Path) -> None:
    async def main() -> None:
        operators, view = _made(tmp_path, Mode.SUPER)
        operators.start(tmp_path, None, NoLinks())
        record = Relay("one").record(SystemClock().wall())
        operators.take(record.encoded, Source("gossip"))
        assert list(operators.reached()) == []
        view.mark_reached(record.identity)
        assert [found.identity for found in operators.reached()] == [record.identity]
        assert operators._checks is not None
        operators._checks.silent.add(record.identity)
        assert list(operators.reached()) == []
        await operators.close()

    asyncio.run(main())


def test_a_relay_that_nobody_can_dial_registers_nowhere(tmp_path: Path) -> None:
    operators, _ = _made(tmp_path, Mode.RELAY)
    assert operators.registration() is not None
    own = operators._own
    assert own is not None
    own.describe([PeerAddress.via(bytes(32), "192.0.2.1")], Capability.RELAY, None, "test")
    own._store.lock()
    assert own.refresh()
    assert operators.registration() is None
    own._store.close()
