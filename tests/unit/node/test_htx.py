import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.deterministic import counted_bytes
from tests.support.needs import needs_programs
from tests.support.origins import HOST, make_certificates, nginx
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import Store
from vigilnet.node.htx import KEY_LIFE_S, SAVE_EVERY, STORE_NAME, VISITS_NAME, HtxKeys, NodeHtx, UsedOnce
from vigilnet.node.options import Options, RelayOptions
from vigilnet.peer.address import TransportKind
from vigilnet.traffic.transport.htx.dial_io import read_params
from vigilnet.traffic.transport.htx.options import Options as HtxOptions
from vigilnet.traffic.transport.htx.recordings import OLD_AFTER_DAYS, Recording, Seen, read_recording
from vigilnet.traffic.transport.htx.visits import Dice

HTX = HtxOptions(origin="127.0.0.1:8443", host_name="www.example.test")
OPTIONS = Options(relay=RelayOptions(enabled=True, listen_htx=("127.0.0.1:0",)), htx=HTX)


class SetClock(SystemClock):
    """A wall clock that a test sets."""

    def __init__(self, wall: float = 1.8e9) -> None:
        self.time = wall

    def wall(self) -> float:
        return self.time


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    opened.lock()
    opened.unlock(None)
    yield opened
    opened.close()


def test_a_key_lives_a_week_and_is_accepted_for_another(store: Store) -> None:
    clock = SetClock()
    keys = HtxKeys(store, clock, counted_bytes())
    first = keys.public
    clock.time += KEY_LIFE_S - 1
    assert not keys.rotate()
    clock.time += 1
    assert keys.rotate()
    second = keys.public
    assert [key.public_key().public_bytes_raw() for key in keys.secrets()] == [second, first]
    clock.time += KEY_LIFE_S
    assert keys.rotate()
    publics = [key.public_key().public_bytes_raw() for key in keys.secrets()]
    assert publics == [keys.public, second]


def test_keys_survive_a_restart(store: Store) -> None:
    clock = SetClock()
    before = HtxKeys(store, clock, counted_bytes()).public
    assert HtxKeys(store, clock, os.urandom).public == before


def test_a_damaged_file_is_named(store: Store) -> None:
    store.write_atomic(STORE_NAME, b"nonsense")
    with pytest.raises(ConfigurationError, match="htx in the state folder"):
        HtxKeys(store, SetClock(), os.urandom)


def test_a_relay_s_address_says_how_it_is_dialled(store: Store) -> None:
    htx = NodeHtx(OPTIONS, store, SystemClock(), os.urandom)
    address = htx.address("192.0.2.1", 443)
    assert address.transport == TransportKind.HTX
    assert (address.host, address.port) == ("192.0.2.1", 443)
    read = read_params(address.params)
    assert htx.keys is not None
    assert read.key.public_bytes_raw() == htx.keys.public
    assert read.host_name == "www.example.test"


def test_a_client_has_neither_keys_nor_address(store: Store) -> None:
    htx = NodeHtx(Options(), store, SystemClock(), os.urandom)
    assert htx.keys is None
    assert htx.transport.relay is None
    with pytest.raises(ConfigurationError):
        htx.address("192.0.2.1", 443)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"origin": ""}, "htx.origin"),
        ({"origin": "127.0.0.1"}, "htx.origin"),
        ({"origin": "127.0.0.1:0"}, "htx.origin"),
        ({"host_name": ""}, "htx.host_name"),
        ({"host_name": "192.0.2.1"}, "htx.host_name"),
        ({"origin": "127.0.0.1:4443"}, "relay.listen_htx"),
    ],
)
def test_what_a_relay_needs_is_asked_for_by_name(store: Store, change: dict[str, str], key: str) -> None:
    relay = RelayOptions(enabled=True, listen_htx=("127.0.0.1:4443",))
    options = Options(relay=relay, htx=replace(HTX, **change))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=key):
        NodeHtx(options, store, SystemClock(), os.urandom)


