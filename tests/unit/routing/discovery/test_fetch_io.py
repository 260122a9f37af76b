"""A client's table is filled by directories, one after the other, at the pace of checks, and kept fresh."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from tests.support.directory_pair import DirectoryPair
from tests.support.gossip_network import chance
from tests.support.records import RecordMaker
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.offering import MAX_USELESS, SLICE
from vigilnet.peer.sources import CHECKS_PER_SOURCE_S, Source
from vigilnet.peer.view import Outcome, PeerView, Verdict
from vigilnet.routing.discovery.directory import GRID_S, Fetch
from vigilnet.routing.discovery.directory_io import DirectoryServer
from vigilnet.routing.discovery.fetch_io import (
    FETCH_S,
    FIRST_WAIT_S,
    LEAST_AGAIN_S,
    MAX_PROOFS,
    MAX_WAIT_S,
    SPREAD_AGAIN_S,
    Fetcher,
    OpenDirectory,
)
from vigilnet.routing.discovery.wire import Item, ItemType, encode_proof
from vigilnet.traffic.stream.stream import Stream


class NoPathError(VigilnetError):
    kind = ErrorKind.UNREACHABLE


class Setting:
    """A client whose directories are `serve`; `is_served` says whether it has paths."""

    def __init__(self, loop: VirtualLoop, work_bits: int = 0) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.view = PeerView(work_bits=work_bits)
        self.items: list[Item] = []
        self.asked: list[tuple[float, Fetch]] = []
        self.tried: list[float] = []
        self.open_circuits = 0
        self.is_reachable = True
        self.is_served = True
        self.serve: Callable[[Stream], None] = DirectoryServer(self._choose, self.clock).begin
        self.fetcher = Fetcher(
            self._open, self.view, lambda: self.is_served and len(self.view) > 0, self.clock, chance("fetch")
        )

    def _choose(self, request: Fetch) -> list[Item]:
        self.asked.append((self.loop.time(), request))
        return self.items

    async def _open(self) -> OpenDirectory:
        self.tried.append(self.loop.time())
        if not self.is_reachable:
            raise NoPathError("path: no relays known yet")
        self.open_circuits += 1
        stream = DirectoryPair(self.serve).open()
        return OpenDirectory(stream, Source(f"directory {len(self.tried)}"), self._closed)

    def _closed(self) -> None:
        self.open_circuits -= 1

    def records(self, count: int, *, work_bits: int = 0) -> list[PeerRecord]:
        wall = int(self.clock.wall())
        return [RecordMaker(f"r{n}", work_bits=work_bits).record(wall) for n in range(count)]


def play(scenario: Callable[[Setting], Awaitable[None]], work_bits: int = 0) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        net = Setting(loop, work_bits)
        await scenario(net)
        await net.fetcher.close()
        assert net.fetcher._tasks.failures == []
        assert net.open_circuits == 0

    run(main(), loop)


def items_of(records: list[PeerRecord]) -> list[Item]:
    return [Item(ItemType.RECORD, record.encoded) for record in records]


def test_a_client_asks_for_all_at_once_and_again_within_hours_for_what_is_new() -> None:
    async def scenario(net: Setting) -> None:
        net.items = items_of(net.records(40))
        net.fetcher.start()
        await asyncio.sleep(1)
        assert len(net.view) == 40
        assert [request for _, request in net.asked] == [Fetch(0, 0)]
        started = int(net.clock.wall())
        await asyncio.sleep(LEAST_AGAIN_S + SPREAD_AGAIN_S)
        (first, _), (second, request), *_ = net.asked
        assert LEAST_AGAIN_S <= second - first <= LEAST_AGAIN_S + SPREAD_AGAIN_S + 10
        assert request == Fetch(started // GRID_S * GRID_S - GRID_S)
        assert (net.fetcher.fetched, net.fetcher.taken) == (len(net.asked), 40)

    play(scenario)


def test_a_client_that_knows_nobody_waits_longer_and_longer_and_goes_on_at_once_by_an_invite() -> None:
    async def scenario(net: Setting) -> None:
        net.is_reachable = False
        net.fetcher.start()
        await asyncio.sleep(3600)
        assert 8 < len(net.tried) < 14
        assert net.fetcher.last_error == "path: no relays known yet"
        net.is_reachable = True
        net.items = items_of(net.records(3))
        net.fetcher.peers_changed()
        await asyncio.sleep(1)
        assert len(net.view) == 3
        assert net.fetcher.last_error == ""

    play(scenario)


def test_news_do_not_make_a_client_ask_again_that_has_its_answer() -> None:
    async def scenario(net: Setting) -> None:
        net.items = items_of(net.records(3))
        net.fetcher.start()
        await asyncio.sleep(60)
        for _ in range(10):
            net.fetcher.peers_changed()
            await asyncio.sleep(1)
        assert len(net.asked) == 1

    play(scenario)


def test_without_paths_a_client_goes_on_asking_ever_more_rarely() -> None:
    async def scenario(net: Setting) -> None:
        net.items, net.is_served = items_of(net.records(3)), False
        net.fetcher.start()
        await asyncio.sleep(6 * 3600)
        gaps = [right - left for (left, _), (right, _) in zip(net.asked, net.asked[1:], strict=False)]
        assert gaps[0] < 10
        assert MAX_WAIT_S <= gaps[-1] <= MAX_WAIT_S + 10
        assert len(net.asked) < 20

    play(scenario)


def test_work_is_checked_at_its_pace_and_all_records_are_taken() -> None:
    async def scenario(net: Setting) -> None:
        net.items = items_of(net.records(40, work_bits=1))
        net.fetcher.start()
        await asyncio.sleep(1)
        assert len(net.view) <= 2 * CHECKS_PER_SOURCE_S + 1
        await asyncio.sleep(40 / CHECKS_PER_SOURCE_S + 2)
        assert len(net.view) == 40

    play(scenario, work_bits=1)


def test_a_directory_that_gives_forgeries_is_left_and_another_one_asked() -> None:
    async def scenario(net: Setting) -> None:
        good = items_of(net.records(10))
        net.items = [Item(ItemType.RECORD, item.octets[:-1] + bytes([item.octets[-1] ^ 1])) for item in good]
        net.fetcher.start()
        await asyncio.sleep(1)
        assert len(net.view) == 0
        assert net.fetcher.last_error == "directory: gives records that are not good, or of no use"
        net.items = good
        await asyncio.sleep(10)
        assert len(net.view) == 10

    play(scenario)


@pytest.mark.parametrize("outcome", [Outcome.NOT_CURRENT, Outcome.STALE, Outcome.REVOKED])
def test_a_directory_that_gives_what_nobody_needs_is_left(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its records is in order, and costs us a look and a check."""
    turns: list[int] = []

    async def scenario(net: Setting) -> None:
        judged = 0

        def offer(*_: object) -> Verdict:
            nonlocal judged
            judged += 1
            return Verdict(outcome, "")

        async def other() -> None:
            while True:
                turns.append(judged)
                await asyncio.sleep(0.01)

        monkeypatch.setattr(net.view, "offer", offer)
        net.items = [Item(ItemType.RECORD, b"%d" % number) for number in range(8192)]
        net.fetcher.start()
        others = asyncio.create_task(other())
        await asyncio.sleep(FIRST_WAIT_S - 0.5)
        others.cancel()
        assert judged == MAX_USELESS + 1
        assert net.fetcher.last_error == "directory: gives records that are not good, or of no use"
        assert max(right - left for left, right in pairwise(turns)) <= SLICE, "others have their turn"

    play(scenario)


