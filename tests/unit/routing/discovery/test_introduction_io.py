"""Introductions among relays in memory: held, dialled back, dialled at once, refused, kept within limits."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

import pytest

from tests.support.gossip_relays import GossipRelays, Relay
from tests.support.records import RecordMaker
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.base.errors import VigilnetError
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.discovery.calls import CALLED_BURST, PUNCH_BURST
from vigilnet.routing.discovery.introduction import (
    Answer,
    AnswerStatus,
    Call,
    Endpoint,
    Flags,
    Frame,
    Held,
    HeldStatus,
    Hold,
    Introduce,
    decode_frame,
    encode_frame,
)
from vigilnet.routing.discovery.introduction_io import (
    HOLD_AGAIN_S,
    LOST_S,
    IntroductionError,
    IntroductionService,
)

PUBLISHED = 1_790_000_000
ME, MIDDLE, FAR = (RecordMaker(name).identity.public for name in ("me", "middle", "far"))
NONCE = b"a nonce."


def played(loop: VirtualLoop, scenario: Coroutine[object, object, None]) -> None:
    run(scenario, loop)


# --- among relays with real links and gossip -----------------------------------------------------------


async def behind_one(net: GossipRelays) -> tuple[Relay, Relay, Relay]:
    """Two relays that anybody can dial, and one that nobody can."""
    middle = await net.relay("middle", "5.1.0.2")
    asker = await net.relay("asker", "5.2.0.2", middle)
    home = await net.relay("home", "5.3.0.2", middle, is_behind=True)
    await asyncio.sleep(40.0)
    return middle, asker, home


def test_a_relay_that_nobody_can_dial_is_named_by_its_introducers_and_reached() -> None:
    loop = VirtualLoop()
    net = GossipRelays(loop, is_private=False)

    async def scenario() -> None:
        middle, asker, home = await behind_one(net)
        record = asker.known.get(home.identity)
        assert record is not None
        assert record.introducers.keys() <= {middle.identity, asker.identity}
        assert set(record.introducers.values()) == {"5.3.0.2"}
        assert not record.is_dialable
        assert asker.view.is_reached(home.identity)
        link = await asker.links.connect(home.identity)
        assert link.peer == home.identity
        assert not link.is_initiator
        await net.close()

    played(loop, scenario())


def test_links_to_introducers_stay_and_lost_ones_are_replaced() -> None:
    loop = VirtualLoop()
    net = GossipRelays(loop, is_private=False)

    async def scenario() -> None:
        middle, _, home = await behind_one(net)
        assert home.introductions is not None
        assert middle.identity in home.linked()
        await asyncio.sleep(300.0)
        assert middle.identity in home.linked()
        await middle.stop()
        await asyncio.sleep(3 * LOST_S)
        assert middle.identity not in home.introductions.chosen
        assert middle.identity not in home.own.introducers
        await net.close()

    played(loop, scenario())


def test_a_relay_from_elsewhere_than_its_record_says_counts_as_not_reached() -> None:
    loop = VirtualLoop()
    net = GossipRelays(loop, is_private=False)

    async def scenario() -> None:
        _, asker, home = await behind_one(net)
        assert home.introductions is not None
        record = home.own
        liar = [PeerAddress.via(identity, "9.9.9.9") for identity in record.introducers]
        home.introductions.addresses = lambda: liar  # type: ignore[method-assign]
        home.record_changed()
        await asyncio.sleep(70.0)
        shown = asker.known.get(home.identity)
        assert shown is not None
        assert set(shown.introducers.values()) == {"9.9.9.9"}
        await asker.links.connect(home.identity)
        with pytest.raises(VigilnetError, match="another network"):
            asker.gossip._check_place(shown)
        asker.gossip._check_place(record)
        await net.close()

    played(loop, scenario())


# --- one service, its neighbours scripted --------------------------------------------------------------


@dataclass
class FakeLink:
    """An open link to one neighbour."""

    peer: bytes | None
    is_initiator: bool = True
    is_relay: bool = True
    remote_host: str = "5.9.0.2"
    open_ends: tuple[tuple[str, int], tuple[str, int]] | None = (("192.168.1.2", 40_000), ("5.9.0.2", 4001))
    sent: list[Frame] = field(default_factory=list)

    def send_gossip(self, body: bytes) -> bool:
        self.sent.append(decode_frame(body))
        return True


@dataclass
class World:
    """The links and the peer table of one relay; serves `Links`, `Table` and `Puncher`."""

    records: dict[bytes, PeerRecord] = field(default_factory=dict)
    links: dict[bytes, FakeLink] = field(default_factory=dict)
    kept: set[bytes] = field(default_factory=set)
    dialled: list[bytes] = field(default_factory=list)
    punches: list[tuple[tuple[str, int], Endpoint]] = field(default_factory=list)
    is_punched: bool = True
    opened_by_us: bool = False
    changes: int = 0

    def get(self, identity: bytes) -> FakeLink | None:
        return self.links.get(identity)

    async def connect(self, identity: bytes) -> FakeLink:
        self.dialled.append(identity)
        if identity not in self.links:
            raise VigilnetError("cannot be reached")
        return self.links[identity]

    def keep(self, identity: bytes) -> None:
        self.kept.add(identity)

    def release(self, identity: bytes) -> None:
        self.kept.discard(identity)

    def changed(self) -> None:
        self.changes += 1

    async def dial(self, record: PeerRecord, local: tuple[str, int], remote: Endpoint) -> None:
        self.opened_by_us = True
        await self.accept(local, remote)

    async def accept(self, local: tuple[str, int], remote: Endpoint) -> None:
        self.punches.append((local, remote))
        if not self.is_punched:
            raise OSError("no connection from both ends")


class Known:
    """The peer table."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, identity: bytes) -> PeerRecord | None:
        return self._world.records.get(identity)

    def relays(self) -> list[PeerRecord]:
        return list(self._world.records.values())

    def admit(self, encoded: bytes, host: str) -> PeerRecord:
        del host
        return next(record for record in self._world.records.values() if record.encoded == encoded)


