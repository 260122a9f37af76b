"""A client looks for a relay: asks few, believes nobody alone, and lets every circuit go."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.directory_pair import DirectoryPair
from tests.support.records import RecordMaker
from tests.support.virtual_loop import WALL_START, VirtualClock, VirtualLoop, run
from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.sources import Source, is_vouched
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.dht import identity_key
from vigilnet.routing.discovery.directory import Fetch
from vigilnet.routing.discovery.directory_io import DirectoryServer
from vigilnet.routing.discovery.fetch_io import OpenDirectory
from vigilnet.routing.discovery.find_io import MAX_ASKED, PeerFinder
from vigilnet.routing.discovery.wire import Item, ItemType

NOW = int(WALL_START)
WANTED = RecordMaker("wanted")
RECORD = WANTED.record(NOW)
IDENTITY = WANTED.identity.public


class NoPathError(VigilnetError):
    kind = ErrorKind.UNREACHABLE


class Setting:
    """A client; `answers` says what each relay that is asked has under the key, and where that relay is."""

    def __init__(self, loop: VirtualLoop, *answers: tuple[str, list[PeerRecord]] | None) -> None:
        self.clock = VirtualClock(loop)
        self.view = PeerView(work_bits=0)
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.open_circuits = 0
        self.finder = PeerFinder(self._open, self.view, self._found, self.clock, "")

    def _found(self, identity: bytes) -> PeerRecord | None:
        return self.view.get(identity) if is_vouched(self.view.sources(identity)) else None

    async def _open(self) -> OpenDirectory:
        answer = self.answers.pop(0)
        if answer is None:
            raise NoPathError("path: none")
        place, records = answer

        async def look_up(key: bytes) -> list[Item]:
            self.asked.append(key)
            await asyncio.sleep(0.1)
            return [Item(ItemType.RECORD, record.encoded) for record in records]

        def choose(request: Fetch) -> list[Item]:
            raise AssertionError("nobody fetches here")

        self.open_circuits += 1
        stream = DirectoryPair(DirectoryServer(choose, self.clock, look_up).begin).open()
        return OpenDirectory(stream, Source(f"directory {place}", place, name="circuits"), self._closed)

    def _closed(self) -> None:
        self.open_circuits -= 1


def play(
    scenario: Callable[[Setting], Awaitable[None]], *answers: tuple[str, list[PeerRecord]] | None
) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        net = Setting(loop, *answers)
        await scenario(net)
        assert net.open_circuits == 0

    run(main(), loop)


def test_two_relays_of_different_places_must_name_the_same_record() -> None:
    async def scenario(net: Setting) -> None:
        assert await net.finder.find(IDENTITY) == RECORD
        assert net.asked == [identity_key(IDENTITY)] * 2
        assert {source.name for source in net.view.sources(IDENTITY)} == {"dht"}
        assert await net.finder.find(IDENTITY) == RECORD, "asked once"

    play(scenario, ("10.1.0.0/16", [RECORD]), ("10.2.0.0/16", [RECORD]))


def test_relays_of_one_place_count_as_one() -> None:
    async def scenario(net: Setting) -> None:
        assert await net.finder.find(IDENTITY) is None
        assert len(net.asked) == MAX_ASKED

    play(scenario, *[("10.1.0.0/16", [RECORD])] * MAX_ASKED)


def test_a_record_made_for_one_client_is_not_used() -> None:
    """A relay answers with a record that nobody else has; the others have the real one."""
    special = WANTED.record(NOW, sequence=RECORD.sequence - 5)

    async def scenario(net: Setting) -> None:
        assert await net.finder.find(IDENTITY) == RECORD

    play(scenario, ("10.1.0.0/16", [special]), ("10.2.0.0/16", [RECORD]), ("10.3.0.0/16", [RECORD]))


def test_what_was_not_asked_for_is_not_believed_either() -> None:
    others = [RecordMaker(f"other {number}").record(NOW) for number in range(100)]

    async def scenario(net: Setting) -> None:
        assert await net.finder.find(IDENTITY) is None
        assert len(net.view) <= 4 * MAX_ASKED

    play(scenario, *[(f"10.{number}.0.0/16", others) for number in range(MAX_ASKED)])


def test_one_that_cannot_be_asked_is_passed_over() -> None:
    async def scenario(net: Setting) -> None:
        assert await net.finder.find(IDENTITY) == RECORD

    play(scenario, None, ("10.1.0.0/16", [RECORD]), ("10.2.0.0/16", [RECORD]))


def test_if_nobody_can_be_asked_the_reason_is_told() -> None:
    async def scenario(net: Setting) -> None:
        with pytest.raises(NoPathError):
            await net.finder.find(IDENTITY)

    play(scenario, *[None] * MAX_ASKED)