def test_of_many_proofs_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(net: Setting) -> None:
        judged = 0

        def offer_proof(*_: object) -> Verdict:
            nonlocal judged
            judged += 1
            return Verdict(Outcome.KNOWN, "")

        monkeypatch.setattr(net.view, "offer_proof", offer_proof)
        proofs = [Item(ItemType.PROOF, encode_proof(b"one", b"%d" % number)) for number in range(2000)]
        net.items = [*proofs, *items_of(net.records(3))]
        net.fetcher.start()
        await asyncio.sleep(3)
        assert judged == MAX_PROOFS
        assert len(net.view) == 3

    play(scenario)


def test_revocations_and_proofs_count() -> None:
    async def scenario(net: Setting) -> None:
        wall = int(net.clock.wall())
        liar, gone = RecordMaker("liar"), RecordMaker("gone")
        pair = (liar.record(wall), liar.record(wall + 1, variant="for one client"))
        net.items = [
            *items_of([pair[0], gone.record(wall), gone.record(wall, revoked=True)]),
            Item(ItemType.PROOF, encode_proof(pair[0].encoded, pair[1].encoded)),
            Item(ItemType.PROOF, b"junk"),
        ]
        net.fetcher.start()
        await asyncio.sleep(1)
        assert len(net.view) == 0
        assert net.view.is_equivocating(liar.identity.public)
        assert len(list(net.view.revocations())) == 1

    play(scenario)


def test_a_failure_later_on_is_made_good_soon() -> None:
    async def scenario(net: Setting) -> None:
        net.items = items_of(net.records(3))
        net.fetcher.start()
        await asyncio.sleep(60)
        net.is_reachable = False
        await asyncio.sleep(LEAST_AGAIN_S + SPREAD_AGAIN_S)
        assert len(net.tried) > 5
        net.is_reachable = True
        await asyncio.sleep(MAX_WAIT_S)
        assert len(net.asked) == 2

    play(scenario)


def test_silence_ends_the_circuit_and_the_next_one_is_tried() -> None:
    async def scenario(net: Setting) -> None:
        serve = net.serve
        net.serve = lambda stream: stream.accept()
        net.items = items_of(net.records(3))
        net.fetcher.start()
        await asyncio.sleep(FETCH_S - 1)
        assert net.open_circuits == 1
        net.serve = serve
        await asyncio.sleep(10)
        assert net.open_circuits == 0
        assert len(net.view) == 3

    play(scenario)


def test_answers_that_are_cut_refused_or_nonsense_are_failures() -> None:
    def cut(stream: Stream) -> None:
        stream.accept()
        stream.write(b"\x04\x00\x09\x00\x00")
        stream.write_eof()

    def nonsense(stream: Stream) -> None:
        stream.accept()
        stream.write(b"HTTP/1.1 200 OK\r\n")

    def refuse(stream: Stream) -> None:
        stream.close()

    async def scenario(net: Setting) -> None:
        net.fetcher.start()
        said = []
        for serve, seconds in ((cut, 20), (nonsense, 60), (refuse, 200)):
            net.serve = serve
            await asyncio.sleep(seconds)
            said.append(net.fetcher.last_error)
        assert said[0] == "directory: the answer was cut"
        assert "other frames" in said[1]
        assert said[2] == "directory: refused (done)"

    play(scenario)