def record_of(name: str, *addresses: PeerAddress, introduces: bool = True) -> PeerRecord:
    return RecordMaker(name).record(PUBLISHED, addresses=addresses, introducer=introduces)


@dataclass
class Stage:
    """One service under test in its world."""

    loop: VirtualLoop = field(default_factory=VirtualLoop)
    world: World = field(default_factory=World)
    is_behind: bool = False
    can_punch: bool = True

    def __post_init__(self) -> None:
        far = record_of("far", PeerAddress.via(MIDDLE, "5.7.0.2"), introduces=False)
        middle = record_of("middle", PeerAddress.tcp("5.9.0.2", 4001))
        self.world.records = {FAR: far, MIDDLE: middle}

    @property
    def far(self) -> PeerRecord:
        return self.world.records[FAR]

    def service(self) -> IntroductionService:
        return IntroductionService(
            self.world, Known(self.world), self.world if self.can_punch else None,
            VirtualClock(self.loop), lambda size: b"\7" * size, own=ME, is_behind=self.is_behind,
            changed=self.world.changed, has_prefix_limits=True,
        )  # fmt: skip

    def link(self, identity: bytes, **more: object) -> FakeLink:
        self.world.links[identity] = FakeLink(identity, **more)  # type: ignore[arg-type]
        return self.world.links[identity]


async def asked(stage: Stage, service: IntroductionService, link: FakeLink) -> "asyncio.Task[None]":
    """Begin to ask for FAR; returns once the question was sent."""
    task = asyncio.create_task(service.introduce(stage.far))
    await asyncio.sleep(0.1)
    assert link.sent == [Introduce(b"\7" * 8, FAR, Flags.BEHIND if stage.is_behind else Flags(0))]
    return task