@needs_programs("nginx")
def test_a_relay_with_a_certificate_starts_a_site_of_its_own(store: Store, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    settings = HtxOptions(certificate=tmp_path / "chain.pem", certificate_key=tmp_path / "key.pem")
    htx = NodeHtx(replace(OPTIONS, htx=settings), store, SystemClock(), os.urandom, tmp_path)
    try:
        assert htx.site is not None
        assert htx.origin() == ("127.0.0.1", htx.site.port)
        assert read_params(htx.address("192.0.2.1", 443).params).host_name == HOST
        assert htx.advertised(443) == [(HOST, 443)]
    finally:
        htx.close()


@pytest.mark.parametrize(
    "change",
    [
        {"certificate_key": None},
        {"certificate": None},
        {"origin": "127.0.0.1:8443"},
        {"is_own_site": False},
    ],
)
def test_a_site_of_our_own_is_asked_for_as_a_whole(
    store: Store, tmp_path: Path, change: dict[str, object]
) -> None:
    settings = HtxOptions(certificate=tmp_path / "c", certificate_key=tmp_path / "k")
    options = replace(OPTIONS, htx=replace(settings, **change))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"htx\.certificate"):
        NodeHtx(options, store, SystemClock(), os.urandom, tmp_path)


@needs_programs("nginx")
def test_a_relay_that_pins_puts_the_issuer_into_its_record(store: Store, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)

    async def scenario(settings: HtxOptions) -> tuple[bytes | None, str]:
        htx = NodeHtx(replace(OPTIONS, htx=settings), store, SystemClock(), os.urandom, tmp_path)
        watch = await htx.watch_origin(tuple)
        assert watch is not None
        return read_params(htx.address("192.0.2.1", 443).params).issuer, watch.state

    with nginx(certificates.folder) as port:
        settings = replace(HTX, origin=f"127.0.0.1:{port}", trust_anchors=tmp_path / "root.pem")
        assert asyncio.run(scenario(settings)) == (None, "")
        issuer, state = asyncio.run(scenario(replace(settings, pins_issuer=True)))
        assert state == "up"
        assert issuer is not None
        assert len(issuer) == 32


def test_a_client_watches_nothing(store: Store) -> None:
    assert asyncio.run(NodeHtx(Options(), store, SystemClock(), os.urandom).watch_origin(tuple)) is None


def test_a_relay_s_visits_are_used_once_over_restarts(store: Store) -> None:
    def visit(length: int) -> Recording:
        told = [(1, 87), (1, 467), (-1, 266), (-1, 266), (-1, 205), (1, 26), *[(-1, length)] * 8]
        found = read_recording([Seen(at * 0.03, way, size) for at, (way, size) in enumerate(told)], 0.01)
        assert found is not None
        return found

    visits = [visit(5000 + at) for at in range(2 * SAVE_EVERY)]
    dice = Dice(os.urandom)
    first = UsedOnce(store, visits).recordings
    for _ in range(SAVE_EVERY):
        first.opening(dice, 467, flight=2)
    assert UsedOnce(store, visits).recordings.unused == SAVE_EVERY
    assert UsedOnce(store, visits[1:]).recordings.unused == len(visits) - 1  # another file
    store.write_atomic(VISITS_NAME, b"damaged")
    assert UsedOnce(store, visits).recordings.unused == len(visits)


def test_old_or_used_visits_are_told_of(store: Store) -> None:
    day = 86_400.0
    visit = read_recording(
        [Seen(0.0, 1, 87), Seen(0.0, 1, 467), Seen(0.04, -1, 205), Seen(0.05, 1, 26)]
        + [Seen(0.1 + 0.1 * at, 1 if at % 2 else -1, 500) for at in range(10)],
        0.04,
    )
    assert visit is not None
    visits = UsedOnce(store, [Recording(visit.events, day=20_000)])
    assert visits.problem((20_000 + OLD_AFTER_DAYS) * day) == ""
    assert visits.problem((20_001 + OLD_AFTER_DAYS) * day) == "its recorded visits are 31 days old"
    visits.recordings.opening(Dice(os.urandom), 467, flight=2)
    assert visits.problem(20_000 * day) == "each of its recorded visits was used"
