"""Links over shaped records, with a real nginx behind the relay."""

import asyncio
import logging
import os
from collections.abc import Iterator

import pytest

from tests.support.links import ListSource, make_frame
from tests.support.needs import needs_programs
from tests.support.origins import Certificates, make_certificates, nginx
from tests.support.shaped_links import settled, shaped_pair
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, TAG_ROOM, Command, pack_run_header
from vigilnet.traffic.circuit.onion import ClientOnion
from vigilnet.traffic.transport.htx.shaping import Profile, Shaper

pytestmark = [pytest.mark.slow, needs_programs("nginx", "openssl")]

SHAPED = [Profile.LIGHT, Profile.REPLAY, Profile.CONSTANT]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="module")
def origin(certificates: Certificates) -> Iterator[int]:
    with nginx(certificates.folder) as port:
        yield port


@pytest.mark.slow
@pytest.mark.parametrize("profile", [Profile.OFF, *SHAPED])
def test_runs_pass_both_ways_in_order(origin: int, certificates: Certificates, profile: Profile) -> None:
    async def scenario() -> None:
        async with shaped_pair(origin, certificates, profile, rate=4_000_000) as pair:
            frames = [make_frame(fill=fill, cells=(7 if fill % 2 else 1)) for fill in range(1, 13)]
            expected = [bytes(frame[6:-16]) for frame in frames]
            back = [make_frame(fill=fill, cells=7) for fill in range(1, 9)]
            expected_back = [bytes(frame[6:-16]) for frame in back]
            pair.link.activate(ListSource(*frames))
            pair.relay_port.activate(ListSource(*back))
            await settled(lambda: len(pair.client_receivers[-1].runs) == len(back), 30)
            runs = pair.relay_receivers[-1].runs
            some = 1 if profile is Profile.REPLAY else len(frames)  # uploads take their time there
            await settled(lambda: len(runs) >= some)
            assert runs == expected[: len(runs)]
            assert pair.client_receivers[-1].runs == expected_back
            padding, held = pair.link.shaping_cost
            assert (padding > 0, held > 0) == (profile is not Profile.OFF, profile is not Profile.OFF)
            assert pair.client.snapshot()[0].padding_octets >= padding
            name = "" if profile is Profile.OFF else profile.name.lower()
            assert pair.client.snapshot()[0].shape == name

    asyncio.run(scenario())


@pytest.mark.parametrize("profile", [Profile.LIGHT, Profile.REPLAY])
def test_records_that_come_before_the_link_takes_over_are_counted(
    origin: int, certificates: Certificates, profile: Profile
) -> None:
    """Else both sides wait for each other: the relay for the client's record, the client for its answer."""

    async def scenario() -> None:
        async with shaped_pair(origin, certificates, profile) as pair:
            client = pair.link._shaped
            assert client is not None
            await settled(lambda: isinstance(client._shaper, Shaper) and client._shaper._planned > 5)

    asyncio.run(scenario())


def test_a_plan_from_a_client_ends_the_link_and_is_no_bug_of_ours(
    origin: int, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with shaped_pair(origin, certificates, Profile.LIGHT) as pair:
            link, receiver = pair.link, pair.relay_receivers[-1]
            assert link._machine is not None
            for record in link._machine.cut_record(400, 0, b"who plans here", link._now()):
                link._carrier.write((record,))
            await settled(lambda: receiver.is_closed)

    asyncio.run(scenario())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_client_s_own_records_pass_in_bulk(origin: int, certificates: Certificates) -> None:
    """A client's layers leave its frame views in buffers of another form than a relay's."""
    onion = ClientOnion(os.urandom)
    for hop in range(3):
        onion.add_hop(Suite.AES_256_GCM, bytes((hop,)) * 32, bytes((hop + 9,)) * 32)
    frames = []
    for _ in range(40):
        frame, _ = onion.seal(onion.new_record(7, 3), 3)
        pack_run_header(frame, RUN_AT, 1, Command.RELAY, 7)
        frames.append(frame)
    expected = [bytes(frame[RUN_AT:-TAG_ROOM]) for frame in frames]

    async def scenario() -> None:
        async with shaped_pair(origin, certificates, Profile.LIGHT) as pair:
            pair.link.activate(ListSource(*frames))
            await settled(lambda: len(pair.relay_receivers[-1].runs) == len(frames))
            assert pair.relay_receivers[-1].runs == expected

    asyncio.run(scenario())


def test_a_link_that_closes_sends_what_was_begun(origin: int, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with shaped_pair(origin, certificates, Profile.LIGHT) as pair:
            pair.relay_port.activate(ListSource(*[make_frame(fill=7, cells=7) for _ in range(20)]))
            await settled(lambda: len(pair.client_receivers[-1].runs) >= 1)
            pair.relay_port.close()
            await settled(lambda: pair.client_receivers[-1].is_closed)
            whole = (make_frame(fill=7, cells=7)[6:-16]).tobytes()
            assert set(pair.client_receivers[-1].runs) == {whole}
            assert len(whole) == 7 * CELL_SIZE

    asyncio.run(scenario())