def test_who_asks_gets_the_link_that_the_relay_dials() -> None:
    stage = Stage()

    async def scenario() -> None:
        service, link = stage.service(), stage.link(MIDDLE)
        task = await asked(stage, service, link)
        service.frame_received(link, encode_frame(Answer(b"\7" * 8, AnswerStatus.DIALLING)))
        await asyncio.sleep(0.1)
        stage.link(FAR, is_initiator=False)
        service.neighbour_changed(FAR)
        await task
        assert (service.counts.asked, service.counts.dialled_back) == (1, 1)
        await service.introduce(stage.far)  # there is a link: nobody is asked
        assert service.counts.asked == 1
        await service.close()

    played(stage.loop, scenario())


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Answer(b"\7" * 8, AnswerStatus.NOT_HERE),
        Answer(b"\7" * 8, AnswerStatus.REFUSED),
        Answer(b"\7" * 8, AnswerStatus.DIALLING),  # and then it does not
        Answer(b"\7" * 8, AnswerStatus.PUNCHING),  # without a place to dial
        Answer(bytes(8), AnswerStatus.DIALLING),  # to a question of somebody else
    ],
)
def test_who_asks_is_told_when_nothing_comes_of_it(answer: Answer | None) -> None:
    stage = Stage()

    async def scenario() -> None:
        service, link = stage.service(), stage.link(MIDDLE)
        task = await asked(stage, service, link)
        if answer is not None:
            service.frame_received(link, encode_frame(answer))
        with pytest.raises(IntroductionError):
            await task
        assert service.counts.failed == 1
        assert not service._answers
        assert not service._waiting
        await service.close()

    played(stage.loop, scenario())


def test_nobody_is_asked_whom_nobody_can_dial_either() -> None:
    stage = Stage()
    stage.world.records[MIDDLE] = record_of("middle", PeerAddress.via(FAR))

    async def scenario() -> None:
        with pytest.raises(IntroductionError, match="none of its introducers"):
            await stage.service().introduce(stage.far)
        assert stage.world.dialled == []

    played(stage.loop, scenario())


def test_two_that_nobody_can_dial_do_so_at_once() -> None:
    stage = Stage(is_behind=True)
    there = Endpoint("5.7.0.2", 1234)

    async def scenario() -> None:
        service, link = stage.service(), stage.link(MIDDLE)
        task = await asked(stage, service, link)
        service.frame_received(link, encode_frame(Answer(b"\7" * 8, AnswerStatus.PUNCHING, there)))
        await asyncio.sleep(0.1)
        stage.link(FAR)
        service.neighbour_changed(FAR)
        await task
        assert stage.world.punches == [(("192.168.1.2", 40_000), there)]
        assert stage.world.opened_by_us is (ME < FAR)
        assert (service.counts.punches, service.counts.punched) == (1, 1)
        await service.close()

    played(stage.loop, scenario())


def test_two_that_ask_for_each_other_at_once_dial_once_and_agree_who_opens() -> None:
    stage, there = Stage(is_behind=True), Endpoint("5.7.0.2", 1234)
    under_way = asyncio.Event()

    async def scenario() -> None:
        service, link = stage.service(), stage.link(MIDDLE)
        service.start()
        await asyncio.sleep(0.1)
        link.sent.clear()
        real = stage.world.accept

        async def slowly(local: tuple[str, int], remote: Endpoint) -> None:
            await real(local, remote)
            await under_way.wait()

        stage.world.accept = slowly  # type: ignore[method-assign]
        task = asyncio.create_task(service.introduce(stage.far))
        await asyncio.sleep(0.1)
        service.frame_received(link, encode_frame(Call(NONCE, stage.far.encoded, there, Flags.BEHIND)))
        await asyncio.sleep(0.1)
        service.frame_received(link, encode_frame(Answer(b"\7" * 8, AnswerStatus.PUNCHING, there)))
        await asyncio.sleep(0.1)
        assert len(stage.world.punches) == 1
        under_way.set()
        stage.link(FAR)
        service.neighbour_changed(FAR)
        await task
        await service.close()

    played(stage.loop, scenario())


def test_a_try_at_once_that_fails_is_counted_and_told() -> None:
    stage = Stage(is_behind=True)
    stage.world.is_punched = False

    async def scenario() -> None:
        service, link = stage.service(), stage.link(MIDDLE)
        task = await asked(stage, service, link)
        answer = Answer(b"\7" * 8, AnswerStatus.PUNCHING, Endpoint("5.7.0.2", 4001))
        service.frame_received(link, encode_frame(answer))
        with pytest.raises(IntroductionError, match="both ends"):
            await task
        assert (service.counts.punches, service.counts.punched) == (1, 0)
        await service.close()

    played(stage.loop, scenario())


async def called(stage: Stage, call: Call, times: int = 1) -> tuple[IntroductionService, FakeLink]:
    """A relay behind a router with one introducer, which calls it."""
    service, link = stage.service(), stage.link(MIDDLE)
    service.start()
    await asyncio.sleep(0.1)
    assert MIDDLE in stage.world.kept
    for _ in range(times):
        service.frame_received(link, encode_frame(call))
    await asyncio.sleep(0.1)
    return service, link


def test_a_relay_that_is_called_dials_back() -> None:
    stage = Stage(is_behind=True)

    async def scenario() -> None:
        service, link = await called(stage, Call(NONCE, stage.far.encoded))
        assert link.sent == [Hold(), Answer(NONCE, AnswerStatus.DIALLING)]
        assert stage.world.dialled == [FAR]
        await service.close()

    played(stage.loop, scenario())


def test_a_relay_called_by_one_that_nobody_can_dial_tries_at_once_if_both_are_seen() -> None:
    stage, there = Stage(is_behind=True), Endpoint("5.7.0.2", 1234)

    async def scenario() -> None:
        service, link = await called(stage, Call(NONCE, stage.far.encoded, there, Flags.BEHIND))
        assert link.sent[-1] == Answer(NONCE, AnswerStatus.PUNCHING)
        assert stage.world.punches == [(("192.168.1.2", 40_000), there)]
        service.frame_received(link, encode_frame(Call(NONCE, stage.far.encoded, Endpoint(), Flags.BEHIND)))
        assert link.sent[-1] == Answer(NONCE, AnswerStatus.REFUSED)
        link.open_ends = None  # under cover: nothing plain is dialled beside it
        service.frame_received(link, encode_frame(Call(NONCE, stage.far.encoded, there, Flags.BEHIND)))
        assert link.sent[-1] == Answer(NONCE, AnswerStatus.REFUSED)
        assert len(stage.world.punches) == 1
        await service.close()

    played(stage.loop, scenario())


def test_calls_are_followed_only_from_introducers_and_not_without_end() -> None:
    stage = Stage(is_behind=True)

    async def scenario() -> None:
        call = Call(NONCE, stage.far.encoded)
        service, link = await called(stage, call, times=int(CALLED_BURST) + 3)
        said = [frame.status for frame in link.sent if isinstance(frame, Answer)]
        assert said == [AnswerStatus.DIALLING] * int(CALLED_BURST) + [AnswerStatus.REFUSED] * 3
        stranger = stage.link(FAR)
        service.frame_received(stranger, encode_frame(call))
        service.frame_received(link, encode_frame(Call(NONCE, stage.world.records[MIDDLE].encoded)))
        service.frame_received(link, b"\x10\x00\x01")  # malformed: passed over
        assert stranger.sent == []
        assert len(stage.world.dialled) == CALLED_BURST
        await service.close()

    played(stage.loop, scenario())


@pytest.mark.parametrize(
    "there", [Endpoint("5.8.0.2", 1234), Endpoint("5.7.0.3", 1234), Endpoint("5.7.0.2", 25)]
)
def test_an_introducer_cannot_have_others_dialled(there: Endpoint) -> None:
    """Neither by the one that asks nor by the one that is called: hosts are those of the other's record."""
    stage = Stage(is_behind=True)

    async def scenario() -> None:
        service, link = await called(stage, Call(NONCE, stage.far.encoded, there, Flags.BEHIND))
        assert link.sent[-1] == Answer(NONCE, AnswerStatus.REFUSED)
        link.sent.clear()
        task = await asked(stage, service, link)
        service.frame_received(link, encode_frame(Answer(b"\7" * 8, AnswerStatus.PUNCHING, there)))
        with pytest.raises(IntroductionError, match="where it does not say"):
            await task
        assert stage.world.punches == []
        await service.close()

    played(stage.loop, scenario())


def test_who_can_be_dialled_is_not_sent_to_dial_elsewhere() -> None:
    stage = Stage()

    async def scenario() -> None:
        service, link = stage.service(), stage.link(MIDDLE)
        task = await asked(stage, service, link)
        answer = Answer(b"\7" * 8, AnswerStatus.PUNCHING, Endpoint("5.7.0.2", 1234))
        service.frame_received(link, encode_frame(answer))
        with pytest.raises(IntroductionError):
            await task
        assert stage.world.punches == []
        await service.close()

    played(stage.loop, scenario())


def test_one_network_is_dialled_so_only_now_and_then() -> None:
    stage, there = Stage(is_behind=True), Endpoint("5.7.0.2", 1234)

    async def scenario() -> None:
        call = Call(NONCE, stage.far.encoded, there, Flags.BEHIND)
        service, link = await called(stage, call)
        for _ in range(30):
            service.frame_received(link, encode_frame(call))
            await asyncio.sleep(0.5)
        assert len(stage.world.punches) == PUNCH_BURST
        await asyncio.sleep(30.0)
        service.frame_received(link, encode_frame(call))
        await asyncio.sleep(0.5)
        assert len(stage.world.punches) == PUNCH_BURST + 1
        await service.close()

    played(stage.loop, scenario())


def test_an_introducer_that_lies_uses_up_its_own_calls_only() -> None:
    stage = Stage(is_behind=True)
    other = record_of("other", PeerAddress.tcp("5.10.0.2", 4001))
    stage.world.records[other.identity] = other

    async def scenario() -> None:
        second = stage.link(other.identity)
        call = Call(NONCE, stage.far.encoded)
        service, link = await called(stage, call, times=3 * int(CALLED_BURST))
        assert link.sent[-1] == Answer(NONCE, AnswerStatus.REFUSED)
        service.frame_received(second, encode_frame(call))
        assert second.sent[-1] == Answer(NONCE, AnswerStatus.DIALLING)
        await service.close()

    played(stage.loop, scenario())


def test_an_introducer_that_is_full_is_left_and_one_that_is_silent_asked_again() -> None:
    stage = Stage(is_behind=True)

    async def scenario() -> None:
        service, link = stage.service(), stage.link(MIDDLE)
        service.start()
        assert service.addresses() == [PeerAddress.via(MIDDLE)]
        await asyncio.sleep(HOLD_AGAIN_S + 5.0)
        assert link.sent == [Hold(), Hold()]
        service.frame_received(link, encode_frame(Held(HeldStatus.HELD, Endpoint("5.3.0.2"))))
        assert service.addresses() == [PeerAddress.via(MIDDLE, "5.3.0.2")]
        assert stage.world.changes == 2
        service.frame_received(link, encode_frame(Held(HeldStatus.HELD, Endpoint("5.9.0.2"))))
        assert stage.world.changes == 2, "it was not asked, and may not have our record change"
        assert service.addresses() == [PeerAddress.via(MIDDLE, "5.3.0.2")]
        service.frame_received(link, encode_frame(Held(HeldStatus.FULL)))
        assert service.addresses() == []
        assert stage.world.kept == set()
        service.frame_received(link, encode_frame(Held(HeldStatus.HELD, Endpoint("5.3.0.2"))))
        assert service.addresses() == []
        await service.close()

    played(stage.loop, scenario())


def test_an_introducer_is_asked_again_on_each_new_link() -> None:
    stage = Stage(is_behind=True)

    async def scenario() -> None:
        service, first = stage.service(), stage.link(MIDDLE)
        service.start()
        await asyncio.sleep(0.1)
        service.frame_received(first, encode_frame(Held(HeldStatus.HELD, Endpoint("5.3.0.2"))))
        await asyncio.sleep(2 * HOLD_AGAIN_S)
        assert first.sent == [Hold()]
        del stage.world.links[MIDDLE]
        service.neighbour_changed(MIDDLE)
        second = stage.link(MIDDLE)
        service.neighbour_changed(MIDDLE)
        await asyncio.sleep(5.0)
        assert second.sent == [Hold()]
        assert service.addresses() == [PeerAddress.via(MIDDLE, "5.3.0.2")]
        await asyncio.sleep(2 * LOST_S)  # it does not answer any more
        assert service.addresses() == []
        await service.close()

    played(stage.loop, scenario())


def test_who_can_be_dialled_wants_no_introducers() -> None:
    stage = Stage()

    async def scenario() -> None:
        service = stage.service()
        service.start()
        service.relays_changed()
        assert service.addresses() == []
        assert stage.world.kept == set()
        await service.close()

    played(stage.loop, scenario())
